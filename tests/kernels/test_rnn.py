"""Recurrent cells: the table of cases, decompositions, wrong input."""

import numpy as np
import pytest

from bench import harness
from bench.cases import rnn as table
from keras_native.engine.primitive import REGISTRY
from keras_native.engine.primitives import rnn
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)
FLOAT32 = [c for c in CASES if c.inputs[0][1] == "float32"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize("case", [c for c in FLOAT32 if c.inputs[0][0][0] in (1, 3)], ids=str)
def test_gradient(case):
    harness.check_gradient(case)


def test_kernels_take_float32():
    assert all(harness.kernel_of(c) for c in FLOAT32 if c.inputs[0][0][0])


@pytest.mark.parametrize("case", [c for c in FLOAT32 if c.inputs[0][0][0] == 3], ids=str)
def test_decomposition(case):
    primitive = REGISTRY[case.op]
    arrays = [a.astype(np.float64) for a in case.arrays()]
    expected = primitive.reference(*arrays)
    found = primitive.decompose(*map(from_numpy, arrays))
    if not isinstance(found, tuple):
        found, expected = (found,), (expected,)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-12, atol=1e-14)


def test_saturated_gates_stay_finite():
    z = from_numpy(np.array([[1e30, -1e30, 1e30, 1e30], [-np.inf, 0, 0, 0]], np.float32))
    h, c = (t.numpy() for t in rnn.lstm_cell(z, from_numpy(np.ones((2, 1), np.float32))))
    np.testing.assert_allclose(c, [[1], [0.5]], rtol=1e-6)
    np.testing.assert_allclose(h, np.tanh(c) * [[1], [0.5]], rtol=1e-6)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="lstm_cell: expected"):
        rnn.lstm_cell(sh.zeros((2, 11), "float32"), sh.zeros((2, 3), "float32"))
    with pytest.raises(TypeError, match="gru_cell: expected one floating dtype"):
        gates = sh.zeros((2, 9), "float32")
        rnn.gru_cell(gates, gates, sh.zeros((2, 3), "float16"))
