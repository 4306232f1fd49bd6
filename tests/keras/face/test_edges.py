"""Results at the edges of dtypes, where other backends of Keras agree on what they are."""

import numpy as np
import pytest
from keras import ops

import keras_native


def test_python_integers_wrap_around_as_casts_do():
    x = np.array([3, 1], "uint8")
    for function, expected in ((ops.clip, [2, 2]), (ops.maximum, [254, 254]), (ops.add, [1, 255])):
        out = function(x, -2, 2) if function is ops.clip else function(x, -2)
        assert out.dtype == "uint8"
        np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(ops.full((2,), -1, "uint16"), [65535] * 2)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_absolute_values_are_exact(dtype):
    largest = np.iinfo(dtype).max
    x = np.array([largest - 1, -largest, -largest - 1], dtype)
    out = ops.absolute(ops.convert_to_tensor(x, dtype))
    np.testing.assert_array_equal(out, [largest - 1, largest, -largest - 1])


def test_division_of_integers_by_zero_is_zero():
    x, zero = np.array([5, -5, 0]), np.zeros(3, int)
    for function in (ops.floor_divide, ops.mod, ops.fmod):
        np.testing.assert_array_equal(function(x, zero), zero)
    smallest = np.array([-(2**31)], "int32")
    np.testing.assert_array_equal(ops.floor_divide(smallest, np.array([-1], "int32")), smallest)


def test_integer_powers_with_negative_exponents():
    x, y = np.array([2, -2, 1, -1], "int32"), np.array([-1, -2, -3, -3], "int32")
    np.testing.assert_array_equal(ops.power(x, y), [0, 0, 1, -1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nan_is_found_first_and_sorted_last(dtype):
    x = ops.convert_to_tensor([3, np.nan, -np.inf, np.nan, 1], dtype)
    assert int(ops.argmax(x)) == int(ops.argmin(x)) == 1
    np.testing.assert_array_equal(ops.argsort(x), [2, 4, 0, 1, 3])
    sorted_x = np.asarray(ops.sort(x)).astype("float64")
    np.testing.assert_array_equal(sorted_x, [-np.inf, 1, 3, np.nan, np.nan])


def test_quantiles_have_gradients_by_q():
    x = ops.convert_to_tensor([1.0, 2.0, 4.0])
    slope = keras_native.grad(lambda q: ops.quantile(x, q))(ops.convert_to_tensor(0.7))
    np.testing.assert_allclose(slope, 4.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_narrow_integers_wrap_around_in_running_sums_and_scatters(dtype):
    x = np.full(5, np.iinfo(dtype).max, dtype)
    np.testing.assert_array_equal(ops.cumsum(x), np.cumsum(x, dtype=dtype))
    np.testing.assert_array_equal(ops.cumprod(x), np.cumprod(x, dtype=dtype))
    added = ops.scatter_update(x, [[1], [1]], x[:2], "add")
    expected = x.copy()
    np.add.at(expected, [1, 1], x[:2])
    np.testing.assert_array_equal(added, expected)
    assert added.dtype == ops.cumsum(x).dtype == dtype


def test_the_inverse_short_time_transform_keeps_the_ends():
    x = np.random.default_rng(0).standard_normal(64)
    parts = ops.stft(x, 16, 4, 16, center=False)
    found = np.asarray(ops.istft(parts, 16, 4, 16, center=False))
    # The window is zero at the first sample.
    np.testing.assert_allclose(found[1:], x[1:], atol=1e-9)


def test_the_derivative_of_a_complex_view_is_that_of_its_parts():
    """Its results have 32 bits, too coarse for the differences that check all other operations."""

    def loss(x):
        z = ops.view_as_complex(x)
        return ops.sum(ops.real(z) * 3.0 - ops.imag(z) * ops.imag(z))

    x = np.array([[1.0, 2.0], [-0.5, 4.0]], "float32")
    found = keras_native.grad(loss)(ops.convert_to_tensor(x)).numpy()
    np.testing.assert_array_equal(found, [[3, -4], [3, -8]])


@pytest.mark.parametrize("name", ["divide", "true_divide", "logaddexp", "hypot", "arctan2"])
def test_integers_become_floats_before_they_meet(name):
    """The common dtype of uint32 and int8 is int32, which does not hold the largest uint32."""
    x, y = np.array([2**32 - 1, 7], "uint32"), np.array([-1, 2], "int8")
    found = getattr(ops, name)(x, y)
    assert found.dtype == "float32"
    expected = getattr(np, name)(x.astype("float64"), y.astype("float64"))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    if name == "divide":
        np.testing.assert_allclose(ops.convert_to_tensor(x) / y, expected, rtol=1e-6)
