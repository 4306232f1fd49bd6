"""Reductions over axes, scans along one axis, positions of extremes.

Half-precision inputs are accumulated in float32 and rounded once; integer sums keep their dtype.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.primitives.shape import (
    broadcast_to,
    full,
    iota,
    normal_axes,
    normal_axis,
    product,
    reshape,
    transpose,
    zeros,
)
from keras_native.engine.primitives.shape_slice import pad, slice
from keras_native.engine.tensor import Tensor

_HALF = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


def widen(x: np.ndarray) -> np.ndarray:
    """A narrow float array as float32, any other as it is."""
    return x.astype(np.float32) if dtypes.from_numpy(x.dtype) in _HALF else x


def _same_dtype(ufunc):
    """A reduction by a ufunc that keeps the dtype of integers (NumPy widens their sums)."""
    return lambda x, axis, keepdims: ufunc.reduce(x, axis=axis, keepdims=keepdims, dtype=x.dtype)


def _reduced(x, axes, keepdims):
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(x.dims))
    return tuple(d for i, d in enumerate(x.dims) if i not in axes)


def _spread(reduced, x, axes):
    """A reduced tensor (with or without its unit axes) repeated to x's sizes."""
    return broadcast_to(_with_units(reduced, x, axes), x.dims)


def _with_units(reduced, x, axes):
    return reshape(reduced, tuple(1 if i in axes else d for i, d in enumerate(x.dims)))


def _check_kind(name, x, kind):
    numeric = x.dtype != "bool"
    good = {
        "numeric": numeric,
        "ordered": x.dtype not in dtypes.COMPLEX,
        "float": dtypes.is_float(x.dtype) or x.dtype in dtypes.COMPLEX,
        "real": dtypes.is_float(x.dtype),
        "bool": x.dtype == "bool",
    }[kind]
    if not good:
        raise TypeError(f"{name}: expected a {kind} dtype, got {signature([x])}")


def _check_nonempty(name, x, axes):
    if any(type(x.dims[a]) is int and x.dims[a] == 0 for a in axes):
        raise ValueError(f"{name}: nothing to reduce along {tuple(axes)} of {signature([x])}")


def _reduction(name, kind, reference, vjp=None, nonempty=False):
    def shape(x, *, axes, keepdims):
        _check_kind(name, x, kind)
        if nonempty:
            _check_nonempty(name, x, axes)
        return _reduced(x, axes, keepdims), x.dtype

    return Primitive(
        name,
        shape=shape,
        reference=lambda x, *, axes, keepdims: reference(
            widen(x), axis=tuple(axes), keepdims=bool(keepdims)
        ),
        batch=batch.shifted,
        vjp=vjp,
    )


def _call(primitive, x, axes, keepdims):
    axes = normal_axes(primitive.name, axes, x.ndim)
    return primitive(x, axes=axes, keepdims=bool(keepdims))


# sum, mean

_sum = _reduction(
    "reduce_sum",
    "numeric",
    _same_dtype(np.add),
    lambda ct, out, x, *, axes, keepdims: (_spread(ct, x, axes),),
)


def _over_count(ct, x, axes):
    """ct divided by the number of elements reduced, in float32 for half precision: the count may
    be above what float16 holds, and it may be symbolic."""
    from keras_native.engine.primitives.elementwise import cast, div

    count = product(x.dims[a] for a in axes)
    if ct.dtype in _HALF:
        return cast(div(cast(ct, "float32"), full((), count, "float32")), ct.dtype)
    return div(ct, full((), count, ct.dtype))


_mean = _reduction(
    "reduce_mean",
    "float",
    np.mean,
    lambda ct, out, x, *, axes, keepdims: (_spread(_over_count(ct, x, axes), x, axes),),
)


def reduce_sum(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """Sum over axes (an int, a tuple, or None for all). TypeError for bool."""
    return _call(_sum, x, axes, keepdims)


def reduce_mean(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over axes, NaN over none. TypeError unless floating point or complex."""
    return _call(_mean, x, axes, keepdims)


# prod


def _prod_vjp(ct, out, x, *, axes, keepdims):
    """Products of all other elements, from both sides: right where some are 0, too."""
    from keras_native.engine.primitives.elementwise import mul

    kept = tuple(i for i in range(x.ndim) if i not in axes)
    order = kept + tuple(axes)
    moved = transpose(x, order)
    count = product(x.dims[a] for a in axes)
    flat = reshape(moved, tuple(x.dims[i] for i in kept) + (count,))
    others = mul(_exclusive_prod(flat, False), _exclusive_prod(flat, True))
    others = reshape(others, moved.dims)
    back = transpose(others, tuple(order.index(i) for i in range(x.ndim)))
    return (mul(_spread(ct, x, axes), back),)


def _shifted(x, axis, first, reverse):
    """x moved one place along the axis (towards its end, or its start), `first` filling in."""
    n = x.dims[axis]
    low = tuple(1 if i == axis and not reverse else 0 for i in range(x.ndim))
    high = tuple(1 if i == axis and reverse else 0 for i in range(x.ndim))
    padded = pad(x, low, high, full((), first, x.dtype))
    start = tuple(1 if i == axis and reverse else 0 for i in range(x.ndim))
    stop = tuple(n + start[i] if i == axis else d for i, d in enumerate(x.dims))
    return slice(padded, start, stop)


def _exclusive_prod(x, reverse):
    return cumprod(_shifted(x, x.ndim - 1, 1, reverse), x.ndim - 1, reverse)


_prod = _reduction("reduce_prod", "numeric", _same_dtype(np.multiply), _prod_vjp)


def reduce_prod(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """Product over axes. TypeError for bool."""
    return _call(_prod, x, axes, keepdims)


# max, min: ties share the cotangent


def _extreme_vjp(ct, out, x, *, axes, keepdims):
    from keras_native.engine.primitives.elementwise import cast, div, eq, mul

    hit = cast(eq(x, _spread(out, x, axes)), ct.dtype)
    share = div(_with_units(ct, x, axes), reduce_sum(hit, axes, True))
    return (mul(hit, share),)


_max = _reduction("reduce_max", "ordered", np.max, _extreme_vjp, nonempty=True)
_min = _reduction("reduce_min", "ordered", np.min, _extreme_vjp, nonempty=True)


def reduce_max(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """Maximum over axes; NaN wins. ValueError when nothing is reduced, TypeError for complex."""
    return _call(_max, x, axes, keepdims)


def reduce_min(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """Minimum over axes; NaN wins. ValueError when nothing is reduced, TypeError for complex."""
    return _call(_min, x, axes, keepdims)


# any, all

_any = _reduction("reduce_any", "bool", np.any)
_all = _reduction("reduce_all", "bool", np.all)


def reduce_any(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """Whether any element over axes is true. TypeError unless bool."""
    return _call(_any, x, axes, keepdims)


def reduce_all(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """Whether all elements over axes are true. TypeError unless bool."""
    return _call(_all, x, axes, keepdims)


# logsumexp


def _logsumexp_reference(x, axis, keepdims):
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore", over="ignore"):
        total = np.log(np.sum(np.exp(x - shift), axis=axis, keepdims=True)) + shift
    return total if keepdims else np.squeeze(total, axis)


def _logsumexp_vjp(ct, out, x, *, axes, keepdims):
    from keras_native.engine.primitives.elementwise import eq, exp, mul, select, sub

    # A row of -inf alone has no mass to spread: exp(-inf - 0) is 0 where -inf - -inf is NaN.
    empty = eq(out, full((), -np.inf, out.dtype))
    shift = select(empty, zeros(out.dims, out.dtype), out)
    weights = exp(sub(x, _with_units(shift, x, axes)))
    return (mul(_with_units(ct, x, axes), weights),)


_logsumexp = _reduction("reduce_logsumexp", "real", _logsumexp_reference, _logsumexp_vjp)


def reduce_logsumexp(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes without overflow; -inf over none. TypeError unless float."""
    return _call(_logsumexp, x, axes, keepdims)


# moments


def _moments_shape(x, *, axes, keepdims):
    _check_kind("moments", x, "real")
    dims = _reduced(x, axes, keepdims)
    return [(dims, x.dtype), (dims, x.dtype)]


def _moments_reference(x, *, axes, keepdims):
    x = widen(x)
    options = {"axis": tuple(axes), "keepdims": bool(keepdims)}
    return np.mean(x, **options), np.var(x, **options)


def _moments_vjp(cts, outs, x, *, axes, keepdims):
    from keras_native.engine.primitives.elementwise import add, mul, sub

    terms = []
    if cts[0] is not None:
        terms.append(_spread(_over_count(cts[0], x, axes), x, axes))
    if cts[1] is not None:
        scale = mul(_over_count(cts[1], x, axes), full((), 2, x.dtype))
        centred = sub(x, _with_units(outs[0], x, axes))
        terms.append(mul(centred, _with_units(scale, x, axes)))
    if not terms:
        return (None,)
    return (terms[0] if len(terms) == 1 else add(*terms),)


_moments = Primitive(
    "moments",
    shape=_moments_shape,
    reference=_moments_reference,
    batch=batch.shifted,
    vjp=_moments_vjp,
)


def moments(x: Tensor, axes=None, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and population variance over axes, from one pass. TypeError unless real float."""
    return _call(_moments, x, axes, keepdims)


def variance(x: Tensor, axes=None, keepdims: bool = False) -> Tensor:
    """Population variance over axes. TypeError unless real float."""
    return moments(x, axes, keepdims)[1]


# argmax, argmin


def _arg(name, reference):
    def shape(x, *, axis, keepdims):
        _check_kind(name, x, "ordered")
        _check_nonempty(name, x, (axis,))
        return _reduced(x, (axis,), keepdims), "int32"

    return Primitive(
        name,
        shape=shape,
        reference=lambda x, *, axis, keepdims: reference(
            widen(x), axis=axis, keepdims=bool(keepdims)
        ).astype(np.int32),
        batch=batch.shifted,
    )


_argmax = _arg("argmax", np.argmax)
_argmin = _arg("argmin", np.argmin)


def _call_arg(primitive, x, axis, keepdims):
    axis = normal_axis(primitive.name, axis, x.ndim)
    return primitive(x, axis=axis, keepdims=bool(keepdims))


def argmax(x: Tensor, axis: int, keepdims: bool = False) -> Tensor:
    """Position (int32) of the first maximum along an axis; the first NaN if there is one."""
    return _call_arg(_argmax, x, axis, keepdims)


def argmin(x: Tensor, axis: int, keepdims: bool = False) -> Tensor:
    """Position (int32) of the first minimum along an axis; the first NaN if there is one."""
    return _call_arg(_argmin, x, axis, keepdims)


# scans


def _scan(name, kind, ufunc, vjp=None):
    def shape(x, *, axis, reverse):
        _check_kind(name, x, kind)
        return x.dims, x.dtype

    def reference(x, *, axis, reverse):
        dtype = x.dtype
        x = widen(x)
        x = np.flip(x, axis) if reverse else x
        y = ufunc.accumulate(x, axis=axis, dtype=x.dtype)
        return (np.flip(y, axis) if reverse else y).astype(dtype)

    return Primitive(name, shape=shape, reference=reference, batch=batch.shifted, vjp=vjp)


def _cumprod_vjp(ct, out, x, *, axis, reverse):
    """With p the product up to a place and s = ct + x_next * s_next: dx = p_previous * s."""
    from keras_native.engine.primitives.elementwise import mul

    following = _shifted(x, axis, 0, not reverse)
    s = linear_recurrence(following, ct, axis, not reverse)
    return (mul(_shifted(out, axis, 1, reverse), s),)


def _cumextreme_vjp(ct, out, x, *, axis, reverse):
    """The cotangent goes to the latest place that holds the extreme so far."""
    from keras_native.engine.primitives.elementwise import eq, select
    from keras_native.engine.primitives.gather import scatter_along_axis_add

    n = x.dims[axis]
    unit = tuple(n if i == axis else 1 for i in range(x.ndim))
    places = broadcast_to(reshape(iota(n, "int32"), unit), x.dims)
    held = eq(x, out)
    if reverse:
        last = broadcast_to(full((), n - 1, "int32"), x.dims)
        source = cummin(select(held, places, last), axis, True)
    else:
        source = cummax(select(held, places, zeros(x.dims, "int32")), axis)
    return (scatter_along_axis_add(zeros(x.dims, ct.dtype), source, ct, axis),)


_cumsum = _scan(
    "cumsum",
    "numeric",
    np.add,
    lambda ct, out, x, *, axis, reverse: (cumsum(ct, axis, not reverse),),
)
_cumprod = _scan("cumprod", "numeric", np.multiply, _cumprod_vjp)
_cummax = _scan("cummax", "ordered", np.maximum, _cumextreme_vjp)
_cummin = _scan("cummin", "ordered", np.minimum, _cumextreme_vjp)


def _call_scan(primitive, x, axis, reverse):
    axis = normal_axis(primitive.name, axis, x.ndim)
    return primitive(x, axis=axis, reverse=bool(reverse))


def cumsum(x: Tensor, axis: int, reverse: bool = False) -> Tensor:
    """Running sum along an axis, from its end if `reverse`. TypeError for bool."""
    return _call_scan(_cumsum, x, axis, reverse)


def cumprod(x: Tensor, axis: int, reverse: bool = False) -> Tensor:
    """Running product along an axis, from its end if `reverse`. TypeError for bool."""
    return _call_scan(_cumprod, x, axis, reverse)


def cummax(x: Tensor, axis: int, reverse: bool = False) -> Tensor:
    """Running maximum along an axis, from its end if `reverse`; NaN stays."""
    return _call_scan(_cummax, x, axis, reverse)


def cummin(x: Tensor, axis: int, reverse: bool = False) -> Tensor:
    """Running minimum along an axis, from its end if `reverse`; NaN stays."""
    return _call_scan(_cummin, x, axis, reverse)


# linear recurrence: closed under differentiation, and what the gradient of a running product needs


def _recurrence_shape(a, b, *, axis, reverse):
    _check_kind("linear_recurrence", a, "float")
    if a.dtype != b.dtype:
        raise TypeError(f"linear_recurrence: dtypes differ: {signature([a, b])}")
    if a.ndim != b.ndim or not all(p is q or p == q for p, q in zip(a.dims, b.dims)):
        raise ValueError(f"linear_recurrence: shapes differ: {signature([a, b])}")
    return a.dims, a.dtype


def _recurrence_reference(a, b, *, axis, reverse):
    dtype = a.dtype
    a, b = (np.moveaxis(widen(v), axis, 0) for v in (a, b))
    y = np.empty_like(a)
    previous = 0
    for i in reversed(range(len(a))) if reverse else range(len(a)):
        previous = y[i] = a[i] * previous + b[i]
    return np.moveaxis(y, 0, axis).astype(dtype)


def _recurrence_vjp(ct, out, a, b, *, axis, reverse):
    from keras_native.engine.primitives.elementwise import mul

    db = linear_recurrence(_shifted(a, axis, 0, not reverse), ct, axis, not reverse)
    return mul(db, _shifted(out, axis, 0, reverse)), db


_recurrence = Primitive(
    "linear_recurrence",
    shape=_recurrence_shape,
    reference=_recurrence_reference,
    batch=batch.shifted,
    vjp=_recurrence_vjp,
)


def linear_recurrence(a: Tensor, b: Tensor, axis: int, reverse: bool = False) -> Tensor:
    """y[i] = a[i] * y[i - 1] + b[i] along an axis, y being 0 before the first.

    Raises:
        ValueError: shapes differ. TypeError: dtypes differ or are not floating point.
    """
    axis = normal_axis("linear_recurrence", axis, a.ndim)
    return _recurrence(a, b, axis=axis, reverse=bool(reverse))
