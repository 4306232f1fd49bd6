"""Steps of the user's own: models without a call, parts that the first step builds."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_native

X = np.random.default_rng(0).standard_normal((40, 3)).astype("float32")


class Pair(keras.Model):
    """Two models with an optimiser each, built by the first step; no `call`."""

    def __init__(self):
        super().__init__()
        self.first = keras.Sequential([layers.Dense(4, "tanh"), layers.Dense(2)])
        self.second = keras.Sequential([layers.Dense(3)])
        self.optimizers = keras.optimizers.Adam(0.02), keras.optimizers.SGD(0.1)

    def train_step(self, data):
        # Asked for before the parts are built: at first there are none.
        weights = self.first.trainable_variables, self.second.trainable_variables
        with keras_native.GradientTape(persistent=True) as tape:
            loss = ops.mean(ops.square(self.second(self.first(data)) - data))
        for optimizer, some in zip(self.optimizers, weights):
            if some:
                optimizer.apply(tape.gradient(loss, some), some)
        return {"error": loss}


def losses(eagerly):
    keras.utils.set_random_seed(0)
    model = Pair()
    model.compile(run_eagerly=eagerly)
    model.fit(X, batch_size=40, epochs=1, verbose=0)
    return model, model.fit(X, batch_size=40, epochs=30, verbose=0).history["error"]


def test_what_the_first_step_builds_is_trained_by_all_that_follow():
    model, found = losses(eagerly=False)
    assert model.train_function.step.traces == 1
    assert found[-1] < 0.6 * found[0]
    # Eagerly the very first step has nothing to train yet; compiled code knows no such step.
    _, expected = losses(eagerly=True)
    np.testing.assert_allclose(found[:-1], expected[1:], rtol=1e-4)


def test_jit_traces_again_after_variables_were_made():
    layer = layers.Dense(1, kernel_initializer="ones")

    @keras_native.jit
    def count(x):
        known = len(layer.weights)
        return layer(x) * 0 + known

    assert float(count(ops.ones((1, 2)))[0, 0]) == 2
    assert float(count(ops.ones((1, 2)))[0, 0]) == 2
    assert count.traces == 1


def test_a_step_takes_other_data_than_the_call():
    class Triplets(keras.Model):
        def __init__(self):
            super().__init__()
            self.embed = keras.Sequential([layers.Dense(4)])

        def call(self, triple):
            anchor, near, far = (self.embed(part) for part in triple)
            return ops.sum((anchor - near) ** 2, -1), ops.sum((anchor - far) ** 2, -1)

        def train_step(self, triple):
            with keras_native.GradientTape() as tape:
                near, far = self(triple)
                loss = ops.mean(ops.relu(near - far + 1))
            weights = self.embed.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"margin": loss}

    def triples():
        while True:
            yield X, X + 0.1, -X

    keras.utils.set_random_seed(0)
    model = Triplets()
    model.compile(keras.optimizers.Adam(0.02))
    history = model.fit(triples(), steps_per_epoch=5, epochs=10, verbose=0).history
    assert history["margin"][-1] < 0.6 * history["margin"][0]


def test_a_model_that_cannot_be_built_still_says_so():
    class Broken(keras.Model):
        def call(self, x):
            raise RuntimeError("no such layer")

    class BrokenStep(Broken):
        def train_step(self, data):
            return {"value": self(data[0])}

    for model in (Broken(), BrokenStep()):
        model.compile("sgd", "mse")
        with pytest.raises(RuntimeError, match="no such layer"):
            model.fit(X, X, verbose=0)


def _torch_step(self, data):
    x, y = data
    self.compute_loss(x, y, self(x)).backward()


def _tensorflow_step(self, data):
    import tensorflow as tf

    x, y = data
    with tf.GradientTape() as tape:
        loss = self.compute_loss(x, y, self(x))
    tape.gradient(loss, self.trainable_variables)


def _jax_step(self, data):
    import jax

    x, y = data
    jax.grad(lambda weights: self.compute_loss(x, y, self(x)))(
        [w.value for w in self.trainable_variables]
    )


@pytest.mark.parametrize("step", [_torch_step, _tensorflow_step, _jax_step])
def test_a_step_of_another_framework_is_told_what_to_write(step):
    name = step.__name__.strip("_").split("_")[0]
    pytest.importorskip(name, reason=f"{name} is not installed")
    inputs = keras.layers.Input((3,))
    model = type("Foreign", (keras.Model,), {"train_step": step})(
        inputs, keras.layers.Dense(1)(inputs)
    )
    model.compile("sgd", "mse")
    with pytest.raises((TypeError, AttributeError)) as caught:
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    notes = [note for note in caught.value.__notes__ if "custom_training.md" in note]
    assert len(notes) == 1 and f"uses {name}," in notes[0]


def test_errors_of_ones_own_have_no_such_note():
    class Wrong(keras.Model):
        def train_step(self, data):
            return self.nothing_of_the_kind

    inputs = keras.layers.Input((3,))
    model = Wrong(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(AttributeError, match="nothing_of_the_kind") as caught:
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    assert not getattr(caught.value, "__notes__", None)


def test_a_step_that_takes_the_state_is_refused_by_name():
    class Stateless(keras.Model):
        def train_step(self, state, data):
            return {}, state

    inputs = keras.layers.Input((3,))
    model = Stateless(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match=r"train_step\(state, data\): a step takes a batch"):
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
