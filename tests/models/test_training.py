"""Whole models: one trace for all batch sizes, steps that leave no trace when they fail, state
across steps."""

import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_native.engine.primitive import STATE

RNG = np.random.default_rng(0)


def mlp():
    return keras.Sequential(
        [layers.Input((8,)), layers.Dense(16, activation="relu"), layers.Dense(3)]
    ), (8,)


def convnet():
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(3),
        ]
    ), (8, 8, 1)


def transformer():
    x = inputs = layers.Input((6, 8))
    y = layers.LayerNormalization(epsilon=1e-5)(x)
    x = x + layers.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True)
    x = x + layers.Dense(8)(layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x)))
    outputs = layers.Dense(3)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, outputs), (6, 8)


def recurrent():
    return keras.Sequential([layers.Input((5, 4)), layers.LSTM(6), layers.Dense(3)]), (5, 4)


MODELS = {f.__name__: f for f in (mlp, convnet, transformer, recurrent)}


def compiled(name, **kwargs):
    keras.utils.set_random_seed(1)
    model, shape = MODELS[name]()
    kwargs.setdefault("optimizer", keras.optimizers.Adam(1e-2))
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **kwargs,
    )
    x = RNG.standard_normal((70, *shape)).astype("float32")
    y = RNG.integers(0, 3, 70)
    return model, x, y


def state(model):
    variables = (
        model.variables
        + model.optimizer.variables
        + [v for m in model.metrics for v in m.variables]
    )
    return [np.array(v) for v in variables]


@pytest.mark.parametrize("name", MODELS)
def test_one_trace_for_every_batch_size(name):
    model, x, y = compiled(name)
    history = model.fit(x, y, batch_size=32, epochs=4, verbose=0)  # the last batch has 6
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert model.train_function.step.traces == 1
    for n in (1, 7, 70):
        assert model.predict(x[:n], verbose=0).shape == (n, 3)
    assert model.predict_function.step.traces == 1


def test_functions_that_an_override_sets_are_the_ones_called():
    calls = []

    class Model(keras.Sequential):
        def _observe(self, kind):
            function = getattr(self, f"{kind}_function")
            setattr(self, f"{kind}_function", lambda data: (calls.append(kind), function(data))[1])

        def make_train_function(self, force=False):
            super().make_train_function(force)
            self._observe("train")

        def make_test_function(self, force=False):
            super().make_test_function(force)
            self._observe("test")

        def make_predict_function(self, force=False):
            super().make_predict_function(force)
            self._observe("predict")

    model = Model([keras.layers.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 3), "float32")
    model.train_on_batch(x, y)
    model.test_on_batch(x, y)
    assert model.predict_on_batch(x).shape == model.predict(x, verbose=0).shape == (8, 3)
    assert {"train", "test", "predict"} == set(calls)


def test_empty_batches_of_pointwise_convolutions():
    model = keras.Sequential(
        [keras.layers.Input((8, 8, 4)), keras.layers.Conv2D(64, 1, groups=2, activation="relu")]
    )
    assert model.predict_on_batch(np.zeros((0, 8, 8, 4), "float32")).shape == (0, 8, 8, 64)


@pytest.mark.parametrize("name", MODELS)
def test_replay_runs_no_python(name):
    model, x, y = compiled(name)
    model.train_on_batch(x, y)
    model.predict_on_batch(x)
    model.reset_metrics()
    train, predict = model.train_function, model.predict_function
    before = STATE.calls
    train([(x[:40], y[:40], None)])
    predict([(x[:9],)])
    assert STATE.calls == before


@pytest.mark.parametrize("name", MODELS)
def test_compiled_equals_eager(name):
    losses = {}
    for eager in (False, True):
        model, _, _ = compiled(name, run_eagerly=eager)
        rng = np.random.default_rng(3)
        x = rng.standard_normal((24, *model.input_shape[1:])).astype("float32")
        y = rng.integers(0, 3, 24)
        losses[eager] = [model.train_on_batch(x, y)[0] for _ in range(4)]
        weights = model.get_weights()
        losses[eager].append(float(np.abs(weights[0]).sum()))
    np.testing.assert_allclose(losses[False], losses[True], rtol=2e-4)


def test_callbacks_are_called_in_the_loop_and_start_no_thread(monkeypatch):
    started = []
    monkeypatch.setattr("threading.Thread.start", lambda thread: started.append(thread))
    model, x, y = compiled("mlp")
    x, y = x[:12], y[:12]
    calls = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: calls.append((batch, sorted(logs)))
    )
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[record])
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert calls == [(i, ["accuracy", "loss"]) for i in range(3)]
    assert not started


def test_a_failing_step_leaves_everything_as_it_was():
    class Fragile(layers.Layer):
        broken = False

        def call(self, x):
            from keras_native.engine.host import host_call

            def check(array):
                if Fragile.broken:
                    raise RuntimeError("host node failed")
                return array

            (checked,) = host_call(check, [x], [(x.dims, x.dtype)], pure=False)
            return x + 0 * keras.ops.stop_gradient(checked)

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [layers.Input((4,)), layers.Dense(4), layers.Dropout(0.5), Fragile(), layers.Dense(2)]
    )
    model.compile("adam", "mse", metrics=["mae"])
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    model.fit(x, y, verbose=0)
    before = state(model)
    Fragile.broken = True
    with pytest.raises(RuntimeError, match="host node failed"):
        model.train_function([(x, y, None)])
    for a, b in zip(before, state(model)):
        np.testing.assert_array_equal(a, b)
    Fragile.broken = False
    model.train_function([(x, y, None)])
    assert any((a != b).any() for a, b in zip(before, state(model)))


def test_interrupt_in_a_callback_leaves_the_model_usable():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model, x, y = compiled("mlp")
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0, callbacks=[Stop()])
    assert STATE.trace is None
    model.fit(x, y, verbose=0)


def test_weights_are_snapshots_and_learning_rate_is_live():
    model, x, y = compiled("mlp")
    model.train_on_batch(x, y)
    weights = model.get_weights()
    copies = [w.copy() for w in weights]
    model.train_on_batch(x, y)
    for w, c in zip(weights, copies):
        np.testing.assert_array_equal(w, c)
    model.optimizer.learning_rate = 0.0
    frozen = model.get_weights()
    model.train_on_batch(x, y)
    for w, c in zip(model.get_weights(), frozen):
        np.testing.assert_array_equal(w, c)
    assert model.train_function.step.traces == 1


def test_gradient_accumulation_updates_once_in_four_steps():
    model, x, y = compiled(
        "mlp", optimizer=keras.optimizers.Adam(1e-2, gradient_accumulation_steps=4)
    )
    model.train_on_batch(x, y)
    start = model.get_weights()
    changed = []
    for _ in range(8):
        model.train_on_batch(x, y)
        now = model.get_weights()
        changed.append(any((a != b).any() for a, b in zip(start, now)))
        start = now
    assert changed == [False, False, True, False, False, False, True, False]
    assert model.train_function.step.traces == 1


def test_gradient_accumulation_runs_the_optimiser_in_one_step_of_four():
    def executed(model):
        """Primitives that each of four steps runs, with how often."""
        counts = []
        for _ in range(4):
            compiled_step, arrays, sizes = model.train_function.step.compiled((x, y, None))
            counts.append(Counter(compiled_step.executed(arrays, sizes)))
            model.train_on_batch(x, y)
        return counts

    plain, x, y = compiled("mlp", optimizer=keras.optimizers.Adam(1e-2))
    plain.train_on_batch(x, y)
    every = executed(plain)[0]
    model, x, y = compiled(
        "mlp", optimizer=keras.optimizers.Adam(1e-2, gradient_accumulation_steps=4)
    )
    model.train_on_batch(x, y)
    steps = executed(model)
    waiting, update = steps[0], steps[2]
    assert steps == [waiting, waiting, update, waiting]
    # Adam's programs are one group, which the others do not run: these add a gradient to each sum,
    # in a group as well, and nothing else.
    sums, adam = ("add", "tile_group"), ("fused_elementwise", "tile_group")
    assert waiting[sums] == 1 and every[sums] == update[sums] == 0
    assert update[adam] == waiting[adam] + 1
    products = [("matmul", "gemm"), ("linear", "gemm"), ("reduce_sum", "blocked")]
    for op in products:
        assert waiting[op] == every[op]

    def places(variables):
        return [v.value.numpy().ctypes.data for v in variables]

    # Nor are weights and moments copied by steps that leave them alone.
    kept = [v for v in [*model.trainable_variables, *model.optimizer.variables] if v.ndim]
    kept = [v for v in kept if "accumulator" not in v.path]
    assert len(kept) == 3 * len(model.trainable_variables)
    before = places(kept)
    model.train_on_batch(x, y)
    assert places(kept) == before


def test_auto_jit_with_a_host_read_warns_once_and_trains():
    class Reads(layers.Layer):
        def call(self, x):
            if float(keras.ops.sum(x)) > 1e9:
                return x * 0
            return x

    model = keras.Sequential([layers.Input((4,)), Reads(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
    with pytest.warns(UserWarning, match="test_training.py") as caught:
        model.fit(x, y, epochs=3, verbose=0)
    assert len([w for w in caught if "runs eagerly" in str(w.message)]) == 1
    model.compile("sgd", "mse", jit_compile=True)
    with pytest.raises(RuntimeError, match="no value yet"):
        model.fit(x, y, verbose=0)


class LargestFirst(layers.Layer):
    def call(self, x):
        return x / np.max(keras.ops.convert_to_numpy(x))


def test_a_layer_that_reads_values_is_named():
    """And the line."""
    model = keras.Sequential([layers.Input((4,)), LargestFirst(), layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 4), "float32")
    with pytest.warns(UserWarning, match="runs eagerly") as caught:
        model.fit(x, x[:, :1], verbose=0)
    said = [str(w.message) for w in caught if "runs eagerly" in str(w.message)]
    assert "LargestFirst.call()" in said[0]
    assert f"happened at {__file__}" in said[0]


def test_auto_jit_with_an_augmentation_layer():
    model = keras.Sequential(
        [layers.Input((8, 8, 3)), layers.RandomFlip(), layers.Flatten(), layers.Dense(2)]
    )
    model.compile("sgd", "mse")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(np.ones((8, 8, 8, 3), "float32"), np.ones((8, 2), "float32"), verbose=0)


def test_custom_train_step_with_a_gradient_tape():
    import keras_native

    class Custom(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            with keras_native.GradientTape() as tape:
                loss = keras.ops.mean(keras.ops.square(self(x, training=True) - y))
            grads = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(grads, self.trainable_variables))
            for metric in self.metrics:
                metric.update_state(loss)
            return {m.name: m.result() for m in self.metrics}

    model = Custom()
    model.compile(keras.optimizers.SGD(0.1))
    x = RNG.standard_normal((64, 3)).astype("float32")
    y = x.sum(1, keepdims=True)
    history = model.fit(x, y, epochs=20, verbose=0)
    assert history.history["loss"][-1] < 0.05 * history.history["loss"][0]


@pytest.mark.parametrize("steps", [1, 3])
def test_options_of_fit(steps):
    model, x, y = compiled("mlp", steps_per_execution=steps)
    model.fit(
        x,
        y,
        batch_size=16,
        validation_split=0.2,
        class_weight={0: 1.0, 1: 2.0, 2: 0.5},
        verbose=0,
    )
    logs = model.evaluate(x, y, sample_weight=np.ones(70), return_dict=True, verbose=0)
    assert set(logs) == {"loss", "accuracy"}

    def batches():
        for i in range(0, 64, 16):
            yield x[i : i + 16], y[i : i + 16]

    model.fit(batches(), verbose=0)


def test_save_and_load(tmp_path):
    model, x, y = compiled("convnet")
    model.fit(x, y, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    model.save_weights(tmp_path / "model.weights.h5")
    fresh, _, _ = compiled("convnet")
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(fresh.predict(x, verbose=0), model.predict(x, verbose=0))


@keras.saving.register_keras_serializable("test_training")
class Unbuilt(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def test_a_model_built_by_fit_loads_with_its_weights(tmp_path):
    model = Unbuilt()
    model.compile("adam", "mse")
    x = np.ones((8, 4), "float32")
    model.fit(x, np.zeros((8, 3)), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_threads_predict_the_same_bits():
    from concurrent.futures import ThreadPoolExecutor

    model, x, _ = compiled("transformer")
    expected = model.predict_on_batch(x)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: model.predict_on_batch(x), range(32)):
            np.testing.assert_array_equal(result, expected)


def test_same_bits_at_every_thread_count():
    from keras_native import _core

    threads = _core.threads()
    results = []
    try:
        for count in (1, 2, 3, 7, 16):
            _core.set_threads(count)
            model, _, _ = compiled("convnet")
            rng = np.random.default_rng(5)
            x = rng.standard_normal((40, 8, 8, 1)).astype("float32")
            model.fit(x, rng.integers(0, 3, 40), epochs=2, shuffle=False, verbose=0)
            results.append(model.get_weights())
    finally:
        _core.set_threads(threads)
    for weights in results[1:]:
        for a, b in zip(weights, results[0]):
            np.testing.assert_array_equal(a, b)


def test_ten_thousand_predictions_of_many_sizes_leave_memory_flat():
    import resource

    def kib():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() // 1024

    model, x, _ = compiled("mlp")
    sizes = RNG.integers(1, 70, 10_000)
    for n in sizes[:500]:
        model.predict_on_batch(x[:n])
    before = kib()
    for n in sizes[500:]:
        model.predict_on_batch(x[:n])
    assert kib() - before < 2 * 1024


def test_fork_after_use():
    model, x, _ = compiled("mlp")
    expected = model.predict_on_batch(x)
    pid = os.fork()
    if pid == 0:
        same = np.array_equal(model.predict_on_batch(x), expected)
        os._exit(0 if same else 1)
    assert os.waitpid(pid, 0)[1] == 0


FORKING = """
import itertools, os, sys, threading
import numpy as np
import keras_native
from keras import ops

compiled = keras_native.jit(lambda x: ops.tanh(x) + ops.sum(x))
stop = False

def compute(first):
    for size in itertools.count(first, 2):  # new sizes: kernels and plans are made all the time
        if stop:
            return
        x = np.ones((1 + size % 977, 3), "float32")
        ops.conv(ops.ones((1, 9, size % 4099 + 3, 2)), ops.ones((3, 3, 2, 2)))  # long to prepare
        compiled(x)

threads = [threading.Thread(target=compute, args=(i,), daemon=True) for i in range(2)]
for thread in threads:
    thread.start()
for i in range(60):
    pid = os.fork()
    if pid == 0:
        result = compiled(np.ones((2000 + i, 3), "float32"))
        total = float(ops.sum(ops.ones((3000 + i,))))
        os._exit(0 if result.shape == (2000 + i, 3) and total == 3000 + i else 1)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("a child failed")
stop = True
for thread in threads:
    thread.join()
"""


def test_fork_while_other_threads_compute(tmp_path):
    """No lock of ours is left closed in the child."""
    env = {**os.environ, "KERAS_BACKEND": "native"}
    subprocess.run([sys.executable, "-c", FORKING], env=env, cwd=tmp_path, check=True, timeout=120)


def test_all_ways_to_predict_run_one_compiled_step():
    """Two would keep two sets of prepared weights."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    x = np.arange(12, dtype="float32").reshape(4, 3)
    expected = model.predict_on_batch(x)
    for got in (
        model.predict(x, verbose=0),
        model.predict(x, verbose=0, callbacks=[keras.callbacks.Callback()]),
        model.predict(np.concatenate([x, x]), 4, verbose=0)[:4],
    ):
        np.testing.assert_array_equal(got, expected)
    assert model.predict_function.step.traces == 1


def test_a_predict_step_of_ones_own_gets_what_keras_gives_it():
    seen = []

    class Own(keras.Model):
        def predict_step(self, data):
            seen.append(type(data) is tuple)
            return (data[0] if seen[-1] else data) + 1

    model, x = Own(), np.zeros((2, 3), "float32")
    for got in (model.predict_on_batch(x), model.predict(x, verbose=0)):
        np.testing.assert_array_equal(got, x + 1)
    assert seen == [True, False]
