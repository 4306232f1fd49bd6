"""The GPU part, on its emulator."""

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def quiet():
    """Infinities and NaN are wanted here."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(autouse=True)
def cuda(monkeypatch):
    """The module `_cuda` over the emulator, without findings of earlier tests."""
    monkeypatch.setenv("NATIVE_CUDA_DRIVER", "emulator")
    from keras_native import _cuda

    assert _cuda.device()["emulated"]
    _cuda.clear_reports()
    yield _cuda
    _cuda.set_options()
    _cuda.clear_reports()
