"""keras.ops and layers on sparse tensors: the values of the dense result, and sparse where Keras
infers it, eager and compiled alike."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.src import backend

import keras_native
from keras_native import SparseTensor
from keras_native.src.ops import core, numpy
from keras_native.src.ops.sparse import RULES

RNG = np.random.default_rng(0)


def random_pair(shape, dtype="float32", n_dense=0, n=None):
    """A sparse tensor, of which some positions have several entries, and its NumPy array."""
    k = len(shape) - n_dense
    n = int(RNG.integers(1, 3 * np.prod(shape[:k]))) if n is None else n
    indices = np.stack([RNG.integers(0, d, n) for d in shape[:k]], 1)
    # Quarters, so that entries of one position add up exactly in 16 bits, too.
    values = (np.round(12 * RNG.standard_normal((n, *shape[k:]))) / 4).astype(dtype)
    whole = np.zeros(shape, dtype)
    np.add.at(whole, tuple(indices.T), values)
    return SparseTensor(indices, values, shape), whole


def check(fn, *pairs, expected, sparse, **options):
    """`fn` eager, compiled and symbolic: values, and whether the result is sparse."""
    operands = [pair[0] if isinstance(pair, tuple) else pair for pair in pairs]
    for call in (fn, keras_native.jit(fn)):
        result = call(*operands)
        assert isinstance(result, SparseTensor) == sparse
        assert tuple(result.shape) == expected.shape
        found = ops.convert_to_numpy(result)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5, **options)
    spec = backend.compute_output_spec(fn, *map(symbolic, operands))
    assert (spec.sparse, spec.dtype) == (sparse, result.dtype)
    assert spec.shape == expected.shape


def symbolic(x):
    if not hasattr(x, "dtype"):
        return x
    return keras.KerasTensor(x.shape, x.dtype, sparse=isinstance(x, SparseTensor))


UNARY = {
    **{f.__name__: f for f in (np.arcsinh, np.arctan, np.ceil, np.expm1, np.fabs, np.floor)},
    **{f.__name__: f for f in (np.negative, np.round, np.sign, np.signbit, np.sin, np.sinh)},
    **{f.__name__: f for f in (np.square, np.tan, np.tanh)},
    "abs": np.abs,
    "sqrt": lambda x: np.sqrt(np.abs(x)),
}


@pytest.mark.parametrize("n_dense", (0, 1))
@pytest.mark.parametrize("name", UNARY)
def test_zero_preserving(name, n_dense):
    x, whole = random_pair((4, 3, 2), n_dense=n_dense)
    function = getattr(ops, name) if name != "fabs" else numpy.fabs
    if name == "sqrt":
        check(lambda x: ops.sqrt(ops.abs(x)), x, expected=UNARY[name](whole), sparse=True)
    else:
        check(function, x, expected=UNARY[name](whole), sparse=True)


DENSE = ("exp", "cos", "isfinite", "reciprocal", "relu", "argmax", "cumsum")


@pytest.mark.parametrize("name", DENSE)
def test_what_is_not_in_the_table_is_dense(name):
    x, whole = random_pair((4, 3))
    fn = getattr(ops, name)
    check(fn, x, expected=ops.convert_to_numpy(fn(whole)), sparse=False)


BINARY = {
    "add": (np.add, "both"),
    "subtract": (np.subtract, "both"),
    "maximum": (np.maximum, "both"),
    "minimum": (np.minimum, "both"),
    "multiply": (np.multiply, "any"),
    "divide": (np.divide, "first"),
}


KINDS = ("sparse sparse", "sparse dense", "dense sparse", "slices sparse")


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name, kinds):
    reference, rule = BINARY[name]
    operands, wholes = [], []
    for kind in kinds.split():
        x, whole = random_pair((4, 3, 2), n_dense=int(kind == "slices"))
        if kind == "dense":
            whole = RNG.uniform(1, 2, whole.shape).astype("float32")
        operands.append(ops.convert_to_tensor(whole) if kind == "dense" else x)
        wholes.append(whole)
    held = [isinstance(x, SparseTensor) for x in operands]
    sparse = {"both": all(held), "any": any(held), "first": held[0] and not held[1]}[rule]
    with np.errstate(all="ignore"):
        expected = reference(*wholes)
    check(getattr(ops, name), *operands, expected=expected, sparse=sparse)


def test_one_operand_twice():
    x, whole = random_pair((4, 3))
    check(lambda x: ops.add(x, x), x, expected=2 * whole, sparse=True)
    check(lambda x: ops.multiply(x, x), x, expected=whole**2, sparse=True)


@pytest.mark.parametrize("shape", ((), (3,), (1, 3), (4, 1), (1, 1, 3)))
def test_a_dense_operand_is_broadcast(shape):
    x, whole = random_pair((4, 3))
    other = RNG.uniform(1, 2, shape).astype("float32")
    sparse = len(shape) < 3
    check(ops.multiply, x, other, expected=whole * other, sparse=sparse)
    check(ops.divide, x, other, expected=whole / other, sparse=sparse)
    check(ops.add, x, other, expected=whole + other, sparse=False)


def test_a_sparse_operand_that_is_broadcast_becomes_dense():
    x, whole = random_pair((4, 1))
    other = RNG.uniform(1, 2, (4, 3)).astype("float32")
    check(ops.multiply, x, other, expected=whole * other, sparse=False)
    check(ops.subtract, other, x, expected=other - whole, sparse=False)


def test_python_operators():
    (x, whole), (y, other) = random_pair((4, 3)), random_pair((4, 3))
    dense = RNG.uniform(1, 2, (4, 3)).astype("float32")
    tensor = ops.convert_to_tensor(dense)
    variable = backend.Variable(dense)
    for left, right, expected in (
        (x + y, y + x, whole + other),
        (2 * x, x * 2, 2 * whole),
        (x / 2, x * 0.5, whole / 2),
        (-x, 0 - x, -whole),
        (abs(x), abs(-x), abs(whole)),
        (x * tensor, tensor * x, whole * dense),
        (x * dense, dense * x, whole * dense),
        (x * variable, variable * x, whole * dense),
        (tensor - x, -(x - tensor), dense - whole),
    ):
        for result in (left, right):
            np.testing.assert_allclose(ops.convert_to_numpy(result), expected, rtol=1e-6, atol=4e-6)


def test_division_by_zero_and_nan_keeps_what_is_undefined():
    x = SparseTensor([[0, 1]], [3.0], (2, 3))
    divisor = np.array([[0, 0, 2], [np.nan, 4, 5]], "float32")
    with np.errstate(all="ignore"):
        expected = ops.convert_to_numpy(x) / divisor
    np.testing.assert_array_equal(ops.convert_to_numpy(ops.divide(x, divisor)), expected)
    result = ops.divide_no_nan(x, divisor)
    np.testing.assert_array_equal(ops.convert_to_numpy(result), np.zeros((2, 3)))


DTYPES = [("float32", "float32"), ("float16", "float32"), ("int32", "int32"), ("int8", "int8")]


@pytest.mark.parametrize("a, b", [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5))])
@pytest.mark.parametrize("kinds", ("sparse dense", "dense sparse", "sparse sparse"))
@pytest.mark.parametrize("first, second", DTYPES)
def test_matmul(a, b, kinds, first, second):
    (x, left), (y, right) = random_pair(a, first), random_pair(b, second)
    if kinds == "dense sparse":
        x = ops.convert_to_tensor(left)
    if kinds == "sparse dense":
        y = ops.convert_to_tensor(right)
    dense = ops.matmul(left, right)
    result = ops.matmul(x, y)
    assert result.dtype == dense.dtype
    options = {"expected": ops.convert_to_numpy(dense), "sparse": kinds == "sparse sparse"}
    check(ops.matmul, x, y, **options)


def test_matmul_of_vectors_and_what_does_not_fit():
    x, whole = random_pair((3, 4))
    check(ops.matmul, x, whole[0], expected=whole @ whole[0], sparse=False)
    check(ops.matmul, whole[:, 0], x, expected=whole[:, 0] @ whole, sparse=False)
    with pytest.raises(ValueError, match="matmul"):
        ops.matmul(x, whole)


SHAPES = {
    "transpose": (lambda np, x: np.transpose(x), True),
    "transpose axes": (lambda np, x: np.transpose(x, (1, 2, 0)), True),
    "reshape": (lambda np, x: np.reshape(x, (2, -1)), True),
    "expand_dims": (lambda np, x: np.expand_dims(x, (0, -1)), True),
    "squeeze": (lambda np, x: np.squeeze(np.reshape(x, (4, 1, 6)), 1), True),
    "concatenate": (lambda np, x: np.concatenate([x, x * x, x], 1), True),
    "concatenate dense": (lambda np, x: np.concatenate([x, np.exp(x)], -1), False),
    "sum": (lambda np, x: np.sum(x), True),
    "sum axis": (lambda np, x: np.sum(x, 1), True),
    "sum axes": (lambda np, x: np.sum(x, (0, 2), keepdims=True), True),
    "mean": (lambda np, x: np.mean(x, -1, keepdims=True), True),
    "max": (lambda np, x: np.max(x, 1), False),
    "stack": (lambda np, x: np.stack([x, x], 0), False),
}


@pytest.mark.parametrize("n_dense", (0, 1, 2))
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_sums(name, n_dense):
    call, sparse = SHAPES[name]
    x, whole = random_pair((4, 3, 2), n_dense=n_dense)
    # `x * x` of the case is an operation on sparse tensors, too.
    check(lambda x: call(ops, x), x, expected=np.asarray(call(np, whole)), sparse=sparse)


def test_dtypes_are_those_of_dense_results():
    for dtype in ("int8", "uint8", "int32", "float16", "bfloat16", "float64", "bool"):
        x = SparseTensor([[0], [2]], np.array([1, 1]).astype("bool"), (3,))
        x = ops.cast(x, dtype)
        whole = ops.convert_to_tensor(x, sparse=False)
        assert x.dtype == whole.dtype == dtype
        for name in ("sum", "mean", "square", "abs", "sin", "expm1"):
            if dtype == "bool" and name == "square":
                continue
            sparse, dense = getattr(ops, name)(x), getattr(ops, name)(whole)
            assert sparse.dtype == dense.dtype, (name, dtype)
            np.testing.assert_array_equal(ops.convert_to_numpy(sparse), ops.convert_to_numpy(dense))


def test_conversion():
    x, whole = random_pair((3, 4))
    assert ops.is_tensor(x) and ops.shape(x) == (3, 4)
    assert ops.convert_to_tensor(x) is x and ops.convert_to_tensor(x, sparse=True) is x
    dense = ops.convert_to_tensor(x, sparse=False)
    assert not isinstance(dense, SparseTensor)
    np.testing.assert_allclose(dense.numpy(), whole)
    halves = ops.cast(SparseTensor([[0], [0]], [0.5, 0.5], (2,)), "int32")
    np.testing.assert_array_equal(ops.convert_to_numpy(halves), [1, 0])
    with pytest.raises(ValueError, match="ragged"):
        ops.convert_to_tensor(x, ragged=True)


@pytest.mark.parametrize("library", ("scipy", "tensorflow", "jax", "jax batched", "torch"))
def test_sparse_tensors_of_other_libraries(library):
    pytest.importorskip(library.split()[0])
    whole = (RNG.standard_normal((4, 5)) * (RNG.random((4, 5)) < 0.4)).astype("float32")
    x = FOREIGN[library](whole)
    kept = ops.convert_to_tensor(x)
    assert isinstance(kept, SparseTensor)
    np.testing.assert_array_equal(ops.convert_to_numpy(kept), whole)
    dense = ops.convert_to_tensor(x, sparse=False)
    np.testing.assert_array_equal(dense.numpy(), whole)


def _jax(whole, n_batch=0):
    from jax.experimental.sparse import BCOO

    # Room for more entries than there are: they lie outside of the shape.
    return BCOO.fromdense(whole, n_batch=n_batch, nse=5 if n_batch else whole.size)


FOREIGN = {
    "scipy": lambda whole: __import__("scipy.sparse").sparse.csr_matrix(whole),
    "tensorflow": lambda whole: __import__("tensorflow").sparse.from_dense(whole),
    "jax": _jax,
    "jax batched": lambda whole: _jax(whole, n_batch=1),
    "torch": lambda whole: __import__("torch").from_numpy(whole).to_sparse(),
}


@pytest.mark.parametrize("axis", (-1, 0, 1))
def test_encodings(axis):
    x = RNG.integers(-1, 6, (3, 4))
    for name in ("one_hot", "multi_hot"):
        fn = getattr(ops, name)
        if name == "multi_hot" and axis == 1:
            continue
        expected = ops.convert_to_numpy(fn(x, 4, axis=axis, dtype="int32"))
        check(
            lambda x: fn(x, 4, axis=axis, dtype="int32", sparse=True),  # noqa: B023
            ops.convert_to_tensor(x),
            expected=expected,
            sparse=True,
        )


def test_count_encoding_of_a_layer():
    layer = keras.layers.CategoryEncoding(5, "count", sparse=True)
    x, weights = np.array([[1, 4, 1]]), np.array([[0.5, 2.0, 1.0]], "float32")
    out = layer(x, count_weights=weights)
    assert isinstance(out, SparseTensor)
    np.testing.assert_array_equal(ops.convert_to_numpy(out), [[0, 1.5, 0, 0, 2]])


def test_bincount():
    x, weights = RNG.integers(0, 6, (3, 7)), RNG.uniform(size=(3, 7)).astype("float32")
    for given in (None, weights):
        dense = ops.bincount(x, given, 8)
        sparse = ops.bincount(x, given, 8, sparse=True)
        assert isinstance(sparse, SparseTensor) and sparse.dtype == dense.dtype
        np.testing.assert_allclose(ops.convert_to_numpy(sparse), dense.numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match="entries"):
        ops.bincount(SparseTensor([[0], [1]], [1, 2], (4,)), SparseTensor([[0]], [1], (4,)))


def test_every_rule_is_of_a_function():
    known = {**vars(numpy), **vars(core)}
    assert set(RULES) <= set(known)


@pytest.mark.parametrize(
    "call",
    (
        lambda x: ops.transpose(x, (0, 0)),
        lambda x: ops.reshape(x, (5, 2)),
        lambda x: ops.squeeze(x, 0),
        lambda x: ops.concatenate([x, ops.transpose(x)], 0),
        lambda x: ops.sum(x, 2),
        lambda x: ops.add(x, ops.transpose(x)),
    ),
)
def test_bad_input(call):
    x = SparseTensor([[0, 1]], [1.0], (4, 3))
    with pytest.raises(ValueError, match=r"4, 3|axis"):
        call(x)


def test_a_model_of_sparse_input_is_that_of_dense_input():
    rows = [(RNG.standard_normal((n, 20)) * (RNG.random((n, 20)) < 0.2)) for n in (8, 8, 8, 3)]
    rows = [r.astype("float32") for r in rows]
    targets = [RNG.standard_normal((len(r), 1)).astype("float32") for r in rows]

    def trained(convert, sparse):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((20,), sparse=sparse)
        hidden = keras.layers.Dense(6, "tanh")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
        model.compile("adam", "mse")
        batches = [(convert(r), t) for r, t in zip(rows, targets)]
        model.fit((batch for batch in batches * 4), steps_per_epoch=4, epochs=3, verbose=0)
        return model

    dense = trained(lambda r: r, False)
    sparse = trained(SparseTensor.from_dense, True)
    for a, b in zip(dense.get_weights(), sparse.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    # The number of entries is open, the number of rows is not: 8 and 3.
    assert sparse.train_function.step.traces <= 3
    np.testing.assert_allclose(
        dense.predict(((r,) for r in rows), verbose=0),
        sparse.predict(((SparseTensor.from_dense(r),) for r in rows), verbose=0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_an_optimizer_takes_sparse_gradients():
    values = RNG.standard_normal((3, 4)).astype("float32")
    gradient = SparseTensor([[1], [4], [1]], values, (6, 4))
    for name in ("SGD", "Adagrad", "RMSprop", "Adam"):
        results = []
        for g in (gradient, gradient.to_dense()):
            variable = backend.Variable(np.ones((6, 4), "float32"))
            optimizer = getattr(keras.optimizers, name)(0.1)
            for _ in range(3):
                optimizer.apply([g], [variable])
            results.append(variable.numpy())
        np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)


def test_sparse_batches_of_a_pipeline_stay_sparse():
    tf = pytest.importorskip("tensorflow")
    whole = (RNG.standard_normal((6, 5)) * (RNG.random((6, 5)) < 0.4)).astype("float32")
    seen = []

    class Watching(keras.layers.Layer):
        def call(self, x):
            seen.append(type(x))
            return ops.matmul(x, np.ones((5, 1), "float32"))

    model = keras.Sequential([keras.Input((5,), sparse=True), Watching()])
    model.compile(loss="mse")
    data = tf.data.Dataset.from_tensor_slices((tf.sparse.from_dense(whole), whole[:, :1]))
    out = model.predict(data.batch(4), verbose=0)
    np.testing.assert_allclose(out, whole.sum(1, keepdims=True), rtol=1e-5, atol=1e-5)
    assert seen and set(seen) == {SparseTensor}
    loss = np.mean((out - whole[:, :1]) ** 2)
    np.testing.assert_allclose(model.evaluate(data.batch(4), verbose=0), loss, rtol=1e-5)
