"""Layers called again in the backward pass find everything as it was in the forward one."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_native

X = np.random.default_rng(0).standard_normal((16, 12, 5)).astype("float32")
each_policy = pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])


def trained(make, *, eager=False, x=X, steps=3, mode=None):
    """The weights after some steps, and the losses."""
    keras.utils.set_random_seed(1)
    with keras.RematScope(mode=mode):
        inner = make()
    model = keras.Sequential([layers.Input(x.shape[1:]), *inner, layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.2), "mse", run_eagerly=eager)
    losses = [float(model.train_on_batch(x, x.mean(axis=-1).reshape(len(x), -1)[:, :1]))
              for _ in range(steps)]  # fmt: skip
    return [*model.get_weights(), np.array(losses)]


def check_same(first, second, tolerance=2e-5):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


class Block(layers.Layer):
    """Neither passes `training` on nor casts its own weight: Keras's scopes do."""

    def __init__(self, branch=None, **kwargs):
        super().__init__(**kwargs)
        self.branch = branch
        # A loss that is added in a branch stays there.
        self.dense = layers.Dense(8, "tanh", activity_regularizer="l2" if branch is None else None)
        self.dropout = layers.Dropout(0.5, seed=3)
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        self.scale = self.add_weight(shape=(8,), initializer="ones")
        super().build(shape)

    def body(self, x):
        return self.norm(self.dropout(self.dense(x))) * self.scale

    def call(self, x, training=None):
        if not self.branch:
            return self.body(x)
        return ops.cond(ops.sum(x) > -1e9, lambda: self.body(x), lambda: self.dense(x) * self.scale)


@each_policy
@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("mode", ["full", "activations"])
def test_a_block_under_a_remat_scope(policy, eager, mode):
    make = lambda: [layers.Flatten(), Block(dtype=policy), Block(dtype=policy)]  # noqa: E731
    tolerance = 2e-5 if policy == "float32" else 2e-3
    check_same(trained(make, eager=eager, mode=mode), trained(make, eager=True), tolerance)


@each_policy
def test_a_block_in_a_branch(policy):
    """Compiled, the branch is traced once more for its derivative."""

    make = lambda branch: lambda: [layers.Flatten(), Block(branch, dtype=policy)]  # noqa: E731
    tolerance = 2e-5 if policy == "float32" else 2e-3
    check_same(trained(make(True)), trained(make(False)), tolerance)


@pytest.mark.parametrize("wrap", [lambda f: f, keras_native.jit])
def test_a_stateless_call_under_a_remat_scope(wrap):
    x = ops.convert_to_tensor(X[:, 0])

    def gradients(mode):
        keras.utils.set_random_seed(1)
        with keras.RematScope(mode=mode):
            block = Block()
        block(x)
        trainable = [v.value * 1.5 for v in block.trainable_variables]
        state = [v.value * 1 for v in block.non_trainable_variables]

        def loss(trainable):
            y, _ = block.stateless_call(trainable, state, x, training=True)
            return ops.sum(ops.square(y - ops.tanh(y) * 2))

        return [g.numpy() for g in wrap(keras_native.grad(loss))(trainable)]

    check_same(gradients("full"), gradients(None), 1e-4)


@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.GRU, layers.LSTM])
@pytest.mark.parametrize("dropped", ["dropout", "recurrent_dropout"])
def test_masks_of_recurrent_cells(kind, dropped):
    """Cells hold their masks in attributes, which are gone by the time of the derivative."""
    make = lambda **more: [kind(6, seed=3, **{dropped: 0.5}, **more)]  # noqa: E731
    check_same(trained(make), trained(lambda: make(unroll=True)))


class Cell(layers.Layer):
    """Draws another mask at each step."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.dropout = layers.Dropout(0.5, seed=4)
        self.dense = layers.Dense(units, "tanh")

    def build(self, shape):
        self.dense.build((*shape[:-1], shape[-1] + self.units))
        super().build(shape)

    def call(self, x, states, training=False):
        y = self.dense(ops.concatenate([self.dropout(x, training=training), states[0]], -1))
        return y, [y]


def test_a_cell_that_draws_at_each_step():
    make = lambda unroll: lambda: [layers.RNN(Cell(6), unroll=unroll)]  # noqa: E731
    check_same(trained(make(False)), trained(make(True)))


def test_attention_without_scores_under_a_remat_scope():
    class Attend(layers.Layer):
        def __init__(self):
            super().__init__()
            self.attention = layers.MultiHeadAttention(2, 4, dropout=0.2, seed=2)

        def call(self, x):
            return self.attention(x, x)

    make = lambda: [Attend(), layers.Flatten()]  # noqa: E731
    check_same(trained(make, mode="full"), trained(make))


class Adds(layers.Layer):
    """Adds a loss and assigns a variable that a loss may be made of."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, activity_regularizer="l2")

    def build(self, shape):
        self.dense.build(shape)
        self.size = self.add_weight(shape=(), trainable=False, initializer="zeros")
        super().build(shape)

    def call(self, x):
        y = self.dense(x)
        self.add_loss(ops.sum(ops.square(y)))
        self.size.assign(ops.sum(ops.square(x)))
        return y


@pytest.mark.parametrize("wrap", [lambda f: f, keras_native.jit])
def test_losses_and_values_of_a_stateless_call(wrap):
    x = ops.convert_to_tensor(X[:, 0])

    def gradients(mode):
        keras.utils.set_random_seed(1)
        with keras.RematScope(mode=mode):
            layer = Adds()
        layer.build(x.shape)
        values = [v.value * 1 for v in layer.trainable_variables]

        def loss(x, values):
            y, (size,), losses = layer.stateless_call(
                values, [ops.zeros(())], x, return_losses=True
            )
            return ops.sum(y) + size + sum(losses)

        by_x, by_values = wrap(keras_native.grad(loss, (0, 1)))(x, values)
        return [g.numpy() for g in (by_x, *by_values)]

    check_same(gradients("full"), gradients(None), 1e-5)


def test_a_derivative_adds_no_losses():
    with keras.RematScope(mode="full"):
        layer = Adds()
    x = ops.convert_to_tensor(X[:, 0])
    with keras_native.GradientTape() as tape:
        y = ops.sum(layer(x)) + sum(layer.losses)
    tape.gradient(y, layer.trainable_variables)
    assert len(layer.losses) == 2


def test_constants_of_a_layer_built_in_the_first_call():
    class Outer(layers.Layer):
        def __init__(self):
            super().__init__()
            self.norm = layers.Normalization(mean=[1.0] * 5, variance=[4.0] * 5)

        def build(self, shape):
            pass

        def call(self, x):
            return self.norm(x)

    with keras.RematScope(mode="full"):
        layer = Outer()
    x = ops.convert_to_tensor(X[:, 0])
    with keras_native.GradientTape() as tape:
        y = layer(x)
    np.testing.assert_allclose(tape.gradient(y, x).numpy(), np.full(X[:, 0].shape, 0.5), rtol=1e-6)
