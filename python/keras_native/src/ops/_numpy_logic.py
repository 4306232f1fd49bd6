"""Comparisons, logic and choices of keras.ops."""

from __future__ import annotations

import math

from keras_native.engine import promotion
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import gather_sort as gs
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.src.ops._numpy_common import (
    as_bool,
    constant,
    host,
    is_inexact,
    operands,
    tensors,
    unsupported_under_trace,
    wide,
)


def equal(x1, x2):
    """Whether x1 == x2."""
    return ew.eq(*operands(x1, x2))


def not_equal(x1, x2):
    """Whether x1 != x2."""
    return ew.ne(*operands(x1, x2))


def less(x1, x2):
    """Whether x1 < x2."""
    return ew.lt(*operands(x1, x2))


def less_equal(x1, x2):
    """Whether x1 <= x2."""
    return ew.le(*operands(x1, x2))


def greater(x1, x2):
    """Whether x1 > x2."""
    return ew.gt(*operands(x1, x2))


def greater_equal(x1, x2):
    """Whether x1 >= x2."""
    return ew.ge(*operands(x1, x2))


def logical_and(x1, x2):
    """Whether both are true (not 0)."""
    return ew.logical_and(as_bool(x1), as_bool(x2))


def logical_or(x1, x2):
    """Whether either is true (not 0)."""
    return ew.logical_or(as_bool(x1), as_bool(x2))


def logical_xor(x1, x2):
    """Whether exactly one is true (not 0)."""
    return ew.logical_xor(as_bool(x1), as_bool(x2))


def logical_not(x):
    """Whether x is false (0)."""
    return ew.logical_not(as_bool(x))


def where(condition, x1=None, x2=None):
    """x1 where the condition holds, x2 elsewhere; with the condition alone, `nonzero` of it."""
    if x1 is None and x2 is None:
        return nonzero(condition)
    x1, x2 = tensors(x1, x2)
    return ew.select(as_bool(condition), x1, x2)


def select(condlist, choicelist, default=0):
    """For each element the choice of the first condition that holds, else the default.

    Raises:
        ValueError: the lists are empty or differ in length.
    """
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(
            f"select: expected one choice for each condition, got {len(condlist)} conditions and "
            f"{len(choicelist)} choices"
        )
    *choices, out = tensors(*choicelist, default)
    for condition, choice in zip(reversed(condlist), reversed(choices)):
        out = ew.select(as_bool(condition), choice, out)
    return out


def isclose(x1, x2, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether |x1 - x2| <= atol + rtol * |x2|; equal infinities are close."""
    x1, x2 = tensors(x1, x2)
    if not is_inexact(x1.dtype):
        x1, x2 = ew.cast(x1, promotion.floatx()), ew.cast(x2, promotion.floatx())
    x1, x2 = wide(x1), wide(x2)
    distance = ew.abs(ew.sub(x1, x2))
    bound = ew.add(ew.mul(ew.abs(x2), float(rtol)), float(atol))
    close = ew.logical_and(ew.le(distance, bound), ew.lt(bound, math.inf))
    close = ew.logical_or(close, ew.eq(x1, x2))
    if equal_nan:
        close = ew.logical_or(close, ew.logical_and(ew.isnan(x1), ew.isnan(x2)))
    return close


def allclose(x1, x2, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether all elements are close, as a bool tensor of shape ()."""
    return rd.reduce_all(isclose(x1, x2, rtol, atol, equal_nan))


def isin(x1, x2, assume_unique=False, invert=False):
    """Whether each element of x1 occurs in x2 (`invert`: does not)."""
    x1, x2 = tensors(x1, x2)
    if x1.dtype == "bool":
        x1, x2 = ew.cast(x1, "int32"), ew.cast(x2, "int32")
    if type(x2.size) is int and x2.size == 0:
        return sh.full(x1.dims, bool(invert), "bool")
    ordered = gs.sort(sh.reshape(x2, (x2.size,)), 0)
    # A value above all lands behind the last place; gather clips it to the last.
    found = ga.gather(ordered, gs.searchsorted(ordered, x1), 0)
    return ew.ne(found, x1) if invert else ew.eq(found, x1)


def nonzero(x):
    """The positions of elements that are not 0: an int32 vector for each axis. Eager only."""
    unsupported_under_trace("nonzero")
    return tuple(constant(i, "int32") for i in host(x).nonzero())


def count_nonzero(x, axis=None):
    """How many elements are not 0 along the axes, as int32."""
    return rd.reduce_sum(ew.cast(as_bool(x), "int32"), axis)


def any(x, axis=None, keepdims=False):
    """Whether any element along the axes is true (not 0)."""
    return rd.reduce_any(as_bool(x), axis, keepdims)


def all(x, axis=None, keepdims=False):
    """Whether all elements along the axes are true (not 0)."""
    return rd.reduce_all(as_bool(x), axis, keepdims)


def digitize(x, bins):
    """The bin of each element: i such that bins[i - 1] <= x < bins[i] for ascending bins (for
    descending ones bins[i - 1] > x >= bins[i]), as int32."""
    x, bins = tensors(x, bins)
    if bins.ndim != 1:
        raise ValueError(f"digitize: `bins` must be a vector. Received: bins.shape={bins.shape}")
    count = bins.dims[0]
    if type(count) is int and count == 0:
        return sh.full(x.dims, 0, "int32")
    up = gs.searchsorted(bins, x, "right")
    mirrored = gs.searchsorted(sh.flip(bins, (0,)), x, "right")
    down = ew.sub(promotion.as_dtype(count, "int32"), mirrored)
    descending = ew.lt(bins[-1], bins[0])
    return ew.select(descending, down, up)
