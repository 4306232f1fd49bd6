"""Where new tensors lie and compiled code runs: the CPU, or the GPU that the module `_cuda` brings.

The GPU is opt-in (`NATIVE_DEVICE=gpu`, or `scope("gpu:0")`) and experimental: its kernels are
tested on an emulator, and have run on two GPUs (H100, H200).
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings

from keras_native import _core

CPU = "cpu:0"
GPU = "gpu:0"
TEST = "test:0"  # of this project's tests: `_core.register_test_device`


class _State(threading.local):
    """The device of this thread."""

    def __init__(self):
        name = os.environ.get("NATIVE_DEVICE") or CPU
        self.name = find(name, "NATIVE_DEVICE")


def find(name: str, given: str = "device_name") -> str:
    """The full name of a device, "cpu:0" or "gpu:0"; opens the GPU when it is first asked for.

    Args:
        given: the argument or environment variable that the name is a value of.

    Raises:
        ValueError: it is the name of no device.
        RuntimeError: there is no GPU, no driver, or no GPU part in this installation.
    """
    lower = name.lower() if isinstance(name, str) else name
    if lower not in ("cpu", CPU, "gpu", GPU):
        raise ValueError(
            f"Invalid value for `{given}`: expected 'cpu', 'cpu:0', 'gpu' or 'gpu:0' (of several "
            f"GPUs the first that CUDA_VISIBLE_DEVICES names). Received: {given}='{name}'"
        )
    if lower in ("cpu", CPU):
        return CPU
    _open_gpu()
    return GPU


def _open_gpu() -> None:
    try:
        from keras_native import _cuda
    except ImportError as error:
        raise RuntimeError(
            "this installation has no GPU part: install keras-native-cuda13 (`pip install "
            "./cuda` in the project's sources, where nvcc is), or use the CPU (NATIVE_DEVICE=cpu). "
            f"The loader says: {error}"
        ) from error
    first = not _core.kernels("cuda")
    _cuda.attach(_core.companion)
    if first and not _cuda.device()["emulated"]:
        # Here, because it needs the primitives, which need this module.
        from keras_native.engine import long_tail

        long_tail.open_cupy()


STATE = _State()


@contextlib.contextmanager
def scope(name: str):
    """Within it, this thread's new tensors are on that device and compiled code runs there."""
    saved = STATE.name
    STATE.name = find(name)
    try:
        yield
    finally:
        STATE.name = saved


def place(array, beside=()):
    """The `_core.Array` on the current device, or on the GPU if one of the arrays `beside` is
    there; itself if it is there already."""
    if STATE.name == CPU and all(other.device == CPU for other in beside):
        return array
    return array.to(GPU)


_said: set[str] = set()


def say_what_went_through_host() -> None:
    """Warns, once for each primitive, of kernels that a device borrowed from the CPU."""
    new = sorted(set(_core.runs_through_host()) - _said)
    if new:
        _said.update(new)
        warnings.warn(
            f"{GPU} has no kernels for these problems of {', '.join(new)}: they run on the CPU, "
            "their operands copied there and back (on a GPU, CuPy does some of them if installed).",
            stacklevel=4,
        )
