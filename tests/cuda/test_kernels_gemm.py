"""Products: the CPU's table on the emulator, each kernel by itself, and what memory had to do."""

import functools

import emulated
import numpy as np
import pytest
from gemm_launch import KERNELS, TRANSPOSES, kernel_name, launch, operands, product
from ptxkernel import _cuda

from bench import harness
from bench.cases.matmul import linear as linear_case
from bench.cases.matmul import matmul as matmul_case

FLOATS = ("float32", "bfloat16", "float16")
# What kernels take only where there is no bias and no activation.
PLAIN = ("float64", "int8", "uint8")
# What an interpreter does in a blink.
CASES = [
    case
    for case in harness.test_cases(harness.load_cases("matmul"))
    if case.inputs[0][1] in (FLOATS if case.op == "linear" else FLOATS + PLAIN) and case.flops < 3e6
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_table(case):
    emulated.check(case)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("ta", [False, True])
def test_split_k(dtype, ta):
    """Few results of many terms: the sums of each part, and then of the parts."""
    emulated.check(matmul_case(20, 1100, 30, dtype, ta=ta))
    assert [r for r in _cuda.counts("gemm_join") if r["executed"]]
    _cuda.clear_counts()
    emulated.check(linear_case(5, 1030, 33, "gelu", dtype))
    assert [r for r in _cuda.counts("gemm_join") if r["executed"]]


@pytest.mark.parametrize("k", [3, 4])
def test_packed(k):
    """Many rows: B transposed is turned once, into rows of whole chunks, and not in every block.
    Where rows of A are whole chunks as well, those are copied to their ends."""
    _cuda.clear_counts()
    emulated.check(matmul_case(2048, k, 1530, tb=True))
    assert [r for r in _cuda.counts("gemm_exact_wide_nn") if r["executed"]]
    assert [r for r in _cuda.counts("transposed_copy_4") if r["executed"]]


@functools.cache
def module(kind):
    """The module of a kind's kernels; counts are kept as long as it is."""
    return _cuda.Module(_cuda.image_ptx("gemm/exact" if kind == "exact" else "gemm/tensor"))


@pytest.mark.parametrize(("kind", "size", "transposes"), KERNELS)
def test_each_kernel(kind, size, transposes):
    """Integers are multiplied exactly: every element equal, of whole tiles and of remainders."""
    for m, k, n in [(64, 48, 64), (129, 37, 70)]:
        a, b = operands(m, k, n, kind, transposes)
        got = launch(module(kind), kind, size, transposes, a, b)
        assert _cuda.reports() == []
        assert (got == product(a, b, transposes)).all()


@pytest.mark.parametrize(("kind", "size", "transposes"), KERNELS)
def test_memory_of_each_kernel(kind, size, transposes):
    """Whole tiles: no bank twice in one access, and no sector of memory in vain."""
    _cuda.clear_counts()
    a, b = operands(128, 96, 128, kind, transposes)
    launch(module(kind), kind, size, transposes, a, b)
    rows = [r for r in _cuda.counts(kernel_name(kind, size, transposes)) if r["executed"]]
    copies = [r for r in rows if r["opcode"].startswith("cp.async") and r["sectors"]]
    assert copies and sum(r["phases"] for r in rows) > 0
    assert [r for r in rows if r["conflicts"]] == []
    assert [r for r in rows if r["sectors"] != r["ideal_sectors"]] == []
    opcode = "fma.rn.f32" if kind == "exact" else "mma.sync"
    assert [r for r in rows if r["opcode"].startswith(opcode)]


PLAIN_KERNELS = {
    "float64": ("gemm_double_{}", 64),
    "int8": ("gemm_s8_small", 64),
    "uint8": ("gemm_u8_small", 64),
}


def plain(dtype, transposes, m, k, n):
    """A case without bias and activation, of sums in int32 for bytes."""
    attrs = {} if dtype == "float64" else {"out_dtype": "int32"}
    ta, tb = (letter == "t" for letter in transposes)
    return matmul_case(m, k, n, dtype, ta=ta, tb=tb, attrs=attrs, grad=False)


@pytest.mark.parametrize("transposes", TRANSPOSES)
@pytest.mark.parametrize("dtype", PLAIN)
def test_plain_kernels(dtype, transposes):
    """Remainders on all sides, rows at odd addresses and at even ones, more stages than one."""
    for m, k, n in [(129, 337, 70), (65, 272, 80)]:
        _cuda.clear_counts()
        emulated.check(plain(dtype, transposes, m, k, n))
        name = PLAIN_KERNELS[dtype][0].format(transposes)
        assert [r for r in _cuda.counts(name) if r["executed"]]


@pytest.mark.parametrize("transposes", TRANSPOSES)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_large_tiles_of_bytes(dtype, transposes):
    """As many small products as it takes to choose them."""
    _cuda.clear_counts()
    ta, tb = (letter == "t" for letter in transposes)
    more = {"attrs": {"out_dtype": "int32"}, "grad": False, "batch_a": (24,)}
    emulated.check(matmul_case(129, 40, 130, dtype, ta=ta, tb=tb, **more))
    name = f"gemm_{'su'[dtype == 'uint8']}8_large"
    assert [r for r in _cuda.counts(name) if r["executed"]]


@pytest.mark.parametrize("transposes", TRANSPOSES)
@pytest.mark.parametrize("dtype", PLAIN)
def test_memory_of_plain_kernels(dtype, transposes):
    """Whole tiles: no bank twice in one access, and no sector of memory in vain."""
    _cuda.clear_counts()
    case = plain(dtype, transposes, 128, 256, 128)
    emulated.outputs(case, case.arrays())
    _cuda.synchronize()
    name = PLAIN_KERNELS[dtype][0].format(transposes)
    rows = [r for r in _cuda.counts(name) if r["executed"]]
    assert [r for r in rows if r["conflicts"]] == []
    assert [r for r in rows if r["sectors"] != r["ideal_sectors"]] == []
    opcode = "fma.rn.f64" if dtype == "float64" else "mma.sync"
    assert [r for r in rows if r["opcode"].startswith(opcode)]


def test_tf32_rounds_to_nearest():
    """Products of tf32 are those of operands rounded to 10 bits, not cut."""
    rng = np.random.default_rng(3)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((40, 64), (64, 24)))

    def rounded(x):  # to nearest, ties away from zero
        return ((x.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32).astype(np.float64)

    got = launch(module("tf32"), "tf32", "small", "nn", a, b)
    want = rounded(a) @ rounded(b)
    assert np.abs(got - want).max() < 64 * 2.0**-23 * np.abs(want).max()


def test_infinities_and_nans_stay_in_their_rows():
    """What is copied beyond an operand's end is zero, and not what lies there."""
    case = matmul_case(3, 5, 70)
    arrays = case.arrays()
    arrays[0][1, 2] = np.inf
    arrays[1][3, 65] = np.nan
    (result,) = emulated.outputs(case, arrays)
    harness.compare(result.numpy(), *harness.expected(case, arrays), case)
    assert _cuda.reports() == []
