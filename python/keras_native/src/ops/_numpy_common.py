"""What the families of NumPy functions share: operands, dtypes and axes."""

from __future__ import annotations

import operator

import numpy as np
from keras.src.backend import config

from keras_native.engine import dtype as dtypes
from keras_native.engine import operators, promotion
from keras_native.engine.errors import TraceError
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.ops.convert import convert_to_tensor

promotion.floatx = config.floatx

__all__ = [
    "accumulator_dtype",
    "as_bool",
    "as_float",
    "as_index",
    "axes_of",
    "axis_of",
    "constant",
    "floatx",
    "host",
    "is_inexact",
    "last",
    "operands",
    "operators",
    "result_type",
    "tensor",
    "tensors",
    "unsupported_under_trace",
    "wide",
]

floatx = config.floatx
result_type = promotion.result_type
_INEXACT = frozenset(dtypes.FLOATS + dtypes.COMPLEX)
_ACCUMULATE = {
    "bool": "int32",
    "int8": "int32",
    "int16": "int32",
    "uint8": "uint32",
    "uint16": "uint32",
}


def tensor(x) -> Tensor:
    """`x` as a tensor."""
    return x if type(x) is Tensor else convert_to_tensor(x)


def _operand(x):
    if type(x) is Tensor or type(x) in (bool, int, float) or promotion.is_symbolic_size(x):
        return x
    return convert_to_tensor(x)


def operands(x1, x2, prepare=promotion.pair) -> tuple:
    """Two operands of one dtype; at most one stays a Python number that takes it.

    Args:
        prepare: how they are promoted: `operators.inexact_pair` makes floats of integers.
    """
    if type(x1) is not Tensor or type(x2) is not Tensor:
        x1, x2 = _operand(x1), _operand(x2)
    return prepare(x1, x2)


def tensors(*xs, dtype: str | None = None) -> list[Tensor]:
    """Any number of operands as tensors of their common dtype (or of `dtype`); numbers are weak."""
    if not xs:
        raise ValueError("expected at least one tensor, got none")
    xs = [_operand(x) for x in xs]
    if dtype is None:
        dtype = result_type(*map(promotion.kind, xs))
    return [promotion.as_dtype(x, dtype) for x in xs]


def is_inexact(dtype: str) -> bool:
    """Floating point or complex."""
    return dtype in _INEXACT


def as_float(x) -> Tensor:
    """`x` as a tensor; integers and booleans become floatx."""
    x = tensor(x)
    return x if x.dtype in _INEXACT else ew.cast(x, floatx())


def as_bool(x) -> Tensor:
    """`x` as a tensor of truth values."""
    x = tensor(x)
    return x if x.dtype == "bool" else ew.cast(x, "bool")


def as_index(x) -> Tensor:
    """`x` as a tensor of a dtype that indexes: int32 or int64."""
    x = tensor(x)
    if x.dtype in ("int32", "int64"):
        return x
    return ew.cast(x, "int64" if x.dtype in ("uint32", "uint64") else "int32")


def wide(x: Tensor) -> Tensor:
    """16-bit floats as float32, for compositions that would lose too much in between."""
    return ew.cast(x, "float32") if x.dtype in ("float16", "bfloat16") else x


def accumulator_dtype(dtype: str) -> str:
    """The dtype in which sums and products of `dtype` come out."""
    return _ACCUMULATE.get(dtype, dtype)


def constant(array, dtype: str | None = None) -> Tensor:
    """A tensor of values known now, from NumPy."""
    array = np.asarray(array)
    return from_numpy(array if dtype is None else array.astype(dtypes.NUMPY[dtype]))


def axis_of(axis: int, ndim: int) -> int:
    """A non-negative axis.

    Raises:
        ValueError: out of range.
    """
    axis = operator.index(axis)
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} is out of range for a tensor of {ndim} axes")
    return axis % ndim


def axes_of(axis, ndim: int) -> tuple[int, ...]:
    """Axes as a sorted tuple; None is all of them.

    Raises:
        ValueError: out of range or repeated.
    """
    if axis is None:
        return tuple(range(ndim))
    if isinstance(axis, (tuple, list)):
        axes = sorted(axis_of(a, ndim) for a in axis)
        if len(set(axes)) != len(axes):
            raise ValueError(f"an axis is repeated in {tuple(axis)}")
        return tuple(axes)
    return (axis_of(axis, ndim),)


def last(x: Tensor, axis: int | None) -> tuple[Tensor, int]:
    """`x` and its axis, or `x` flattened and 0 where the axis is None."""
    if axis is None:
        return sh.reshape(x, (x.size,)), 0
    return x, axis_of(axis, x.ndim)


def host(x) -> np.ndarray:
    """Values on the host, read-only."""
    return tensor(x).numpy()


def unsupported_under_trace(name: str) -> None:
    """Raises TraceError where a trace is on: the result's shape depends on values."""
    if STATE.trace is not None:
        raise TraceError(
            f"{name}: the shape of its result depends on the values of its input, which are not "
            "known in a compiled function; call it eagerly (run_eagerly=True)"
        )
