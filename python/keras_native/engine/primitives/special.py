"""NumPy references of functions that NumPy lacks: erf, erfc, erfinv, lgamma, digamma, polygamma,
the incomplete gamma function.

They are slow and accurate (float64 inside); kernels replace them.
"""

from __future__ import annotations

import math

import numpy as np


def _mapped(function):
    """A scalar function on float64, applied to every element and returned in the input's dtype."""

    def apply(x):
        x = np.asarray(x)
        flat = np.fromiter(map(function, x.ravel().astype(np.float64)), np.float64, x.size)
        return flat.reshape(x.shape).astype(x.dtype)

    return apply


def _lgamma(x: float) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    try:
        return math.lgamma(x)
    except OverflowError:
        return math.inf


erf = _mapped(math.erf)
erfc = _mapped(math.erfc)
lgamma = _mapped(_lgamma)


def erfinv(x):
    """Inverse of erf: a rational start (M. Giles) polished by Newton's steps on erf or erfc."""
    x = np.asarray(x)
    a = np.abs(x.astype(np.float64))
    with np.errstate(all="ignore"):
        w = -np.log((1 - a) * (1 + a))
        near = np.minimum(w, 5) - 2.5
        far = np.sqrt(np.maximum(w, 5)) - 3
        c_near = [2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                  -0.00125372503, -0.00417768164, 0.246640727, 1.50140941]  # fmt: skip
        c_far = [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                 -0.0076224613, 0.00943887047, 1.00167406, 2.83297682]  # fmt: skip
        y = np.where(w < 5, np.polyval(c_near, near), np.polyval(c_far, far)) * a
        y = np.minimum(y, 6.0)
        for _ in range(3):
            # 1 - a is exact above a half, where erf itself would cancel.
            error = np.where(a < 0.5, erf(y) - a, (1 - a) - erfc(y))
            step = error * (math.sqrt(math.pi) / 2) * np.exp(y * y)
            y = y - step / (1 + y * step)
        y = np.where(a < 1, y, np.where(a == 1, np.inf, np.nan))
    return np.copysign(y, x.astype(np.float64)).astype(x.dtype)


# Bernoulli numbers B2, B4, ...
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


def digamma(x):
    """Logarithmic derivative of gamma; NaN at negative integers, -inf at 0."""
    x = np.asarray(x)
    z = x.astype(np.float64)
    with np.errstate(all="ignore"):
        reflected = z <= 0
        shifted = np.where(reflected, 1 - z, z)
        total = np.zeros_like(z)
        for _ in range(10):
            low = shifted < 10
            total = total - np.where(low, 1 / shifted, 0)
            shifted = shifted + low
        square = 1 / (shifted * shifted)
        tail, power = np.zeros_like(z), square
        for k, b in enumerate(_BERNOULLI, start=1):
            tail = tail + b / (2 * k) * power
            power = power * square
        y = total + np.log(shifted) - 0.5 / shifted - tail
        # The fractional part is exact, so that tan keeps its accuracy far from 0.
        part = z - np.round(z)
        y = np.where(reflected, y - np.pi / np.tan(np.pi * part), y)
        y = np.where(reflected & (part == 0), np.where(z == 0, np.copysign(np.inf, -z), np.nan), y)
        y = np.where(np.isposinf(z), np.inf, y)
    return y.astype(x.dtype)


def polygamma(x, n: int):
    """The n-th derivative of digamma, n >= 1, for x > 0 (NaN below): Euler-Maclaurin's sum."""
    x = np.asarray(x)
    z = x.astype(np.float64)
    s = n + 1
    with np.errstate(all="ignore"):
        total = sum((z + k) ** -s for k in range(12 + n))
        a = z + (12 + n)
        total = total + a ** (1 - s) / (s - 1) + 0.5 * a**-s
        factor = float(s)
        for k, b in enumerate(_BERNOULLI, start=1):
            total = total + b / math.factorial(2 * k) * factor * a ** -(s + 2 * k - 1)
            factor *= (s + 2 * k - 1) * (s + 2 * k)
        y = (-1) ** (n + 1) * math.factorial(n) * total
        y = np.where(z > 0, y, np.where(z == 0, np.inf, np.nan))
    return y.astype(x.dtype)


def _incomplete_gamma(a, x):
    """P(a, x) and its derivative by a, by the power series of x^-a e^x P in float64.

    All its terms are positive, so P is as accurate where it is tiny as where it is near 1; the
    number of terms is about x plus a few times its root.
    """
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    with np.errstate(all="ignore"):
        front = np.exp(a * np.log(x) - x - lgamma(a + 1))
        # Where the factor in front underflows, P is 0 or 1 to the last bit.
        summed = (front > 0) & np.isfinite(front) & (a > 0)
        b, y = np.where(summed, a, 1.0), np.where(summed, x, 0.0)
        total, slope = np.ones_like(y), np.zeros_like(y)
        term, harmonic, n = np.ones_like(y), np.zeros_like(y), 0
        while (term > 1e-17 * total).any():
            n += 1
            term = term * y / (b + n)
            harmonic = harmonic + 1 / (b + n)
            total = total + term
            slope = slope - term * harmonic
        p = np.where(summed, np.minimum(front * total, 1), x > a)
        by_a = np.where(summed, front * (total * (np.log(x) - digamma(a + 1)) + slope), 0)
        bad = (x < 0) | (a < 0) | np.isnan(a) | np.isnan(x) | ((a == 0) & (x == 0))
        bad |= np.isposinf(a) & np.isposinf(x)
    return np.where(bad, np.nan, p), np.where(bad, np.nan, by_a)


def gammainc(a, x):
    """The regularised lower incomplete gamma function P(a, x); NaN where a or x is negative."""
    return _incomplete_gamma(a, x)[0].astype(np.asarray(x).dtype)


def gammainc_by_a(a, x):
    """The derivative of P(a, x) by a."""
    return _incomplete_gamma(a, x)[1].astype(np.asarray(x).dtype)
