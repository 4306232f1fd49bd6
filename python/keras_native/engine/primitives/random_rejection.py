"""Distributions drawn by rejection: gamma and binomial.

An element's trials have Philox counters of their own, (its index, trial, lane), so that how many it
takes moves no other element's bits. They are not differentiable in their parameters.
"""

from __future__ import annotations

import math

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives.random import philox
from keras_native.engine.tensor import Tensor


def _draw(key, index, trial: int, lane: int) -> tuple[np.ndarray, np.ndarray]:
    """The two 64-bit words of a trial of each element of `index`."""
    words = philox(key, index, trial, lane).astype(np.uint64)
    first, second = (words[:, i] | words[:, i + 1] << np.uint64(32) for i in (0, 2))
    return first, second


def _unit(words):
    """Words as numbers in (0, 1)."""
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _until_accepted(trial, *parameters):
    """Results of trial(n, index, *parameters), which gives results and whether they count, for
    n = 0, 1, ... until every element has one."""
    index, results, n = np.arange(len(parameters[0])), np.zeros(len(parameters[0])), 0
    while len(index):
        drawn, accepted = trial(n, index, *parameters)
        results[index[accepted]] = drawn[accepted]
        index, parameters = index[~accepted], [p[~accepted] for p in parameters]
        n += 1
    return results


def _check(op: str, key: Tensor, parameters) -> None:
    if key.dtype != "uint32" or key.ndim != 1:
        raise TypeError(f"{op}: the key must be uint32(2,), got {signature((key,))}")
    for parameter in parameters:
        if parameter.dtype not in dtypes.FLOATS:
            raise TypeError(f"{op}: parameters must be floats: {signature(parameters)}")
        if parameter.ndim != parameters[0].ndim or parameter.dims != parameters[0].dims:
            raise ValueError(f"{op}: shapes of the parameters differ: {signature(parameters)}")


def _no_gradient(op: str):
    def vjp(ct, out, *inputs, **attrs):
        raise UnsupportedError(f"{op}: no gradient flows to the parameters of the distribution")

    return vjp


def _gamma_shape(key, alpha, *, stream):
    _check("random_gamma", key, (alpha,))
    return alpha.dims, alpha.dtype


def _gamma_reference(key, alpha, *, stream):
    """Marsaglia and Tsang, 2000; below 1 it is drawn for alpha + 1 and shrunk."""

    def trial(n, index, alpha):
        radius, angle = _draw(key, index, n, 2 * stream + 1)
        accept, shrink = _draw(key, index, n, 2 * stream + 2)
        angle = np.pi * (angle.view(np.int64) >> 11) * 2.0**-52
        x = np.sqrt(-2 * np.log(_unit(radius))) * np.cos(angle)
        d = np.where(alpha < 1, alpha + 1, alpha) - 1.0 / 3
        v = (1 + x / np.sqrt(9 * d)) ** 3
        bound = 0.5 * x * x + d - d * v + d * np.log(np.maximum(v, 1e-300))
        shrunk = np.where(alpha < 1, _unit(shrink) ** (1 / np.minimum(alpha, 1)), 1)
        u = _unit(accept)
        return d * v * shrunk, (v > 0) & ((u < 1 - 0.0331 * x**4) | (np.log(u) < bound))

    wide = alpha.astype(np.float64).reshape(-1)
    plain = (wide > 0) & np.isfinite(wide)
    with np.errstate(under="ignore"):
        drawn = _until_accepted(trial, np.where(plain, wide, 1))
    return np.where(plain, drawn, np.where(wide >= 0, wide, np.nan)).reshape(alpha.shape)


_gamma = Primitive(
    "random_gamma", shape=_gamma_shape, reference=_gamma_reference, vjp=_no_gradient("random_gamma")
)


def random_gamma(key: Tensor, alpha: Tensor, stream: int = 0) -> Tensor:
    """Gamma variates of shape parameter `alpha` and scale 1, one for each element.

    Args:
        key: uint32(2,).
        stream: different streams of one key are independent.

    NaN for a negative `alpha`.
    """
    return _gamma(key, alpha, stream=int(stream))


def _binomial_shape(key, counts, probabilities):
    _check("random_binomial", key, (counts, probabilities))
    return counts.dims, counts.dtype


def _count_successes(key, n, p):
    """For few successes: the distribution function is inverted by adding up probabilities, until
    they are nothing beside the least number drawn."""
    left = _unit(_draw(key, np.arange(n.size), 0, 1)[0])
    probability, k = np.exp(n * np.log1p(-p)), np.zeros(n.shape)
    for step in range(128):
        following = probability * (p / (1 - p)) * ((n - step) / (step + 1))
        more = (left > probability) & (following > 2.0**-60)
        left, k = np.where(more, left - probability, -1), k + more
        probability = following
    return k


def _stirling(k):
    """The rest of Stirling's series for log(k!)."""
    small = np.array([math.lgamma(i + 1) - _stirling_main(i + 1) for i in range(10)])
    square = (k + 1) ** 2
    series = (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / (k + 1)
    return np.where(k < 10, small[np.clip(k, 0, 9).astype(int)], series)


def _stirling_main(k):
    return (k - 0.5) * math.log(k) - k + 0.5 * math.log(2 * math.pi)


def _transformed_rejection(key, n, p):
    """Hörmann, 1993 (BTRS), for n p >= 10 and p <= 1 / 2."""

    def trial(count, index, n, p):
        odds, deviation = p / (1 - p), np.sqrt(n * p * (1 - p))
        b = 1.15 + 2.53 * deviation
        a = -0.0873 + 0.0248 * b + 0.01 * p
        mode = np.floor((n + 1) * p)
        first, second = _draw(key, index, count, 1)
        u, v = _unit(first) - 0.5, _unit(second)
        edge = 0.5 - np.abs(u)
        k = np.floor((2 * a / edge + b) * u + n * p + 0.5)
        inside = (k >= 0) & (k <= n)
        c = np.where(inside, k, 0)
        # The paper's bound by the distance from the mode, so that no terms of the size of n cancel.
        distance = c - mode
        bound = (
            (_stirling(mode) + _stirling(n - mode) - _stirling(c) - _stirling(n - c))
            - distance * np.log((mode + 1) / (odds * (n - mode + 1)))
            - (n - c + 0.5) * np.log1p(-distance / (n - mode + 1))
            - (c + 0.5) * np.log1p(distance / (mode + 1))
        )
        hat = (2.83 + 5.1 / b) * deviation / (a / (edge * edge) + b)
        accepted = ((edge >= 0.07) & (v <= 0.92 - 4.2 / b)) | (inside & (np.log(v * hat) <= bound))
        return k, accepted

    return _until_accepted(trial, n, p)


def _binomial_reference(key, counts, probabilities):
    n, p = (a.astype(np.float64).reshape(-1) for a in (counts, probabilities))
    valid = (n >= 0) & (n < 2.0**63) & (p >= 0) & (p <= 1)
    n, rare = np.trunc(np.where(valid, n, 0)), np.where(valid, np.minimum(p, 1 - p), 0)
    few = n * rare < 10
    # Each draws for all elements, so that the counters are theirs.
    counted = _count_successes(key, np.where(few, n, 0), rare)
    many = _transformed_rejection(key, np.where(few, 20, n), np.where(few, 0.5, rare))
    k = np.where(few, counted, many)
    return np.where(valid, np.where(p <= 0.5, k, n - k), np.nan).reshape(counts.shape)


_binomial = Primitive(
    "random_binomial",
    shape=_binomial_shape,
    reference=_binomial_reference,
    vjp=_no_gradient("random_binomial"),
)


def random_binomial(key: Tensor, counts: Tensor, probabilities: Tensor) -> Tensor:
    """Numbers of successes in `counts` trials, as floats; NaN for impossible parameters."""
    return _binomial(key, counts, probabilities)
