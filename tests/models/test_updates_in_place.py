"""Optimisers write to the variables' own memory: the same bits as where somebody holds every
value."""

import threading

import keras
import numpy as np
import pytest
from keras import layers, ops

# Most steps are taken, and some are not, for overflow.
SCALE = {"initial_scale": 2.0**125, "dynamic_growth_steps": 4}
OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True, weight_decay=0.01),
    "accumulation": lambda: keras.optimizers.AdamW(0.01, gradient_accumulation_steps=3),
    "average": lambda: keras.optimizers.Adam(
        0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=3
    ),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), **SCALE),
    "all": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.RMSprop(
            0.01, use_ema=True, ema_overwrite_frequency=2, gradient_accumulation_steps=2, clipnorm=1
        ),
        **SCALE,
    ),
    "schedule free": lambda: keras.optimizers.ScheduleFreeAdamW(0.01),
}


def texts():
    rng = np.random.default_rng(3)
    return rng.integers(0, 50, (96, 12)), rng.integers(0, 4, 96)


def network():
    return keras.Sequential(
        [
            layers.Input((12,), dtype="int32"),
            layers.Embedding(50, 64),  # its gradient is sparse
            layers.Conv1D(32, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.2),
            layers.Dense(4),
        ]
    )


def variables_of(model):
    metrics = [v for m in model.metrics for v in m.variables]
    return [*model.variables, *model.optimizer.variables, *metrics]


class Keep(keras.callbacks.Callback):
    """Holds all values of all steps."""

    def __init__(self):
        super().__init__()
        self.held = []

    def on_train_batch_end(self, batch, logs=None):
        values = [np.asarray(v.value) for v in variables_of(self.model)]
        self.held.append((values, [value.copy() for value in values]))


def trained(optimizer, callbacks=(), **options):
    keras.utils.set_random_seed(4)
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(), loss, metrics=["accuracy"], **options)
    history = model.fit(*texts(), batch_size=16, epochs=3, verbose=0, callbacks=list(callbacks))
    return [np.array(v) for v in variables_of(model)], history.history


@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 3}], ids=["steps", "many"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_held_values_stay_and_change_nothing(optimizer, options):
    keep = Keep()
    free, found = trained(optimizer, **options)
    kept, expected = trained(optimizer, [keep], **options)
    assert found == expected
    for a, b in zip(free, kept, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(keep.held) == 18 // options.get("steps_per_execution", 1)
    for values, copies in keep.held:
        for value, copy in zip(values, copies, strict=True):
            np.testing.assert_array_equal(value, copy)


class Follows(keras.Model):
    """Every other step its slow weights take the fast ones as they are before the update."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(64)
        self.dense.build((None, 64))
        self.slow = self.add_weight(shape=(64, 64), trainable=False, initializer="zeros")
        self.count = self.add_weight(shape=(), trainable=False, dtype="int32")

    def call(self, x):
        fast = ops.stop_gradient(self.dense.kernel.value)
        self.slow.assign(ops.cond(self.count % 2 == 0, lambda: fast, lambda: self.slow.value))
        self.count.assign(self.count + 1)
        return self.dense(x)


@pytest.mark.parametrize("steps", [3, 4, 5])
def test_a_weight_that_follows_another(steps):
    x = np.random.default_rng(6).standard_normal((16, 64)).astype("float32")
    results, followed = [], None
    for held in (False, True):
        keras.utils.set_random_seed(5)
        model = Follows()
        model.compile(keras.optimizers.SGD(0.1), "mse")
        for step in range(steps):
            if held and step % 2 == 0:
                followed = np.array(model.dense.kernel)
            model.train_on_batch(x, x)
        results.append([np.array(model.slow), np.array(model.dense.kernel)])
    np.testing.assert_array_equal(results[0][0], followed)
    np.testing.assert_array_equal(results[0], results[1])


def test_threads_look_and_assign_while_a_model_trains():
    """A reader's view never changes, and values are whole: weights that begin equal stay equal."""
    inputs = layers.Input((1,))
    wide = layers.Dense(1 << 16, use_bias=False, kernel_initializer="ones")
    model = keras.Model(inputs, wide(inputs))
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9), "mse")
    x, y = np.ones((2, 1), "float32"), np.zeros((2, 1 << 16), "float32")
    model.train_on_batch(x, y)
    done, torn, looks = threading.Event(), [], [0]

    def look():
        while not done.is_set():
            value = np.asarray(wide.kernel.value)
            first = float(value[0, 0])
            looks[0] += 1
            if value.min() != first or value.max() != first:
                torn.append(first)

    def assign():
        while not done.is_set():
            wide.kernel.assign(np.full((1, 1 << 16), 2, "float32"))
            wide.kernel.assign(wide.kernel.value * 0.5)

    threads = [threading.Thread(target=target) for target in (look, assign)]
    for thread in threads:
        thread.start()
    try:
        while looks[0] < 300:
            model.train_on_batch(x, y)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not torn
    assert np.ptp(np.array(wide.kernel)) == 0
