"""Products of 16 bits by warp groups, on an H100: each kernel by itself, the choice of them, and
what memory had to do."""

import emulated
import numpy as np
import pytest
from gemm_launch import TYPES, operands, product
from ptxkernel import _cuda
from warpgroup_launch import MAPPED, TILES, built, launch

from bench.cases.matmul import ACTIVATIONS, linear, matmul
from keras_native.engine import transforms
from keras_native.engine.primitives import matmul as products
from keras_native.engine.tensor import from_numpy

pytestmark = pytest.mark.usefixtures("h100")
TRANSPOSES = ("nn", "nt", "tn", "tt")
GELU = 6  # csrc/kernels/activation.h
EVERY = [(kind, size, t) for kind in MAPPED for size in TILES for t in TRANSPOSES]


def whole(m, k, n, transposes):
    """These sizes, or one more where rows of the operands need not be whole chunks."""
    return m + (transposes[0] == "n"), k + (transposes == "tn"), n + (transposes[1] == "t")


@pytest.mark.parametrize("kind, size, transposes", EVERY)
def test_each_kernel(kind, size, transposes):
    """Integers are multiplied exactly: remainders on all sides, more steps than stages, and blocks
    that walk over several tiles; copied in bulk, and not."""
    for sizes, plain in [((136, 584, 272), False), ((136, 72, 264), True), ((8, 8, 8), False)]:
        m, k, n = whole(*sizes, transposes) if plain else sizes
        a, b = operands(m, k, n, kind, transposes)
        got = launch(built(), size, transposes, a[None], b[None], plain=plain)
        assert _cuda.reports() == []
        assert (got[0] == product(a, b, transposes).astype(got.dtype)).all()


@pytest.mark.parametrize("kind, size, transposes", EVERY)
def test_results_of_float32(kind, size, transposes):
    """Of a batch whose axes take other matrices each, with a bias and a bound."""
    rng = np.random.default_rng(1)
    a, b = (
        np.stack([operands(24, 80, 72, kind, transposes, seed)[k] for seed in seeds])
        for k, seeds in ((0, (1, 2)), (1, (3, 4, 5)))
    )
    bias = rng.integers(-40, 40, 72).astype(a.dtype)
    batch = [(2, 1, 0), (3, 0, 1)]
    more = {"out": np.float32, "products": 6, "batch": batch}
    got = launch(built(), size, transposes, a, b, bias, 1, **more)
    assert _cuda.reports() == []
    for z in range(6):
        want = product(a[z // 3], b[z % 3], transposes) + bias.astype(np.float64)
        assert (got[z] == np.maximum(want, 0)).all()


@pytest.mark.parametrize("kind, size, transposes", EVERY)
def test_memory_of_each_kernel(kind, size, transposes):
    """Whole tiles: no bank twice in one access, and no sector of memory in vain."""
    a, b = operands(128, 128, 256, kind, transposes)
    for plain, activation in ((False, 0), (True, 0), (True, GELU)):
        _cuda.clear_counts()
        launch(built(), size, transposes, a[None], b[None], None, activation, plain=plain)
        name = f"gemm_warpgroup_{kind}_{size}"
        rows = [r for r in _cuda.counts(name) if r["executed"]]
        assert [r for r in rows if r["opcode"].startswith("wgmma.mma_async")]
        assert [r for r in rows if r["conflicts"]] == []
        assert [r for r in rows if r["sectors"] != r["ideal_sectors"]] == []


HALVES = ("bfloat16", "float16")
PRODUCTS = [
    matmul(136, 104, 128, dtype, ta=ta, tb=tb)
    for dtype in HALVES
    for ta in (False, True)
    for tb in (False, True)
] + [
    matmul(264, 64, 72, "bfloat16", tb=True, attrs={"out_dtype": "float32"}, grad=False),
    matmul(72, 64, 80, "bfloat16", batch_a=(2, 1), batch_b=(3,)),
    matmul(88, 64, 72, "float16", batch_a=(4,), batch_b=(), ta=True),
    matmul(33, 64, 257, "float16", batch_a=(3,), batch_b=(), tb=True),
    *(linear(130, 64, 136, name, dtype) for name in ACTIVATIONS for dtype in HALVES),
    linear(150, 72, 101, "gelu", "bfloat16", tw=True),
    linear(150, 72, 101, "relu", "float16", tw=True, bias=False),
]


@pytest.mark.parametrize("case", PRODUCTS, ids=str)
def test_chosen(case):
    assert emulated.kernel_of(case) == "warpgroup"
    emulated.check(case)


OTHERS = {
    "rows that are no chunks": matmul(136, 101, 128, "bfloat16"),
    "a launch and no more": matmul(32, 64, 128, "bfloat16"),
    "many terms of few results": matmul(64, 4096, 64, "bfloat16"),
    "float32": matmul(136, 104, 128),
    "gelu of float32": linear(130, 64, 136, "gelu"),
}


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS)
def test_left_to_others(case):
    assert emulated.kernel_of(case) == "gemm"


@pytest.mark.emulator
def test_other_gpus(cuda):
    """Have none of these instructions."""
    case = matmul(136, 104, 128, "bfloat16")
    for gpu in ("A100", "B200"):
        cuda.emulate(gpu)
        assert emulated.kernel_of(case) == "gemm"


def test_replayed_at_other_addresses(kept):
    """Maps are those of the addresses of each run, recorded or not."""
    run = transforms.jit(lambda a, b: products.matmul(a, b), device="gpu:0")
    _cuda.clear_counts()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        a, b = (rng.integers(-4, 5, s).astype(np.float16) for s in ((136, 104), (104, 128)))
        got = run(from_numpy(a), from_numpy(b)).numpy()
        assert (got == (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float16)).all()
    assert _cuda.reports() == []
    assert _cuda.calls()["graphs"] > 0


def test_infinities_and_nans_stay_in_their_rows():
    """What is copied beyond an operand's end is zero, and not what lies there."""
    a, b = operands(136, 72, 264, "bf16", "nn")
    a[3, 5], b[70, 260], a[130, 71] = np.inf, np.nan, -np.inf
    want = product(a, b, "nn")
    got = launch(built(), "large", "nn", a[None], b[None])[0].astype(np.float64)
    np.testing.assert_array_equal(got, want.astype(TYPES["bf16"][0]).astype(np.float64))
