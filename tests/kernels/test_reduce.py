"""Reductions: the table of cases, random axes, accuracy of long sums, special values, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import reduce as table
from keras_native import _core
from keras_native.engine.primitives import reduce as ops
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.grad and c.inputs[0][1] == "float32" and c.bytes < 1e5],
    ids=str,
)
def test_gradient(case):
    harness.check_gradient(case)


def test_kernels_take_every_case():
    hosts = [c for c in CASES if harness.kernel_of(c) is None]
    # Narrow integers are widened before they are added; Keras does so too.
    assert all(c.inputs[0][1] == "int8" or 0 in c.inputs[0][0] for c in hosts), hosts


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 19), min_size=1, max_size=5), st.integers(0, 31), st.booleans())
def test_random_axes(dims, mask, keepdims):
    axes = tuple(i for i in range(len(dims)) if mask >> i & 1)
    for op in ("reduce_sum", "reduce_max", "reduce_logsumexp"):
        harness.check_forward(table.reduction(op, tuple(dims), axes, keepdims=keepdims))
    harness.check_forward(table.reduction("moments", tuple(dims), axes))
    harness.check_forward(table.reduction("reduce_sum", tuple(dims), axes, "int32"))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 900), st.integers(1, 300), st.booleans())
def test_random_sizes(rows, columns, across):
    axes = (0,) if across else (1,)
    for op in ("reduce_sum", "reduce_min", "reduce_mean"):
        harness.check_forward(table.reduction(op, (rows, columns), axes), threads=(2,))
    harness.check_forward(table.reduction("moments", (rows, columns), axes), threads=(2,))


@pytest.mark.parametrize("shape, axes", [((1 << 21,), (0,)), ((1 << 19, 4), (0,))])
def test_long_sums_lose_nothing(shape, axes):
    x = (np.random.default_rng(0).random(shape) + 1).astype(np.float32)
    got = ops.reduce_sum(from_numpy(x), axes).numpy()
    np.testing.assert_allclose(got, x.astype(np.float64).sum(axes), rtol=2e-6)


def test_moments_of_numbers_far_from_zero():
    x = (np.random.default_rng(0).standard_normal((3000, 20)) + 1e5).astype(np.float32)
    for axes in ((0,), (1,), (0, 1)):
        mean, var = ops.moments(from_numpy(x), axes)
        np.testing.assert_allclose(mean.numpy(), x.astype(np.float64).mean(axes), rtol=1e-6)
        np.testing.assert_allclose(var.numpy(), x.astype(np.float64).var(axes), rtol=2e-6)


@pytest.mark.parametrize("shape", [(3, 200), (200, 3), (2, 70000)])
def test_special_values(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x[0, 1], x[1, 2] = np.nan, np.inf
    x[1, 0] = -np.inf
    t = from_numpy(x)
    with np.errstate(invalid="ignore"):
        for axes in ((0,), (1,)):
            sums, wide = ops.reduce_sum(t, axes).numpy(), x.astype(np.float64).sum(axes)
            np.testing.assert_array_equal(np.isnan(sums), np.isnan(wide))
            np.testing.assert_array_equal(np.isinf(sums), np.isinf(wide))
            np.testing.assert_array_equal(ops.reduce_max(t, axes).numpy(), x.max(axes))
            np.testing.assert_array_equal(ops.reduce_min(t, axes).numpy(), x.min(axes))
            np.testing.assert_array_equal(ops.argmax(t, axes[0]).numpy(), x.argmax(axes[0]))
            np.testing.assert_array_equal(ops.argmin(t, axes[0]).numpy(), x.argmin(axes[0]))
            np.testing.assert_array_equal(
                ops.cummax(t, axes[0]).numpy(), np.maximum.accumulate(x, axes[0])
            )


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("reverse", [False, True])
def test_running_sums_of_special_values(reverse, isa):
    _core.set_isa(isa)
    inf = np.inf
    x = np.zeros((4, 37), np.float32)
    x[0], x[1, 20] = -0.0, inf
    x[2, [9, 30]], x[3, 11] = (inf, -inf), np.nan
    got = ops.cumsum(from_numpy(x), 1, reverse).numpy()
    order = slice(None, None, -1 if reverse else 1)
    with np.errstate(invalid="ignore"):
        want = np.cumsum(x[:, order] + np.float32(0), 1)[:, order]
    np.testing.assert_array_equal(got, want)
    assert not np.signbit(got[0]).any()


def test_logsumexp_of_infinities():
    inf = np.inf
    x = np.array([[-inf, -inf], [inf, 1], [-inf, -1000], [1000, 1000], [np.nan, inf]], np.float32)
    want = [-inf, inf, -1000, 1000 + np.log(2), np.nan]
    np.testing.assert_allclose(ops.reduce_logsumexp(from_numpy(x), 1).numpy(), want, rtol=1e-6)
    np.testing.assert_allclose(
        ops.reduce_logsumexp(from_numpy(np.ascontiguousarray(x.T)), 0).numpy(), want, rtol=1e-6
    )
    # Blocks of which one holds nothing but -inf.
    x = np.full(100000, -inf, np.float32)
    x[-1] = -1000
    assert ops.reduce_logsumexp(from_numpy(x)).numpy() == -1000


def test_empty():
    x = from_numpy(np.zeros((0, 3), np.float32))
    assert ops.reduce_sum(x, 0).numpy().tolist() == [0, 0, 0]
    assert ops.reduce_prod(x, 0).numpy().tolist() == [1, 1, 1]
    assert ops.reduce_logsumexp(x, 0).numpy().tolist() == [-np.inf] * 3
    assert np.isnan(ops.reduce_mean(x, 0).numpy()).all()
    assert ops.reduce_sum(x, 1).dims == (0,) and ops.cumsum(x, 0).dims == (0, 3)
    empty = from_numpy(np.zeros((0, 3), bool))
    assert ops.reduce_all(empty, 0).numpy().all() and not ops.reduce_any(empty, 0).numpy().any()


F = from_numpy(np.zeros((2, 0), np.float32))
B = from_numpy(np.zeros((2, 3), bool))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: ops.reduce_max(F, 1), ValueError, r"reduce_max.*float32\(2, 0\)"),
        (lambda: ops.argmax(F, 1), ValueError, "argmax"),
        (lambda: ops.reduce_sum(B), TypeError, r"reduce_sum.*bool\(2, 3\)"),
        (lambda: ops.reduce_any(F), TypeError, "reduce_any.*float32"),
        (lambda: ops.reduce_sum(F, 2), ValueError, "reduce_sum: axis 2"),
        (lambda: ops.reduce_sum(F, (0, -2)), ValueError, "repeated"),
        (lambda: ops.moments(B), TypeError, "moments"),
        (lambda: ops.linear_recurrence(F, B, 0), TypeError, "linear_recurrence.*differ"),
    ],
)
def test_wrong_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
