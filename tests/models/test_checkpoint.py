"""Recomputation in the backward pass: less memory planned for a step, the same gradients."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_native
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

DEPTH, WIDTH, BATCH = 12, 32, 512


def gradient_of_a_deep_mlp(wrap):
    """Gradients by its weights, and the bytes planned for them in units of one activation."""
    rng = np.random.default_rng(0)
    weights = [
        from_numpy((rng.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)).astype("float32"))
        for _ in range(DEPTH)
    ]
    x = from_numpy(rng.standard_normal((BATCH, WIDTH)).astype("float32"))

    @wrap
    def block(h, *kernels):
        for kernel in kernels:
            h = ops.tanh(ops.matmul(h, kernel))
        return h

    def loss(*kernels):
        h = x
        for i in range(0, DEPTH, 3):
            h = block(h, *kernels[i : i + 3])
        return ops.sum(ops.square(h))

    gradient = keras_native.grad(loss, tuple(range(DEPTH)))
    function = CompiledFunction(lambda *w: list(gradient(*w)), [(w.dims, w.dtype) for w in weights])
    grads = [g.numpy() for g in function.run([w.array for w in weights], [])]
    return grads, function.compiled.arena_bytes([]) / (BATCH * WIDTH * 4)


@pytest.mark.parametrize("wrap", [keras_native.checkpoint, keras.remat])
def test_a_checkpointed_gradient_needs_less_memory(wrap):
    plain, kept = gradient_of_a_deep_mlp(lambda f: f)
    grads, less = gradient_of_a_deep_mlp(wrap)
    # One activation for each of twelve layers, against one for each of four blocks and those of
    # the block that is being recomputed.
    assert kept >= DEPTH
    assert less <= kept - 4
    for a, b in zip(grads, plain):
        np.testing.assert_array_equal(a, b)


def test_a_remat_scope_around_layers():
    def trained(mode):
        keras.utils.set_random_seed(5)
        with keras.RematScope(mode=mode):
            # Two activations a layer: what goes into the silu is needed for its derivative.
            model = keras.Sequential(
                [layers.Input((WIDTH,)), *[layers.Dense(WIDTH, "silu") for _ in range(8)]]
            )
        model.compile(keras.optimizers.SGD(0.1), "mse")
        x = np.random.default_rng(1).standard_normal((BATCH, WIDTH)).astype("float32")
        losses = [float(model.train_on_batch(x, x)) for _ in range(3)]
        compiled, _, sizes = model.train_function.step.compiled((x, x, None))
        return losses, model.get_weights(), compiled.arena_bytes(sizes) / (BATCH * WIDTH * 4)

    losses, weights, kept = trained(None)
    again, same, less = trained("full")
    assert less <= kept - 4
    np.testing.assert_allclose(again, losses, rtol=1e-6)
    for a, b in zip(same, weights):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
