"""The fused loops of LSTM and GRU agree with Keras's cells over the generic loop."""

import keras
import numpy as np
import pytest
from numeric import check_gradients

import keras_native
from keras_native.src import rnn

RNG = np.random.default_rng(9)
X = RNG.standard_normal((3, 5, 4)).astype("float32")


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        keras.layers.LSTM,
        keras.layers.GRU,
        lambda *a, **k: keras.layers.GRU(*a, reset_after=False, **k),
    ],
)
def test_fused_loops_equal_the_generic_one(make, unroll, go_backwards):
    options = {"go_backwards": go_backwards, "unroll": unroll, "return_sequences": True}
    layer = make(6, return_state=True, **options)
    fused = layer(X)
    layer.use_cudnn = False
    for a, b in zip(fused, layer(X)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


MASKS = {
    "right": np.arange(5) < np.array([[5], [2], [3]]),
    "any": np.array([[0, 1, 0, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        keras.layers.LSTM,
        keras.layers.GRU,
        lambda *a, **k: keras.layers.GRU(*a, reset_after=False, go_backwards=True, **k),
    ],
)
def test_masked_loops_equal_the_generic_one(make, return_sequences, zero_output, mask):
    layer = make(
        6, return_state=True, return_sequences=return_sequences, zero_output_for_mask=zero_output
    )
    layer.build(X.shape)

    def run():
        x = keras.ops.convert_to_tensor(X)
        with keras_native.GradientTape() as tape:
            results = layer(x, mask=MASKS[mask])
            total = sum(keras.ops.sum(keras.ops.sin(r + k)) for k, r in enumerate(results))
        grads = tape.gradient(total, [x, *layer.trainable_variables])
        return [t.numpy() for t in (*results, *grads)]

    fused = run()
    layer.use_cudnn = False
    for a, b in zip(fused, run()):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


def test_the_fused_loop_is_used():
    layer = keras.layers.Bidirectional(keras.layers.LSTM(6))
    mask = keras.ops.convert_to_tensor(MASKS["right"])
    compiled = keras_native.jit(lambda x, m: layer(x, mask=m))
    layer(X)
    text = compiled.graph(keras.ops.convert_to_tensor(X), mask)
    assert text.split("== ")[-1].count(" lstm(") == 2 and "scan" not in text


def test_half_precision_computes_in_float32():
    full, half = keras.layers.GRU(6), keras.layers.GRU(6, dtype="mixed_bfloat16")
    expected = full(X)
    half.build(X.shape)
    half.set_weights(full.get_weights())
    found = half(X)
    assert found.dtype == "bfloat16"
    np.testing.assert_allclose(keras.ops.cast(found, "float32").numpy(), expected, atol=0.02)


def test_stateful_layers_go_on_where_they_ended():
    layer = keras.layers.LSTM(6, stateful=True, return_sequences=True)
    whole = keras.layers.LSTM(6, return_sequences=True)
    first = layer(X).numpy()
    whole.build(X.shape)
    whole.set_weights(layer.get_weights()[:3])
    twice = whole(np.concatenate([X, X], 1)).numpy()
    np.testing.assert_allclose(np.concatenate([first, layer(X).numpy()], 1), twice, atol=1e-6)


@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
def test_masked_steps_change_nothing(zero_output, unroll):
    mask = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)

    def step(x, states):
        out = states[0] + x
        return out, [out]

    start = [np.zeros((3, 4), "float32")]
    last, outputs, (state,) = rnn.rnn(
        step, X, start, mask=mask, unroll=unroll, zero_output_for_mask=zero_output
    )
    running = np.cumsum(X * mask[..., None], 1)
    expected = running * mask[..., None] if zero_output else running
    np.testing.assert_allclose(outputs.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.numpy(), running[:, -1], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(last.numpy(), outputs.numpy()[:, -1])


def test_gradient_through_the_loop():
    def function(x, h, c, kernel, recurrent):
        tanh, sigmoid = keras.ops.tanh, keras.ops.sigmoid
        return rnn.lstm(x, h, c, None, kernel, recurrent, None, tanh, sigmoid, True)[1]

    shapes = ((2, 3, 2), (2, 2), (2, 2), (2, 8), (2, 8))
    check_gradients(function, *(RNG.standard_normal(s) for s in shapes))
