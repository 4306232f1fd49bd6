"""Pieces of tensors at fixed positions and at positions known only at run time, and padding.

Sizes and positions in attributes may be symbolic under a trace; steps are plain ints.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.primitives.shape import concat, flip, same, zeros
from keras_native.engine.tensor import Tensor

# slice: here start and stop are positions as they are; stop is -1 where a negative step ends at 0


def _slice_shape(x, *, start, stop, step):
    if not len(start) == len(stop) == len(step) == x.ndim:
        raise ValueError(
            f"slice: start {start}, stop {stop} and step {step} do not fit {signature([x])}"
        )
    dims = []
    for a, b, s in zip(start, stop, step):
        if s == 0:
            raise ValueError(f"slice: step 0 for {signature([x])}")
        dims.append(b - a if s == 1 else (b - a + s - (1 if s > 0 else -1)) // s)
    for d, n, a, b, s in zip(x.dims, dims, start, stop, step):
        plain = all(type(v) is int for v in (d, n, a, b))
        last = a + (n - 1) * s if plain else 0
        if plain and (n < 0 or (n > 0 and not (0 <= a < d and 0 <= last < d))):
            raise ValueError(f"slice: [{a}:{b}:{s}] is outside a size of {d} of {signature([x])}")
    return tuple(dims), x.dtype


def _slice_reference(x, *, start, stop, step):
    index = [slice_(a, None if s < 0 and b < 0 else b, s) for a, b, s in zip(start, stop, step)]
    return x[tuple(index)]


def _slice_vjp(ct, out, x, *, start, stop, step):
    backward = tuple(i for i, s in enumerate(step) if s < 0)
    if any(type(n) is int and n == 0 for n in out.dims):
        return (zeros(x.dims, ct.dtype),)
    low, high = [], []
    for d, n, a, s in zip(x.dims, out.dims, start, step):
        first, last = (a, a + (n - 1) * s) if s > 0 else (a + (n - 1) * s, a)
        low.append(first)
        high.append(d - 1 - last)
    ct = flip(ct, backward) if backward else ct
    interior = tuple(abs(s) - 1 for s in step)
    return (pad(ct, tuple(low), tuple(high), zeros((), ct.dtype), interior),)


slice_ = slice  # the built-in, before the public function takes its name
_slice = Primitive(
    "slice",
    shape=_slice_shape,
    reference=_slice_reference,
    batch=batch.shifted,
    vjp=_slice_vjp,
)


def piece(x, axis, start, stop):
    """Positions [start, stop) of one axis."""
    low = tuple(start if i == axis else 0 for i in range(x.ndim))
    high = tuple(stop if i == axis else d for i, d in enumerate(x.dims))
    return _slice(x, start=low, stop=high, step=(1,) * x.ndim)


def slice(x: Tensor, start, stop, step=None) -> Tensor:
    """x[start:stop:step] on every axis, with Python's meaning of negative and None entries.

    Args:
        start, stop: an int or None for each axis; a position beyond the end is clipped.
        step: a non-zero int for each axis; 1 when None.

    Raises:
        ValueError: the lengths do not fit x's rank, or a step is 0.
    """
    start, stop = tuple(start), tuple(stop)
    step = (1,) * x.ndim if step is None else tuple(1 if s is None else int(s) for s in step)
    if not len(start) == len(stop) == len(step) == x.ndim or 0 in step:
        raise ValueError(
            f"slice: start {start}, stop {stop} and step {step} do not fit {signature([x])}"
        )
    lows, highs = [], []
    for d, a, b, s in zip(x.dims, start, stop, step):
        if type(d) is int and all(v is None or type(v) is not float for v in (a, b)):
            plain = all(v is None or isinstance(v, (int, np.integer)) for v in (a, b))
        else:
            plain = False
        if plain:
            a, b, _ = slice_(a, b, s).indices(d)
            b = max(a, b) if s > 0 else min(a, b)
            if s > 0 and a == b:
                a = b = 0
        elif s > 0:
            a = 0 if a is None else d + a if type(a) is int and a < 0 else a
            b = d if b is None else d + b if type(b) is int and b < 0 else b
        else:
            a = d - 1 if a is None else d + a if type(a) is int and a < 0 else a
            b = -1 if b is None else d + b if type(b) is int and b < 0 else b
        lows.append(a)
        highs.append(b)
    if all(
        s == 1 and type(a) is int and a == 0 and (b is d or (type(d) is int and b == d))
        for d, a, b, s in zip(x.dims, lows, highs, step)
    ):
        return x
    return _slice(x, start=tuple(lows), stop=tuple(highs), step=step)


# pad


def _pad_shape(x, value, *, low, high, interior):
    if not len(low) == len(high) == len(interior) == x.ndim:
        raise ValueError(
            f"pad: low {low}, high {high} and interior {interior} do not fit {signature([x])}"
        )
    if value.dtype != x.dtype:
        raise TypeError(f"pad: the value's dtype differs: {signature([x, value])}")
    if value.ndim:
        raise ValueError(f"pad: the value must be a scalar: {signature([x, value])}")
    if any(type(v) is int and v < 0 for v in (*low, *high, *interior)):
        raise ValueError(f"pad: negative amounts: low {low}, high {high}, interior {interior}")
    dims = []
    for d, a, b, i in zip(x.dims, low, high, interior):
        if i:
            d = (d - 1) * (i + 1) + 1 if type(d) is not int or d > 0 else 0
        dims.append(d + a + b)
    return tuple(dims), x.dtype


def _pad_index(dims, low, interior):
    return tuple(
        slice_(a, a + (d - 1) * (i + 1) + 1 if d else a, i + 1)
        for d, a, i in zip(dims, low, interior)
    )


def _pad_reference(x, value, *, low, high, interior):
    dims = [
        a + b + ((d - 1) * (i + 1) + 1 if d else 0)
        for d, a, b, i in zip(x.shape, low, high, interior)
    ]
    out = np.full(dims, value, x.dtype)
    out[_pad_index(x.shape, low, interior)] = x
    return out


def _pad_batch(primitive, size, inputs, batched, **attrs):
    x, value = inputs
    if batched[1]:
        raise batch.Unbatchable("pad")
    return primitive(x, value, **batch.shift(attrs, size))


def _pad_vjp(ct, out, x, value, *, low, high, interior):
    from keras_native.engine.primitives.elementwise import sub
    from keras_native.engine.primitives.reduce import reduce_sum

    if any(type(d) is int and d == 0 for d in x.dims):
        return zeros(x.dims, ct.dtype), reduce_sum(ct, None)
    step = tuple(i + 1 for i in interior)
    stop = tuple(a + (d - 1) * s + 1 for d, a, s in zip(x.dims, low, step))
    inner = _slice(ct, start=low, stop=stop, step=step)
    return inner, sub(reduce_sum(ct, None), reduce_sum(inner, None))


_pad = Primitive("pad", shape=_pad_shape, reference=_pad_reference, batch=_pad_batch, vjp=_pad_vjp)


def pad(x: Tensor, low, high, value: Tensor, interior=None) -> Tensor:
    """x with `value` around it (and between its elements).

    Args:
        low, high: amounts >= 0 before and after, for each axis.
        value: a scalar tensor of x's dtype.
        interior: amounts >= 0 between neighbours, for each axis; 0 when None.
    """
    interior = (0,) * x.ndim if interior is None else tuple(interior)
    low, high = tuple(low), tuple(high)
    if all(type(v) is int and v == 0 for v in (*low, *high, *interior)) and len(low) == x.ndim:
        return x
    return _pad(x, value, low=low, high=high, interior=interior)


# pieces at positions known only at run time


def _check_start(op, x, start):
    if start.dtype not in ("int32", "int64"):
        raise TypeError(f"{op}: start must be int32 or int64: {signature([x, start])}")
    if start.ndim != 1 or not same(start.dims[0], x.ndim):
        raise ValueError(f"{op}: start must hold a position for each axis: {signature([x, start])}")


def _fits(x, sizes):
    return len(sizes) == x.ndim and all(
        type(s) is not int or type(d) is not int or 0 <= s <= d for s, d in zip(sizes, x.dims)
    )


def _dynamic_slice_shape(x, start, *, sizes):
    _check_start("dynamic_slice", x, start)
    if not _fits(x, sizes):
        raise ValueError(f"dynamic_slice: sizes {tuple(sizes)} do not fit {signature([x])}")
    return tuple(sizes), x.dtype


def _window(x, start, sizes):
    clamped = [min(max(int(s), 0), d - n) for s, d, n in zip(start, x.shape, sizes)]
    return tuple(slice_(s, s + n) for s, n in zip(clamped, sizes))


def _dynamic_slice_batch(primitive, size, inputs, batched, *, sizes):
    x, start = inputs
    if batched[1]:
        raise batch.Unbatchable("dynamic_slice")
    return primitive(x, concat([zeros((1,), start.dtype), start], 0), sizes=(size, *sizes))


_dynamic_slice = Primitive(
    "dynamic_slice",
    shape=_dynamic_slice_shape,
    reference=lambda x, start, *, sizes: x[_window(x, start, sizes)],
    batch=_dynamic_slice_batch,
    vjp=lambda ct, out, x, start, *, sizes: (
        dynamic_update_slice(zeros(x.dims, ct.dtype), ct, start),
        None,
    ),
)


def dynamic_slice(x: Tensor, start: Tensor, sizes) -> Tensor:
    """The block of `sizes` at `start` (an integer vector), moved inside if it sticks out."""
    return _dynamic_slice(x, start, sizes=tuple(sizes))


def _dynamic_update_slice_shape(x, update, start):
    _check_start("dynamic_update_slice", x, start)
    if x.dtype != update.dtype:
        raise TypeError(f"dynamic_update_slice: dtypes differ: {signature([x, update])}")
    if not _fits(x, update.dims):
        raise ValueError(f"dynamic_update_slice: the update does not fit: {signature([x, update])}")
    return x.dims, x.dtype


def _dynamic_update_slice_reference(x, update, start):
    out = np.array(x)
    out[_window(x, start, update.shape)] = update
    return out


_dynamic_update_slice = Primitive(
    "dynamic_update_slice",
    shape=_dynamic_update_slice_shape,
    reference=_dynamic_update_slice_reference,
    vjp=lambda ct, out, x, update, start: (
        dynamic_update_slice(ct, zeros(update.dims, ct.dtype), start),
        dynamic_slice(ct, start, update.dims),
        None,
    ),
)


def dynamic_update_slice(x: Tensor, update: Tensor, start: Tensor) -> Tensor:
    """x with the block at `start` replaced; a block that would stick out is moved inside."""
    return _dynamic_update_slice(x, update, start)
