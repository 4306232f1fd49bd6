"""Max and average pooling, channels-last, 1 to 3 spatial dimensions.

x `[N, *S, C]` -> `[N, *O, C]`; geometry as in `windows.py`. Padding counts as minus infinity for
the maximum and is left out of the average unless asked for.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch, windows


def _out_dims(op, x, window, strides, padding):
    ones = (1,) * len(window)
    for size, lo, hi in zip(window, padding[::2], padding[1::2]):
        if not (0 <= lo < size and 0 <= hi < size):
            raise ValueError(
                f"{op}: padding {padding} must be non-negative and smaller than the window {window}"
            )
    out = windows.out_sizes(op, x.dims[1:-1], window, strides, padding, ones)
    return (x.dims[0], *out, x.dims[-1])


def _attrs(op, x, window, strides, padding):
    rank = x.ndim - 2
    if not 1 <= rank <= 3:
        raise ValueError(f"{op}: input must have 1 to 3 spatial dimensions, got {signature((x,))}")
    window = windows.spatial(op, "window", window, rank)
    return {
        "window": window,
        "strides": windows.spatial(op, "strides", window if strides is None else strides, rank),
        "padding": windows.flat_padding(op, ((0, 0),) * rank if padding is None else padding, rank),
    }


def _taps(x, window, strides, out):
    return (where for _, where in windows.taps(window, strides, (1,) * len(window), out))


def _lowest(dtype):
    """What padding counts as: below or equal to every value."""
    if dtype.kind == "b":
        return False
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


# max_pool


def _max_shape(x, *, window, strides, padding):
    return _out_dims("max_pool", x, window, strides, padding), x.dtype


def _max_reference(x, *, window, strides, padding):
    out = windows.out_sizes("max_pool", x.shape[1:-1], window, strides, padding, (1, 1, 1))
    padded = windows.pad(x, padding, _lowest(x.dtype))
    y = np.full((x.shape[0], *out, x.shape[-1]), _lowest(x.dtype), x.dtype)
    for where in _taps(x, window, strides, out):
        y = np.maximum(y, padded[where])
    return y


def _max_vjp(ct, out, x, **attrs):
    return (max_pool_grad_p(x, out, ct, **attrs),)


max_pool_p = Primitive(
    "max_pool", shape=_max_shape, reference=_max_reference, batch=batch.folded(), vjp=_max_vjp
)


def max_pool(x, window, strides=None, padding=None):
    """The largest value in each window; NaN where a window holds one.

    Args:
        x: `[N, *S, C]`.
        window: an int or one for each spatial dimension.
        strides: likewise; None means the window.
        padding: `((low, high), ...)`, each smaller than the window; None means none.

    Returns:
        `[N, *O, C]`.

    Raises:
        ValueError: the window does not fit.
    """
    return max_pool_p(x, **_attrs("max_pool", x, window, strides, padding))


# max_pool_grad: the cotangent of a window goes to its first largest element, row-major (its first
# NaN when there is one), so that the gradient of a window sums to the window's cotangent.


def _chosen(x, out, window, strides, padding):
    """For each tap: its slices, and where it is the one that its window's maximum came from."""
    padded = windows.pad(x, padding, _lowest(x.dtype))
    free = np.ones(out.shape, bool)
    # Padding is never chosen, even when the values themselves are -inf.
    inside = windows.pad(np.ones((1, *x.shape[1:-1], 1), bool), padding, False)
    for where in _taps(x, window, strides, out.shape[1:-1]):
        here = padded[where]
        hit = free & inside[where] & ((here == out) | ((here != here) & (out != out)))
        free &= ~hit
        yield where, hit


def _check_grad(op, x, out, third, third_dims):
    if not (x.dtype == out.dtype == third.dtype):
        raise TypeError(f"{op}: dtypes must be equal, got {signature((x, out, third))}")
    if third.dims != third_dims:
        raise ValueError(f"{op}: shapes do not fit: {signature((x, out, third))}")


def _max_grad_shape(x, out, ct, *, window, strides, padding):
    dims = _out_dims("max_pool_grad", x, window, strides, padding)
    _check_grad("max_pool_grad", x, out, ct, dims)
    return x.dims, x.dtype


def _max_grad_reference(x, out, ct, *, window, strides, padding):
    total = np.float32 if ct.dtype.itemsize < 4 else ct.dtype
    sizes = windows.padded_sizes(x.shape[1:-1], padding)
    dx = np.zeros((x.shape[0], *sizes, x.shape[-1]), total)
    for where, hit in _chosen(x, out, window, strides, padding):
        dx[where] += np.where(hit, ct, np.zeros((), ct.dtype))
    return windows.unpad(dx, x.shape[1:-1], padding)


def _max_grad_vjp(ct, out, x, y, g, **attrs):
    return None, None, max_pool_select_p(x, y, ct, **attrs)


max_pool_grad_p = Primitive(
    "max_pool_grad", shape=_max_grad_shape, reference=_max_grad_reference, vjp=_max_grad_vjp
)


def max_pool_grad(x, out, ct, window, strides=None, padding=None):
    """The cotangent of x, given `out = max_pool(x, ...)` and its cotangent `ct`.

    Raises:
        TypeError: dtypes differ.
        ValueError: shapes do not fit.
    """
    return max_pool_grad_p(x, out, ct, **_attrs("max_pool_grad", x, window, strides, padding))


# max_pool_select: the adjoint of max_pool_grad in ct.


def _max_select_shape(x, out, values, *, window, strides, padding):
    dims = _out_dims("max_pool_select", x, window, strides, padding)
    _check_grad("max_pool_select", x, out, values, x.dims)
    return dims, x.dtype


def _max_select_reference(x, out, values, *, window, strides, padding):
    padded = windows.pad(values, padding, 0)
    y = np.zeros(out.shape, values.dtype)
    for where, hit in _chosen(x, out, window, strides, padding):
        y = np.where(hit, padded[where], y)
    return y


def _max_select_vjp(ct, out, x, y, values, **attrs):
    return None, None, max_pool_grad_p(x, y, ct, **attrs)


max_pool_select_p = Primitive(
    "max_pool_select", shape=_max_select_shape, reference=_max_select_reference, vjp=_max_select_vjp
)


# max_pool_places and max_pool_scatter: the maximum and its gradient where the first says to the
# second which place of each window it took, so that x need not be read again. A pass puts them in
# place of max_pool and max_pool_grad. A place is the row-major number in the window, of which those
# in the padding are counted; one that is all padding has none.

_NOWHERE = 255


def _numbered(x, out, window, strides, padding):
    taps = _chosen(x, out, window, strides, padding)
    return [(number, where, hit) for number, (where, hit) in enumerate(taps)]


def _check_window(op, window):
    if np.prod(window) > _NOWHERE:
        raise ValueError(f"{op}: a window of {window} has more than {_NOWHERE} places")


def _max_places_shape(x, *, window, strides, padding):
    _check_window("max_pool_places", window)
    dims = _out_dims("max_pool_places", x, window, strides, padding)
    return [(dims, x.dtype), (dims, "uint8")]


def _max_places_reference(x, **attrs):
    out = _max_reference(x, **attrs)
    places = np.full(out.shape, _NOWHERE, np.uint8)
    for number, _, hit in _numbered(x, out, **attrs):
        places[hit] = number
    return out, places


max_pool_places_p = Primitive(
    "max_pool_places", shape=_max_places_shape, reference=_max_places_reference
)


def _max_scatter_shape(places, ct, *, input_dims, window, strides, padding):
    op = "max_pool_scatter"
    _check_window(op, window)
    ones = (1,) * len(window)
    out = windows.out_sizes(op, input_dims, window, strides, padding, ones)
    if places.dtype != "uint8" or places.dims != ct.dims or ct.dims[1:-1] != out:
        raise ValueError(
            f"{op}: pooling {tuple(input_dims)} gives {out}, got {signature((places, ct))}"
        )
    return (ct.dims[0], *input_dims, ct.dims[-1]), ct.dtype


def _max_scatter_reference(places, ct, *, input_dims, window, strides, padding):
    sizes = windows.padded_sizes(input_dims, padding)
    dx = np.zeros((ct.shape[0], *sizes, ct.shape[-1]), ct.dtype)
    for number, where in enumerate(_taps(ct, window, strides, ct.shape[1:-1])):
        dx[where] += np.where(places == number, ct, 0)
    return windows.unpad(dx, input_dims, padding)


max_pool_scatter_p = Primitive(
    "max_pool_scatter", shape=_max_scatter_shape, reference=_max_scatter_reference
)


# avg_pool


def _counts(sizes, window, strides, padding, count_include_pad, dtype):
    """What each window's sum is divided by, `[*O, 1]`."""
    if count_include_pad:
        return np.asarray(np.prod(window), dtype)
    out = windows.out_sizes("avg_pool", sizes, window, strides, padding, (1,) * len(window))
    total = np.ones((), dtype)
    for n, k, s, lo, o in zip(sizes, window, strides, padding[::2], out):
        first = np.arange(o) * s - lo
        inside = np.minimum(first + k, n) - np.maximum(first, 0)
        # A window that lies in the padding altogether sums to 0; its average is 0, not NaN.
        total = np.multiply.outer(total, np.maximum(inside, 1).astype(dtype))
    return total[..., None]


def _avg_shape(x, *, window, strides, padding, count_include_pad):
    return _out_dims("avg_pool", x, window, strides, padding), x.dtype


def _avg_reference(x, *, window, strides, padding, count_include_pad):
    sizes = x.shape[1:-1]
    out = windows.out_sizes("avg_pool", sizes, window, strides, padding, (1,) * len(window))
    total = np.float32 if x.dtype.itemsize < 4 else x.dtype
    padded = windows.pad(x.astype(total), padding, 0)
    y = np.zeros((x.shape[0], *out, x.shape[-1]), total)
    for where in _taps(x, window, strides, out):
        y += padded[where]
    return y / _counts(sizes, window, strides, padding, count_include_pad, total)


def _avg_vjp(ct, out, x, **attrs):
    dims = tuple(int(d) for d in x.dims[1:-1])
    return (avg_pool_grad_p(ct, input_dims=dims, **attrs),)


avg_pool_p = Primitive(
    "avg_pool", shape=_avg_shape, reference=_avg_reference, batch=batch.folded(), vjp=_avg_vjp
)


def avg_pool(x, window, strides=None, padding=None, count_include_pad=False):
    """The mean of each window.

    Args:
        x, window, strides, padding: as in `max_pool`; a floating dtype.
        count_include_pad: divide by the window's size everywhere, instead of by the number of
            elements that are not padding.

    Raises:
        TypeError: the dtype is not floating.
        ValueError: the window does not fit.
    """
    if "float" not in x.dtype:
        raise TypeError(f"avg_pool: needs a floating dtype, got {signature((x,))}")
    attrs = _attrs("avg_pool", x, window, strides, padding)
    return avg_pool_p(x, count_include_pad=bool(count_include_pad), **attrs)


def _avg_grad_shape(ct, *, input_dims, window, strides, padding, count_include_pad):
    ones = (1,) * len(window)
    out = windows.out_sizes("avg_pool_grad", input_dims, window, strides, padding, ones)
    if ct.dims[1:-1] != out:
        raise ValueError(
            f"avg_pool_grad: pooling {tuple(input_dims)} gives {out}, got {signature((ct,))}"
        )
    return (ct.dims[0], *input_dims, ct.dims[-1]), ct.dtype


def _avg_grad_reference(ct, *, input_dims, window, strides, padding, count_include_pad):
    total = np.float32 if ct.dtype.itemsize < 4 else ct.dtype
    share = ct / _counts(input_dims, window, strides, padding, count_include_pad, total)
    sizes = windows.padded_sizes(input_dims, padding)
    dx = np.zeros((ct.shape[0], *sizes, ct.shape[-1]), total)
    for where in _taps(ct, window, strides, ct.shape[1:-1]):
        dx[where] += share
    return windows.unpad(dx, input_dims, padding)


def _avg_grad_vjp(ct, out, g, *, input_dims, **attrs):
    return (avg_pool_p(ct, **attrs),)


avg_pool_grad_p = Primitive(
    "avg_pool_grad", shape=_avg_grad_shape, reference=_avg_grad_reference, vjp=_avg_grad_vjp
)


def avg_pool_grad(ct, input_dims, window, strides=None, padding=None, count_include_pad=False):
    """The cotangent of an average pooling's input of spatial sizes `input_dims`.

    Raises:
        ValueError: pooling such an input does not have the cotangent's shape.
    """
    attrs = _attrs("avg_pool_grad", ct, window, strides, padding)
    dims = windows.spatial("avg_pool_grad", "input_dims", input_dims, ct.ndim - 2, least=0)
    return avg_pool_grad_p(ct, input_dims=dims, count_include_pad=bool(count_include_pad), **attrs)
