"""The GPU part, on its emulator; with NATIVE_TEST_GPU=1 on the GPU of this machine.

There, tests marked `emulator` are left out, and the others end where they ask what was counted.
"""

import os
import sys

import numpy as np
import pytest

ON_GPU = bool(os.environ.get("NATIVE_TEST_GPU"))
# CuPy is tested by itself; the others are about kernels of ours.
if ON_GPU:
    os.environ.setdefault("NATIVE_CUPY", "0")
DRIVER = "libcuda.so.1" if ON_GPU else "emulator"


def pytest_configure(config):
    config.addinivalue_line("markers", "emulator: is about what the emulator alone says")


def pytest_collection_modifyitems(items):
    if ON_GPU:
        skip = pytest.mark.skip(reason="is about what the emulator alone says")
        for item in items:
            if item.get_closest_marker("emulator"):
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def quiet():
    """Infinities and NaN are wanted here."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(autouse=True)
def cuda(monkeypatch):
    """The module `_cuda` over the emulator, without findings of earlier tests, or over a GPU."""
    monkeypatch.setenv("NATIVE_CUDA_DRIVER", DRIVER)
    from keras_native import _cuda

    assert _cuda.device()["emulated"] != ON_GPU
    if ON_GPU:
        for name in ("counts", "calls"):
            monkeypatch.setattr(_cuda, name, nothing_counted)
    _cuda.clear_reports()
    yield _cuda
    _cuda.set_options()
    _cuda.clear_reports()
    if ON_GPU:
        leave_a_lost_context(_cuda)


@pytest.fixture
def kept(cuda):
    """Memory is reused as on a GPU, so that addresses come again."""
    cuda.keep_blocks(True)
    yield
    cuda.keep_blocks(not cuda.device()["emulated"])


@pytest.fixture
def h100(cuda):
    """The emulated GPU is an H100 for this test; a GPU must be of its capability."""
    if cuda.device()["emulated"]:
        cuda.emulate("H100")
    elif cuda.device()["capability"] != 90:
        pytest.skip("needs a GPU of capability 9.0")
    yield cuda
    if cuda.device()["emulated"]:
        cuda.emulate(None)


def nothing_counted(*_):
    """In place of the emulator's counts."""
    pytest.skip("right so far; a GPU does not count")


def leave_a_lost_context(_cuda):
    """After a fault of a kernel nothing else works in this process: pytest-xdist starts another."""
    try:
        _cuda.synchronize()
    except RuntimeError as error:
        if "PYTEST_XDIST_WORKER" not in os.environ:
            pytest.exit(f"the GPU is lost for this process: {error}", returncode=3)
        print(os.environ.get("PYTEST_CURRENT_TEST"), error, file=sys.__stderr__, flush=True)
        os._exit(3)
