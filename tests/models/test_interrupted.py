"""Steps that end half-way, by Ctrl-C or for want of memory, leave everything as it was."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_native

LONG = 1e9  # turns of a loop: many minutes


class Turns(layers.Layer):
    """Its input; computing it takes as many turns of a loop as the first number of the batch says.

    Assigns a variable before and within the loop.
    """

    def build(self, shape):
        self.seen = self.add_weight(shape=(), trainable=False, initializer="zeros", name="seen")
        self.turns = self.add_weight(shape=(), trainable=False, initializer="zeros", name="turns")

    def call(self, x):
        self.seen.assign(self.seen + 1)
        wanted = ops.stop_gradient(x[0, 0])

        def turn(i, value):
            self.turns.assign(self.turns + 1)
            return i + 1, value * 0.5

        _, value = ops.while_loop(lambda i, _: i < wanted, turn, (0.0, ops.ones(())))
        return x + 0 * value


class Hungry(layers.Layer):
    """Its input; asks for four terabytes where the first number of the batch is above 100."""

    def call(self, x):
        def much():
            rows = ops.broadcast_to(ops.stop_gradient(x[0, 0]), (1 << 40,))
            return ops.sum(ops.cumsum(rows))

        return x + 0 * ops.cond(ops.stop_gradient(x[0, 0]) > 100, much, lambda: ops.zeros(()))


def model_with(layer):
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(8),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(2),
        ]
    )
    inputs = layers.Input((4,))
    model = keras.Model(inputs, model(layer(inputs)))
    model.compile(keras.optimizers.Adam(1e-2), "mse", metrics=["mae"])
    return model


def batch(first):
    x = np.random.default_rng(0).standard_normal((8, 4)).astype("float32")
    x[0, 0] = first
    return x, x[:, :2] / np.float32(max(first, 1))


def state(model):
    metrics = [v for m in model.metrics for v in m.variables]
    return [np.array(v) for v in [*model.variables, *model.optimizer.variables, *metrics]]


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


@contextmanager
def interrupted(after, within):
    """Expects KeyboardInterrupt at most `within` seconds after a SIGINT, which comes `after`
    seconds after the call of what is yielded."""
    sent = []

    def send():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(after, send)
    # A shell's background job ignores SIGINT, and so would this process.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield timer.start
            timer.join()  # too early to have been interrupted: here at the latest
            time.sleep(1)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert time.perf_counter() - sent[0] < within


def test_interrupt_in_a_loop_of_short_turns():
    model = model_with(Turns())
    step = model.make_train_function()
    step([batch(3)])
    before = state(model)
    with interrupted(after=0.2, within=1.0) as start:
        start()
        step([batch(LONG)])
    assert_equal(state(model), before)
    step([batch(3)])
    assert step.step.traces == 1
    changed = [bool((a != b).any()) for a, b in zip(before, state(model))]
    assert sum(changed) > len(changed) // 2


def test_interrupt_between_a_few_long_kernels():
    counter = keras.Variable(0.0)

    @keras_native.jit
    def products(x):
        counter.assign(counter + 1)
        y = x
        for _ in range(12):
            y = ops.matmul(y, x)
        return y

    x = ops.convert_to_tensor(np.eye(1408, dtype="float32"))
    products(x)
    began = time.perf_counter()
    products(x)
    whole = time.perf_counter() - began
    before = float(counter)
    with interrupted(after=whole / 8, within=whole / 2) as start:
        start()
        products(x)
    assert float(counter) == before
    products(x)
    assert float(counter) == before + 1


def test_interrupted_fit_ends_at_a_whole_step():
    x = np.concatenate([batch(n)[0] for n in (3, 1, 2, LONG, 1, 1)])
    y = np.ones((len(x), 2), "float32")
    model = model_with(Turns())
    with interrupted(after=0.2, within=1.0) as start:
        at_last = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: start() if batch == 3 else None
        )
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[at_last])
    assert int(model.optimizer.iterations) == 3

    twin = model_with(Turns())
    twin.fit(x[:24], y[:24], batch_size=8, shuffle=False, verbose=0)
    assert_equal(state(model), state(twin))
    model.fit(x[:24], y[:24], batch_size=8, shuffle=False, verbose=0)
    assert int(model.optimizer.iterations) == 6


def test_no_memory_in_the_middle_of_a_step():
    model = model_with(Hungry())
    step = model.make_train_function()
    step([batch(3)])
    before = state(model)
    with pytest.raises(MemoryError, match="cannot allocate"):
        step([batch(101)])
    assert_equal(state(model), before)
    step([batch(3)])
    assert step.step.traces == 1
    assert any((a != b).any() for a, b in zip(before, state(model)))


ENDING = """
import threading

import numpy as np

from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.tensor import from_numpy

a = from_numpy(np.ones((64, 64), "float32"))
begun = threading.Barrier(9)


def compute():
    matmul(a, a)
    begun.wait()
    while True:
        matmul(a, a)


for _ in range(8):
    threading.Thread(target=compute, daemon=True).start()
begun.wait()
"""


@pytest.mark.parametrize("attempt", range(3))
def test_python_ends_while_daemon_threads_compute(attempt):
    """A thread that comes back from a kernel when Python has ended is not torn out of C++."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
