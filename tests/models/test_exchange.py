"""Files that other backends saved are read here, and ours there: the same predictions, the same
optimiser, the same next steps of training."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import exchange
import numpy as np
import pytest

BACKENDS = {"numpy": "numpy", "jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}


@pytest.fixture(scope="module", params=BACKENDS)
def folder(request, tmp_path_factory):
    """A folder with files of both sides, read by both sides."""
    if importlib.util.find_spec(BACKENDS[request.param]) is None:
        pytest.skip(f"{request.param} is not installed")
    root = tmp_path_factory.mktemp(request.param)
    exchange.save(root / "native")
    done = subprocess.run(
        [sys.executable, Path(exchange.__file__), root],
        env=dict(os.environ, KERAS_BACKEND=request.param, TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    exchange.load(root / "other")
    return root


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", exchange.MODELS)
@pytest.mark.parametrize("saved_by", ["native", "other"])
def test_the_reader_sees_what_the_writer_saw(folder, saved_by, name, suffix):
    with (
        np.load(folder / saved_by / f"{name}.saved.npz") as expected,
        np.load(folder / saved_by / f"{name}.{suffix}.npz") as found,
    ):
        # Keras's own NumPy backend does not train.
        common = set(expected) & set(found)
        assert set(expected) ^ set(found) <= {"losses"} and common
        for key in common:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-5, err_msg=key)


def test_files_leave_the_choice_of_compilation_to_the_reader(tmp_path):
    model = exchange.compiled()
    model.save(tmp_path / "model.keras")
    assert model.get_compile_config()["jit_compile"] == "auto"
    assert exchange.keras.saving.load_model(tmp_path / "model.keras")._mode() == "auto"
    model.compile("sgd", "mse", jit_compile=True)
    assert model.get_compile_config()["jit_compile"] is True


def test_optimisers_of_the_torch_backend_are_kerass_own_here():
    model = exchange.compiled()
    config = model.get_compile_config()
    config["optimizer"]["module"] = "keras.src.backend.torch.optimizers.torch_adam"
    config["optimizer"]["registered_name"] = "Adam"
    model.compile_from_config(config)
    assert type(model.optimizer) is exchange.keras.optimizers.Adam
    assert model.optimizer.amsgrad and model.optimizer.clipnorm == 1.0
