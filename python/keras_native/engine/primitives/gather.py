"""Elements by position along one axis: gather, scatter, one-hot.

Indices are int32 or int64. A negative index counts from the end; what is still outside is clipped
to the nearest element, in gathers and scatters alike, so that each is the other's gradient.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.primitives.gather_common import (
    accumulator,
    check_axis,
    check_indices,
    check_updates,
    wrap,
)
from keras_native.engine.primitives.shape import (
    broadcast_to,
    normal_axis,
    product,
    reshape,
    same,
    transpose,
    zeros,
)
from keras_native.engine.tensor import Tensor

# gather and scatter_add: whole slices along one axis


def _gather_dims(x, indices, axis):
    return x.dims[:axis] + tuple(indices.dims) + x.dims[axis + 1 :]


def _gather_shape(x, indices, *, axis):
    check_indices("gather", x, indices)
    check_axis("gather", x, axis, indices.size)
    return _gather_dims(x, indices, axis), x.dtype


def _gather_batch(primitive, size, inputs, batched, *, axis):
    x, indices = inputs
    if not batched[1]:
        return primitive(x, indices, axis=axis + 1)
    if not batched[0]:
        # The axis of the batch is the first of the indices' axes.
        rank = x.ndim + indices.ndim - 1
        rest = (i for i in range(rank) if i != axis)
        return transpose(primitive(x, indices, axis=axis), (axis, *rest))
    # Every element along its own slices: `take_along_axis` with indices that repeat.
    before, after = x.dims[1 : axis + 1], x.dims[axis + 2 :]
    inner = tuple(indices.dims[1:])
    count = product(inner)
    spread = reshape(indices, (size, *(1,) * axis, count, *(1,) * len(after)))
    taken = take_along_axis(x, broadcast_to(spread, (size, *before, count, *after)), axis + 1)
    return reshape(taken, (size, *before, *inner, *after))


_gather = Primitive(
    "gather",
    shape=_gather_shape,
    reference=lambda x, indices, *, axis: np.take(x, wrap(indices, x.shape[axis]), axis=axis),
    batch=_gather_batch,
    vjp=lambda ct, out, x, indices, *, axis: (
        _gather_grad(indices, ct, axis=axis, size=x.dims[axis]),
        None,
    ),
)


def gather(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Slices of x along an axis, at the given positions (`take`).

    Returns:
        Sizes x.dims[:axis] + indices.dims + x.dims[axis + 1:].
    """
    return _gather(x, indices, axis=normal_axis("gather", axis, x.ndim))


def _scatter_add_shape(x, indices, updates, *, axis):
    check_indices("scatter_add", x, indices)
    check_axis("scatter_add", x, axis, indices.size)
    check_updates("scatter_add", x, updates, _gather_dims(x, indices, axis))
    if x.dtype == "bool":
        raise TypeError(f"scatter_add: bool cannot be added: {signature([x])}")
    return x.dims, x.dtype


def _scatter_add_reference(x, indices, updates, *, axis):
    out = accumulator(x)
    rows = np.moveaxis(out, axis, 0)
    inner = x.shape[:axis] + x.shape[axis + 1 :]
    flat = updates.reshape(x.shape[:axis] + (indices.size,) + x.shape[axis + 1 :])
    flat = np.moveaxis(flat, axis, 0).reshape((indices.size,) + inner)
    np.add.at(rows, wrap(indices, x.shape[axis]).reshape(-1), flat.astype(out.dtype))
    return out.astype(x.dtype)


_scatter_add = Primitive(
    "scatter_add",
    shape=_scatter_add_shape,
    reference=_scatter_add_reference,
    vjp=lambda ct, out, x, indices, updates, *, axis: (ct, None, gather(ct, indices, axis)),
)


def scatter_add(x: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
    """x with slices added along an axis; updates for one position add up in index order.

    Args:
        updates: sizes x.dims[:axis] + indices.dims + x.dims[axis + 1:], x's dtype.
    """
    return _scatter_add(x, indices, updates, axis=normal_axis("scatter_add", axis, x.ndim))


# gather_grad: scatter_add into zeros that are never written, let alone read


def _gather_grad_shape(indices, ct, *, axis, size):
    check_indices("gather_grad", ct, indices)
    if ct.ndim < indices.ndim + axis:
        raise ValueError(f"gather_grad: ranks do not fit: {signature([indices, ct])}")
    return ct.dims[:axis] + (size,) + ct.dims[axis + indices.ndim :], ct.dtype


def _gather_grad_reference(indices, ct, *, axis, size):
    dims = ct.shape[:axis] + (size,) + ct.shape[axis + indices.ndim :]
    return _scatter_add_reference(np.zeros(dims, ct.dtype), indices, ct, axis=axis)


def _gather_grad_batch(primitive, size_of_batch, inputs, batched, *, axis, size):
    indices, ct = inputs
    if batched[0]:
        raise batch.Unbatchable("gather_grad")
    return primitive(indices, ct, axis=axis + 1, size=size)


_gather_grad = Primitive(
    "gather_grad",
    shape=_gather_grad_shape,
    reference=_gather_grad_reference,
    batch=_gather_grad_batch,
    vjp=lambda ct, out, indices, updates, *, axis, size: (None, gather(ct, indices, axis)),
)


# take_along_axis and its inverse


def _along_dims(op, x, indices, axis):
    check_indices(op, x, indices)
    if indices.ndim != x.ndim or not all(
        i == axis or same(a, b) for i, (a, b) in enumerate(zip(x.dims, indices.dims))
    ):
        raise ValueError(f"{op}: shapes differ outside axis {axis}: {signature([x, indices])}")
    check_axis(op, x, axis, indices.size)


def _take_along_axis_shape(x, indices, *, axis):
    _along_dims("take_along_axis", x, indices, axis)
    return tuple(indices.dims), x.dtype


_take_along_axis = Primitive(
    "take_along_axis",
    shape=_take_along_axis_shape,
    reference=lambda x, indices, *, axis: np.take_along_axis(x, wrap(indices, x.shape[axis]), axis),
    batch=batch.shifted,
    vjp=lambda ct, out, x, indices, *, axis: (
        scatter_along_axis_add(zeros(x.dims, ct.dtype), indices, ct, axis),
        None,
    ),
)


def take_along_axis(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """One element of x for each index, taken along an axis. Other sizes broadcast."""
    if x.ndim != indices.ndim:
        raise ValueError(f"take_along_axis: ranks differ: {signature([x, indices])}")
    axis = normal_axis("take_along_axis", axis, x.ndim)
    x_dims, i_dims = list(x.dims), list(indices.dims)
    for i, (a, b) in enumerate(zip(x.dims, indices.dims)):
        if i == axis or same(a, b):
            continue
        if type(a) is int and a == 1:
            x_dims[i] = b
        elif type(b) is int and b == 1:
            i_dims[i] = a
    return _take_along_axis(broadcast_to(x, x_dims), broadcast_to(indices, i_dims), axis=axis)


def _scatter_along_axis_add_shape(x, indices, updates, *, axis):
    _along_dims("scatter_along_axis_add", x, indices, axis)
    check_updates("scatter_along_axis_add", x, updates, indices.dims)
    if x.dtype == "bool":
        raise TypeError(f"scatter_along_axis_add: bool cannot be added: {signature([x])}")
    return x.dims, x.dtype


def _scatter_along_axis_add_reference(x, indices, updates, *, axis):
    out = accumulator(x)
    where = list(np.indices(indices.shape, sparse=True))
    where[axis] = wrap(indices, x.shape[axis])
    np.add.at(out, tuple(where), updates.astype(out.dtype))
    return out.astype(x.dtype)


_scatter_along_axis_add = Primitive(
    "scatter_along_axis_add",
    shape=_scatter_along_axis_add_shape,
    reference=_scatter_along_axis_add_reference,
    vjp=lambda ct, out, x, indices, updates, *, axis: (
        ct,
        None,
        take_along_axis(ct, indices, axis),
    ),
)


def scatter_along_axis_add(x: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Tensor:
    """x with updates added at positions along an axis (the inverse of take_along_axis)."""
    axis = normal_axis("scatter_along_axis_add", axis, x.ndim)
    return _scatter_along_axis_add(x, indices, updates, axis=axis)


# one_hot


def _one_hot_shape(indices, *, depth, axis, dtype):
    if indices.dtype not in dtypes.INTEGERS:
        raise TypeError(f"one_hot: indices must be integers: {signature([indices])}")
    if type(depth) is int and depth < 0:
        raise ValueError(f"one_hot: negative depth {depth}")
    return tuple(indices.dims[:axis]) + (depth,) + tuple(indices.dims[axis:]), dtype


def _one_hot_reference(indices, *, depth, axis, dtype):
    places = np.arange(depth).reshape((depth,) + (1,) * (indices.ndim - axis))
    return (np.expand_dims(indices, axis) == places).astype(dtypes.NUMPY[dtype])


_one_hot = Primitive(
    "one_hot", shape=_one_hot_shape, reference=_one_hot_reference, batch=batch.shifted
)


def one_hot(indices: Tensor, depth: int, axis: int = -1, dtype: str = "float32") -> Tensor:
    """1 at each index along a new axis of size `depth`, 0 elsewhere and for indices outside."""
    axis = normal_axis("one_hot", axis, indices.ndim + 1)
    return _one_hot(indices, depth=depth, axis=axis, dtype=dtype)
