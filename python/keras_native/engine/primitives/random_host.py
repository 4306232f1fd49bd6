"""Distributions drawn by rejection, on the host: NumPy's generators seeded with the key.

The key alone fixes the numbers, whatever the number of threads. They are not differentiable in
their parameters.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.tensor import Tensor


def _generator(key: np.ndarray, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[int(key[0]) << 32 | int(key[1]), stream]))


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


_gamma = Primitive(
    "random_gamma",
    shape=_gamma_shape,
    reference=lambda key, alpha, *, stream: _generator(key, stream).standard_gamma(
        alpha.astype(np.float64)
    ),
    vjp=_no_gradient("random_gamma"),
)


def random_gamma(key: Tensor, alpha: Tensor, stream: int = 0) -> Tensor:
    """Gamma variates of shape parameter `alpha` and scale 1, one for each element.

    Args:
        key: uint32(2,).
        stream: different streams of one key are independent.
    """
    return _gamma(key, alpha, stream=int(stream))


def _binomial_shape(key, counts, probabilities):
    _check("random_binomial", key, (counts, probabilities))
    return counts.dims, counts.dtype


def _binomial_reference(key, counts, probabilities):
    counts = counts.astype(np.float64)
    probabilities = probabilities.astype(np.float64)
    valid = (counts >= 0) & (counts < 2**63) & (probabilities >= 0) & (probabilities <= 1)
    counts, probabilities = np.where(valid, counts, 0), np.where(valid, probabilities, 0)
    drawn = _generator(key, 0).binomial(counts.astype(np.int64), probabilities)
    return np.where(valid, drawn, np.nan)


_binomial = Primitive(
    "random_binomial",
    shape=_binomial_shape,
    reference=_binomial_reference,
    vjp=_no_gradient("random_binomial"),
)


def random_binomial(key: Tensor, counts: Tensor, probabilities: Tensor) -> Tensor:
    """Numbers of successes in `counts` trials, as floats; NaN for impossible parameters."""
    return _binomial(key, counts, probabilities)
