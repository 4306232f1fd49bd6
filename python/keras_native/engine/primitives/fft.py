"""Discrete Fourier transforms, on the host by NumPy.

Gradients follow the engine's convention for complex numbers: the cotangent of a linear map is its
transpose, without conjugation. The transform's matrix is symmetric, so it is its own transpose.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor, from_numpy

_COMPLEX = {part: whole for whole, part in dtypes.PARTS.items()}


def _require(op: str, x: Tensor, accepted) -> None:
    if x.dtype not in accepted:
        raise TypeError(f"{op}: expected one of {tuple(accepted)}, got {signature((x,))}")
    if not x.ndim:
        raise ValueError(f"{op}: needs at least one axis, got {signature((x,))}")


def _fft_shape(x, *, axes, inverse):
    _require("fft", x, dtypes.COMPLEX)
    return x.dims, x.dtype


def _fft_reference(x, *, axes, inverse):
    return (np.fft.ifftn if inverse else np.fft.fftn)(x, axes=axes)


_fft = Primitive(
    "fft",
    shape=_fft_shape,
    reference=_fft_reference,
    vjp=lambda ct, _, x, **attrs: (_fft(ct, **attrs),),
)


def _rfft_shape(x):
    _require("rfft", x, _COMPLEX)
    return x.dims[:-1] + (x.dims[-1] // 2 + 1,), _COMPLEX[x.dtype]


def _rfft_vjp(ct, _, x):
    missing = x.dims[-1] - ct.dims[-1]
    full = _pad_last(ct, missing)
    return (ew.real(_fft(full, axes=(x.ndim - 1,), inverse=False)),)


_rfft = Primitive("rfft", shape=_rfft_shape, reference=lambda x: np.fft.rfft(x), vjp=_rfft_vjp)


def _irfft_shape(x, *, n):
    _require("irfft", x, dtypes.PARTS)
    if x.dims[-1] != n // 2 + 1:
        raise ValueError(f"irfft: {n // 2 + 1} frequencies give {n} samples: {signature((x,))}")
    return x.dims[:-1] + (n,), dtypes.PARTS[x.dtype]


def _irfft_vjp(ct, _, x, *, n):
    # Every frequency but the first and, of an even length, the last stands for two.
    weights = np.full(n // 2 + 1, 2 / n)
    weights[0] = 1 / n
    if n % 2 == 0:
        weights[-1] = 1 / n
    weights = from_numpy(weights.astype(dtypes.NUMPY[x.dtype]), copy=False)
    return (ew.mul(ew.conj(_rfft(ct)), weights),)


_irfft = Primitive(
    "irfft",
    shape=_irfft_shape,
    reference=lambda x, *, n: np.fft.irfft(x, n=n),
    vjp=_irfft_vjp,
)


def _pad_last(x: Tensor, count) -> Tensor:
    low = (0,) * x.ndim
    return ss.pad(x, low, low[1:] + (count,), scalar(0, x.dtype))


def _resize_last(x: Tensor, size: int) -> Tensor:
    """Crops or pads the last axis with zeros to `size`."""
    have = x.dims[-1]
    if have == size:
        return x
    if have > size:
        return ss.slice(x, (0,) * x.ndim, x.dims[:-1] + (size,))
    return _pad_last(x, size - have)


def fft(x: Tensor, axes: tuple[int, ...] = (-1,), inverse: bool = False) -> Tensor:
    """The discrete Fourier transform of a complex tensor over `axes`; same shape and dtype.

    The inverse divides by the number of samples.

    Raises:
        TypeError: x is not complex. ValueError: x has no axis, or an axis is out of range.
    """
    for axis in axes:
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"fft: axis {axis} is out of range: {signature((x,))}")
    return _fft(x, axes=tuple(axis % x.ndim for axis in axes), inverse=bool(inverse))


def rfft(x: Tensor, n: int | None = None) -> Tensor:
    """The transform of a real tensor (float32 or float64) over its last axis.

    Args:
        n: the axis is first cropped or padded with zeros to this length.

    Returns:
        The n // 2 + 1 frequencies that are not determined by the others.
    """
    _require("rfft", x, _COMPLEX)
    return _rfft(x if n is None else _resize_last(x, n))


def irfft(x: Tensor, n: int | None = None) -> Tensor:
    """The real signal of length n with the frequencies `x`: the inverse of `rfft`.

    Args:
        n: by default 2 * (frequencies - 1).
    """
    _require("irfft", x, dtypes.PARTS)
    n = 2 * (x.dims[-1] - 1) if n is None else n
    if n < 1:
        raise ValueError(f"irfft: length {n} of the result must be positive: {signature((x,))}")
    return _irfft(_resize_last(x, n // 2 + 1), n=n)
