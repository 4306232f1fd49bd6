"""Keras's attention layers under a mask and dropout: one primitive in the graph, the layers' own
results, also where a query may attend to no key."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_native

RNG = np.random.default_rng(12)
BATCH, LENGTH, SIZE = 3, 7, 8


def random_mask():
    mask = RNG.random((BATCH, LENGTH, LENGTH)) < 0.5
    mask[0, 2] = mask[2] = False  # queries without keys, and an example that has only such
    mask[1, 3] = True
    return mask


def padding():
    keep = np.arange(LENGTH) < np.array([[7], [4], [0]])
    return keep


LAYERS = {
    "multi-head": lambda **kw: layers.MultiHeadAttention(2, 4, value_dim=5, **kw),
    "grouped": lambda **kw: layers.GroupQueryAttention(4, 6, 2, **kw),
}
MASKS = {
    "random": lambda: {"attention_mask": random_mask()},
    "random of all examples": lambda: {"attention_mask": random_mask()[:1]},
    "padding": lambda: {"query_mask": padding(), "value_mask": padding()},
    "padding of keys": lambda: {"value_mask": padding()},
    "causal": lambda: {"use_causal_mask": True},
    "causal and random": lambda: {"use_causal_mask": True, "attention_mask": random_mask()},
}


def functions(kind, mask, dropout):
    """(value and gradients of a loss by input and weights, its arguments, the seed's variable)"""
    keras.utils.set_random_seed(1)
    layer = LAYERS[kind](dropout=dropout)
    x = RNG.standard_normal((BATCH, LENGTH, SIZE)).astype("float32")
    layer.build(x.shape, x.shape)
    weights = [w.value for w in layer.trainable_variables]
    options = MASKS[mask]()
    names = [name for name, value in options.items() if isinstance(value, np.ndarray)]
    flags = {name: value for name, value in options.items() if name not in names}

    def loss(x, *rest):
        masks = dict(zip(names, rest))
        with keras.StatelessScope(zip(layer.trainable_variables, rest[len(names) :])):
            y = layer(x, x, training=True, **flags, **masks)
        return ops.sum(ops.square(y) * ops.cos(ops.arange(y.shape[-1], dtype="float32")))

    positions = (0, *range(1 + len(names), 1 + len(names) + len(weights)))
    arguments = [ops.convert_to_tensor(a) for a in (x, *(options[n] for n in names))] + weights
    return keras_native.value_and_grad(loss, positions), arguments


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", LAYERS)
def test_one_primitive_with_the_values_and_gradients_of_the_chain(kind, mask, dropout):
    function, arguments = functions(kind, mask, dropout)
    expected, gradients = function(*arguments)
    compiled = keras_native.jit(function)
    value, found = compiled(*arguments)
    np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=1e-5)
    for a, b in zip(found, gradients):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
    graph = compiled.graph(*arguments).split("== ")[-1]
    assert "= attention(" in graph and "= attention_grad(" in graph
    assert "softmax" not in graph and "random_bernoulli_scale" not in graph


def test_known_masks_that_leave_every_query_a_key_need_no_correction():
    layer = layers.MultiHeadAttention(2, 4, dropout=0.1)
    x = ops.convert_to_tensor(RNG.standard_normal((2, 4, 8)).astype("float32"))
    layer.build(x.shape, x.shape)
    band = np.abs(np.arange(4)[:, None] - np.arange(4)) < 2

    def loss(x):
        return ops.sum(layer(x, x, attention_mask=band[None], training=True))

    graph = keras_native.jit(keras_native.grad(loss)).graph(x).split("== ")[-1]
    assert "= attention(" in graph and "reduce_any" not in graph and "softmax" not in graph


def test_a_model_with_padding_trains_on_the_primitive_with_one_trace():
    tokens = RNG.integers(1, 20, (40, LENGTH))
    tokens[:, 4:] *= RNG.integers(0, 2, (40, 1))
    x = inputs = layers.Input((None,), dtype="int32")
    x = layers.Embedding(20, SIZE, mask_zero=True)(x)
    x = x + layers.MultiHeadAttention(2, 4, dropout=0.2)(x, x, use_causal_mask=True)
    x = x + layers.GroupQueryAttention(4, 4, 2, dropout=0.2)(x, x)
    model = keras.Model(inputs, layers.Dense(20)(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = model.fit(tokens, tokens, batch_size=16, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    step = model.train_function.step
    assert step.traces == 1
    compiled, _, sizes = step.compiled((tokens[:5], tokens[:5], None))
    ran = [op for op, _ in compiled.chosen(sizes)]
    assert ran.count("attention") == ran.count("attention_grad") == 2
    assert "softmax" not in ran
