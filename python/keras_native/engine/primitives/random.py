"""Random numbers by counter: Philox4x32-10 (Salmon et al., 2011).

A key of two uint32 and an element's flat index determine its bits, so results do not depend on
threads, instruction sets or order. Block i of four words has the counter (i mod 2^32, i div 2^32,
0, 0). Blocks go in groups of 16, whose words are laid out word by word: element 64 g + 16 w + j is
word w of block 16 g + j. A 64-bit element takes two words of a block, the lower half first: element
32 g + 16 h + j is words 2 h and 2 h + 1 of block 16 g + j.
"""

from __future__ import annotations

import math

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.tensor import Tensor

# Bits of a uniform number: as many as the dtype holds below 1 without rounding up to it.
_UNIFORM_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def philox(key: np.ndarray, index: np.ndarray, third: int = 0, fourth: int = 0) -> np.ndarray:
    """The words of blocks of given counters: uint32 [blocks, 4].

    Args:
        index: the first two words of each counter, as one number of 64 bits.
        third, fourth: its other words.
    """
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    index = index.astype(np.uint64)
    c0, c1 = index & low, index >> shift
    c2, c3 = (np.full(index.shape, word, np.uint64) for word in (third, fourth))
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> shift) ^ c1 ^ np.uint64(k0),
            p1 & low,
            (p0 >> shift) ^ c3 ^ np.uint64(k1),
            p0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def _groups(key, groups):
    """Words of whole groups: uint32 [groups, 4, 16]."""
    return philox(key, np.arange(16 * groups)).reshape(groups, 16, 4).transpose(0, 2, 1)


def _wide_groups(key, groups):
    """64-bit words of whole groups: uint64 [groups, 2, 16]."""
    words = _groups(key, groups).astype(np.uint64)
    return words[:, 0::2] | (words[:, 1::2] << np.uint64(32))


def _words(key, count):
    return _groups(key, -(-count // 64)).reshape(-1)[:count]


def _wide_words(key, count):
    return _wide_groups(key, -(-count // 32)).reshape(-1)[:count]


def _check_key(op, key):
    if key.dtype != "uint32" or tuple(key.shape) != (2,):
        raise ValueError(f"{op}: the key must be uint32(2,), got {signature([key])}")


def _check_float(op, dtype):
    if dtype not in _UNIFORM_BITS:
        raise TypeError(f"{op}: dtype must be one of {tuple(_UNIFORM_BITS)}, got '{dtype}'")


def _float_shape(op):
    def shape(key, *, dims, dtype):
        _check_key(op, key)
        _check_float(op, dtype)
        return tuple(dims), dtype

    return shape


# bits


def _bits_shape(key, *, dims):
    _check_key("random_bits", key)
    return tuple(dims), "uint32"


_bits = Primitive(
    "random_bits",
    shape=_bits_shape,
    reference=lambda key, *, dims: _words(key, math.prod(dims)).reshape(dims),
)


def random_bits(key: Tensor, dims) -> Tensor:
    """Uniform uint32 words. The key is uint32(2,)."""
    return _bits(key, dims=tuple(dims))


# uniform


def _uniform(key, count, dtype):
    bits = _UNIFORM_BITS[dtype]
    if dtype == "float64":
        return (_wide_words(key, count) >> np.uint64(11)) * 2.0**-53
    return (_words(key, count) >> np.uint32(32 - bits)) * 2.0**-bits


_random_uniform = Primitive(
    "random_uniform",
    shape=_float_shape("random_uniform"),
    reference=lambda key, *, dims, dtype: (
        _uniform(key, math.prod(dims), dtype).reshape(dims).astype(dtypes.NUMPY[dtype])
    ),
)


def random_uniform(key: Tensor, dims, dtype: str = "float32") -> Tensor:
    """Uniform in [0, 1), on a grid of as many bits as the dtype's significand has."""
    return _random_uniform(key, dims=tuple(dims), dtype=dtype)


# normal: Box-Muller on two words of a block, for the two elements in their places


def _unit(words, dtype):
    """Words as numbers in (0, 1], in the arithmetic that the kernels use."""
    if dtype == "float64":
        return ((words >> np.uint64(11)) + np.uint64(1)) * 2.0**-53
    halves = (words >> np.uint32(1)).astype(np.float32)
    return (halves * np.float32(2**-31) + np.float32(2**-32)).astype(np.float64)


def _turn(words, dtype):
    """Words as angles in [-pi, pi) over pi, exact."""
    if dtype == "float64":
        return (words.view(np.int64) >> 11) * 2.0**-52
    return (words.view(np.int32) >> 8) * 2.0**-23


def _normal_reference(key, *, dims, dtype):
    count = math.prod(dims)
    wide = dtype == "float64"
    words = _wide_groups(key, -(-count // 32)) if wide else _groups(key, -(-count // 64))
    radius = np.sqrt(-2 * np.log(_unit(words[:, 0::2], dtype)))
    angle = np.pi * _turn(np.ascontiguousarray(words[:, 1::2]), dtype)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
    return pairs.reshape(-1)[:count].reshape(dims).astype(dtypes.NUMPY[dtype])


_random_normal = Primitive(
    "random_normal", shape=_float_shape("random_normal"), reference=_normal_reference
)


def random_normal(key: Tensor, dims, dtype: str = "float32") -> Tensor:
    """Standard normal numbers. float16 and bfloat16 are rounded from float32."""
    return _random_normal(key, dims=tuple(dims), dtype=dtype)


# truncated normal: the inverse of the distribution function between -2 and 2

_ERF_SQRT2 = math.erf(math.sqrt(2.0))
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _inverse_erf(y):
    """Newton's method; |y| stays below 0.96 here, where it converges from the line's slope."""
    x = y * (0.886 + 0.33 * y * y)
    for _ in range(8):
        x = x - (_erf(x) - y) * (math.sqrt(math.pi) / 2) * np.exp(x * x)
    return x


def _truncated_reference(key, *, dims, dtype):
    count = math.prod(dims)
    words = (_wide_words if dtype == "float64" else _words)(key, count)
    if dtype == "float64":
        centred = ((words.view(np.int64) >> 11) + 0.5) * 2.0**-52
    else:
        centred = ((words.view(np.int32) >> 9) + 0.5) * 2.0**-22
    x = math.sqrt(2.0) * _inverse_erf(_ERF_SQRT2 * centred) if count else centred
    return np.clip(x, -2, 2).reshape(dims).astype(dtypes.NUMPY[dtype])


_random_truncated_normal = Primitive(
    "random_truncated_normal",
    shape=_float_shape("random_truncated_normal"),
    reference=_truncated_reference,
)


def random_truncated_normal(key: Tensor, dims, dtype: str = "float32") -> Tensor:
    """Standard normal numbers given that they lie in [-2, 2]."""
    return _random_truncated_normal(key, dims=tuple(dims), dtype=dtype)


# integers


def _randint_shape(key, low, high, *, dims, dtype):
    _check_key("randint", key)
    if dtype not in dtypes.INTEGERS:
        raise TypeError(f"randint: '{dtype}' is not an integer dtype")
    if low.dtype != dtype or high.dtype != dtype:
        raise TypeError(f"randint: low and high must be {dtype}: {signature([low, high])}")
    if low.ndim or high.ndim:
        raise ValueError(f"randint: low and high must be scalars: {signature([low, high])}")
    return tuple(dims), dtype


def _randint_reference(key, low, high, *, dims, dtype):
    words = _wide_words(key, math.prod(dims))
    span = max(int(high) - int(low), 1)
    # The high half of the 128-bit product words * span, by 32-bit pieces.
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    a0, a1 = words & mask, words >> shift
    b0, b1 = np.uint64(span & 0xFFFFFFFF), np.uint64(span >> 32)
    middle = a1 * b0 + ((a0 * b0) >> shift)
    other = a0 * b1 + (middle & mask)
    scaled = a1 * b1 + (middle >> shift) + (other >> shift)
    start = np.uint64(int(low) & 0xFFFFFFFFFFFFFFFF)
    return (start + scaled).astype(dtypes.NUMPY[dtype]).reshape(dims)


_randint = Primitive("randint", shape=_randint_shape, reference=_randint_reference)


def randint(key: Tensor, dims, low: Tensor, high: Tensor, dtype: str = "int32") -> Tensor:
    """Integers uniform in [low, high), scalar tensors of `dtype`; `low` if the range is empty."""
    return _randint(key, low, high, dims=tuple(dims), dtype=dtype)


# dropout


def _bernoulli_shape(x, key, *, rate):
    _check_key("random_bernoulli_scale", key)
    _check_float("random_bernoulli_scale", x.dtype)
    if not 0 <= rate <= 1:
        raise ValueError(f"random_bernoulli_scale: rate must be in [0, 1], got {rate}")
    return x.dims, x.dtype


def _bernoulli_reference(x, key, *, rate):
    kept = _words(key, x.size).reshape(x.shape).astype(np.uint64) >= round(rate * 2**32)
    scale = 1 / (1 - rate) if rate < 1 else 0.0
    wide = x if x.dtype == np.float64 else x.astype(np.float32)
    return np.where(kept, wide * wide.dtype.type(scale), 0).astype(x.dtype)


_bernoulli_scale = Primitive(
    "random_bernoulli_scale",
    shape=_bernoulli_shape,
    reference=_bernoulli_reference,
    vjp=lambda ct, out, x, key, *, rate: (random_bernoulli_scale(ct, key, rate), None),
)


def random_bernoulli_scale(x: Tensor, key: Tensor, rate: float) -> Tensor:
    """Dropout: each element becomes 0 with probability `rate`, else x / (1 - rate).

    Args:
        key: uint32(2,); the same key drops the same elements, which the gradient relies on.
    """
    return _bernoulli_scale(x, key, rate=float(rate))
