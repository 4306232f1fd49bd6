"""What gathers and scatters share: checks of their operands, and indices as NumPy takes them."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import signature
from keras_native.engine.primitives.shape import same


def check_indices(op, x, indices):
    """TypeError unless the indices are int32 or int64."""
    if indices.dtype not in ("int32", "int64"):
        raise TypeError(f"{op}: indices must be int32 or int64: {signature([x, indices])}")


def check_axis(op, x, axis, count):
    """ValueError if `count` elements are taken along an axis that has none."""
    size = x.dims[axis]
    if type(size) is int and size == 0 and not (type(count) is int and count == 0):
        raise ValueError(f"{op}: axis {axis} of {signature([x])} is empty")


def check_updates(op, x, updates, dims):
    """TypeError or ValueError unless the updates have the dtype of x and the shape `dims`."""
    if x.dtype != updates.dtype:
        raise TypeError(f"{op}: dtypes of operand and updates differ: {signature([x, updates])}")
    if len(dims) != updates.ndim or not all(same(a, b) for a, b in zip(dims, updates.dims)):
        raise ValueError(
            f"{op}: updates should have shape {tuple(dims)}: {signature([x, updates])}"
        )


def wrap(indices, size):
    """Indices with negatives counted from the end and the rest clipped."""
    indices = indices.astype(np.int64)
    return np.clip(np.where(indices < 0, indices + size, indices), 0, max(size - 1, 0))


def accumulator(x):
    """A copy of x to add to: of small floats in float32."""
    narrow = dtypes.from_numpy(x.dtype) in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
    return np.array(x, dtype=np.float32 if narrow else x.dtype)
