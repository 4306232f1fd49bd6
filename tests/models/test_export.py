"""Export to a SavedModel: TensorFlow computes from the file what the model computes here."""

import os

os.environ["KERAS_BACKEND"] = "native"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_native.engine import primitives as room
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitive import REGISTRY
from keras_native.engine.primitives import (
    conv,
    gather,
    gather_nd,
    gather_sort,
    pool,
    reduce,
    shape,
    shape_slice,
)
from keras_native.engine.primitives import matmul as products
from keras_native.engine.primitives.elementwise_common import Elementwise
from keras_native.engine.tensor import from_numpy
from keras_native.src.export_tensorflow import EMITTERS, TensorFlowTrace

tf = pytest.importorskip("tensorflow")

RNG = np.random.default_rng(0)


def emitted(fn, *arrays):
    """`fn` through TensorFlow, the size of the batch unknown: results, and what was emitted."""
    names = []

    class Watched(TensorFlowTrace):
        def record(self, primitive, inputs, attrs, specs):
            names.append(primitive.name)
            return super().record(primitive, inputs, attrs, specs)

    def function(*xs):
        trace = Watched({})
        with trace:
            results = fn(*map(trace.argument, xs))
            trace.finish()
            return [trace.of(t) for t in (results if isinstance(results, tuple) else (results,))]

    batch, rank = arrays[0].shape[:1], arrays[0].ndim
    shapes = [
        [None, *a.shape[1:]] if rank and (a.ndim, a.shape[:1]) == (rank, batch) else a.shape
        for a in arrays
    ]
    specs = [tf.TensorSpec(dims, a.dtype) for dims, a in zip(shapes, arrays)]
    compiled = tf.function(function, input_signature=specs, autograph=False)
    return [t.numpy() for t in compiled(*arrays)], set(names)


def check(fn, *arrays, rtol=1e-5, atol=1e-5):
    found, names = emitted(fn, *arrays)
    expected = fn(*map(from_numpy, arrays))
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.dtype == b.numpy().dtype
        np.testing.assert_allclose(a, b.numpy(), rtol=rtol, atol=atol)
    return names


def floats(*dims, low=0.1, high=0.9):
    return RNG.uniform(low, high, dims).astype("float32")


def integers(*dims, low=0, high=5, dtype="int32"):
    return RNG.integers(low, high, dims).astype(dtype)


ELEMENTWISE = sorted(n for n in EMITTERS if isinstance(REGISTRY.get(n), Elementwise))
ATTRIBUTES = {
    "gelu": [{"approximate": False}, {"approximate": True}],
    "elu": [{"alpha": 0.7}],
    "leaky_relu": [{"slope": 0.3}],
    "cast": [{"dtype": "int32"}, {"dtype": "bool"}, {"dtype": "float64"}],
}
OPERANDS = {"select": 3, "fma": 3, "clip": 3}


def operands(name, primitive):
    """Arrays, both signs where the function takes them, of a dtype that it accepts."""
    count = OPERANDS.get(name, 2 if name in BINARY else 1)
    if name == "select":
        return [integers(3, 4, high=2, dtype="bool"), floats(3, 4), floats(3, 4)]
    if "float32" not in primitive.accepts:
        dtype = "int32" if "int32" in primitive.accepts else "bool"
        return [integers(3, 4, high=2 if dtype == "bool" else 5, dtype=dtype) for _ in range(count)]
    low = {"acosh": 1.1}.get(name, 0.1 if name in POSITIVE else -0.9)
    arrays = [floats(3, 4, low=low, high=low + 1.8 if name == "acosh" else 0.9)]
    return arrays + [floats(4, low=low) for _ in range(count - 1)]


POSITIVE = {"sqrt", "rsqrt", "log", "log2", "log10", "pow", "gammainc", "lgamma", "digamma"}
BINARY = {
    *("add", "sub", "mul", "div", "floor_divide", "mod", "fmod", "pow", "maximum", "minimum"),
    *("atan2", "hypot", "logaddexp", "gammainc", "nextafter", "eq", "ne", "lt", "le", "gt", "ge"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "shift_left", "shift_right"),
    *("logical_and", "logical_or", "logical_xor", "complex"),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name):
    primitive = REGISTRY[name]
    for attrs in ATTRIBUTES.get(name, [{}]):
        names = check(lambda *xs: primitive(*xs, **attrs), *operands(name, primitive))  # noqa: B023
        assert name in names
    if "bool" in primitive.accepts and name in ("add", "mul"):
        check(primitive, *(integers(3, 4, high=2, dtype="bool") for _ in range(2)))


def linear_system(*dims):
    a = floats(*dims, dims[-1])
    return a @ np.swapaxes(a, -1, -2) + 4 * np.eye(dims[-1], dtype="float32")


X = floats(3, 4, 5)
WHERE = integers(6, 2, low=-3, high=3)
# A call for each of the other primitives, or several.
CALLS = {
    "reshape": (lambda x: shape.reshape(x, (x.dims[0] * 2, -1)), X),
    "transpose": (lambda x: shape.transpose(x, (2, 0, 1)), X),
    "broadcast_to": (lambda x: shape.broadcast_to(x, (2, *x.dims)), X),
    "concat": (lambda x: shape.concat([x, x], 1), X),
    "flip": (lambda x: shape.flip(x, (1,)), X),
    "slice": (lambda x: shape_slice.slice(x, (1, 3, None), (None, None, 4), (1, -2, 2)), X),
    "slice backwards": (lambda x: shape_slice.slice(x, (0, None, 0), (2, None, 5), (1, -1, 1)), X),
    "pad": (lambda x, v: shape_slice.pad(x, (0, 1, 2), (0, 0, 3), v), X, np.float32(2)),
    "pad bool": (
        lambda x, v: shape_slice.pad(x, (0, 1), (1, 0), v),
        integers(3, 4, high=2, dtype="bool"),
        np.bool_(True),
    ),
    "dynamic_slice": (
        lambda x, s: shape_slice.dynamic_slice(x, s, (2, 2, 3)),
        X,
        np.int32([9, 1, -1]),
    ),
    "full": (lambda x: shape.full((x.dims[0], 2), x.dims[0], "int32"), X),
    "iota": (lambda x: shape.iota(x.dims[0], "int64"), X),
    "copy": (shape.copy, X),
    "barrier": (shape.barrier, X),
    "stop_gradient": (shape.stop_gradient, X),
    "gather": (lambda x, i: gather.gather(x, i, 1), X, WHERE),
    "take_along_axis": (
        lambda x, i: gather.take_along_axis(x, i, 1),
        X,
        integers(3, 7, 5, low=-4, high=4),
    ),
    "gather_nd": (gather_nd.gather_nd, X, WHERE),
    "one_hot": (lambda i: gather.one_hot(i, 4, 1, "int32"), WHERE),
    "one_hot last": (lambda i: gather.one_hot(i, 4, -1, "float32"), WHERE),
    "sort": (lambda x: gather_sort.sort(x, 1), X),
    "argsort": (lambda x: gather_sort.argsort(x, 0), integers(9, 3)),
    "top_k": (lambda x: gather_sort.top_k(x, 2), X),
    "searchsorted": (
        lambda row, x: gather_sort.searchsorted(row, x, "right"),
        np.sort(floats(6)),
        floats(3, 4),
    ),
    "moments": (lambda x: reduce.moments(x, (0, 2)), X),
    "argmax": (lambda x: reduce.argmax(x, 1), X),
    "argmin": (lambda x: reduce.argmin(x, 2, True), X),
    "cumsum": (lambda x: reduce.cumsum(x, 1, True), X),
    "cumprod": (lambda x: reduce.cumprod(x, 1), X),
    "matmul": (lambda a, b: products.matmul(a, b, transpose_b=True), X, floats(3, 6, 5)),
    "matmul int8": (
        lambda a, b: products.matmul(a, b, out_dtype="int32"),
        integers(3, 4, dtype="int8"),
        integers(4, 2, dtype="int8"),
    ),
    "conv": (
        lambda x, w: conv.conv(x, w, 2, ((1, 0), (2, 1))),
        floats(2, 9, 8, 3),
        floats(3, 2, 3, 4),
    ),
    "conv cropped": (lambda x, w: conv.conv(x, w, 1, ((-1, 2),)), floats(2, 9, 3), floats(3, 3, 4)),
    "conv grouped": (
        lambda x, w: conv.conv(x, w, dilation=2, groups=2),
        floats(2, 9, 4),
        floats(3, 2, 6),
    ),
    "conv depthwise": (
        lambda x, w: conv.conv(x, w, 2, ((1, 1),) * 2, groups=3),
        floats(2, 9, 8, 3),
        floats(3, 3, 1, 6),
    ),
    "conv 3d": (conv.conv, floats(3, 4, 5, 6, 2), floats(2, 2, 3, 2, 3)),
    "conv_input_grad": (
        lambda ct, w: conv.conv_input_grad(ct, w, (10, 9), 2, ((1, 2), (0, 1))),
        floats(2, 6, 4, 3),
        floats(3, 4, 2, 3),
    ),
    "max_pool": (
        lambda x: pool.max_pool(x, (2, 3), (2, 1), ((1, 1), (0, 1))),
        floats(2, 7, 6, 3, low=-1),
    ),
    "avg_pool": (lambda x: pool.avg_pool(x, 3, 2, ((1, 1),)), floats(2, 7, 3)),
    "avg_pool padding too": (
        lambda x: pool.avg_pool(x, 3, 2, ((1, 1),), count_include_pad=True),
        floats(2, 7, 3),
    ),
    "cholesky": (REGISTRY["cholesky"], linear_system(2, 3)),
    "inv": (REGISTRY["inv"], linear_system(2, 3)),
    "det": (REGISTRY["det"], linear_system(2, 3)),
    "solve": (REGISTRY["solve"], linear_system(2, 3), floats(2, 3, 2)),
}
for _name in ("add", "max", "min", "set"):
    CALLS[f"scatter_nd_{_name}"] = (
        getattr(gather_nd, f"scatter_nd_{_name}"),
        X,
        np.unique(WHERE % 3, axis=0).astype("int32"),
        floats(len(np.unique(WHERE % 3, axis=0)), 5),
    )
for _name in ("sum", "mean", "prod", "max", "min", "logsumexp"):
    CALLS[f"reduce_{_name}"] = (
        lambda x, name=_name: getattr(reduce, f"reduce_{name}")(x, (0, 2), True),
        X,
    )
for _name in ("any", "all"):
    CALLS[f"reduce_{_name}"] = (
        lambda x, name=_name: getattr(reduce, f"reduce_{name}")(x, (1,)),
        integers(3, 4, high=2, dtype="bool"),
    )
RANDOM = {"random_uniform": (0.5, 12**-0.5), "random_normal": (0, 1)}
RANDOM["random_truncated_normal"] = (0, 0.8796)


@pytest.mark.parametrize("name", CALLS)
def test_other_primitives(name):
    fn, *arrays = CALLS[name]
    assert name.split()[0] in check(fn, *map(np.asarray, arrays))


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_are_of_their_distribution(name):
    call = REGISTRY[name]
    key = np.array([1, 2], "uint32")
    fn = lambda k: call(shape_slice.slice(k, (0,), (2,)), dims=(4000,), dtype="float32")  # noqa: E731
    ((numbers,), _), ((again,), _) = emitted(fn, key), emitted(fn, key)
    np.testing.assert_array_equal(numbers, again)
    mean, deviation = RANDOM[name]
    assert abs(numbers.mean() - mean) < 0.06 and abs(numbers.std() - deviation) < 0.06


def test_every_operation_is_tried():
    assert set(EMITTERS) == {*ELEMENTWISE, *(name.split()[0] for name in CALLS), *RANDOM}
    assert room.__name__ == "keras_native.engine.primitives"


MODELS = {
    "dense": lambda: [
        layers.Input((10,)),
        layers.Dense(7, "gelu"),
        layers.BatchNormalization(),
        layers.Dense(3, "softmax"),
    ],
    "images": lambda: [
        layers.Input((16, 12, 3)),
        layers.Rescaling(2.0, 0.5),
        layers.Conv2D(8, 3, padding="same", activation="relu"),
        layers.DepthwiseConv2D(3, strides=2),
        layers.MaxPooling2D(2, padding="same"),
        layers.AveragePooling2D(3, 2, padding="same"),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
        layers.GroupNormalization(2),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.GlobalAveragePooling2D(),
    ],
    "recurrent": lambda: [
        layers.Input((6,), dtype="int32"),
        layers.Embedding(5, 8),
        layers.LSTM(6, return_sequences=True),
        layers.Bidirectional(layers.GRU(5, return_sequences=True)),
        layers.SimpleRNN(4),
        layers.LayerNormalization(),
    ],
}


@pytest.mark.parametrize("name", MODELS)
def test_models(name, tmp_path):
    model = keras.Sequential(MODELS[name]())
    for variable in model.non_trainable_variables:
        variable.assign(floats(*variable.shape))
    x = integers(4, 6) if name == "recurrent" else floats(4, *model.input_shape[1:])
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    for batch in (x, x[:1]):
        expected = ops.convert_to_numpy(model(batch))
        np.testing.assert_allclose(loaded.serve(batch), expected, rtol=1e-4, atol=1e-5)


def test_attention_with_two_inputs(tmp_path):
    query, value = keras.Input((None, 8), name="query"), keras.Input((5, 8), name="value")
    outputs = layers.MultiHeadAttention(2, 4)(query, value)
    model = keras.Model({"query": query, "value": value}, outputs)
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    for length in (3, 6):
        x = {"query": floats(2, length, 8), "value": floats(2, 5, 8)}
        expected = ops.convert_to_numpy(model(x))
        np.testing.assert_allclose(loaded.serve(x), expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_written_says_so(tmp_path):
    inputs = keras.Input((4, 4))
    model = keras.Model(inputs, ops.qr(inputs)[0])
    with pytest.raises(UnsupportedError, match="'qr' is not among the operations"):
        model.export(tmp_path / "saved", verbose=False)

    class Counting(keras.Model):
        def call(self, x):
            return ops.reshape(x, (int(ops.shape(x)[0]), 2, 2))

    model = Counting()
    model(floats(3, 4))
    with pytest.raises(UnsupportedError, match="takes a size that is not known"):
        model.export(tmp_path / "saved", verbose=False)
