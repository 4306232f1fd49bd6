"""Elements by position: gather, scatter, sort.

Indices are int32 or int64. A negative index counts from the end; what is still outside is clipped
to the nearest element, in gathers and scatters alike, so that each is the other's gradient.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.primitives.elementwise import cast
from keras_native.engine.primitives.shape import (
    broadcast_to,
    iota,
    normal_axis,
    product,
    reshape,
    same,
    transpose,
    zeros,
)
from keras_native.engine.tensor import Tensor


def _check_indices(op, x, indices):
    if indices.dtype not in ("int32", "int64"):
        raise TypeError(f"{op}: indices must be int32 or int64: {signature([x, indices])}")


def _check_axis(op, x, axis, count):
    size = x.dims[axis]
    if type(size) is int and size == 0 and not (type(count) is int and count == 0):
        raise ValueError(f"{op}: axis {axis} of {signature([x])} is empty")


def _check_updates(op, x, updates, dims):
    if x.dtype != updates.dtype:
        raise TypeError(f"{op}: dtypes of operand and updates differ: {signature([x, updates])}")
    if len(dims) != updates.ndim or not all(same(a, b) for a, b in zip(dims, updates.dims)):
        raise ValueError(
            f"{op}: updates should have shape {tuple(dims)}: {signature([x, updates])}"
        )


def _wrap(indices, size):
    """Indices with negatives counted from the end and the rest clipped."""
    indices = indices.astype(np.int64)
    return np.clip(np.where(indices < 0, indices + size, indices), 0, max(size - 1, 0))


# gather and scatter_add: whole slices along one axis


def _gather_dims(x, indices, axis):
    return x.dims[:axis] + tuple(indices.dims) + x.dims[axis + 1 :]


def _gather_shape(x, indices, *, axis):
    _check_indices("gather", x, indices)
    _check_axis("gather", x, axis, indices.size)
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
    reference=lambda x, indices, *, axis: np.take(x, _wrap(indices, x.shape[axis]), axis=axis),
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
    _check_indices("scatter_add", x, indices)
    _check_axis("scatter_add", x, axis, indices.size)
    _check_updates("scatter_add", x, updates, _gather_dims(x, indices, axis))
    if x.dtype == "bool":
        raise TypeError(f"scatter_add: bool cannot be added: {signature([x])}")
    return x.dims, x.dtype


def _accumulator(x):
    narrow = dtypes.from_numpy(x.dtype) in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
    return np.array(x, dtype=np.float32 if narrow else x.dtype)


def _scatter_add_reference(x, indices, updates, *, axis):
    out = _accumulator(x)
    rows = np.moveaxis(out, axis, 0)
    inner = x.shape[:axis] + x.shape[axis + 1 :]
    flat = updates.reshape(x.shape[:axis] + (indices.size,) + x.shape[axis + 1 :])
    flat = np.moveaxis(flat, axis, 0).reshape((indices.size,) + inner)
    np.add.at(rows, _wrap(indices, x.shape[axis]).reshape(-1), flat.astype(out.dtype))
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
    _check_indices("gather_grad", ct, indices)
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
    _check_indices(op, x, indices)
    if indices.ndim != x.ndim or not all(
        i == axis or same(a, b) for i, (a, b) in enumerate(zip(x.dims, indices.dims))
    ):
        raise ValueError(f"{op}: shapes differ outside axis {axis}: {signature([x, indices])}")
    _check_axis(op, x, axis, indices.size)


def _take_along_axis_shape(x, indices, *, axis):
    _along_dims("take_along_axis", x, indices, axis)
    return tuple(indices.dims), x.dtype


_take_along_axis = Primitive(
    "take_along_axis",
    shape=_take_along_axis_shape,
    reference=lambda x, indices, *, axis: np.take_along_axis(
        x, _wrap(indices, x.shape[axis]), axis
    ),
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
    _check_updates("scatter_along_axis_add", x, updates, indices.dims)
    if x.dtype == "bool":
        raise TypeError(f"scatter_along_axis_add: bool cannot be added: {signature([x])}")
    return x.dims, x.dtype


def _scatter_along_axis_add_reference(x, indices, updates, *, axis):
    out = _accumulator(x)
    where = list(np.indices(indices.shape, sparse=True))
    where[axis] = _wrap(indices, x.shape[axis])
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


# gather_nd and scatter_nd: slices at multi-dimensional positions


def _nd_dims(op, x, indices):
    _check_indices(op, x, indices)
    depth = indices.dims[-1] if indices.ndim else None
    if type(depth) is not int or depth > x.ndim:
        raise ValueError(
            f"{op}: the last size of indices must be at most the operand's rank: "
            f"{signature([x, indices])}"
        )
    for axis in range(depth):
        _check_axis(op, x, axis, indices.size)
    return tuple(indices.dims[:-1]) + tuple(x.dims[depth:])


def _nd_index(x, indices):
    return tuple(_wrap(indices[..., i], x.shape[i]) for i in range(indices.shape[-1]))


def _gather_nd_reference(x, indices):
    if indices.shape[-1] == 0:
        return np.broadcast_to(x, indices.shape[:-1] + x.shape)
    return x[_nd_index(x, indices)]


_gather_nd = Primitive(
    "gather_nd",
    shape=lambda x, indices: (_nd_dims("gather_nd", x, indices), x.dtype),
    reference=_gather_nd_reference,
    vjp=lambda ct, out, x, indices: (
        scatter_nd_add(zeros(x.dims, ct.dtype), indices, ct),
        None,
    ),
)


def gather_nd(x: Tensor, indices: Tensor) -> Tensor:
    """Slices of x at positions along its first k axes.

    Args:
        indices: [..., k]; the result has sizes indices.dims[:-1] + x.dims[k:].
    """
    return _gather_nd(x, indices)


def _scatter_nd(name, ufunc, vjp):
    def shape(x, indices, updates):
        _check_updates(name, x, updates, _nd_dims(name, x, indices))
        if x.dtype == "bool" and ufunc in (np.add, np.multiply):
            raise TypeError(f"{name}: bool has no arithmetic: {signature([x])}")
        if x.dtype in dtypes.COMPLEX and ufunc in (np.maximum, np.minimum):
            raise TypeError(f"{name}: complex numbers have no order: {signature([x])}")
        return x.dims, x.dtype

    def reference(x, indices, updates):
        out = _accumulator(x)
        depth = indices.shape[-1]
        count = int(np.prod(indices.shape[:-1]))
        rows = out.reshape((int(np.prod(x.shape[:depth])),) + x.shape[depth:])
        flat = updates.reshape((count,) + x.shape[depth:]).astype(out.dtype)
        where = np.zeros(count, np.int64)
        for i in range(depth):
            where = where * x.shape[i] + _wrap(indices[..., i], x.shape[i]).reshape(-1)
        if ufunc is None:
            for at, value in zip(where, flat):  # in order: the last one stays
                rows[at] = value
        else:
            ufunc.at(rows, where, flat)
        return out.astype(x.dtype)

    return Primitive(name, shape=shape, reference=reference, vjp=vjp)


def _set_vjp(ct, out, x, indices, updates):
    """Of several updates for one place the last one stays, and it alone gets the cotangent."""
    from keras_native.engine.primitives.elementwise import eq, select

    count = product(indices.dims[:-1])
    depth = indices.dims[-1]
    order = reshape(iota(count, "int32"), indices.dims[:-1])
    winner = scatter_nd_set(zeros(x.dims[:depth], "int32"), indices, order)
    kept = eq(gather_nd(winner, indices), order)
    kept = reshape(kept, tuple(kept.dims) + (1,) * (x.ndim - depth))
    pulled = gather_nd(ct, indices)
    nothing = zeros(updates.dims, ct.dtype)
    return (
        scatter_nd_set(ct, indices, nothing),
        None,
        select(broadcast_to(kept, updates.dims), pulled, nothing),
    )


def _extreme_vjp(ct, out, x, indices, updates):
    """All that equal the result share its cotangent."""
    from keras_native.engine.primitives.elementwise import cast, div, eq, mul

    hit_x = cast(eq(x, out), ct.dtype)
    hit_u = cast(eq(updates, gather_nd(out, indices)), ct.dtype)
    share = div(ct, scatter_nd_add(hit_x, indices, hit_u))
    return mul(hit_x, share), None, mul(hit_u, gather_nd(share, indices))


def _mul_vjp(ct, out, x, indices, updates):
    """The product of all other factors of a place, by counting its zeros: no division by 0."""
    from keras_native.engine.primitives.elementwise import cast, div, eq, mul, select, sub

    def split(v):
        zero = eq(v, zeros((), v.dtype))
        return select(zero, ones_like(v), v), cast(zero, ct.dtype)

    def ones_like(v):
        from keras_native.engine.primitives.shape import ones

        return ones(v.dims, v.dtype)

    x_safe, x_zero = split(x)
    u_safe, u_zero = split(updates)
    rest = scatter_nd_mul(x_safe, indices, u_safe)
    zero_count = scatter_nd_add(x_zero, indices, u_zero)

    def others(product_, count, safe, zero):
        none_left = eq(sub(count, zero), zeros((), ct.dtype))
        return select(none_left, div(product_, safe), zeros(safe.dims, ct.dtype))

    dx = mul(ct, others(rest, zero_count, x_safe, x_zero))
    du = others(gather_nd(rest, indices), gather_nd(zero_count, indices), u_safe, u_zero)
    return dx, None, mul(gather_nd(ct, indices), du)


_scatter_nd_add = _scatter_nd(
    "scatter_nd_add",
    np.add,
    lambda ct, out, x, indices, updates: (ct, None, gather_nd(ct, indices)),
)
_scatter_nd_set = _scatter_nd("scatter_nd_set", None, _set_vjp)
_scatter_nd_max = _scatter_nd("scatter_nd_max", np.maximum, _extreme_vjp)
_scatter_nd_min = _scatter_nd("scatter_nd_min", np.minimum, _extreme_vjp)
_scatter_nd_mul = _scatter_nd("scatter_nd_mul", np.multiply, _mul_vjp)


def _in_32_bits(scatter: Primitive, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """Narrow integers by way of int32, for which there are kernels: casts wrap as they would."""
    if x.dtype not in ("int8", "int16", "uint8", "uint16") or updates.dtype != x.dtype:
        return scatter(x, indices, updates)
    wide = scatter(cast(x, "int32"), indices, cast(updates, "int32"))
    return cast(wide, x.dtype)


def scatter_nd_add(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with updates[..., :] added at indices[..., k]; repeated positions add up."""
    return _in_32_bits(_scatter_nd_add, x, indices, updates)


def scatter_nd_set(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with slices at indices[..., k] replaced; of repeated positions the last one stays."""
    return _scatter_nd_set(x, indices, updates)


def scatter_nd_max(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with the maximum of itself and the updates at indices[..., k]; NaN wins."""
    return _in_32_bits(_scatter_nd_max, x, indices, updates)


def scatter_nd_min(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with the minimum of itself and the updates at indices[..., k]; NaN wins."""
    return _in_32_bits(_scatter_nd_min, x, indices, updates)


def scatter_nd_mul(x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with slices at indices[..., k] multiplied by the updates."""
    return _in_32_bits(_scatter_nd_mul, x, indices, updates)


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


# sorting: ascending, NaN after everything


def _check_order(op, x):
    if x.dtype in dtypes.COMPLEX:
        raise TypeError(f"{op}: complex numbers have no order: {signature([x])}")


def _sort_shape(x, *, axis):
    _check_order("sort", x)
    return x.dims, x.dtype


def _sortable(x):
    narrow = dtypes.from_numpy(x.dtype) in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
    return x.astype(np.float32) if narrow else x


_sort = Primitive(
    "sort",
    shape=_sort_shape,
    reference=lambda x, *, axis: np.sort(_sortable(x), axis=axis).astype(x.dtype),
    batch=batch.shifted,
    vjp=lambda ct, out, x, *, axis: (
        scatter_along_axis_add(zeros(x.dims, ct.dtype), argsort(x, axis), ct, axis),
    ),
)


def sort(x: Tensor, axis: int = -1) -> Tensor:
    """x sorted ascending along an axis, NaN last. TypeError for complex."""
    return _sort(x, axis=normal_axis("sort", axis, x.ndim))


def _argsort_shape(x, *, axis, stable):
    _check_order("argsort", x)
    return x.dims, "int32"


_argsort = Primitive(
    "argsort",
    shape=_argsort_shape,
    reference=lambda x, *, axis, stable: np.argsort(_sortable(x), axis=axis, kind="stable").astype(
        np.int32
    ),
    batch=batch.shifted,
)


def argsort(x: Tensor, axis: int = -1, stable: bool = True) -> Tensor:
    """Positions (int32) that sort x ascending along an axis, NaN last; equal ones keep their order.

    `stable` is accepted for its meaning elsewhere: the order is always stable.
    """
    return _argsort(x, axis=normal_axis("argsort", axis, x.ndim), stable=bool(stable))


def _top_k_shape(x, *, k):
    _check_order("top_k", x)
    if not x.ndim or k < 0 or (type(x.dims[-1]) is int and k > x.dims[-1]):
        raise ValueError(f"top_k: k = {k} does not fit the last axis of {signature([x])}")
    dims = tuple(x.dims[:-1]) + (k,)
    return [(dims, x.dtype), (dims, "int32")]


def _top_k_reference(x, *, k):
    y = _sortable(x)
    # Ties keep the earlier one, so the stable ascending sort runs over the mirrored row.
    last = x.shape[-1] - 1
    order = last - np.argsort(y[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., :k]
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def _top_k_vjp(cts, outs, x, *, k):
    if cts[0] is None:
        return (None,)
    return (scatter_along_axis_add(zeros(x.dims, cts[0].dtype), outs[1], cts[0], x.ndim - 1),)


_top_k = Primitive(
    "top_k",
    shape=_top_k_shape,
    reference=_top_k_reference,
    batch=batch.shifted,
    vjp=_top_k_vjp,
)


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of the last axis in descending order and their positions (int32).

    NaN counts as the largest; of equal ones the earlier comes first.
    """
    return _top_k(x, k=int(k))


def _searchsorted_shape(sorted_, values, *, side):
    _check_order("searchsorted", sorted_)
    if sorted_.ndim != 1:
        raise ValueError(f"searchsorted: needs a vector: {signature([sorted_, values])}")
    if sorted_.dtype != values.dtype:
        raise TypeError(f"searchsorted: dtypes differ: {signature([sorted_, values])}")
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right', got '{side}'")
    return values.dims, "int32"


_searchsorted = Primitive(
    "searchsorted",
    shape=_searchsorted_shape,
    reference=lambda sorted_, values, *, side: np.searchsorted(
        _sortable(sorted_), _sortable(values), side
    ).astype(np.int32),
)


def searchsorted(sorted_: Tensor, values: Tensor, side: str = "left") -> Tensor:
    """Where each value would be inserted into an ascending vector, as int32.

    Args:
        side: "left" before equal elements, "right" after them.
    """
    return _searchsorted(sorted_, values, side=side)
