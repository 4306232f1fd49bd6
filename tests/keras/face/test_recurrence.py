"""The fused loops of LSTM and GRU agree with Keras's cells over the generic loop."""

import keras
import numpy as np
import pytest
from numeric import check_gradients

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
