"""Arrays of the GPU exchanged with other libraries (CuPy, PyTorch, JAX) without the host between.

What leaves is the tensor's own memory, marked read-only, because tensors never change; where a
consumer cannot be told so it gets a copy. What comes in is copied on the device, for the same
reason. The emulator's addresses mean nothing to other libraries: there all goes by the host.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from keras_native import _core
from keras_native.engine import device
from keras_native.engine.tensor import Tensor

CPU_TYPE, CUDA_TYPE = 1, 2
# DLPack's code of each kind of dtype.
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}
_BFLOAT = 4


def shares_memory(tensor: Tensor) -> bool:
    """Whether other libraries can use the tensor's memory: it is on a GPU that is not emulated."""
    if tensor.array is None or tensor.array.device == device.CPU:
        return False
    from keras_native import _cuda

    return not _cuda.device()["emulated"]


def dlpack_device(tensor: Tensor) -> tuple[int, int]:
    """The tensor's device as DLPack names it."""
    return (CUDA_TYPE if shares_memory(tensor) else CPU_TYPE, 0)


def to_dlpack(tensor: Tensor, *, stream=None, max_version=None, dl_device=None, copy=None):
    """A DLPack capsule of a tensor on the GPU.

    Args:
        stream: the consumer's stream, which waits for the tensor; None or 1 for the default one,
            -1 for no waiting.
        max_version: from (1, 0) on the capsule says that it is read-only; without, it is a copy.

    Raises:
        BufferError: another device, or no copy, was asked for and cannot be had.
    """
    from keras_native import _cuda

    if dl_device not in (None, (CUDA_TYPE, 0)):
        raise BufferError(f"a tensor of gpu:0 cannot be exported to the device {dl_device}")
    versioned = max_version is not None and tuple(max_version) >= (1, 0)
    copied = bool(copy) or not versioned
    if copied and copy is False:
        raise BufferError("without a copy only consumers of DLPack 1.0 can have a tensor")
    array = tensor.array
    if copied:
        array = _core.Array.copy_of(array.address, array.dtype, array.shape, device.GPU)
    if stream != -1:
        _cuda.follow(_cuda.stream_handle(), stream or 1)
    code, bits = _dlpack_type(array.dtype)
    return _cuda.to_dlpack(array.address, list(array.shape), code, bits, array, versioned, copied)


def cuda_array_interface(tensor: Tensor) -> dict:
    """What CuPy, Numba and PyTorch read of an object whose memory is on a GPU.

    Raises:
        AttributeError: the tensor is elsewhere, or of a dtype that NumPy has no name for.
    """
    if not shares_memory(tensor) or tensor.dtype == "bfloat16" or "float8" in tensor.dtype:
        raise AttributeError(
            f"a {tensor.dtype} tensor of {tensor.array.device if tensor.array else 'a trace'} has "
            "no __cuda_array_interface__"
        )
    from keras_native import _cuda

    return {
        "shape": tuple(tensor.dims),
        "typestr": np.dtype(tensor.dtype).str,
        "data": (tensor.array.address, True),
        "strides": None,
        "stream": _cuda.stream_handle(),
        "version": 3,
    }


def from_gpu(x) -> Tensor | None:
    """A tensor on gpu:0 with the elements of another library's array there; None for all else.

    Raises:
        ValueError: its elements do not lie one after another.
    """
    interface = getattr(x, "__cuda_array_interface__", None)
    if interface is not None:
        return _from_interface(x, interface)
    if not hasattr(x, "__dlpack__") or x.__dlpack_device__()[0] != CUDA_TYPE:
        return None
    device.find(device.GPU)
    from keras_native import _cuda

    capsule = x.__dlpack__(stream=_cuda.stream_handle())
    found = _cuda.describe_dlpack(capsule)
    dtype = _dtype_of(found["code"], found["bits"], found["lanes"])
    return _copied(found["address"], dtype, found["shape"], found["strides"])


def _from_interface(x, interface: dict) -> Tensor:
    device.find(device.GPU)
    from keras_native import _cuda

    dtype = np.dtype(interface["typestr"])
    strides = interface.get("strides")
    if strides is not None:
        strides = [stride // dtype.itemsize for stride in strides]
    if interface.get("stream") is not None:
        _cuda.follow(interface["stream"], _cuda.stream_handle())
    return _copied(interface["data"][0], dtype.name, interface["shape"], strides)


def _copied(address: int, dtype: str, shape, strides) -> Tensor:
    from keras_native import _cuda

    shape = tuple(shape)
    if strides is not None and math.prod(shape) > 1:
        packed = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
        if any(s != p for s, p, n in zip(strides, packed, shape) if n != 1):
            raise ValueError(
                f"an array {dtype}{shape} with strides {tuple(strides)} cannot be taken from the "
                "GPU: make it contiguous first (cupy.ascontiguousarray, torch's contiguous())"
            )
    array = _core.Array.copy_of(address, dtype, shape, device.GPU)
    _cuda.synchronize()  # its owner may write to it from now on
    return Tensor(array)


def _dlpack_type(dtype: str) -> tuple[int, int]:
    if dtype == "bfloat16":
        return _BFLOAT, 16
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    if kind.kind not in _CODES or dtype.startswith("float8"):
        raise BufferError(f"DLPack has no {dtype}")
    return _CODES[kind.kind], 8 * kind.itemsize


def _dtype_of(code: int, bits: int, lanes: int) -> str:
    if (code, bits, lanes) == (_BFLOAT, 16, 1):
        return "bfloat16"
    kinds = {number: kind for kind, number in _CODES.items()}
    if code not in kinds or lanes != 1 or bits % 8:
        raise ValueError(f"DLPack's type {code} of {bits} bits and {lanes} lanes is not supported")
    return np.dtype(f"{kinds[code]}{bits // 8}").name
