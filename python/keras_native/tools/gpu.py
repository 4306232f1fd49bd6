"""Opens gpu:0 for a tool: the GPU, or the emulator where there is none."""

from __future__ import annotations

import os

EMULATED = (
    "gpu:0 is an EMULATED {name}: no GPU is used. The compiled kernels run on the CPU, about a "
    "million times slower, and every access is checked."
)


def open_gpu() -> dict:
    """What `_cuda.device()` says; prints what gpu:0 is, and why, if it is the emulator.

    Raises:
        RuntimeError: there is no GPU part, or it has no kernels, or the GPU that the environment
            asks for cannot be opened.
    """
    try:
        from keras_native import _cuda
    except ImportError as error:
        raise RuntimeError(
            "this installation has no GPU part: install keras-native-cuda13 (`pip install "
            "./cuda` in the project's sources, where nvcc is)"
        ) from error
    if not _cuda.images():
        raise RuntimeError("the GPU part of this build has no kernels: it was made without nvcc")
    try:
        found = _cuda.device()
    except RuntimeError as error:
        if "NATIVE_CUDA_DRIVER" in os.environ:
            raise
        print(f"No GPU can be used: {error}\n")
        os.environ["NATIVE_CUDA_DRIVER"] = "emulator"
        found = _cuda.device()
    if found["emulated"]:
        print(EMULATED.format(name=found["name"].removeprefix("emulated ")))
    else:
        print(f"gpu:0 is {found['name']}; the GPU part is experimental.")
    return found
