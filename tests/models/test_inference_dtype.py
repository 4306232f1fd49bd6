"""`keras_native.set_inference_dtype`: predict and evaluate follow it, training does not."""

import warnings

import keras
import numpy as np
import pytest

import keras_native
from keras_native import _core

RNG = np.random.default_rng(0)


@pytest.fixture
def bfloat16():
    keras_native.set_inference_dtype("bfloat16")
    yield
    keras_native.set_inference_dtype("float32")


def model():
    layers = keras.layers
    inputs = layers.Input((16, 32))
    x = inputs + layers.MultiHeadAttention(4, 8)(inputs, inputs)
    x = layers.Dense(32)(layers.Dense(64, activation="gelu")(layers.LayerNormalization()(x)))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def test_predict_and_evaluate_follow_and_training_does_not(bfloat16):
    net, x = model(), RNG.standard_normal((6, 16, 32)).astype("float32")
    y = RNG.integers(0, 10, 6)
    net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    narrow = net.predict_on_batch(x), net.evaluate(x, y, verbose=0)
    direct = keras.ops.convert_to_numpy(net(x))
    keras_native.set_inference_dtype("float32")
    wide = net.predict_on_batch(x), net.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(direct, wide[0], rtol=1e-4, atol=1e-5)
    assert narrow[0].dtype == np.float32
    np.testing.assert_allclose(narrow[0], wide[0], atol=0.03 * np.std(wide[0]))
    np.testing.assert_allclose(narrow[1], wide[1], rtol=0.02)
    if _core.isa() == "avx512_bf16":
        assert np.any(narrow[0] != wide[0])

    start = net.get_weights()
    after = []
    for dtype in ("float32", "bfloat16"):
        keras_native.set_inference_dtype(dtype)
        net.set_weights(start)
        net.train_on_batch(x, y)
        after.append(net.get_weights())
    for a, b in zip(*after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match="'float16' is not one of 'float32', 'bfloat16'"):
        keras_native.set_inference_dtype("float16")
    assert keras_native.inference_dtype() == "float32"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch, units", [(1, 64), (37, 33), (5, 200)])
def test_the_recurrence_of_an_lstm_follows(batch, units, masked, bfloat16):
    layers = keras.layers
    inputs = layers.Input((9,), dtype="int32")
    x = layers.Embedding(50, 24, mask_zero=masked)(inputs)
    x = layers.LSTM(units, return_sequences=True)(x)
    net = keras.Model(inputs, layers.LSTM(units)(x))
    x = RNG.integers(0, 50, (batch, 9))
    narrow = net.predict_on_batch(x)
    keras_native.set_inference_dtype("float32")
    wide = net.predict_on_batch(x)
    np.testing.assert_allclose(narrow, wide, atol=0.03 * np.abs(wide).max())
    if _core.isa() == "avx512_bf16":
        assert np.any(narrow != wide)


def attends(x):
    return keras.layers.MultiHeadAttention(2, 32)(x, x)


@pytest.mark.parametrize(
    "layer, dims",
    [
        (lambda x: keras.layers.LSTM(64)(x), (3, 48)),
        (attends, (3, 64)),
        (lambda x: keras.layers.Dense(64)(x), (96,)),
    ],
    ids=["lstm", "attention", "dense"],
)
@pytest.mark.parametrize("mode", ["bfloat16", "int8"])
def test_no_examples_are_no_results(layer, dims, mode, bfloat16):
    inputs = keras.Input(dims)
    model = keras.Model(inputs, layer(inputs))
    if mode == "int8":
        keras_native.set_inference_dtype("float32")
        model.quantize("int8")
    for batch in (2, 0):
        got = model.predict_on_batch(np.zeros((batch, *dims), "float32"))
        assert got.shape == (batch, *model.output_shape[1:])


@pytest.mark.skipif(_core.isa() != "avx512_bf16", reason="no instruction for int8")
def test_a_quantised_perceptron_has_the_same_bits_on_every_number_of_threads():
    layers = [keras.layers.Dense(160, "relu"), keras.layers.Dense(64)]
    model = keras.Sequential([keras.layers.Input((96,)), *layers])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize("int8")
    x = np.random.default_rng(0).standard_normal((100, 96)).astype("float32")
    found = set()
    for count in (1, 2, 3):
        _core.set_threads(count)
        found.add(model.predict_on_batch(x).tobytes())
    assert len(found) == 1
    compiled, _, sizes = model.predict_function.step.compiled((x,))
    kernels = [op for op, _ in compiled.chosen(sizes)]
    ((first, end),) = compiled.row_chains(sizes)
    assert kernels[first:end].count("quantised_linear") == 2
