"""CuPy, where it is installed: it shares the device's memory and stream, and computes what no
kernel of the GPU takes, so that this need not go by way of the host.

The tests have a stand-in for CuPy; with CuPy itself they run on a GPU (NATIVE_TEST_GPU=1).
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os

import numpy as np

from keras_native import _core
from keras_native.engine.primitive import REGISTRY

RUNS: dict[str, int] = {}  # primitive -> how often CuPy computed it
_REFUSED: set[str] = set()  # primitives whose reference CuPy cannot run
_CUPY = None


def open_cupy() -> bool:
    """Uses CuPy if it is installed and NATIVE_CUPY is not 0; whether it is used."""
    if os.environ.get("NATIVE_CUPY") == "0" or importlib.util.find_spec("cupy") is None:
        return False
    use(importlib.import_module("cupy"))
    return True


def use(cupy) -> None:
    """Gives CuPy this backend's memory and stream, and the long tail to CuPy; None ends that."""
    global _CUPY
    _CUPY = cupy
    _REFUSED.clear()
    _core.set_long_tail(None if cupy is None else compute)
    if cupy is None:
        return
    from keras_native import _cuda

    def allocate(size: int):
        block = _cuda.DeviceArray(size)
        memory = cupy.cuda.UnownedMemory(block.address, size, block)
        return cupy.cuda.MemoryPointer(memory, 0)

    cupy.cuda.set_allocator(allocate)
    cupy.cuda.ExternalStream(_cuda.stream_handle()).use()


def compute(op: str, inputs: list[tuple], outputs: list[tuple], attrs: dict) -> bool:
    """Runs a primitive's reference, which is written with NumPy's functions, on CuPy's arrays.

    Args:
        inputs, outputs: (address, dtype, dims) of each operand on the device.

    Returns:
        False if it cannot: then nothing was written.
    """
    primitive = REGISTRY.get(op)
    if op in _REFUSED or primitive is None or primitive.reference is None:
        return False
    try:
        results = primitive.reference(*map(_view, inputs), **attrs)
        results = results if isinstance(results, tuple) else (results,)
        views = [_view(out) for out in outputs]
        if len(results) != len(views):
            raise TypeError(f"{len(results)} results, {len(views)} expected")
        for result, view in zip(results, views):
            if not isinstance(result, _CUPY.ndarray) or result.shape != view.shape:
                raise TypeError("a result is not CuPy's, or of another shape")
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        # NumPy's function has no counterpart there: from now on by way of the host.
        _REFUSED.add(op)
        return False
    for result, view in zip(results, views):
        view[...] = result
    RUNS[op] = RUNS.get(op, 0) + 1
    return True


def _view(operand: tuple):
    address, name, dims = operand
    dtype = np.dtype(name)
    if dtype.kind not in "biufc":
        raise TypeError(f"CuPy has no {name}")
    size = math.prod(dims) * dtype.itemsize
    memory = _CUPY.cuda.UnownedMemory(address, size, None)
    return _CUPY.ndarray(tuple(dims), dtype, _CUPY.cuda.MemoryPointer(memory, 0))
