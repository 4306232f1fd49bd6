"""Moving elements: shapes, layouts and constants. Pieces are in `shape_slice`.

Sizes in attributes may be symbolic under a trace; axes, steps and permutations are plain ints.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.tensor import Tensor, from_numpy


def product(sizes):
    """The product of sizes, symbolic ones included; 1 for none."""
    total = 1
    for size in sizes:
        total = total * size
    return total


def same(a, b) -> bool:
    """Whether two sizes are equal; guards the trace only when they are different symbols."""
    return a is b or bool(a == b)


def normal_axis(op: str, axis: int, rank: int) -> int:
    """An axis counted from the front. ValueError when it is outside the rank."""
    axis = operator.index(axis)
    if not -rank <= axis < rank:
        raise ValueError(f"{op}: axis {axis} is out of range for a tensor of rank {rank}")
    return axis % rank


def normal_axes(op: str, axes, rank: int) -> tuple[int, ...]:
    """Axes as a sorted tuple counted from the front; None means all. ValueError on repeats."""
    if axes is None:
        return tuple(range(rank))
    if not isinstance(axes, (tuple, list)):
        axes = (axes,)
    found = sorted(normal_axis(op, a, rank) for a in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"{op}: an axis is repeated in {tuple(axes)}")
    return tuple(found)


class _Alias(Primitive):
    """A primitive whose result has the bytes of its first input: nothing moves when run eagerly."""

    def run(self, inputs, attrs, specs):
        ((dims, _),) = specs
        array = inputs[0].array
        return [Tensor(array if array.shape == tuple(dims) else array.reshape(dims))]


# reshape


def _reshape_shape(x, *, dims):
    if not same(product(x.dims), product(dims)):
        raise ValueError(f"reshape: cannot turn {signature([x])} into shape {tuple(dims)}")
    return tuple(dims), x.dtype


_reshape = _Alias(
    "reshape",
    shape=_reshape_shape,
    reference=lambda x, *, dims: x.reshape(dims),
    batch=batch.shifted,
    vjp=lambda ct, out, x, *, dims: (reshape(ct, x.dims),),
)


def reshaped(x, dims) -> tuple:
    """The sizes that `dims`, of which one may be -1 (the rest), stand for.

    Args:
        x: anything with `dims` and `dtype`.

    Raises:
        ValueError: the counts differ, or several entries are -1.
    """
    dims = tuple(dims)
    free = [i for i, d in enumerate(dims) if type(d) is int and d == -1]
    if len(free) > 1 or any(type(d) is int and d < -1 for d in dims):
        raise ValueError(f"reshape: bad sizes {dims} for {signature([x])}")
    if not free:
        return dims
    # Equal factors are cancelled first, so that (B, 4) -> (B, -1) needs no symbolic division.
    left, right = list(x.dims), []
    for d in dims[: free[0]] + dims[free[0] + 1 :]:
        match = next((i for i, e in enumerate(left) if e is d), None)
        if match is None:
            right.append(d)
        else:
            del left[match]
    total, known = product(left), product(right)
    if type(known) is int and known == 0:
        raise ValueError(f"reshape: -1 is not determined in {dims} for {signature([x])}")
    if type(known) is int and type(total) is int and total % known:
        raise ValueError(f"reshape: cannot turn {signature([x])} into shape {dims}")
    rest = total if type(known) is int and known == 1 else total // known
    return dims[: free[0]] + (rest,) + dims[free[0] + 1 :]


def reshape(x: Tensor, dims) -> Tensor:
    """The same elements in row-major order under other sizes; one entry may be -1 (the rest).

    Raises:
        ValueError: the counts differ, or several entries are -1.
    """
    dims = reshaped(x, dims)
    if len(dims) == len(x.dims) and all(a is b for a, b in zip(dims, x.dims)):
        return x
    return _reshape(x, dims=dims)


def expand_dims(x: Tensor, axes) -> Tensor:
    """Sizes of 1 inserted at `axes` (an int or a tuple), which count in the result."""
    axes = axes if isinstance(axes, (tuple, list)) else (axes,)
    axes = normal_axes("expand_dims", tuple(axes), x.ndim + len(axes))
    rest = iter(x.dims)
    return reshape(x, tuple(1 if i in axes else next(rest) for i in range(x.ndim + len(axes))))


def squeeze(x: Tensor, axes=None) -> Tensor:
    """Sizes of 1 dropped: those at `axes`, or all of them.

    Raises:
        ValueError: a size at `axes` is not 1.
    """
    if axes is None:
        axes = tuple(i for i, d in enumerate(x.dims) if type(d) is int and d == 1)
    axes = normal_axes("squeeze", axes, x.ndim)
    for a in axes:
        if not same(x.dims[a], 1):
            raise ValueError(f"squeeze: size at axis {a} of {signature([x])} is not 1")
    return reshape(x, tuple(d for i, d in enumerate(x.dims) if i not in axes))


# copy and stop_gradient

copy_p = _Alias(
    "copy",
    shape=lambda x: (x.dims, x.dtype),
    reference=lambda x: x,
    batch=batch.shifted,
    vjp=lambda ct, out, x: (ct,),
)
_stop_gradient = _Alias(
    "stop_gradient",
    shape=lambda x: (x.dims, x.dtype),
    reference=lambda x: x,
    batch=batch.shifted,
)


def copy(x: Tensor) -> Tensor:
    """The identity."""
    return copy_p(x)


def stop_gradient(x: Tensor) -> Tensor:
    """The identity, through which no cotangent flows."""
    return _stop_gradient(x)


_barrier = _Alias(
    "barrier",
    shape=lambda x: (x.dims, x.dtype),
    reference=lambda x: x,
    batch=batch.shifted,
    vjp=lambda ct, out, x: (ct,),
)


def barrier(x: Tensor) -> Tensor:
    """The identity, which keeps what is computed from it from being merged with what is computed
    from `x`: recomputation in a backward pass stays recomputation."""
    return _barrier(x)


# transpose


def _transpose_shape(x, *, perm):
    if sorted(perm) != list(range(x.ndim)):
        raise ValueError(f"transpose: {tuple(perm)} does not permute the axes of {signature([x])}")
    return tuple(x.dims[p] for p in perm), x.dtype


_transpose = Primitive(
    "transpose",
    shape=_transpose_shape,
    reference=lambda x, *, perm: np.transpose(x, perm),
    batch=batch.shifted,
    vjp=lambda ct, out, x, *, perm: (transpose(ct, tuple(perm.index(i) for i in range(x.ndim))),),
)


def transpose(x: Tensor, perm=None) -> Tensor:
    """Axes permuted: axis i of the result is axis perm[i] of x. None reverses them.

    Raises:
        ValueError: `perm` is not a permutation of x's axes.
    """
    if perm is None:
        perm = tuple(reversed(range(x.ndim)))
    if len(perm) != x.ndim:
        raise ValueError(f"transpose: {tuple(perm)} does not permute the axes of {signature([x])}")
    perm = tuple(normal_axis("transpose", p, x.ndim) for p in perm)
    return x if perm == tuple(range(x.ndim)) else _transpose(x, perm=perm)


# broadcast_to


def _broadcast_shape(x, *, dims):
    lead = len(dims) - x.ndim
    if lead < 0 or not all(same(d, t) or same(d, 1) for d, t in zip(x.dims, dims[lead:])):
        raise ValueError(f"broadcast_to: cannot broadcast {signature([x])} to {tuple(dims)}")
    return tuple(dims), x.dtype


def _broadcast_vjp(ct, out, x, *, dims):
    from keras_native.engine.primitives.reduce import reduce_sum

    lead = len(dims) - x.ndim
    axes = tuple(range(lead)) + tuple(
        i + lead
        for i, d in enumerate(x.dims)
        if d is not dims[i + lead] and same(d, 1) and not same(dims[i + lead], 1)
    )
    return (reshape(reduce_sum(ct, axes) if axes else ct, x.dims),)


_broadcast_to = Primitive(
    "broadcast_to",
    shape=_broadcast_shape,
    reference=lambda x, *, dims: np.broadcast_to(x, dims),
    batch=lambda primitive, size, inputs, batched, *, dims: primitive(
        batch.raised(inputs[0], True, len(dims)), dims=(size, *dims)
    ),
    vjp=_broadcast_vjp,
)


def broadcast_to(x: Tensor, dims) -> Tensor:
    """x repeated along new leading axes and axes of size 1, by NumPy's rule.

    Raises:
        ValueError: the shapes do not broadcast.
    """
    dims = tuple(dims)
    if len(dims) == x.ndim and all(same(a, b) for a, b in zip(dims, x.dims)):
        return x
    return _broadcast_to(x, dims=dims)


def tile(x: Tensor, repeats) -> Tensor:
    """x repeated as a whole repeats[i] times along axis i; shorter operands get leading ones."""
    rank = max(x.ndim, len(repeats))
    repeats = (1,) * (rank - len(repeats)) + tuple(repeats)
    dims = (1,) * (rank - x.ndim) + tuple(x.dims)
    split = tuple(v for d in dims for v in (1, d))
    spread = tuple(v for r, d in zip(repeats, dims) for v in (r, d))
    result = tuple(r * d for r, d in zip(repeats, dims))
    return reshape(broadcast_to(reshape(x, split), spread), result)


def repeat(x: Tensor, count: int, axis: int) -> Tensor:
    """Each element repeated `count` times along an axis."""
    axis = normal_axis("repeat", axis, x.ndim)
    before, size, after = x.dims[:axis], x.dims[axis], x.dims[axis + 1 :]
    spread = broadcast_to(expand_dims(x, axis + 1), before + (size, count) + after)
    return reshape(spread, before + (size * count,) + after)


# concat


def _concat_shape(*parts, axis):
    if not parts:
        raise ValueError("concat: no tensors given")
    first = parts[0]
    total = 0
    for p in parts:
        if p.dtype != first.dtype:
            raise TypeError(f"concat: dtypes differ: {signature(parts)}")
        if p.ndim != first.ndim or not all(
            i == axis or same(a, b) for i, (a, b) in enumerate(zip(p.dims, first.dims))
        ):
            raise ValueError(f"concat: shapes differ outside axis {axis}: {signature(parts)}")
        total = total + p.dims[axis]
    return first.dims[:axis] + (total,) + first.dims[axis + 1 :], first.dtype


def _concat_vjp(ct, out, *parts, axis):
    from keras_native.engine.primitives.shape_slice import piece

    start, pieces = 0, []
    for p in parts:
        pieces.append(piece(ct, axis, start, start + p.dims[axis]))
        start = start + p.dims[axis]
    return tuple(pieces)


_concat = Primitive(
    "concat",
    shape=_concat_shape,
    reference=lambda *parts, axis: np.concatenate(parts, axis),
    batch=batch.shifted,
    vjp=_concat_vjp,
)


def concat(parts, axis: int) -> Tensor:
    """Tensors of one dtype joined along an existing axis.

    Raises:
        ValueError: shapes differ outside the axis. TypeError: dtypes differ.
    """
    parts = tuple(parts)
    if not parts:
        raise ValueError("concat: no tensors given")
    axis = normal_axis("concat", axis, parts[0].ndim)
    return parts[0] if len(parts) == 1 else _concat(*parts, axis=axis)


def stack(parts, axis: int = 0) -> Tensor:
    """Tensors of one shape and dtype joined along a new axis."""
    parts = tuple(parts)
    if not parts:
        raise ValueError("stack: no tensors given")
    if any(p.ndim != parts[0].ndim for p in parts):
        raise ValueError(f"stack: shapes differ: {signature(parts)}")
    axis = normal_axis("stack", axis, parts[0].ndim + 1)
    first = parts[0].dims
    if not all(same(a, b) for p in parts for a, b in zip(p.dims, first)):
        raise ValueError(f"stack: shapes differ: {signature(parts)}")
    return concat([expand_dims(p, axis) for p in parts], axis)


# flip

_flip = Primitive(
    "flip",
    shape=lambda x, *, axes: (x.dims, x.dtype),
    reference=lambda x, *, axes: np.flip(x, axes),
    batch=batch.shifted,
    vjp=lambda ct, out, x, *, axes: (flip(ct, axes),),
)


def flip(x: Tensor, axes=None) -> Tensor:
    """x with the order of elements reversed along axes (an int, a tuple, or None for all)."""
    axes = normal_axes("flip", axes, x.ndim)
    return _flip(x, axes=axes) if axes else x


# constants


def _full_shape(*, dims, value, dtype):
    if any(type(d) is int and d < 0 for d in dims):
        raise ValueError(f"full: negative size in {tuple(dims)}")
    return tuple(dims), dtype


_full = Primitive(
    "full",
    shape=_full_shape,
    reference=lambda *, dims, value, dtype: np.full(dims, value, dtypes.NUMPY[dtype]),
)


def full(dims, value, dtype: str) -> Tensor:
    """A tensor of one value, a Python or NumPy scalar (or a symbolic size)."""
    if dtype not in dtypes.NUMPY:
        raise TypeError(f"full: unknown dtype '{dtype}'")
    dims = tuple(dims)
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.item()
    if type(value) is int and dtype in dtypes.INTEGERS:
        value = dtypes.wrapped(value, dtype)
    if dtype in dtypes.COMPLEX or (type(value) is int and not -(2**63) <= value < 2**63):
        return broadcast_to(from_numpy(np.full((), value, dtypes.NUMPY[dtype])), dims)
    if isinstance(value, (bool, int, float)):
        if dtypes.is_float(dtype):
            value = float(value)
        elif dtype == "bool":
            value = int(bool(value))
        else:
            value = int(value) if math.isfinite(value) else 0
    return _full(dims=dims, value=value, dtype=dtype)


def zeros(dims, dtype: str) -> Tensor:
    """A tensor of zeros."""
    return full(dims, 0, dtype)


def ones(dims, dtype: str) -> Tensor:
    """A tensor of ones."""
    return full(dims, 1, dtype)


def _iota_shape(*, size, dtype):
    if dtype == "bool" or dtype not in dtypes.NUMPY:
        raise TypeError(f"iota: dtype '{dtype}' cannot count")
    if type(size) is int and size < 0:
        raise ValueError(f"iota: negative size {size}")
    return (size,), dtype


_iota = Primitive(
    "iota",
    shape=_iota_shape,
    reference=lambda *, size, dtype: np.arange(size).astype(dtypes.NUMPY[dtype]),
)


def iota(size, dtype: str = "int32") -> Tensor:
    """0, 1, ..., size - 1."""
    return _iota(size=size, dtype=dtype)
