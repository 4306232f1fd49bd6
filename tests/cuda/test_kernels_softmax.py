"""Softmax and its relatives: every way to share a row out, with rows that do not fill it."""

import emulated
import pytest
from ptxkernel import _cuda

from bench.cases.softmax import labelled, softmax, targeted

# Threads of a row: the kernel, and a longest row but one, or a row that only the last takes; of
# whole packs first.
SHAPES = {
    "few in a warp": ("few", 252),
    "packs in a warp": ("packs", 1020),
    "packs in two warps": ("packs", 2044),
    "packs in a block": ("packs", 8188),
    "packs in a wide block": ("packs", 16380),
    "any": ("any", 32772),
    "singles in a warp": ("singles", 511),
    "singles in a block": ("singles", 4095),
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
    kernel, length = SHAPES[shape]
    rows = 2 if length > 2048 else 5
    _cuda.clear_counts()
    emulated.check(TASKS[task]((rows, length)))
    assert executed(f"{task}_{kernel}")


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
    rows = [r for r in _cuda.counts("softmax_packs") if r["sectors"]]
    assert [r for r in rows if r["sectors"] != r["ideal_sectors"]] == []
    for opcode in ("ld.global", "st.global"):
        assert sum(r["sectors"] for r in rows if r["opcode"].startswith(opcode)) == 4 * 1024 / 8
