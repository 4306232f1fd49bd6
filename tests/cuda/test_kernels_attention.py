"""Attention: every kernel on problems of its own, and what memory had to do in the main loops."""

import emulated
import numpy as np
import pytest
from attention_launch import errors
from ptxkernel import _cuda

from bench import harness
from bench.cases.attention import SMALL, attention
from keras_native.engine import transforms
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce
from keras_native.engine.primitives.attention import attention as primitive
from keras_native.engine.tensor import from_numpy

WIDTHS = {"float32": (32, 64, 128, 256), "bfloat16": (32, 64, 128), "float16": (32, 64, 128)}
NAMES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
KERNELS = [(dtype, width) for dtype, widths in WIDTHS.items() for width in widths]


def names(dtype, width, grad, plain=False):
    """The kernels of a problem; `plain`: it has neither bias, mask nor dropout."""
    parts = ("grad_keys_", "grad_queries_") if grad else ("",)
    end = "_plain" if plain and not grad and dtype != "float32" else ""
    return [f"attention_{part}{NAMES[dtype]}_{width}{end}" for part in parts]


def rows(kernel):
    """What it executed since counts were cleared."""
    return [row for row in _cuda.counts(kernel) if row["executed"]]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("dtype, width", KERNELS)
def test_each_kernel(dtype, width, grad):
    """More tiles than one each way, with remainders; heads of odd sizes, one narrower than its
    value; all that scores can be given."""
    queries, keys = (70, 40) if dtype == "float32" else (140, 75)
    more = {"keys": keys, "value_size": width // 2 + 5, "key_heads": 1, "dtype": dtype}
    _cuda.clear_counts()
    emulated.check(
        attention(1, queries, 2, width - 3, causal=True, dropout=0.25, grad=grad, **more)
    )
    assert all(rows(name) for name in names(dtype, width, grad))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype, width", [k for k in KERNELS if k[0] != "float32"])
def test_each_plain_kernel(dtype, width, causal):
    """The same of those that scores are given nothing by."""
    more = {"keys": 175, "value_size": width // 2 + 5, "key_heads": 1, "dtype": dtype}
    _cuda.clear_counts()
    emulated.check(attention(1, 140, 2, width - 3, causal=causal, **more))
    assert all(rows(name) for name in names(dtype, width, False, plain=True))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "options",
    [
        {"mask": (2, 1, 17, 21)},
        {"mask": (2, 1, 1, 21), "causal": True},
        {"mask": (17, 3), "keys": 3},  # some without any key
        {"bias": (2, 17, 21)},
        {"bias": (2, 1, 17, 1), "mask": (1, 1, 17, 21)},
        {"dropout": 0.5, "keys": 64},
    ],
    ids=str,
)
def test_what_scores_are_given(dtype, options):
    """Masks, biases and dropout on tensor cores, forward, backward and for the scores."""
    case = {"keys": 21, "dtype": dtype, **options}
    emulated.check(attention(2, 17, 2, 16, **case))
    emulated.check(attention(2, 17, 2, 16, grad=True, lse_ct=True, **case))
    emulated.check(attention(2, 17, 2, 16, grad=True, scores=True, **case))


def check_as_if(options, given, without):
    """Forward and backward with the bias `given` are what the reference makes of `without`, but for
    the number that each query's log-sum-exp has more."""
    forward = attention(2, 40, 2, 16, **options)
    q, k, v, _, *mask = forward.arrays()
    same = [q, k, v, without, *mask]
    found = [x.numpy() for x in emulated.outputs(forward, [q, k, v, given, *mask])]
    wanted = harness.expected(forward, same)
    harness.compare(found[0], wanted[0], forward, terms=forward.terms(same)[0])
    for scores in (False, True):
        case = attention(2, 40, 2, 16, grad=True, scores=scores, **options)
        ct = case.arrays()[-1]
        results = emulated.outputs(case, [q, k, v, given, *mask, *found, ct])
        same_given = [*same, wanted[0].astype(q.dtype), wanted[1].astype(np.float32), ct]
        for result, want, terms in zip(
            results, harness.expected(case, same_given), case.terms(same_given), strict=True
        ):
            harness.compare(result.numpy(), want, case, terms=terms)
    assert _cuda.reports() == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": (40, 40)}], ids=str)
@pytest.mark.parametrize("hidden", [-1e5, -1e9, -1e30, -3.38e38])
def test_queries_all_of_whose_keys_a_bias_hides(dtype, options, hidden):
    """What all scores of a query are given is nothing to softmax: results are those without it, as
    far as a float has place for the scores beside it."""
    options = {"bias": (2, 1, 40, 40), "dtype": dtype, **options}
    given = attention(2, 40, 2, 16, **options).arrays()[3]
    without = given.copy()
    queries = [0, 3, 17, 39]
    given[:, :, queries], without[:, :, queries] = hidden, 0
    check_as_if(options, given, without)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "less, more", [(-1e9, -3.38e38), (1000, -3.38e38), (-800, -3.38e38), (-1e9, -1e30)]
)
@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
def test_queries_some_of_whose_keys_are_hidden_more(dtype, less, more, first):
    """As by a padding of -1e9 beside the least float for a causal mask, whose scores in base 2 are
    minus infinity."""
    options = {"bias": (2, 1, 40, 40), "dtype": dtype}
    given = attention(2, 40, 2, 16, **options).arrays()[3]
    without = given.copy()
    keys = slice(0, 33) if first else slice(7, 40)
    given[:, :, 3], without[:, :, 3] = less, 0
    given[:, :, 3, keys], without[:, :, 3, keys] = more, -1e9
    check_as_if(options, given, without)


@pytest.mark.parametrize("options", [{}, {"mask": (127, 64)}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ordinary_biases_are_gone_through_once(dtype, options):
    """Also where a tile has fewer queries, and beside a query that a mask leaves no key."""

    def products(**options):
        case = attention(1, 127, 1, 64, keys=64, dtype=dtype, **options)
        arrays = case.arrays()
        if "mask" in options:
            arrays[-1][:] = True
            arrays[-1][5] = False
        _cuda.clear_counts()
        emulated.outputs(case, arrays)
        return sum(
            row["executed"]
            for row in rows(names(dtype, 64, False)[0])
            if row["opcode"].startswith("fma" if dtype == "float32" else "mma")
        )

    once = products(mask=(127, 64))
    assert 0 < once <= products(bias=(1, 1, 127, 64), **options) < 1.5 * once


@pytest.mark.parametrize("causal", [False, True])
def test_large_scores(causal):
    """Values of one, whatever the scores: the output is one."""
    case = attention(1, 100, 1, 32, causal=causal)
    q, k, v = case.arrays()
    out, _ = emulated.outputs(case, [30 * q, k, np.ones_like(v)])
    assert np.abs(out.numpy() - 1).max() < 1e-6


def test_infinities_and_nans_stay_in_their_rows():
    """What lies beyond an end, or after a query, is not looked at."""
    case = attention(1, 70, 1, 32, causal=True)
    arrays = case.arrays()
    arrays[0][0, 5], arrays[1][0, 60] = np.nan, np.inf
    (got, _), (want, _) = emulated.outputs(case, arrays), harness.expected(case, arrays)
    np.testing.assert_array_equal(np.isnan(got.numpy()), np.isnan(want))
    assert np.isnan(want[0, 5]).all() and not np.isnan(want[0, 6:60]).any()


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("dtype, width", KERNELS)
def test_memory_of_each_kernel(dtype, width, grad):
    """Whole tiles: no bank twice in one access, and no sector of memory in vain."""
    _cuda.clear_counts()
    length = 64 if dtype == "float32" else 128
    case = attention(1, length, 1, width, dtype=dtype, grad=grad)
    emulated.outputs(case, case.arrays())
    _cuda.synchronize()
    for name in names(dtype, width, grad, plain=True):
        found = rows(name)
        assert [r for r in found if r["opcode"].startswith("cp.async") and r["sectors"]]
        assert [r for r in found if r["conflicts"]] == []
        # Once a query, beside the loop: lse is written, and statistics are read, by a few threads.
        once = ("st.global.f32", "ld.global.f32", "st.global.nc.f32", "ld.global.nc.f32")
        in_vain = [r for r in found if r["sectors"] != r["ideal_sectors"]]
        assert [r for r in in_vain if r["opcode"] not in once] == []
        opcode = "fma.rn.f32" if dtype == "float32" else "mma.sync"
        assert [r for r in found if r["opcode"].startswith(opcode)]


def test_no_matrix_of_scores():
    """What is written grows with the length, not with its square: dq, dk and dv alone."""
    case = attention(1, 256, 1, 16, grad=True)
    _cuda.clear_counts()
    emulated.outputs(case, case.arrays())
    _cuda.synchronize()
    found = [r for name in names("float32", 32, True) for r in rows(name)]
    written = sum(r["sectors"] for r in found if r["opcode"].startswith("st.global")) * 32
    assert written == 3 * 256 * 16 * 4


def warpgroup_names(dtype, width, grad):
    return [f"{name}_warpgroup" for name in names(dtype, width, grad)]


def by_warpgroups(case):
    """Whether the case, right on an H100, ran by kernels for warp groups there."""
    _cuda.clear_counts()
    emulated.check(case)
    return emulated.kernel_of(case) == "warpgroup" and any(
        all(rows(kernel) for kernel in warpgroup_names(name, width, case.op == "attention_grad"))
        for name in NAMES
        for width in (64, 128)
    )


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_each_warpgroup_kernel(h100, dtype, width, causal, grad):
    """Of the two widths, on an H100: as test_each_plain_kernel."""
    more = {"keys": 175, "value_size": width // 2 + 8, "key_heads": 1, "dtype": dtype}
    assert by_warpgroups(
        attention(1, 210, 2, width - 8, causal=causal, grad=grad, lse_ct=grad, **more)
    )


def rows_of_16_bytes(given):
    """A case of the table in whose place kernels for warp groups take this one."""
    whole = {n: -(-given[n] // 8) * 8 for n in ("size", "value_size") if n in given}
    return {**given, **whole}


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "given",
    [
        rows_of_16_bytes(given)
        for given in SMALL
        if not given.keys() & {"mask", "bias", "dropout", "dtype"} and given["size"] <= 128
    ],
    ids=str,
)
def test_the_table_by_warpgroups(h100, dtype, given, grad):
    assert by_warpgroups(attention(**given, dtype=dtype, grad=grad))


@pytest.mark.parametrize(
    "given",
    [
        {"queries": 30, "keys": 300, "causal": True},  # keys that no query sees
        {"queries": 300, "keys": 30, "causal": True},
        {"queries": 7, "keys": 9, "size": 120, "value_size": 16},
        {
            "queries": 150,
            "keys": 130,
            "size": 16,
            "value_size": 104,
            "key_heads": 2,
            "causal": True,
        },
        {"batch": 1, "queries": 257, "size": 64, "heads": 3, "causal": True, "lse_ct": True},
        {"batch": 1, "queries": 129, "keys": 261, "size": 128, "key_heads": 1, "lse_ct": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_by_warpgroups(h100, dtype, given):
    """Walks without a tile and of several for each head; lengths that are multiples of nothing."""
    case = attention(**{"batch": 2, "heads": 4, "size": 40, **given}, dtype=dtype, grad=True)
    results = emulated.outputs(case, case.arrays())
    assert max(errors(case, [result.numpy() for result in results])) < 2
    assert emulated.kernel_of(case) == "warpgroup" and _cuda.reports() == []


@pytest.mark.parametrize("width", [64, 128])
def test_gradients_never_differ(h100, width):
    """The very bits in a second run: nothing is added by atomics."""
    case = attention(1, 200, 4, width, key_heads=2, causal=True, dtype="bfloat16", grad=True)
    first, second = (emulated.outputs(case, case.arrays()) for _ in range(2))
    assert emulated.kernel_of(case) == "warpgroup"
    for a, b in zip(first, second, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("causal", [False, True])
def test_more_blocks_than_multiprocessors(h100, causal):
    """Blocks that compute one after another, and the order of those that do not."""
    length = 800 if causal else 30
    assert by_warpgroups(
        attention(1 if causal else 9, length, 10 if causal else 16, 8, keys=40, key_heads=2,
                  causal=causal, dtype="bfloat16")
    )  # fmt: skip


def test_what_warpgroups_do_not_take(h100):
    """Rows that are no multiples of 16 bytes, other types, what scores are given."""
    for given in ({"size": 12}, {"dtype": "float32"}, {"mask": (9, 9)}, {"dropout": 0.5}):
        for grad in (False, True):
            case = attention(
                **{"batch": 1, "queries": 9, "heads": 2, "size": 16, "dtype": "bfloat16", **given},
                grad=grad,
            )
            assert emulated.kernel_of(case) == "flash"


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("width", [64, 128])
def test_memory_of_warpgroups(h100, dtype, width, grad):
    """Whole tiles: no bank twice in one access, and no sector of memory in vain."""
    case = attention(1, 384, 1, width, dtype=dtype, grad=grad)
    assert by_warpgroups(case)
    for kernel in warpgroup_names(dtype, width, grad):
        found = rows(kernel)
        assert [r for r in found if r["conflicts"]] == []
        in_vain = [r for r in found if r["sectors"] != r["ideal_sectors"]]
        once = ("st.global.f32", "ld.global.f32", "ld.global.nc.f32")  # once a query
        assert [r for r in in_vain if r["opcode"] not in once] == []
        assert [r for r in found if r["opcode"].startswith("wgmma.mma_async")]


def test_too_wide_goes_by_way_of_the_host():
    assert emulated.has_kernel(attention(1, 5, 1, 256))
    assert not emulated.has_kernel(attention(1, 5, 1, 257))
    assert not emulated.has_kernel(attention(1, 5, 1, 129, dtype="bfloat16"))


def test_training_by_warpgroups(h100, kept):
    """A recorded step by warp groups: the statistics of forward serve the gradient, and maps of
    tensors hold in replays, whatever the values."""

    def loss(q, k, v):
        out = primitive(q, k, v, causal=True)
        return reduce.reduce_sum(ew.square(ew.cast(out, "float32")), None)

    both = transforms.value_and_grad(loss, (0, 1, 2))
    on_gpu, on_cpu = transforms.jit(both, device="gpu:0"), transforms.jit(both)
    for seed in range(6):
        _cuda.clear_counts()
        tensors = [from_numpy(a) for a in attention(1, 150, 2, 24, dtype="bfloat16").arrays(seed)]
        (value, slopes), (wanted, right) = on_gpu(*tensors), on_cpu(*tensors)
        np.testing.assert_allclose(value.numpy(), wanted.numpy(), rtol=2e-2)
        for got, want in zip(slopes, right):
            got, want = got.numpy().astype(np.float32), want.numpy().astype(np.float32)
            assert np.abs(got - want).max() < 2e-2 * np.abs(want).max()
    _cuda.synchronize()
    assert _cuda.calls()["graphs"] == 1 and rows("attention_bf16_64_warpgroup")
    assert rows("attention_grad_keys_bf16_64_warpgroup")
    assert _cuda.reports() == []
