"""Norms, moments and the like where the tables do not reach: rows of a block, rows that shared
memory does not hold, wide groups, many pieces, and what is not a number."""

import emulated
import numpy as np
import pytest
from ptxkernel import _cuda

from bench import harness
from bench.cases import norm
from bench.cases.reduce import reduction, scan


def executed(kernel):
    return any(row["executed"] for row in _cuda.counts(kernel))


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("make", [norm.layer, norm.rms], ids=["layer", "rms"])
@pytest.mark.parametrize("length", [700, 12500])
def test_long_rows(make, length, grad):
    _cuda.clear_counts()
    emulated.check(make((3, length), grad=grad))
    assert executed("norm_grad_rows" if grad else "norm_rows")


@pytest.mark.parametrize("grad", [False, True])
def test_many_rows(grad):
    """Gradients of parameters in more pieces than one."""
    emulated.check(norm.layer((600, 9), grad=grad))
    emulated.check(norm.rms((600, 9), dtype="bfloat16", grad=grad))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels", [72, 35])
@pytest.mark.parametrize("grad", [False, True])
def test_strips(grad, channels, dtype):
    """Three launches, over strips of channels in packs or one by one, of several pieces, the last
    of them short, with all that batch norm can have."""
    case = norm.batch(
        (3, 7, 19, channels), dtype, grad=grad, clip="relu6", **{} if grad else {"add": True}
    )
    emulated.check(case)
    _cuda.synchronize()
    _cuda.clear_counts()
    for result in emulated.outputs(case, case.arrays()):
        result.numpy()
    assert _cuda.calls()["launches"] == 3
    lanes = 1 if channels % 4 else 4
    for name in ("grad", "sums_by_channel") if grad else ("apply", "statistics"):
        assert executed(f"norm_{name}_{lanes}")


def test_memory_of_strips():
    """Batch norm reads x twice and writes y; its gradient reads both operands twice and writes dx:
    but for what is there once a channel, no more sectors than that."""
    for grad, passes in ((False, 3), (True, 5)):
        case = norm.batch((2, 32, 32, 512), grad=grad)
        _cuda.synchronize()
        _cuda.clear_counts()
        emulated.outputs(case, case.arrays())[0].numpy()
        rows = [r for r in _cuda.counts() if r["executed"]]
        array = 2 * 32 * 32 * 512 * 4 // 32
        assert passes * array <= sum(r["sectors"] for r in rows) < (passes + 1) * array
        assert [r for r in rows if r["conflicts"]] == []


@pytest.mark.parametrize("grad", [False, True])
def test_wide_groups(grad):
    """A warp for each group, some channels a lane."""
    _cuda.clear_counts()
    emulated.check(norm.group((2, 9, 31, 70), 2, grad=grad))
    emulated.check(norm.group((2, 5, 33), 1, grad=grad))
    assert executed("norm_merge_wide") and executed("norm_slopes_wide") == grad


@pytest.mark.parametrize("op", ["moments", "reduce_logsumexp"])
@pytest.mark.parametrize(
    "dims, axes", [((2, 9000), (1,)), ((600, 5), (0,)), ((3, 600, 2, 40), (0, 1, 3)), ((7,), (0,))]
)
def test_pieces(op, dims, axes):
    emulated.check(reduction(op, dims, axes))


def test_moments_far_from_zero():
    """Values around 1000: the mean is taken off before anything is squared."""
    case = reduction("moments", (5000, 3), (0,))
    x = (case.arrays()[0] + 1000).astype(np.float32)
    mean, variance = (t.numpy() for t in emulated.outputs(case, [x]))
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(0).reshape(mean.shape), rtol=1e-6)
    np.testing.assert_allclose(
        variance, x.astype(np.float64).var(0).reshape(variance.shape), rtol=1e-5
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_logsumexp_of_what_is_not_finite(axis):
    inf, nan = np.inf, np.nan
    x = np.array([[1, nan, 2], [-inf, -inf, -inf], [inf, 0, 1], [inf, -inf, 3], [0, 1, 100]])
    x = (x if axis else x.T).astype(np.float32)
    case = harness.Case(
        "reduce_logsumexp", ((x.shape, "float32"),), {"axes": (axis,), "keepdims": False}
    )
    (got,) = emulated.outputs(case, [x])
    np.testing.assert_allclose(got.numpy(), [nan, -inf, inf, inf, 100], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("op", ["reduce_sum", "reduce_max"])
@pytest.mark.parametrize(
    "dims, axis, launches",
    [((2048, 256), 0, 1), ((4200, 12), 0, 2), ((3, 67, 20), 1, 1), ((150, 50, 8), 1, 1)],
)
def test_columns(dims, axis, launches, op, dtype):
    """Four neighbours a thread: few columns and many, in one piece as long as a block can."""
    case = reduction(op, dims, (axis,), dtype)
    emulated.check(case)
    _cuda.synchronize()
    _cuda.clear_counts()
    emulated.outputs(case, case.arrays())[0].numpy()
    rows = _cuda.counts(f"reduce_packed_columns_{op.removeprefix('reduce_')}")
    assert _cuda.calls()["launches"] == launches
    if dims == (2048, 256) and dtype == "float32":
        assert sum(r["sectors"] for r in rows) == sum(r["ideal_sectors"] for r in rows) > 0
    assert any(r["executed"] for r in rows) and not any(r["conflicts"] for r in rows)


@pytest.mark.parametrize("dims", [(2100, 6), (600, 2, 33), (5000, 1, 70)])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_single_columns(dims, dtype):
    """Whose number is odd, or whose elements are integers: in one piece and in several."""
    options = {"grad": False} if dtype == "int32" else {}
    emulated.check(reduction("reduce_sum", dims, (0,), dtype, **options))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("op", ["cumsum", "cummax", "cummin"])
@pytest.mark.parametrize("dims, axis", [((9, 100), 1), ((2, 70, 300), 1)])
def test_scans(op, dims, axis, reverse):
    emulated.check(scan(op, dims, axis, reverse=reverse))


@pytest.mark.parametrize("op", ["cumsum", "cumprod", "cummax"])
def test_scans_of_many_columns(op):
    """Fewer threads for each column than where columns are few."""
    emulated.check(scan(op, (65, 8200), 0))


@pytest.mark.parametrize("axis", [0, 1])
def test_scans_hand_on_nans(axis):
    x = np.array([[1, 3, np.nan, 2], [0, np.nan, 5, np.inf]], np.float32)
    for op in ("cummax", "cummin", "cumsum"):
        case = harness.Case(op, ((x.shape, "float32"),), {"axis": axis, "reverse": False})
        (got,), (want,) = emulated.outputs(case, [x]), harness.run(case, [x])
        np.testing.assert_array_equal(got.numpy(), want)
