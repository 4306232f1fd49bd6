"""Slices by positions along several axes: gather_nd and the scatters.

Indices count and are clipped as in gather.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives.elementwise import cast
from keras_native.engine.primitives.gather_common import (
    accumulator,
    check_axis,
    check_indices,
    check_updates,
    wrap,
)
from keras_native.engine.primitives.shape import (
    broadcast_to,
    iota,
    product,
    reshape,
    zeros,
)
from keras_native.engine.tensor import Tensor


def _nd_dims(op, x, indices):
    check_indices(op, x, indices)
    depth = indices.dims[-1] if indices.ndim else None
    if type(depth) is not int or depth > x.ndim:
        raise ValueError(
            f"{op}: the last size of indices must be at most the operand's rank: "
            f"{signature([x, indices])}"
        )
    for axis in range(depth):
        check_axis(op, x, axis, indices.size)
    return tuple(indices.dims[:-1]) + tuple(x.dims[depth:])


def _nd_index(x, indices):
    return tuple(wrap(indices[..., i], x.shape[i]) for i in range(indices.shape[-1]))


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
        check_updates(name, x, updates, _nd_dims(name, x, indices))
        if x.dtype == "bool" and ufunc in (np.add, np.multiply):
            raise TypeError(f"{name}: bool has no arithmetic: {signature([x])}")
        if x.dtype in dtypes.COMPLEX and ufunc in (np.maximum, np.minimum):
            raise TypeError(f"{name}: complex numbers have no order: {signature([x])}")
        return x.dims, x.dtype

    def reference(x, indices, updates):
        out = accumulator(x)
        depth = indices.shape[-1]
        count = int(np.prod(indices.shape[:-1]))
        rows = out.reshape((int(np.prod(x.shape[:depth])),) + x.shape[depth:])
        flat = updates.reshape((count,) + x.shape[depth:]).astype(out.dtype)
        where = np.zeros(count, np.int64)
        for i in range(depth):
            where = where * x.shape[i] + wrap(indices[..., i], x.shape[i]).reshape(-1)
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
