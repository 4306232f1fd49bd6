"""Keras's random operations: counter-based, so that a seed gives the same numbers everywhere."""

from __future__ import annotations

from keras.src.backend import config
from keras.src.random.seed_generator import SeedGenerator, draw_seed, make_default_seed

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import gather_sort as gs
from keras_native.engine.primitives import random as rn
from keras_native.engine.primitives import random_rejection as rj
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import Tensor
from keras_native.src.ops.convert import convert_to_tensor, seed_key, standardize_dtype

__all__ = [
    "SeedGenerator",
    "beta",
    "binomial",
    "categorical",
    "draw_seed",
    "dropout",
    "gamma",
    "make_default_seed",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]


def _float(dtype) -> str:
    return standardize_dtype(dtype or config.floatx())


def _scaled(sample: Tensor, scale, shift) -> Tensor:
    if not (isinstance(scale, (int, float)) and scale == 1):
        sample = ew.mul(sample, convert_to_tensor(scale, sample.dtype))
    if not (isinstance(shift, (int, float)) and shift == 0):
        sample = ew.add(sample, convert_to_tensor(shift, sample.dtype))
    return sample


def normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Normal numbers."""
    sample = rn.random_normal(seed_key(seed), tuple(shape), _float(dtype))
    return _scaled(sample, stddev, mean)


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Normal numbers given that they lie within two standard deviations of the mean."""
    sample = rn.random_truncated_normal(seed_key(seed), tuple(shape), _float(dtype))
    return _scaled(sample, stddev, mean)


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    """Uniform numbers in [minval, maxval)."""
    dtype = _float(dtype)
    sample = rn.random_uniform(seed_key(seed), tuple(shape), dtype)
    if isinstance(minval, (int, float)) and isinstance(maxval, (int, float)):
        return _scaled(sample, maxval - minval, minval)
    low, high = convert_to_tensor(minval, dtype), convert_to_tensor(maxval, dtype)
    return _scaled(sample, ew.sub(high, low), low)


def randint(shape, minval, maxval, dtype="int32", seed=None):
    """Uniform integers in [minval, maxval)."""
    dtype = standardize_dtype(dtype)
    # The end of the range may be one more than a narrow dtype can say.
    wide = "int32" if dtype in ("int8", "int16", "uint8", "uint16") else dtype
    low, high = convert_to_tensor(minval, wide), convert_to_tensor(maxval, wide)
    return ew.cast(rn.randint(seed_key(seed), tuple(shape), low, high, wide), dtype)


def categorical(logits, num_samples, dtype="int32", seed=None):
    """Class numbers [batch, num_samples] drawn by log-probabilities [batch, classes]."""
    logits = convert_to_tensor(logits)
    if logits.dtype not in ("float32", "float64"):
        logits = ew.cast(logits, "float32")
    batch, classes = logits.dims
    uniforms = rn.random_uniform(seed_key(seed), (batch, num_samples, classes), logits.dtype)
    # The largest of logits plus Gumbel noise falls on a class with the class's probability.
    gumbel = ew.neg(ew.log(ew.neg(ew.log(uniforms))))
    drawn = rd.argmax(ew.add(sh.expand_dims(logits, 1), gumbel), -1)
    return ew.cast(drawn, standardize_dtype(dtype))


def dropout(inputs, rate, noise_shape=None, seed=None):
    """Zeros with probability `rate`, the rest divided by 1 - rate.

    Elements share their fate along axes where `noise_shape` is 1.
    """
    inputs = convert_to_tensor(inputs)
    if rate == 0.0:
        return inputs
    if rate == 1.0:
        return sh.zeros(inputs.dims, inputs.dtype)
    key = seed_key(seed)
    if noise_shape is None:
        return rn.random_bernoulli_scale(inputs, key, rate)
    dims = tuple(d if n is None else n for d, n in zip(inputs.dims, noise_shape, strict=True))
    factors = rn.random_bernoulli_scale(sh.ones(dims, inputs.dtype), key, rate)
    return ew.mul(inputs, factors)


def shuffle(x, axis=0, seed=None):
    """`x` with its slices along `axis` in random order."""
    x = convert_to_tensor(x)
    axis = sh.normal_axis("shuffle", axis, x.ndim)
    order = gs.argsort(rn.random_bits(seed_key(seed), (x.dims[axis],)), 0)
    return ga.gather(x, order, axis)


def _wide(dtype: str) -> str:
    return "float64" if dtype == "float64" else "float32"


def _parameter(value, shape, dtype: str) -> Tensor:
    return sh.broadcast_to(convert_to_tensor(value, dtype), tuple(shape))


def gamma(shape, alpha, dtype=None, seed=None):
    """Gamma variates of shape parameter `alpha` and scale 1."""
    dtype = _float(dtype)
    sample = rj.random_gamma(seed_key(seed), _parameter(alpha, shape, _wide(dtype)))
    return ew.cast(sample, dtype)


def binomial(shape, counts, probabilities, dtype=None, seed=None):
    """Numbers of successes in `counts` trials of the given probabilities."""
    dtype = _float(dtype)
    counts, probabilities = (_parameter(p, shape, _wide(dtype)) for p in (counts, probabilities))
    return ew.cast(rj.random_binomial(seed_key(seed), counts, probabilities), dtype)


def beta(shape, alpha, beta, dtype=None, seed=None):
    """Beta variates: a / (a + b) of two gamma variates."""
    dtype = _float(dtype)
    key = seed_key(seed)
    a = rj.random_gamma(key, _parameter(alpha, shape, _wide(dtype)), stream=0)
    b = rj.random_gamma(key, _parameter(beta, shape, _wide(dtype)), stream=1)
    return ew.cast(ew.div(a, ew.add(a, b)), dtype)
