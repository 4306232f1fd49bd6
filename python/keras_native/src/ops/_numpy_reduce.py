"""Reductions and running sums of keras.ops, with and without NaN."""

from __future__ import annotations

import math

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor
from keras_native.src.ops._numpy_common import (
    accumulator_dtype,
    as_float,
    axes_of,
    axis_of,
    floatx,
    is_inexact,
    last,
    result_type,
    tensor,
    tensors,
    wide,
)


def _axes(axis):
    return tuple(axis) if isinstance(axis, list) else axis


def sum(x, axis=None, keepdims=False):
    """The sum along axes; booleans and integers below 32 bits add up in 32."""
    x = tensor(x)
    dtype = accumulator_dtype(x.dtype)
    return rd.reduce_sum(x if dtype == x.dtype else ew.cast(x, dtype), _axes(axis), keepdims)


def prod(x, axis=None, keepdims=False, dtype=None):
    """The product along axes, in `dtype`; booleans and small integers multiply in 32 bits."""
    x = tensor(x)
    dtype = accumulator_dtype(x.dtype) if dtype is None else dtypes.standardize(dtype, floatx())
    return rd.reduce_prod(ew.cast(x, dtype), _axes(axis), keepdims)


def mean(x, axis=None, keepdims=False):
    """The arithmetic mean along axes; integers as float32."""
    x = tensor(x)
    if not is_inexact(x.dtype):
        x = ew.cast(x, result_type(x.dtype, "float32"))
    return rd.reduce_mean(x, _axes(axis), keepdims)


def average(x, axis=None, weights=None):
    """The mean along axes, weighted.

    Args:
        weights: of the shape of x, or a vector along one axis.

    Raises:
        ValueError: weights that do not fit.
    """
    x = tensor(x)
    if weights is None:
        return mean(as_float(x), axis)
    weights = tensor(weights)
    x, weights = tensors(x, weights, dtype=result_type(x.dtype, weights.dtype, float))
    if weights.ndim != x.ndim:
        if axis is None or weights.ndim != 1 or isinstance(axis, (tuple, list)):
            raise ValueError(
                f"average: weights of shape {weights.shape} do not fit a tensor of shape {x.shape} "
                f"and axis {axis}"
            )
        dims = [1] * x.ndim
        dims[axis_of(axis, x.ndim)] = weights.dims[0]
        weights = sh.reshape(weights, dims)
    weights = sh.broadcast_to(weights, x.dims)
    axes = _axes(axis)
    return ew.div(rd.reduce_sum(ew.mul(x, weights), axes), rd.reduce_sum(weights, axes))


def _extreme(name: str, reduce, combine, doc: str):
    def function(x, axis=None, keepdims=False, initial=None):
        x = tensor(x)
        if initial is None:
            return _over(reduce, x, _axes(axis), keepdims)
        start = tensors(initial, dtype=x.dtype)[0]
        axes = axes_of(axis, x.ndim)
        if _is_empty(x, axes):
            dims = [1 if i in axes else d for i, d in enumerate(x.dims)]
            dims = dims if keepdims else [d for i, d in enumerate(x.dims) if i not in axes]
            return sh.broadcast_to(start, dims)
        return combine(_over(reduce, x, axes, keepdims), start)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {doc} along axes, and of `initial`; NaN if there is one."
    return function


def _is_empty(x: Tensor, axes) -> bool:
    return any(type(x.dims[a]) is int and x.dims[a] == 0 for a in axes)


def _over(reduce, x, axis, keepdims):
    if x.dtype == "bool":
        return ew.cast(reduce(ew.cast(x, "uint8"), axis, keepdims), "bool")
    return reduce(x, axis, keepdims)


max = _extreme("max", rd.reduce_max, ew.maximum, "maximum")
min = _extreme("min", rd.reduce_min, ew.minimum, "minimum")


def amax(x, axis=None, keepdims=False):
    """The maximum along axes."""
    return max(x, axis, keepdims)


def amin(x, axis=None, keepdims=False):
    """The minimum along axes."""
    return min(x, axis, keepdims)


def ptp(x, axis=None, keepdims=False):
    """The maximum less the minimum along axes."""
    x = tensor(x)
    return ew.sub(max(x, axis, keepdims), min(x, axis, keepdims))


def _arg(name: str, find, doc: str):
    def function(x, axis=None, keepdims=False):
        x = tensor(x)
        rank = x.ndim
        if x.dtype == "bool":
            x = ew.cast(x, "uint8")
        elif x.dtype in dtypes.FLOATS:
            x = _negative_zeros_first(x)
        flat, place = last(x, axis)
        out = find(flat, place, keepdims and axis is not None)
        return sh.reshape(out, (1,) * rank) if keepdims and axis is None else out

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The position (int32) of the first {doc} along an axis; -0.0 < 0.0."
    return function


def _negative_zeros_first(x: Tensor) -> Tensor:
    """-0.0 as the smallest negative number, so that it counts as less than 0.0."""
    x = wide(x)
    below = ew.lt(ew.copysign(scalar(1, x.dtype), x), 0)
    tiny = 2.0**-1022 if x.dtype == "float64" else 2.0**-126
    return ew.select(ew.logical_and(ew.eq(x, 0), below), scalar(-tiny, x.dtype), x)


argmax = _arg("argmax", rd.argmax, "maximum")
argmin = _arg("argmin", rd.argmin, "minimum")


# Spread


def var(x, axis=None, keepdims=False):
    """The population variance along axes; integers as floatx, of complex numbers complex."""
    x = tensor(x)
    return ew.cast(_variance(x, axis, keepdims), result_type(x.dtype, float))


def std(x, axis=None, keepdims=False):
    """The population standard deviation along axes; integers as floatx."""
    x = tensor(x)
    return ew.cast(ew.sqrt(_variance(x, axis, keepdims)), dtypes.part(result_type(x.dtype, float)))


def _variance(x: Tensor, axis, keepdims) -> Tensor:
    """In float32 for narrower floats: the square may leave their range."""
    x = wide(as_float(x))
    if x.dtype in dtypes.COMPLEX:
        away = ew.abs(ew.sub(x, rd.reduce_mean(x, _axes(axis), True)))
        return rd.reduce_mean(ew.square(away), _axes(axis), keepdims)
    return rd.variance(x, _axes(axis), keepdims)


# Running


def _running(name: str, scan, doc: str):
    def function(x, axis=None, dtype=None):
        x = tensor(x)
        dtype = x.dtype if dtype is None else dtypes.standardize(dtype, floatx())
        dtype = "int32" if dtype == "bool" else dtype
        # Narrow integers by way of 32 bits, for which there are kernels: casts wrap as they would.
        wider = "int32" if dtype in ("int8", "int16", "uint8", "uint16") else dtype
        return ew.cast(scan(*last(ew.cast(ew.cast(x, dtype), wider), axis)), dtype)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The running {doc} along an axis (None: of the flattened tensor)."
    return function


cumsum = _running("cumsum", rd.cumsum, "sum")
cumprod = _running("cumprod", rd.cumprod, "product")


# Without NaN


def _replace_nan(x: Tensor, value) -> Tensor:
    if x.dtype not in dtypes.FLOATS:
        return x
    return ew.select(ew.isnan(x), scalar(value, x.dtype), x)


def nansum(x, axis=None, keepdims=False):
    """`sum`, NaN taken as 0."""
    return sum(_replace_nan(tensor(x), 0.0), axis, keepdims)


def nanprod(x, axis=None, keepdims=False):
    """`prod`, NaN taken as 1."""
    return prod(_replace_nan(tensor(x), 1.0), axis, keepdims)


def nancumsum(x, axis=None, dtype=None):
    """`cumsum`, NaN taken as 0."""
    return cumsum(_replace_nan(tensor(x), 0.0), axis, dtype)


def nancumprod(x, axis=None, dtype=None):
    """`cumprod`, NaN taken as 1."""
    return cumprod(_replace_nan(tensor(x), 1.0), axis, dtype)


def _all_nan(x: Tensor, axis, keepdims) -> Tensor:
    return rd.reduce_all(ew.isnan(x), _axes(axis), keepdims)


def _nan_extreme(extreme, worst: float, x, axis, keepdims) -> Tensor:
    x = tensor(x)
    if x.dtype not in dtypes.FLOATS:
        return extreme(x, axis, keepdims)
    out = extreme(_replace_nan(x, worst), axis, keepdims)
    return ew.select(_all_nan(x, axis, keepdims), scalar(math.nan, x.dtype), out)


def nanmax(x, axis=None, keepdims=False):
    """`max` of what is not NaN; NaN where nothing is."""
    return _nan_extreme(max, -math.inf, x, axis, keepdims)


def nanmin(x, axis=None, keepdims=False):
    """`min` of what is not NaN; NaN where nothing is."""
    return _nan_extreme(min, math.inf, x, axis, keepdims)


def _nan_arg(arg, worst: float, x, axis, keepdims) -> Tensor:
    x = tensor(x)
    if x.dtype not in dtypes.FLOATS:
        return arg(x, axis, keepdims)
    found = arg(_replace_nan(x, worst), axis, keepdims)
    return ew.select(_all_nan(x, axis, keepdims), scalar(-1, "int32"), found)


def nanargmax(x, axis=None, keepdims=False):
    """`argmax` of what is not NaN; -1 where nothing is."""
    return _nan_arg(argmax, -math.inf, x, axis, keepdims)


def nanargmin(x, axis=None, keepdims=False):
    """`argmin` of what is not NaN; -1 where nothing is."""
    return _nan_arg(argmin, math.inf, x, axis, keepdims)


def nanmean(x, axis=None, keepdims=False):
    """`mean` of what is not NaN; NaN where nothing is."""
    x = as_float(x)
    return ew.cast(_nan_moments(wide(x), axis, keepdims)[0], x.dtype)


def nanvar(x, axis=None, keepdims=False):
    """`var` of what is not NaN; NaN where nothing is."""
    x = as_float(x)
    return ew.cast(_nan_moments(wide(x), axis, keepdims)[1], dtypes.part(x.dtype))


def nanstd(x, axis=None, keepdims=False):
    """`std` of what is not NaN; NaN where nothing is."""
    x = as_float(x)
    return ew.cast(ew.sqrt(_nan_moments(wide(x), axis, keepdims)[1]), dtypes.part(x.dtype))


def _nan_moments(x: Tensor, axis, keepdims) -> tuple[Tensor, Tensor]:
    """Mean and population variance of what is not NaN."""
    axes = axes_of(axis, x.ndim)
    if x.dtype not in dtypes.FLOATS:
        return rd.reduce_mean(x, axes, keepdims), _variance(x, axes, keepdims)
    valid = ew.cast(ew.logical_not(ew.isnan(x)), x.dtype)
    count = rd.reduce_sum(valid, axes, True)
    x = _replace_nan(x, 0.0)
    center = ew.div(rd.reduce_sum(x, axes, True), count)
    spread = rd.reduce_sum(ew.square(ew.mul(ew.sub(x, center), valid)), axes, keepdims)
    if not keepdims:
        center, count = sh.squeeze(center, axes), sh.squeeze(count, axes)
    return center, ew.div(spread, count)
