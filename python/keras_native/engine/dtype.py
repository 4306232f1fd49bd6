"""Dtypes by Keras's names, their NumPy counterparts and the promotion table."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from keras_native import _core

# In the order of csrc/core/dtype.h.
NAMES = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64 "
    "complex64 complex128 float8_e4m3fn float8_e5m2"
).split()

_EXTENSION = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}
NUMPY = {name: np.dtype(_EXTENSION.get(name, name)) for name in NAMES}
_BY_NUMPY = {dtype: name for name, dtype in NUMPY.items()}
_core.set_numpy_dtypes([NUMPY[name] for name in NAMES])

FLOATS = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
COMPLEX = ("complex64", "complex128")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED


def from_numpy(dtype: np.dtype) -> str:
    """Keras's name of a NumPy dtype.

    Raises:
        TypeError: the dtype has no counterpart (objects, strings, dates).
    """
    try:
        return _BY_NUMPY[np.dtype(dtype)]
    except KeyError:
        raise TypeError(f"no tensor dtype for NumPy's {np.dtype(dtype)}") from None


def is_float(dtype: str) -> bool:
    """Real floating point, float8 included."""
    return dtype in FLOATS


def is_differentiable(dtype: str) -> bool:
    """Floating point or complex: only such tensors have cotangents."""
    return dtype in FLOATS or dtype in COMPLEX
