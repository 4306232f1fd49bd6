"""Each layer of Keras trains a step and predicts without leaving the kernels."""

import keras
import layer_table
import numpy as np
import pytest

# Transforms are NumPy's: what goes to it, by layer.
FOURIER = {"MelSpectrogram": {"rfft", "real", "imag"}, "STFTSpectrogram": {"rfft", "real", "imag"}}
CASES = [pytest.param(family, id=family.__name__) for family in layer_table.FAMILIES]


def on_host(function, data) -> list[str]:
    step, arrays, sizes = function.step.compiled(data)
    return [op for op, kernel in step.executed(arrays, sizes) if kernel == "host"]


def problems(label, x, parts) -> list[str]:
    """What is wrong with a training step and a prediction."""
    keras.utils.set_random_seed(0)
    model = layer_table.build(x, *parts)
    y = np.zeros(len(x), "float32")
    model.compile("adam", lambda y, out: keras.ops.mean(keras.ops.square(out)), jit_compile=True)
    before = [np.array(w) for w in model.trainable_variables]
    found = [] if np.isfinite(model.train_on_batch(x, y)) else [f"{label}: the loss is not finite"]
    if not any((np.array(w) != b).any() for w, b in zip(model.trainable_variables, before)):
        found.append(f"{label}: nothing was trained")
    model.predict_on_batch(x)
    allowed = FOURIER.get(label.split()[0], set())
    for name, host in (
        ("train", on_host(model.train_function, (x, y, None))),
        ("predict", on_host(model.predict_function, (x,))),
    ):
        if set(host) - allowed:
            found.append(f"{label}: {name} goes to the host for {host}")
    return found


@pytest.mark.parametrize("family", CASES)
def test_layers_run_on_kernels_alone(family):
    made = family()
    found = [
        problem for label, (x, *parts) in made.items() for problem in problems(label, x, parts)
    ]
    assert found == []


def test_every_layer_of_keras_is_in_the_table():
    made = {label.split()[0] for family in layer_table.FAMILIES for label in family()}
    assert not made & set(layer_table.ELSEWHERE)
    assert layer_table.names() == made | set(layer_table.ELSEWHERE)


def test_host_work_is_seen():
    """A layer that computes with NumPy is found: the tests above can fail."""

    class Inverse(keras.layers.Layer):
        def call(self, x):
            return keras.ops.linalg.inv(x + keras.ops.eye(6))

    found = problems("Inverse", layer_table.SEQUENCE[:, :6], [keras.layers.Dense(6), Inverse()])
    assert len(found) == 2 and all("'inv'" in problem for problem in found)
