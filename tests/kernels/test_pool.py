"""Pooling: the table of cases, random geometries, wrong input."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import pool as table
from keras_native.engine.primitives import pool
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
    own = [c for c in CASES if c.inputs[0][1] in ("float32", "float64") and 0 not in c.inputs[0][0]]
    hosts = [c for c in own if harness.kernel_of(c) is None]
    assert not hosts


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_random_geometries(data):
    rank = data.draw(st.integers(1, 3))
    sizes, window, strides, low, high = (
        tuple(data.draw(st.integers(a, b)) for _ in range(rank))
        for a, b in ((1, 12), (1, 4), (1, 4), (0, 3), (0, 3))
    )
    assume(all(a < w and b < w for a, b, w in zip(low, high, window)))
    assume(all(s + a + b >= w for s, a, b, w in zip(sizes, low, high, window)))
    pad = tuple(v for pair in zip(low, high) for v in pair)
    channels = data.draw(st.integers(1, 40))
    for case in table.cases(2, sizes, channels, window, strides=strides, pad=pad):
        harness.check_forward(case, threads=(2,))


def test_gradient_of_a_maximum_goes_to_the_first():
    x = from_numpy(np.array([[[1.0], [3.0], [3.0], [np.nan]]], "float32"))
    ct = from_numpy(np.array([[[2.0]]], "float32"))
    out = pool.max_pool(from_numpy(x.numpy()[:, :3]), 3)
    grad = pool.max_pool_grad(from_numpy(x.numpy()[:, :3]), out, ct, 3)
    np.testing.assert_array_equal(grad.numpy().ravel(), [0, 2, 0])
    out = pool.max_pool(x, 4)
    assert np.isnan(out.numpy()).all()
    np.testing.assert_array_equal(pool.max_pool_grad(x, out, ct, 4).numpy().ravel(), [0, 0, 0, 2])


@pytest.mark.parametrize(
    "error, call",
    [
        (ValueError, lambda x: pool.max_pool(x, 9)),
        (ValueError, lambda x: pool.max_pool(x, (2, 2, 2))),
        (ValueError, lambda x: pool.max_pool(x, 2, padding=((2, 0), (0, 0)))),
        (ValueError, lambda x: pool.avg_pool(x, 2, strides=0)),
        (TypeError, lambda x: pool.avg_pool(from_numpy(np.zeros((1, 4, 4, 2), "int32")), 2)),
        (ValueError, lambda x: pool.avg_pool_grad(x, (4, 4), 2)),
        (ValueError, lambda x: pool.max_pool_grad(x, x, x, 2)),
    ],
)
def test_wrong_input_is_named(error, call):
    with pytest.raises(error, match="pool"):
        call(from_numpy(np.zeros((1, 5, 6, 3), "float32")))
