"""Gathers, scatters and sorts beyond the CPU's table: long lines, rows with many updates."""

import emulated
import numpy as np
import pytest
from ptxkernel import _cuda

from bench import harness
from bench.cases.gather import gather_grad, nd, ordered


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int32"])
@pytest.mark.parametrize("op", ["sort", "argsort"])
def test_lines_of_several_tiles(op, dtype):
    """Digits by 8 bits, over tiles of 2048 keys; equal keys keep their order."""
    more = {"stable": True} if op == "argsort" else {}
    emulated.check(ordered(op, (2, 5001), dtype, ties=True, axis=1, **more))
    emulated.check(ordered(op, (2300, 3), dtype, axis=0, **more))


def test_zeros_and_nans_in_order():
    """Zeros of both signs are equal, NaN of either sign last, and values keep their bits."""
    x = np.tile(np.array([0.0, -0.0, np.nan, -np.inf, -1, np.inf, 1, -np.nan, 2], np.float32), 40)
    case = harness.Case("argsort", ((x.shape, "float32"),), {"axis": 0, "stable": True})
    (got,) = emulated.outputs(case, [x])
    np.testing.assert_array_equal(got.numpy(), np.argsort(x, kind="stable"))
    case = harness.Case("sort", ((x.shape, "float32"),), {"axis": 0})
    (got,) = emulated.outputs(case, [x])
    want = x[np.argsort(x, kind="stable")]
    assert got.numpy().tobytes() == want.tobytes() and _cuda.reports() == []


@pytest.mark.parametrize("rows", [1, 2, 40, 5000])
def test_rows_of_many_updates(rows):
    """Pieces of 32 sorted updates: rows that begin and end in one, in several, at their edges."""
    emulated.check(gather_grad(rows, (2500,), (3,)))
    emulated.check(gather_grad(rows, (64,), (5,)))


@pytest.mark.parametrize("op", ["add", "set", "max", "min", "mul"])
def test_scatter_of_many(op):
    emulated.check(nd(f"scatter_nd_{op}", (3, 2), (200,), 1, tol=64))
    emulated.check(nd(f"scatter_nd_{op}", (3, 2), (200,), 1, "int32"))


def test_scatter_gives_the_same_bits():
    """However often, and in the emulator's every order of warps."""
    case = gather_grad(7, (900,), (4,))
    arrays = case.arrays()
    results = set()
    for seed in range(3):
        _cuda.set_options(seed=seed)
        (got,) = emulated.outputs(case, arrays)
        results.add(got.numpy().tobytes())
    assert len(results) == 1
