"""Where new tensors lie and compiled code runs: the CPU, or the GPU that the module `_cuda` brings.

The GPU is opt-in (`NATIVE_DEVICE=gpu`, or `scope("gpu:0")`) and experimental: its kernels are
tested on an emulator, and have run on one kind of GPU (H100).
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings

from keras_native import _core

CPU = "cpu:0"
GPU = "gpu:0"


class _State(threading.local):
    """The device of this thread."""

    def __init__(self):
        self.name = find(os.environ.get("NATIVE_DEVICE") or CPU)


def find(name: str) -> str:
    """The full name of a device, "cpu:0" or "gpu:0"; opens the GPU when it is first asked for.

    Raises:
        ValueError: it is the name of no device.
        RuntimeError: there is no GPU, no driver, or no GPU part in this installation.
    """
    name = name.lower() if isinstance(name, str) else name
    if name not in ("cpu", CPU, "gpu", GPU):
        raise ValueError(
            "Invalid value for argument `device_name`: expected 'cpu', 'cpu:0', 'gpu' or 'gpu:0'. "
            f"Received: device_name='{name}'"
        )
    if name in ("cpu", CPU):
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
