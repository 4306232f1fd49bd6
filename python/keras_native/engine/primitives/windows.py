"""Geometry shared by convolution and pooling: windows that slide over 1 to 3 spatial dimensions.

Tensors are channels-last, `[N, *S, C]`. Padding is kept as a flat tuple `(lo0, hi0, lo1, hi1, ...)`
in attributes, because an attribute is a tuple of numbers; a negative entry crops. Output position o
and tap k touch input position `o * stride - lo + k * dilation`.
"""

from __future__ import annotations

import itertools

import numpy as np


def spatial(op: str, name: str, value, rank: int, least: int | None = 1) -> tuple[int, ...]:
    """A per-dimension attribute as a tuple: an int means the same for every dimension.

    Raises:
        ValueError: wrong length, or an entry below `least`.
    """
    values = (value,) * rank if isinstance(value, int | np.integer) else tuple(value)
    values = tuple(int(v) for v in values)
    if len(values) != rank or (least is not None and any(v < least for v in values)):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{op}: {name} must be {rank} ints{bound}, got {value}")
    return values


def flat_padding(op: str, padding, rank: int) -> tuple[int, ...]:
    """Pairs `((lo, hi), ...)`, or the flat form, as the flat form.

    Raises:
        ValueError: not one pair for each spatial dimension.
    """
    padding = tuple(padding)
    if len(padding) == rank and all(not isinstance(p, int | np.integer) for p in padding):
        pairs = [tuple(p) for p in padding]
        if all(len(p) == 2 for p in pairs):
            padding = tuple(itertools.chain.from_iterable(pairs))
    if len(padding) != 2 * rank:
        raise ValueError(f"{op}: padding must be {rank} pairs (low, high), got {padding}")
    return tuple(int(p) for p in padding)


def out_sizes(op: str, sizes, window, strides, padding, dilation) -> tuple:
    """Number of window positions along each spatial dimension.

    Raises:
        ValueError: the window is larger than the padded input.
    """
    result = []
    for i, (size, k, s, d) in enumerate(zip(sizes, window, strides, dilation)):
        room = size + (padding[2 * i] + padding[2 * i + 1] - (k - 1) * d - 1)
        if room < 0:
            raise ValueError(
                f"{op}: window {tuple(window)} with dilation {tuple(dilation)} is larger than the "
                f"input {tuple(sizes)} with padding {tuple(padding)}"
            )
        result.append(room // s + 1)
    return tuple(result)


def pad(x: np.ndarray, padding, value) -> np.ndarray:
    """`x[N, *S, C]` padded by `value` (cropped where negative) along its spatial dimensions."""
    pairs = [(0, 0), *zip(padding[::2], padding[1::2]), (0, 0)]
    x = x[tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(x.shape, pairs))]
    grown = [(max(lo, 0), max(hi, 0)) for lo, hi in pairs]
    return np.pad(x, grown, constant_values=value) if any(map(any, grown)) else x


def unpad(padded: np.ndarray, sizes, padding) -> np.ndarray:
    """The adjoint of `pad` by zeros: the unpadded positions, zero where cropped."""
    result = np.zeros((padded.shape[0], *sizes, padded.shape[-1]), padded.dtype)
    inner, outer = [slice(None)], [slice(None)]
    for n, lo, hi in zip(sizes, padding[::2], padding[1::2]):
        inner.append(slice(max(-lo, 0), n - max(-hi, 0)))
        outer.append(slice(max(lo, 0), max(lo, 0) + n - max(-lo, 0) - max(-hi, 0)))
    result[tuple(inner)] = padded[tuple(outer)]
    return result


def taps(window, strides, dilation, out):
    """For each tap, row-major: its index and the slices of the padded input it touches."""
    for tap in itertools.product(*(range(k) for k in window)):
        where = tuple(
            slice(k * d, k * d + (o - 1) * s + 1, s)
            for k, d, s, o in zip(tap, dilation, strides, out)
        )
        yield tap, (slice(None), *where)


def padded_sizes(sizes, padding) -> tuple[int, ...]:
    """Spatial sizes after padding."""
    return tuple(n + lo + hi for n, lo, hi in zip(sizes, padding[::2], padding[1::2]))
