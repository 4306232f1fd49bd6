"""Conversion: dtypes of Python and NumPy values, and what is refused."""

import ml_dtypes
import numpy as np
import pytest

from keras_native.engine.errors import TraceError
from keras_native.engine.tensor import Tensor
from keras_native.engine.transforms import jit
from keras_native.src.ops import core


@pytest.mark.parametrize(
    "value, dtype",
    [
        (True, "bool"),
        (3, "int32"),
        (2**40, "int64"),
        (1.5, "float32"),
        (1j, "complex64"),
        ([], "float32"),
        ([1, 2], "int32"),
        ([1, 2.5], "float32"),
        ((True, False), "bool"),
        (range(3), "int32"),
        (np.arange(3), "int32"),
        (np.array([2**40]), "int64"),
        (np.arange(3, dtype="uint64"), "uint32"),
        (np.zeros(2), "float64"),
        (np.float16(1), "float16"),
        (np.zeros(2, ml_dtypes.bfloat16), "bfloat16"),
    ],
)
def test_inferred_dtypes(value, dtype):
    t = core.convert_to_tensor(value)
    assert t.dtype == dtype
    np.testing.assert_array_equal(t.numpy(), np.asarray(value, t.numpy().dtype))


@pytest.mark.parametrize("dtype", [">f4", ">i4", ">i8", ">f8", ">u2", ">c8"])
def test_numbers_in_the_other_byte_order(dtype):
    x = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(core.convert_to_tensor(x.astype(dtype)).numpy(), x)


def test_a_given_dtype_wins():
    assert core.convert_to_tensor(np.arange(3), "int64").dtype == "int64"
    assert core.convert_to_tensor([1, 2], "bfloat16").dtype == "bfloat16"
    assert core.convert_to_tensor(-1, "uint32").numpy() == 2**32 - 1


def test_lists_that_hold_tensors():
    t = core.convert_to_tensor([1, core.convert_to_tensor(2.5), np.float32(3)])
    assert t.dtype == "float32"
    np.testing.assert_array_equal(t.numpy(), [1, 2.5, 3])
    assert core.convert_to_tensor([[t, t], [t, t]]).dims == (2, 2, 3)


def test_symbolic_sizes_become_values_of_the_trace():
    @jit
    def size(x):
        return core.convert_to_tensor(x.dims[0])

    for n in (5, 7, 9, 11):
        assert size(core.convert_to_tensor(np.zeros((n, 2)))).numpy() == n
    assert size.traces <= 2


@pytest.mark.parametrize("value", [None, "text", [None], np.array(["a"]), object()])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="cannot convert"):
        core.convert_to_tensor(value)


def test_ragged_is_refused():
    with pytest.raises(ValueError, match="ragged"):
        core.convert_to_tensor([1.0], ragged=True)


def test_numpy_copies_are_writable_and_apart():
    t = core.convert_to_tensor([1.0, 2.0])
    a = core.convert_to_numpy(t)
    a[0] = 9
    np.testing.assert_array_equal(t.numpy(), [1, 2])


def test_a_traced_tensor_has_no_numpy_value():
    with pytest.raises(TraceError):
        jit(lambda x: core.convert_to_numpy(x))(core.convert_to_tensor([1.0]))


def test_slices():
    x = core.convert_to_tensor(np.arange(12).reshape(3, 4))
    assert core.slice(x, (1, 1), (2, -1)).numpy().tolist() == [[5, 6, 7], [9, 10, 11]]
    start = core.convert_to_tensor([1, 2])
    assert core.slice(x, start, (1, 2)).numpy().tolist() == [[6, 7]]
    with pytest.raises(ValueError, match="reach outside"):
        core.slice(x, (2, 0), (2, 4))
    updated = core.slice_update(x, (0, 2), np.full((2, 2), -1))
    assert updated.numpy()[:2, 2:].tolist() == [[-1, -1], [-1, -1]]


def test_scatter_update_reductions():
    x = core.convert_to_tensor([5.0, 5.0, 5.0])
    for reduction, expected in ((None, 7), ("add", 12), ("max", 7), ("min", 5), ("mul", 35)):
        out = core.scatter_update(x, [[1]], [7.0], reduction)
        assert isinstance(out, Tensor)
        assert out.numpy().tolist() == [5, expected, 5]
    with pytest.raises(ValueError, match="Unsupported reduction"):
        core.scatter_update(x, [[1]], [7.0], "xor")


def test_associative_scan_of_every_length():
    for n in range(1, 18):
        x = np.random.default_rng(n).random((n, 2)).astype("float32")
        for reverse in (False, True):
            out = core.associative_scan(lambda a, b: a + b, core.convert_to_tensor(x), reverse)
            expected = np.cumsum(x[::-1], 0)[::-1] if reverse else np.cumsum(x, 0)
            np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5)
