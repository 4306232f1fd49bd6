"""Order, counting and statistics of keras.ops: sorting, quantiles, histograms, differences."""

from __future__ import annotations

import operator

import numpy as np
from keras.src.backend.common.backend_utils import vectorize_impl

from keras_native.engine import dtype as dtypes
from keras_native.engine import promotion
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import gather_sort as gs
from keras_native.engine.primitives import host_elementwise
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor
from keras_native.src.ops._numpy_common import (
    accumulator_dtype,
    as_float,
    as_index,
    axes_of,
    axis_of,
    constant,
    floatx,
    host,
    last,
    result_type,
    tensor,
    tensors,
    unsupported_under_trace,
    wide,
)
from keras_native.src.ops._numpy_reduce import max, min
from keras_native.src.ops._numpy_shape import ravel
from keras_native.src.ops._sparse_elementwise import is_sparse
from keras_native.src.ops._sparse_shape import bincount as sparse_bincount


def _ordered(x: Tensor) -> Tensor:
    return ew.cast(x, "uint8") if x.dtype == "bool" else x


def sort(x, axis=-1):
    """Sorted ascending along an axis (None: flattened), NaN last."""
    x = tensor(x)
    return ew.cast(gs.sort(*last(_ordered(x), axis)), x.dtype)


def argsort(x, axis=-1):
    """The positions (int32) that sort x ascending, equal elements in their order."""
    x = tensor(x)
    return gs.argsort(*last(_ordered(x), None if x.ndim == 0 else axis))


def argpartition(x, kth, axis=-1):
    """Positions (int32) that put the kth smallest element in its place, smaller ones before it."""
    x = tensor(x)
    kth = operator.index(kth)
    flat, place = last(_ordered(x), axis)
    axis_of(kth, flat.dims[place])
    return gs.argsort(flat, place)


def searchsorted(sorted_sequence, values, side="left"):
    """Where each value would be inserted into an ascending vector, as int32.

    Raises:
        ValueError: the sequence is not a vector.
    """
    sorted_sequence, values = tensors(sorted_sequence, values)
    if sorted_sequence.ndim != 1:
        raise ValueError(
            "`searchsorted` only supports 1-D sorted sequences. You can use "
            "`keras.ops.vectorized_map` to extend it to N-D sequences. Received: "
            f"sorted_sequence.shape={sorted_sequence.shape}"
        )
    return gs.searchsorted(_ordered(sorted_sequence), _ordered(values), side)


# Quantiles


def quantile(x, q, axis=None, method="linear", keepdims=False):
    """The q-quantiles along axes; NaN if there is one. Integers as floatx.

    Args:
        q: in [0, 1], of any shape, which leads the shape of the result.
        method: "linear", "lower", "higher", "midpoint" or "nearest" between two elements.
    """
    return _quantile(x, _fraction(q, 1), axis, method, keepdims, False)


def percentile(x, q, axis=None, method="linear", keepdims=False):
    """`quantile` with q in [0, 100]."""
    return _quantile(x, _fraction(q, 100), axis, method, keepdims, False)


def median(x, axis=None, keepdims=False):
    """The 0.5-quantile along axes."""
    return _quantile(x, np.float64(0.5), axis, "linear", keepdims, False)


def nanquantile(x, q, axis=None, method="linear", keepdims=False):
    """`quantile` of what is not NaN."""
    return _quantile(x, _fraction(q, 1), axis, method, keepdims, True)


def nanpercentile(x, q, axis=None, method="linear", keepdims=False):
    """`percentile` of what is not NaN."""
    return _quantile(x, _fraction(q, 100), axis, method, keepdims, True)


def nanmedian(x, axis=None, keepdims=False):
    """`median` of what is not NaN."""
    return _quantile(x, np.float64(0.5), axis, "linear", keepdims, True)


def _fraction(q, whole: int):
    """q / whole in float64: on the host where q is known (and nobody differentiates), else a
    tensor."""
    if isinstance(q, Tensor) and (q.array is None or STATE.tapes):
        return ew.div(ew.cast(q, "float64"), float(whole))
    return host(q).astype(np.float64) / whole if not isinstance(q, float) else np.float64(q) / whole


_BETWEEN = {
    "lower": lambda place, low, xp: low,
    "higher": lambda place, low, xp: xp.ceil(place),
    "nearest": lambda place, low, xp: xp.round(place),
}


def _quantile(x, q, axis, method, keepdims, skip_nan) -> Tensor:
    x = tensor(x)
    dtype = result_type(x.dtype, float)
    if method not in ("linear", "midpoint", *_BETWEEN):
        raise ValueError(f"quantile: unknown method '{method}'")
    x = wide(as_float(x))
    axes = axes_of(axis, x.ndim)
    kept = tuple(d for i, d in enumerate(x.dims) if i not in axes)
    shape = tuple(1 if i in axes else d for i, d in enumerate(x.dims)) if keepdims else kept
    x = sh.transpose(x, [i for i in range(x.ndim) if i not in axes] + list(axes))
    count = sh.product(x.dims[len(kept) :])
    rows = sh.product(kept)
    x = gs.sort(sh.reshape(x, (rows, count)), 1)
    picked = _pick(x, q, count, method, skip_nan)
    q_dims = q.dims if isinstance(q, Tensor) else q.shape
    picked = sh.transpose(picked, (1, 0))
    return ew.cast(sh.reshape(picked, (*q_dims, *shape)), dtype)


def _pick(x: Tensor, q, count, method: str, skip_nan: bool) -> Tensor:
    """[rows, number of q] from rows sorted ascending, NaN last."""
    rows = x.dims[0]
    if type(count) is int and not skip_nan and not isinstance(q, Tensor):
        # All positions are known now.
        place = q.reshape(-1) * (count - 1)
        low, high, weight = _places(place, method, np)
        low, high = (constant(np.clip(p, 0, count - 1), "int32") for p in (low, high))
        weight = constant(weight, x.dtype)
        below, above = ga.gather(x, low, 1), ga.gather(x, high, 1)
        empty = ew.isnan(x[:, -1:])
    else:
        # Positions in float64, as on the host: rounding must not choose another element.
        q = q if isinstance(q, Tensor) else constant(q, "float64")
        q = sh.reshape(q, (1, -1) if q.ndim else (1, 1))
        if skip_nan:
            valid = ew.cast(ew.logical_not(ew.isnan(x)), "float64")
            number = rd.reduce_sum(valid, 1, True)
            empty = ew.eq(number, 0)
        else:
            number = promotion.as_dtype(count, "float64")
            empty = ew.isnan(x[:, -1:])
        place = ew.mul(q, ew.sub(number, 1))
        low, high, weight = _places(place, method, ew)
        weight = ew.cast(weight, x.dtype)
        limits = (rows, q.dims[1])
        below, above = (
            ga.take_along_axis(x, ew.cast(ew.maximum(sh.broadcast_to(p, limits), 0), "int32"), 1)
            for p in (low, high)
        )
    mixed = ew.add(ew.mul(below, ew.sub(1.0, weight)), ew.mul(above, weight))
    # Where both are the same element, infinity too, it comes out as it is.
    out = ew.select(ew.eq(below, above), below, mixed)
    return ew.select(empty, scalar(float("nan"), x.dtype), out)


def _places(place, method: str, xp):
    """The positions to mix and the weight of the upper one."""
    low = xp.floor(place)
    high = xp.ceil(place)
    if method in _BETWEEN:
        low = high = _BETWEEN[method](place, low, xp)
        return low, high, 0 * place if xp is np else ew.mul(place, 0)
    if method == "midpoint":
        return low, high, 0 * place + 0.5 if xp is np else ew.add(ew.mul(place, 0), 0.5)
    return low, high, place - low if xp is np else ew.sub(place, low)


# Counting


def bincount(x, weights=None, minlength=0, sparse=False):
    """How often each integer occurs (or the sum of its weights), in a vector or each row.

    Eager only: the length depends on the values. Sparse if asked for, or if x is: then of what x
    holds.
    """
    if sparse or is_sparse(x):
        return sparse_bincount(x if is_sparse(x) else tensor(x), weights, minlength)
    unsupported_under_trace("bincount")
    x = tensor(x)
    given, x = x.dtype, as_index(x)
    if x.ndim not in (1, 2):
        raise ValueError(f"bincount: expected a vector or a matrix, got shape {x.shape}")
    values = host(x)
    length = int(np.max(values, initial=-1)) + 1
    length = length if length > minlength else minlength
    dtype = "int32"
    if weights is None:
        weights = sh.full(x.dims, 1, dtype)
    else:
        weights = tensor(weights)
        dtype = result_type(given, weights.dtype)
        weights = ew.cast(weights, accumulator_dtype(dtype))
    if x.ndim == 1:
        zeros = sh.full((length,), 0, weights.dtype)
        return ew.cast(ga.scatter_add(zeros, x, weights, 0), dtype)
    zeros = sh.full((x.dims[0], length), 0, weights.dtype)
    return ew.cast(ga.scatter_along_axis_add(zeros, x, weights, 1), dtype)


def histogram(x, bins=10, range=None):
    """How many elements fall into each bin (in the dtype of the edges), and those edges.

    Args:
        bins: their number, or a vector of edges.
        range: (low, high) of equal bins; by default the extremes of x.
    """
    from keras_native.src.ops._numpy_create import linspace

    x = as_float(x)
    x = ravel(x)
    if isinstance(bins, int):
        if range is None:
            low, high = (min(x), max(x)) if x.size != 0 else (0.0, 1.0)
        else:
            low, high = range
        low, high = (promotion.as_dtype(v, x.dtype) for v in (low, high))
        flat = ew.eq(low, high)
        low = ew.select(flat, ew.sub(low, 0.5), low)
        high = ew.select(flat, ew.add(high, 0.5), high)
        edges = linspace(low, high, bins + 1, dtype=x.dtype)
    else:
        x, edges = tensors(x, tensor(bins))
    count = edges.dims[0] - 1
    place = ew.sub(gs.searchsorted(edges, x, "right"), 1)
    # The last bin holds its upper edge, too.
    place = ew.select(ew.eq(x, edges[-1]), promotion.as_dtype(count - 1, "int32"), place)
    inside = ew.logical_and(ew.ge(x, edges[0]), ew.le(x, edges[-1]))
    ones = ew.cast(inside, "int32")
    place = ew.clip(place, *tensors(0, count - 1, dtype="int32"))
    counts = ga.scatter_add(sh.full((count,), 0, "int32"), place, ones, 0)
    return ew.cast(counts, edges.dtype), edges


def unique(
    x,
    sorted=True,
    return_index=False,
    return_inverse=False,
    return_counts=False,
    axis=None,
    size=None,
    fill_value=None,
):
    """The distinct elements (or slices along an axis), ascending; NaNs all differ. Eager only.

    Args:
        sorted: accepted; the result is always sorted.
        return_index, return_inverse, return_counts: also where each occurs first, where each
            element went, and how often each occurs, as int32.
        size: cut or fill up to so many.
        fill_value: what to fill up with, 0 by default.
    """
    unsupported_under_trace("unique")
    x = tensor(x)
    results = np.unique(
        host(x),
        return_index=return_index,
        return_inverse=return_inverse,
        return_counts=return_counts,
        axis=axis,
        equal_nan=False,
    )
    values, *others = results if isinstance(results, tuple) else (results,)
    place = 0 if axis is None else axis_of(axis, x.ndim)
    asked = {"index": return_index, "inverse": return_inverse, "counts": return_counts}
    names = [name for name, wanted in asked.items() if wanted]
    outs = [constant(_resized(values, size, place, 0 if fill_value is None else fill_value))]
    for name, array in zip(names, others):
        if name != "inverse":
            array = _resized(array, size, 0, 1 if name == "index" else 0)
        outs.append(constant(array, "int32"))
    return outs[0] if len(outs) == 1 else tuple(outs)


def _resized(array: np.ndarray, size: int | None, axis: int, fill) -> np.ndarray:
    """Cut or filled up to a size along an axis."""
    if size is None:
        return array
    array = np.take(array, np.arange(int(np.minimum(size, array.shape[axis]))), axis)
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, size - array.shape[axis])
    return np.pad(array, widths, constant_values=fill)


# Differences


def diff(a, n=1, axis=-1):
    """The n-th differences of neighbours along an axis; of booleans whether they differ.

    Raises:
        ValueError: n is negative or a is a scalar.
    """
    a = tensor(a)
    if n < 0 or a.ndim == 0:
        raise ValueError(f"diff: expected n >= 0 and at least one axis, got n={n}, shape={a.shape}")
    axis = axis_of(axis, a.ndim)
    subtract = ew.ne if a.dtype == "bool" else ew.sub
    for _ in range(n):
        a = subtract(*_neighbours(a, axis))
    return a


def _neighbours(a: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """All but the first and all but the last along an axis."""
    whole = [None] * a.ndim
    one, end = list(whole), list(whole)
    one[axis], end[axis] = 1, -1
    return ss.slice(a, one, whole), ss.slice(a, whole, end)


def trapezoid(y, x=None, dx=1.0, axis=-1):
    """The integral of y along an axis by the trapezoid rule, at points x or dx apart."""
    y = as_float(y)
    axis = axis_of(axis, y.ndim)
    if x is None:
        step = promotion.as_dtype(dx, y.dtype) if isinstance(dx, (int, float)) else as_float(dx)
    else:
        x = as_float(x)
        step = diff(x, axis=axis if x.ndim > 1 else 0)
        if x.ndim == 1:
            step = sh.reshape(step, [-1 if i == axis else 1 for i in range(y.ndim)])
    y, step = tensors(y, step, dtype=result_type(y.dtype, float))
    right, left = _neighbours(y, axis)
    return rd.reduce_sum(ew.mul(step, ew.mul(ew.add(left, right), 0.5)), axis)


# Others


def view(x, dtype=None):
    """The bytes of x read as another dtype; a narrower or wider one scales the last axis."""
    x = tensor(x)
    return x if dtype is None else host_elementwise.bitcast(x, dtypes.standardize(dtype, floatx()))


def vectorize(pyfunc, *, excluded=None, signature=None):
    """A function of elements (or of the parts that the signature names) over whole tensors."""
    return vectorize_impl(pyfunc, _over_first_axes, excluded=excluded, signature=signature)


def _over_first_axes(function, in_axes):
    """`function` mapped over the first axis of the arguments whose entry in `in_axes` is 0."""
    from keras_native.src.ops.core import vectorized_map

    def mapped(*args):
        moving = [a for a, axis in zip(args, in_axes) if axis == 0]

        def one(items):
            items = iter(items)
            return function(*(next(items) if axis == 0 else a for a, axis in zip(args, in_axes)))

        return vectorized_map(one, moving)

    return mapped


def slogdet(x):
    """The sign and the logarithm of the modulus of the determinant."""
    from keras_native.engine.primitives import linalg

    return linalg.slogdet(as_float(x))
