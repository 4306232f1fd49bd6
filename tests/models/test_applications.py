"""Architectures of keras.applications build, predict as on another backend, and train without
leaving the kernels. The small ones; all with NATIVE_TEST_ALL=1, in about ten minutes,
most of it the peer's compilation:

    NATIVE_TEST_ALL=1 python -m pytest tests/models/test_applications.py
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import applications
import keras
import numpy as np
import pytest

ALL = bool(os.environ.get("NATIVE_TEST_ALL"))
TRAINED = applications.NAMES if ALL else ["MobileNet", "MobileNetV2", "EfficientNetB0"]
COMPARED = applications.COMPARED if ALL else ["MobileNet", "MobileNetV2"]
PEER = next((p for p in ("jax", "torch") if importlib.util.find_spec(p)), None)


def test_every_architecture_of_keras_is_in_the_table():
    found = {
        name
        for name, value in vars(keras.applications).items()
        if callable(value) and name[0].isupper()
    }
    assert found == set(applications.NAMES)


@pytest.mark.parametrize("name", TRAINED)
def test_trains_a_step_on_kernels_alone(name):
    keras.utils.set_random_seed(0)
    model = applications.build(name)
    x, y = applications.pictures(model), np.arange(applications.BATCH)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=True)
    assert model.predict_on_batch(x).shape == (applications.BATCH, applications.CLASSES)
    # Norms, so that nothing of the size of the largest model is kept.
    before = [np.linalg.norm(w) for w in model.trainable_variables]
    assert np.isfinite(model.train_on_batch(x, y))
    after = [np.linalg.norm(w) for w in model.trainable_variables]
    assert np.isfinite(after).all()
    changed = sum(a != b for a, b in zip(after, before))
    assert changed > 0.5 * len(after)
    step, arrays, sizes = model.train_function.step.compiled((x, y, None))
    executed = step.executed(arrays, sizes)
    assert len(executed) > 2 * len(model.trainable_variables)
    assert [op for op, kernel in executed if kernel == "host"] == []


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """name -> (our predictions, a peer's) with the same weights."""
    if PEER is None:
        pytest.skip("neither jax nor torch is installed (extra `parity`)")
    folder = tmp_path_factory.mktemp("applications")
    ours = {}
    for name in COMPARED:
        model = applications.build(name, applications.MARGIN)
        applications.scatter(model)
        model.save_weights(folder / f"{name}.weights.h5")
        ours[name] = model.predict_on_batch(applications.pictures(model))
    done = subprocess.run(
        [sys.executable, Path(applications.__file__), folder, *COMPARED],
        env=dict(os.environ, KERAS_BACKEND=PEER, TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: (ours[name], np.load(folder / f"{name}.npy")) for name in COMPARED}


@pytest.mark.parametrize("name", COMPARED)
def test_predicts_what_a_peer_predicts(outputs, name):
    ours, theirs = outputs[name]
    size = np.abs(theirs).max()
    # Pictures that differ give outputs that differ, or there is nothing to compare.
    assert np.abs(theirs[0] - theirs[1]).max() > 0.01 * size > 0
    assert np.abs(ours - theirs).max() <= 1e-4 * size
