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
