"""Elementwise functions that have no place on a hot path: NumPy on the host, with gradients."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives.elementwise_common import FLOATS, INTEGERS, Elementwise, scalar
from keras_native.engine.tensor import Tensor


def _bessel_series(x: np.ndarray, order: int) -> np.ndarray:
    """exp(-|x|) I_order(x) by its integral: the trapezoid rule converges geometrically.

    I_n(x) = mean over theta of exp(x cos theta) cos(n theta); the rule with m points is exact to
    rounding once m exceeds a few times |x|; beyond 500 the asymptotic series is.
    """
    wide = np.abs(x.astype(np.float64)).reshape(-1)
    out = np.empty_like(wide)
    far = wide > 500
    theta = (np.arange(256) + 0.5) * (np.pi / 256)
    near = wide[~far, None]
    out[~far] = np.mean(np.exp(near * (np.cos(theta) - 1)) * np.cos(order * theta), axis=1)
    z = wide[far]
    term, total = np.ones_like(z), np.ones_like(z)
    for k in range(1, 12):
        with np.errstate(invalid="ignore"):
            term = term * -(4 * order**2 - (2 * k - 1) ** 2) / (8 * k * z)
        total = total + term
    out[far] = total / np.sqrt(2 * np.pi * z)
    out = out.reshape(x.shape)
    return np.sign(x) * out if order % 2 else out


def _bessel(order: int):
    def reference(x):
        scale = np.exp(np.abs(x.astype(np.float64)))
        return (_bessel_series(x, order) * scale).astype(x.dtype)

    return reference


def _i1_gradient(g, y, x):
    # I1' = I0 - I1 / x, and 1/2 at zero.
    zero = ew.eq(x, 0)
    safe = ew.select(zero, scalar(1, x.dtype), x)
    slope = ew.sub(i0(x), ew.div(y, safe))
    return ew.mul(g, ew.select(zero, scalar(0.5, x.dtype), slope))


i0 = Elementwise("i0", FLOATS, _bessel(0), lambda g, y, x: ew.mul(g, i1(x)))
i1 = Elementwise("i1", FLOATS, _bessel(1), _i1_gradient)
gcd = Elementwise("gcd", INTEGERS, np.gcd)
lcm = Elementwise("lcm", INTEGERS, np.lcm)


def _bitcast_shape(x, *, dtype):
    have, want = dtypes.NUMPY[x.dtype].itemsize, dtypes.NUMPY[dtype].itemsize
    if have == want:
        return x.dims, dtype
    if not x.dims or (have < want and x.dims[-1] % (want // have) != 0):
        raise ValueError(f"bitcast: the last axis of {signature([x])} cannot be read as {dtype}")
    size = x.dims[-1] * (have // want) if have > want else x.dims[-1] // (want // have)
    return (*x.dims[:-1], size), dtype


_bitcast = Primitive(
    "bitcast",
    shape=_bitcast_shape,
    reference=lambda x, *, dtype: (
        np.ascontiguousarray(x).reshape(x.shape).view(dtypes.NUMPY[dtype])
    ),
)


def bitcast(x: Tensor, dtype: str) -> Tensor:
    """The bytes of x read as another dtype; a narrower or wider one scales the last axis.

    Raises:
        ValueError: the last axis does not divide into the wider dtype.
    """
    return _bitcast(x, dtype=dtype)
