"""Softmax and its relatives: every way to share a row out, with rows that do not fill it."""

import emulated
import pytest
from ptxkernel import _cuda

from bench.cases.softmax import labelled, softmax, targeted

# Longest rows but one of each, or a row that only the last takes; rows of whole packs first.
SHAPES = {
    "few_packs": 252,
    "warp_packs": 1020,
    "long_packs": 2044,
    "block_packs": 8188,
    "wide_packs": 16380,
    "any": 32772,
    "warp": 511,
    "block": 4095,
}
TASKS = {
    "softmax": lambda dims: softmax(dims),
    "log_softmax": lambda dims: softmax(dims, log=True),
    "softmax_grad": lambda dims: softmax(dims, grad=True),
    "log_softmax_grad": lambda dims: softmax(dims, log=True, grad=True),
    "sparse_softmax_cross_entropy": lambda dims: labelled(dims, outside=True),
    "sparse_softmax_cross_entropy_grad": lambda dims: labelled(dims, grad=True),
    "softmax_cross_entropy": lambda dims: targeted(dims),
    "softmax_cross_entropy_grad": lambda dims: targeted(dims, grad=True),
}


def executed(kernel):
    return any(row["executed"] for row in _cuda.counts(kernel))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("task", TASKS)
def test_each_kernel(task, shape):
    rows = 2 if SHAPES[shape] > 2048 else 5
    _cuda.clear_counts()
    emulated.check(TASKS[task]((rows, SHAPES[shape])))
    assert executed(f"{task}_{shape}")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("length", [1000, 2048, 301])
def test_half_precision(dtype, length):
    emulated.check(softmax((3, length), dtype=dtype))
    emulated.check(softmax((3, length), dtype=dtype, grad=True))


def test_memory_of_packs():
    """Every sector is read and written whole, and x once."""
    case = softmax((4, 1024))
    _cuda.clear_counts()
    emulated.outputs(case, case.arrays())
    _cuda.synchronize()
    rows = [r for r in _cuda.counts("softmax_warp_packs") if r["sectors"]]
    assert [r for r in rows if r["sectors"] != r["ideal_sectors"]] == []
    for opcode in ("ld.global", "st.global"):
        assert sum(r["sectors"] for r in rows if r["opcode"].startswith(opcode)) == 4 * 1024 / 8
