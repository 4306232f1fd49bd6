"""Softmax and cross-entropies: the table of cases, random sizes, special values, wrong input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import softmax as table
from keras_native.engine.primitives import softmax as sm
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize("case", [c for c in CASES if "float32" in str(c)], ids=str)
def test_gradient(case):
    harness.check_gradient(case)


def test_kernels_take_every_case():
    assert not [c for c in CASES if 0 not in c.inputs[0][0] and harness.kernel_of(c) is None]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 90), st.integers(0, 1), st.booleans(), st.booleans())
def test_random_sizes(rows, size, axis, log, grad):
    harness.check_forward(table.softmax((rows, size), axis, log=log, grad=grad), threads=(2,))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "f, array", [(sm.softmax, sm.softmax_array), (sm.log_softmax, sm.log_softmax_array)]
)
def test_special_values(f, array, axis):
    x = np.random.default_rng(0).standard_normal((6, 21)).astype(np.float32)
    x[0, 3], x[1, 20], x[2, 4], x[3, :], x[4, 2] = np.nan, np.inf, -np.inf, -np.inf, 3e38
    x = x if axis == 1 else np.ascontiguousarray(x.T)
    got = f(from_numpy(x), axis).numpy()
    np.testing.assert_allclose(got, array(x.astype(np.float64), axis), rtol=1e-5, atol=1e-35)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda x: sm.softmax(x, 2), ValueError, r"softmax: axis 2.*float32\(2, 6\)"),
        (lambda x: sm.softmax(from_numpy(np.zeros(3, np.int32))), TypeError, "int32"),
        (lambda x: sm.sparse_softmax_cross_entropy(x, x), TypeError, "integers"),
        (
            lambda x: sm.sparse_softmax_cross_entropy(x, from_numpy(np.zeros(3, np.int32))),
            ValueError,
            "labels",
        ),
        (
            lambda x: sm.softmax_cross_entropy(x, from_numpy(np.zeros((2, 5), np.float32))),
            ValueError,
            "equal",
        ),
        (
            lambda x: sm.sigmoid_cross_entropy(x, from_numpy(np.zeros(6, np.float32))),
            ValueError,
            "equal",
        ),
    ],
)
def test_wrong_input(call, error, words):
    with pytest.raises(error, match=words):
        call(from_numpy(np.zeros((2, 6), np.float32)))
