"""Shapes, sums, products and encodings of keras.ops on sparse tensors, by their positions."""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitive import signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather_nd as gn
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.sparse import (
    SparseTensor,
    coalesce,
    columns,
    concatenated,
    elements_at,
    entries,
    fully,
    join,
    ravel,
    unravel,
)
from keras_native.engine.tensor import Tensor
from keras_native.src.ops._numpy_common import (
    accumulator_dtype,
    as_index,
    axes_of,
    axis_of,
    is_inexact,
    result_type,
    tensor,
    tensors,
    unsupported_under_trace,
    wide,
)
from keras_native.src.ops._sparse_elementwise import densely, is_sparse


def _with_axes(x: SparseTensor, axes, dims) -> SparseTensor:
    """Other sparse axes: each takes the index of one that x has, or is 0 throughout (None)."""
    parts = columns(x.indices)
    count = x.values.dims[0]
    zero = sh.zeros((count,), x.indices.dtype)
    indices = join([zero if a is None else parts[a] for a in axes], count)
    lost = set(range(x.n_sparse)) - set(axes)
    return entries(indices, x.values, dims, x.unique and all(sh.same(x.dims[a], 1) for a in lost))


def transpose(fn, x, axes=None):
    """Axes permuted; None reverses them."""
    x = fully(x)
    axes = range(x.ndim)[::-1] if axes is None else [axis_of(a, x.ndim) for a in axes]
    if sorted(axes) != list(range(x.ndim)):
        raise ValueError(f"transpose: {tuple(axes)} is no permutation of {signature([x])}")
    return _with_axes(x, axes, [x.dims[a] for a in axes])


def reshape(fn, x, newshape):
    """The same elements in row-major order in another shape."""
    dims = newshape if isinstance(newshape, (tuple, list)) else (newshape,)
    dims = sh.reshaped(x, [-1 if d is None else d for d in dims])
    if not sh.same(sh.product(x.dims), sh.product(dims)):
        raise ValueError(f"reshape: cannot turn {signature([x])} into shape {tuple(dims)}")
    x = fully(x)
    return entries(unravel(ravel(x.indices, x.dims), dims), x.values, dims, x.unique)


def expand_dims(fn, x, axis):
    """New axes of size 1."""
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    rank = x.ndim + len(axes)
    new, x = axes_of(tuple(axes), rank), fully(x)
    old = iter(range(x.ndim))
    axes = [None if a in new else next(old) for a in range(rank)]
    return _with_axes(x, axes, [1 if a is None else x.dims[a] for a in axes])


def squeeze(fn, x, axis=None):
    """Without axes of size 1."""
    ones = [i for i, d in enumerate(x.dims) if type(d) is int and d == 1]
    axes = ones if axis is None else axes_of(axis, x.ndim)
    for a in axes:
        if not sh.same(x.dims[a], 1):
            raise ValueError(f"squeeze: size at axis {a} of {signature([x])} is not 1")
    x = fully(x)
    kept = [a for a in range(x.ndim) if a not in axes]
    return _with_axes(x, kept, [x.dims[a] for a in kept])


def concatenate(fn, xs, axis=0):
    """One after another along an axis: sparse if all of them are."""
    if not all(map(is_sparse, xs)):
        return fn([tensor(x) for x in xs], axis)
    axis = axis_of(axis, xs[0].ndim)
    for x in xs[1:]:
        if x.ndim != xs[0].ndim or not all(
            a == axis or sh.same(d, e) for a, (d, e) in enumerate(zip(xs[0].dims, x.dims))
        ):
            raise ValueError(f"concatenate: sizes differ outside axis {axis}: {signature(xs)}")
    dtype = result_type(*(x.dtype for x in xs))
    offset, indices, values = 0, [], []
    for x in map(fully, xs):
        place = columns(x.indices)
        place[axis] = place[axis] + offset
        indices.append(join(place, x.values.dims[0]))
        values.append(ew.cast(x.values, dtype))
        offset = offset + x.dims[axis]
    dims = [offset if a == axis else d for a, d in enumerate(xs[0].dims)]
    unique = all(x.unique for x in xs)
    return entries(concatenated(indices), sh.concat(values, 0), dims, unique)


def sum(fn, x, axis=None, keepdims=False):
    """The sum along axes, as entries without their index along these."""
    axes = axes_of(axis, x.ndim)
    x = coalesce(x) if x.dtype == "bool" else x
    values = ew.cast(x.values, accumulator_dtype(x.dtype))
    inner = tuple(1 + a - x.n_sparse for a in axes if a >= x.n_sparse)
    if inner:
        values = rd.reduce_sum(values, inner, keepdims)
    kept = [a for a in range(x.ndim) if keepdims or a not in axes]
    dims = [1 if a in axes else x.dims[a] for a in kept]
    outer = [None if a in axes else a for a in kept if a < x.n_sparse]
    return _with_axes(x, outer, dims).with_values(values)


def mean(fn, x, axis=None, keepdims=False):
    """The arithmetic mean along axes; integers as float32."""
    if not is_inexact(x.dtype):
        x = x.with_values(ew.cast(x.values, result_type(x.dtype, "float32")))
    count = sh.product([x.dims[a] for a in axes_of(axis, x.ndim)])
    total = sum(fn, x, axis, keepdims)
    return total.with_values(total.values / count)


def nansum(fn, x, axis=None, keepdims=False):
    """The sum along axes of what is not NaN."""
    x = coalesce(x)
    valid = ew.select(ew.eq(x.values, x.values), x.values, scalar(0, x.dtype))
    return sum(fn, x.with_values(valid), axis, keepdims)


def zeros_like(fn, x, dtype=None):
    """No entries at all."""
    values = fn(sh.zeros((0,), x.dtype), dtype)
    return entries(sh.zeros((0, x.ndim), "int32"), values, x.dims, unique=True)


def matmul(fn, x1, x2):
    """Rows of the dense operand, weighted by entries and added up; sparse if both are.

    Two sparse operands are multiplied as a sparse and a dense one.
    """
    if is_sparse(x1) and is_sparse(x2):
        return SparseTensor.from_dense(matmul(fn, x1, tensor(x2)))
    if is_sparse(x1):
        x2 = tensor(x2)
        if x2.ndim == 1:
            column = matmul(fn, x1, sh.expand_dims(x2, 1))
            return sh.squeeze(column, (column.ndim - 1,))
        return _rows(x1, x2) if _multipliable(x1, x2) else densely(fn, x1, x2)
    x1 = tensor(x1)
    if x1.ndim < 2 or x2.ndim < 2:
        return densely(fn, x1, x2)
    turned = matmul(fn, transpose(None, x2, _swapped(x2.ndim)), sh.transpose(x1, _swapped(x1.ndim)))
    return sh.transpose(turned, _swapped(turned.ndim))


def _swapped(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _multipliable(x: SparseTensor, y: Tensor) -> bool:
    """Whether sizes fit, and y's batch broadcasts to x's; all else is left to the dense product."""
    if not x.ndim >= y.ndim >= 2 or x.dtype == y.dtype == "bool":
        return False
    batch = zip(x.dims[x.ndim - y.ndim : -2], y.dims[:-2])
    return sh.same(x.dims[-1], y.dims[-2]) and all(sh.same(e, 1) or sh.same(d, e) for d, e in batch)


def _rows(x: SparseTensor, y: Tensor) -> Tensor:
    x = fully(x)
    dtype = "int32" if x.dtype == y.dtype == "int8" else result_type(x.dtype, y.dtype)
    values, y = (wide(t) for t in tensors(x.values, y, dtype=dtype))
    parts = columns(x.indices)
    taken = [
        ew.mul(part, 0) if sh.same(size, 1) else part
        for part, size in zip(parts[x.ndim - y.ndim : -2], y.dims)
    ]
    rows = gn.gather_nd(y, join([*taken, parts[-1]], values.dims[0]))
    out = sh.zeros((*x.dims[:-1], y.dims[-1]), values.dtype)
    weighted = ew.mul(sh.expand_dims(values, 1), rows)
    return ew.cast(gn.scatter_nd_add(out, join(parts[:-1], values.dims[0]), weighted), dtype)


def one_hot(x: Tensor, depth: int, axis: int, dtype: str) -> SparseTensor:
    """One entry for each index, along a new axis: 1, or 0 for indices outside."""
    axis = axis_of(axis, x.ndim + 1)
    count = sh.product(x.dims)
    chosen = as_index(sh.reshape(x, (count,)))
    inside = ew.logical_and(ew.ge(chosen, 0), ew.lt(chosen, depth))
    parts = columns(unravel(sh.iota(count, "int32"), x.dims))
    parts.insert(axis, ew.select(inside, chosen, scalar(0, chosen.dtype)))
    dims = (*x.dims[:axis], depth, *x.dims[axis:])
    return entries(join(parts, count), ew.cast(inside, dtype), dims, unique=True)


def multi_hot(x: Tensor, depth: int, axis: int, dtype: str) -> SparseTensor:
    """1 at every class that occurs along the class axis of x."""
    hot = coalesce(sum(None, one_hot(x, depth, axis, "int32"), 1 if x.ndim > 1 else 0))
    return hot.with_values(ew.cast(ew.gt(hot.values, 0), dtype))


def bincount(x, weights, minlength: int) -> SparseTensor:
    """How often each integer occurs, or the sum of its weights, in a vector or each row.

    Args:
        x: dense or sparse; what a sparse one does not hold is not counted.
        weights: None, dense, or sparse with the entries of x.
    """
    unsupported_under_trace("bincount")
    if x.ndim not in (1, 2):
        raise ValueError(f"bincount: expected a vector or a matrix, got shape {x.shape}")
    if not is_sparse(x):
        count = sh.product(x.dims)
        places = unravel(sh.iota(count, "int32"), x.dims)
        x = entries(places, sh.reshape(x, (count,)), x.dims)
    x = fully(x)
    if weights is None:
        weights, dtype = sh.ones(x.values.dims, "int32"), "int32"
    else:
        weights = fully(weights).values if is_sparse(weights) else elements_at(x, tensor(weights))
        dtype = result_type(x.dtype, weights.dtype)
        if weights.dims != x.values.dims:
            raise ValueError("bincount: sparse weights need the entries of x")
    chosen = as_index(x.values)
    length = max(int(np.max(chosen.numpy(), initial=-1)) + 1, minlength)
    indices = join([*columns(x.indices)[:-1], chosen], chosen.dims[0])
    return entries(indices, ew.cast(weights, dtype), (*x.dims[:-1], length))
