"""Tile programs by packs of four: every type in memory, and every way an operand can lie."""

import emulated
import pytest
from ptxkernel import _cuda

from bench import harness

TYPES = ["float32", "float16", "bfloat16", "int8", "uint8", "int16", "uint16", "int32"]
# As the result lies; a row; a column; a column of several axes; rows that are no whole packs; both
# broadcast; a scalar.
SHAPES = [
    [(6, 40), (6, 40)],
    [(6, 40), (40,)],
    [(6, 40), (6, 1)],
    [(3, 2, 4, 8), (3, 1, 4, 1)],
    [(4, 9, 7), (9, 1)],
    [(5, 1, 8), (1, 3, 8)],
    [(4, 300), ()],
]


def case(op, shapes, dtype):
    kind = harness._numpy_dtype(dtype)

    def make(rng):
        return [rng.integers(0, 10, shape).astype(kind) for shape in shapes]

    return harness.Case(op, tuple((s, dtype) for s in shapes), tol=1, make=make, grad=False)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", TYPES)
def test_packs(dtype, shapes):
    emulated.check(case("mul", shapes, dtype))
    emulated.check(case("maximum", shapes[::-1], dtype))


def test_memory_of_packs():
    """No sector is touched in vain, and no bank is met twice, for operands of words."""
    given = case("add", [(8, 512), (512,)], "float32")
    _cuda.clear_counts()
    emulated.outputs(given, given.arrays())
    _cuda.synchronize()
    rows = [r for r in _cuda.counts("tile_program") if r["executed"]]
    assert [r for r in rows if r["opcode"].startswith("cp.async") and r["sectors"]]
    assert [r for r in rows if r["conflicts"]] == []
    assert [r for r in rows if r["sectors"] != r["ideal_sectors"]] == []
