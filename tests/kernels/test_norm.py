"""Normalisations: the table of cases, random sizes, special values, wrong input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import norm as table
from keras_native.engine.primitives import norm, norm_batch
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.grad and c.inputs[0][1] == "float32"], ids=str
)
def test_gradient(case):
    harness.check_gradient(case)


def test_kernels_take_every_case():
    hosts = [c for c in CASES if 0 not in c.inputs[0][0] and harness.kernel_of(c) is None]
    assert not hosts


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 150), st.booleans())
def test_random_sizes(rows, size, grad):
    if grad:  # of one or two numbers normalised together the gradient cancels to rounding errors
        rows, size = rows + 3, size + 3
    harness.check_forward(table.layer((rows, size), grad=grad), threads=(2,))
    harness.check_forward(table.batch((rows, size), grad=grad), threads=(2,))


def test_nan_stays_in_its_row_and_channel():
    x = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    x[2, 5] = np.nan
    y = norm.layer_norm(from_numpy(x)).numpy()
    assert np.isnan(y[2]).all() and np.isfinite(np.delete(y, 2, 0)).all()
    y, mean, var = (t.numpy() for t in norm_batch.batch_norm_train(from_numpy(x)))
    for a in (y.T, mean, var):
        assert np.isnan(a[5]).all() and np.isfinite(np.delete(a, 5, 0)).all()


def test_large_offset_keeps_the_variance():
    x = (np.random.default_rng(0).standard_normal((5000, 8)) + 1e3).astype(np.float32)
    _, _, var = norm_batch.batch_norm_train(from_numpy(x))
    want = x.astype(np.float64).var(0)
    np.testing.assert_allclose(var.numpy(), want, rtol=1e-5)


def test_empty_batch():
    x = from_numpy(np.zeros((0, 4), np.float32))
    assert norm.layer_norm(x).dims == (0, 4)
    assert norm.group_norm(from_numpy(np.zeros((0, 2, 4), np.float32)), groups=2).dims == (0, 2, 4)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda x: norm.layer_norm(x, axes=3), ValueError, r"layer_norm.*float32\(2, 6\)"),
        (lambda x: norm.layer_norm(x, x), ValueError, "layer_norm.*shape"),
        (lambda x: norm.group_norm(x, groups=4), ValueError, "groups=4"),
        (lambda x: norm.rms_norm(from_numpy(np.zeros((2, 6), np.int32))), TypeError, "int32"),
        (
            lambda x: norm_batch.batch_norm_train(from_numpy(np.zeros(3, np.float32))),
            ValueError,
            "batch_norm",
        ),
    ],
)
def test_wrong_input(call, error, words):
    with pytest.raises(error, match=words):
        call(from_numpy(np.zeros((2, 6), np.float32)))
