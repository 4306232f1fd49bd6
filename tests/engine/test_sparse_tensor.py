"""The sparse tensor: what it holds, eager, compiled and differentiated, and what it refuses."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_native
from keras_native import SparseTensor
from keras_native.engine import operators, tree  # noqa: F401
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.sparse import align, coalesce, entries, fully
from keras_native.engine.tensor import from_numpy


@st.composite
def parts(draw, least=0):
    """Indices (positions may repeat), values and shape; some of the last axes dense."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    k = draw(st.integers(1, len(shape)))
    n = draw(st.integers(least, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    indices = np.stack([rng.integers(0, size, n) for size in shape[:k]], 1)
    values = rng.standard_normal((n, *shape[k:]))
    return indices, values, tuple(shape)


def dense(indices, values, shape):
    out = np.zeros(shape, values.dtype)
    np.add.at(out, tuple(indices.T), values)
    return out


def distinct(x):
    """Whether at most one entry of each position differs from zero."""
    held = x.values.numpy().any(tuple(range(1, x.values.ndim)))
    where = x.indices.numpy()[held]
    return len(np.unique(where, axis=0)) == len(where)


@settings(deadline=None)
@given(parts())
def test_whole_tensor(given_parts):
    x = SparseTensor(*given_parts)
    np.testing.assert_allclose(x.numpy(), dense(*given_parts))
    np.testing.assert_allclose(fully(x).numpy(), dense(*given_parts))
    assert fully(x).n_dense == 0
    again = SparseTensor.from_dense(dense(*given_parts))
    np.testing.assert_array_equal(again.numpy(), dense(*given_parts))
    assert again.values.dims[0] == np.count_nonzero(dense(*given_parts))


@settings(max_examples=30, deadline=None)
@given(parts())
def test_coalesced(given_parts):
    x = SparseTensor(*given_parts)
    once = coalesce(x)
    np.testing.assert_allclose(once.numpy(), x.numpy(), atol=1e-14)
    assert once.unique and distinct(once)
    assert once.values.dims[0] == len(np.unique(given_parts[0], axis=0))
    traced = keras_native.jit(coalesce)(x)
    np.testing.assert_allclose(traced.numpy(), x.numpy(), atol=1e-14)
    assert traced.unique and distinct(traced)


@settings(max_examples=30, deadline=None)
@given(parts(), st.integers(0, 9), st.randoms())
def test_aligned(given_parts, more, random):
    indices, values, shape = given_parts
    k = indices.shape[1]
    where = np.array([[random.randrange(d) for d in shape] for _ in range(more)], np.int64)
    other = SparseTensor(where.reshape(more, len(shape)), np.ones(more), shape)
    x = SparseTensor(indices, values, shape)
    for pair in (align(x, other), keras_native.jit(align)(x, other)):
        for one, expected in zip(pair, (x, other)):
            np.testing.assert_allclose(one.numpy(), expected.numpy(), atol=1e-14)
            assert distinct(one)
        np.testing.assert_array_equal(pair[0].indices.numpy(), pair[1].indices.numpy())
    assert k <= pair[0].indices.dims[1]


def test_truth_values_add_up_to_any():
    x = SparseTensor([[0], [2], [2]], np.array([False, True, True]), (3,))
    np.testing.assert_array_equal(x.numpy(), [False, False, True])
    np.testing.assert_array_equal(coalesce(x).numpy(), [False, False, True])


def test_dtypes_of_python_numbers():
    x = SparseTensor([[1]], [2.5], (3,))
    assert (x.dtype, x.indices.dtype) == ("float32", "int32")
    assert SparseTensor([[1]], [2], (3,)).dtype == "int32"
    assert SparseTensor([[1, 1]], np.zeros(1), (2**20, 2**20)).indices.dtype == "int64"


def test_places_beyond_32_bits():
    where = np.array([[2**20 - 1, 2**20 - 3], [5, 7], [2**20 - 1, 2**20 - 3]])
    once = coalesce(SparseTensor(where, np.array([1.0, 2, 3]), (2**20, 2**20)))
    np.testing.assert_array_equal(once.indices.numpy(), [[5, 7], [2**20 - 1, 2**20 - 3]])
    np.testing.assert_array_equal(once.values.numpy(), [2, 4])


def test_it_is_a_structure_of_two_tensors():
    x = SparseTensor([[0, 1], [1, 2]], [1.0, 2.0], (2, 3))
    leaves, spec = tree.flatten({"a": [x, None]})
    assert [leaf.dims for leaf in leaves[:2]] == [(2, 2), (2,)] and leaves[2] is None
    again = tree.unflatten(spec, leaves)["a"][0]
    assert again.indices is x.indices and again.values is x.values and again.dims == x.dims
    for copied in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        np.testing.assert_array_equal(copied.numpy(), x.numpy())


def test_compiled_once_for_any_number_of_entries():
    @keras_native.jit
    def squares(x):
        once = coalesce(x)
        return once.with_values(ew.square(once.values))

    rng = np.random.default_rng(0)
    for n in (3, 7, 0, 1, 12, 5):
        indices = np.stack([rng.integers(0, 4, n), rng.integers(0, 5, n)], 1)
        x = SparseTensor(indices, rng.standard_normal(n), (4, 5))
        out = squares(x)
        assert isinstance(out, SparseTensor) and out.shape == (4, 5)
        np.testing.assert_allclose(out.numpy(), x.numpy() ** 2)
    assert squares.traces == 2


def test_symbolic_sizes_of_a_result_are_those_of_the_call():
    @keras_native.jit
    def sparse(x):
        return {"found": SparseTensor.from_dense(x)}

    for n in (3, 4, 5, 6):
        x = np.random.default_rng(n).standard_normal((n, 2)).astype("float32")
        out = sparse(from_numpy(x))["found"]
        assert out.dims == (n, 2)
        np.testing.assert_array_equal(out.numpy(), x)
    assert sparse.traces == 2


@settings(max_examples=20, deadline=None)
@given(parts(least=1))
def test_gradient_by_entries(given_parts):
    """d sum(w * x**3) / dx at the entries, where several of one position get the same."""
    indices, values, shape = given_parts
    x = SparseTensor(*given_parts)
    w = np.random.default_rng(0).standard_normal(shape)

    def loss(x):
        whole = x.to_dense()
        return rd.reduce_sum(ew.mul(from_numpy(w), ew.mul(ew.square(whole), whole)), None)

    def coalesced(x):
        return loss(coalesce(x))

    expected = (3 * w * dense(*given_parts) ** 2)[tuple(indices.T)]
    for gradient in (keras_native.grad(loss), keras_native.grad(coalesced)):
        for fn in (gradient, keras_native.jit(gradient)):
            out = fn(x)
            np.testing.assert_array_equal(out.indices.numpy(), indices)
            np.testing.assert_allclose(out.values.numpy(), expected, atol=1e-12)
    with keras_native.GradientTape() as tape:
        result = loss(x)
    found, none = tape.gradient(result, [x, SparseTensor(*given_parts)])
    np.testing.assert_allclose(found.values.numpy(), expected, atol=1e-12)
    assert none is None


@pytest.mark.parametrize(
    "indices, values, shape, error, text",
    [
        ([[0.5]], [1.0], (3,), TypeError, "indices must be integers"),
        ([0, 1], [1.0, 2.0], (3,), ValueError, r"expected indices \[n, k\]"),
        ([[0]], 1.0, (3,), ValueError, r"expected indices \[n, k\]"),
        ([[0, 0]], [1.0], (3,), ValueError, "not the axes of shape"),
        ([[0]], [1.0], (3, 2), ValueError, "not the axes of shape"),
        ([[0], [1]], [1.0], (3,), ValueError, "as many indices as values"),
        ([[0]], [[1.0, 2.0]], (3, 3), ValueError, "sizes of values are not those"),
        ([[3]], [1.0], (3,), ValueError, "outside of the shape"),
        ([[-1]], [1.0], (3,), ValueError, "outside of the shape"),
    ],
)
def test_bad_parts(indices, values, shape, error, text):
    with pytest.raises(error, match=text) as found:
        SparseTensor(indices, values, shape)
    assert str(found.value).startswith("SparseTensor")


def test_a_traced_one_has_no_numpy_value():
    with pytest.raises(keras_native.engine.errors.TraceError):
        keras_native.jit(lambda x: x.numpy())(SparseTensor([[0]], [1.0], (2,)))


def test_unique_entries_are_left_alone():
    x = entries(from_numpy(np.array([[1], [0]])), from_numpy(np.ones(2)), (3,), unique=True)
    assert coalesce(x) is x
