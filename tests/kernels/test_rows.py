"""Kernels that compute rows of their results by themselves: the same bits, from those rows."""

import numpy as np
import pytest

from bench import harness
from keras_native import _core
from keras_native.engine.tensor import from_numpy

FAMILIES = ("matmul", "elementwise", "norm", "softmax")
CASES = [case for family in FAMILIES for case in harness.test_cases(harness.load_cases(family))]
# Kernels that only graphs have are tested in tests/graph/test_row_chains.py.
EXPECTED = {"matmul", "linear", "layer_norm", "rms_norm", "softmax", "log_softmax", "add", "gelu"}


def poisoned(array: np.ndarray, rows: int, kept: slice) -> np.ndarray:
    """The array with all other rows replaced by what would be seen in a result."""
    other = np.full_like(array, np.nan if array.dtype.kind in "fV" else 1).reshape(rows, -1)
    other[kept] = array.reshape(rows, -1)[kept]
    return other.reshape(array.shape)


def check(case, rng) -> bool:
    """Compares some rows of a case with all of them; whether its kernel computes rows."""
    op, _, outputs, attrs = harness.problem_of(case)
    arrays = case.arrays()
    inputs = [from_numpy(a).array for a in arrays]
    whole = _core.run(op, inputs, attrs, outputs)
    dims = outputs[0][1]
    if whole is None or not dims or 0 in dims:
        return False
    total = int(np.prod(dims))
    rows = total // dims[-1]
    first = int(rng.integers(0, rows))
    count = int(rng.integers(1, rows - first + 1))
    given = (attrs, outputs, rows, first, count)
    some = _core.run_rows(op, inputs, *given)
    if some is None:
        return False
    by_row, _ = some
    kept = slice(first, first + count)
    inputs = [
        from_numpy(poisoned(a, rows, kept)).array if by_row >> i & 1 else inputs[i]
        for i, a in enumerate(arrays)
    ]
    _, results = _core.run_rows(op, inputs, *given)
    for one, all_of_them in zip(results, whole, strict=True):
        got = one.numpy().reshape(rows, -1)[kept]
        want = all_of_them.numpy().reshape(rows, -1)[kept]
        assert got.tobytes() == want.tobytes(), f"{case}: rows {first} to {first + count} of {rows}"
    return True


@pytest.mark.parametrize("isa", harness.isas())
def test_rows_have_the_bits_of_the_whole(isa):
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    served = {case.op for case in CASES if check(case, rng)}
    assert served >= EXPECTED
