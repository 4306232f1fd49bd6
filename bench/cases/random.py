"""Random numbers: the bits are those of the reference; floats that go through a logarithm or an
angle are within a few eps of the largest."""

from __future__ import annotations

import math

import numpy as np

from bench.harness import Case, _numpy_dtype
from bench.peers import torch_tensor


def _key(rng):
    return rng.integers(0, 2**32, 2).astype(np.uint32)


def _torch(run):
    def build(arrays):
        import torch

        return lambda: run(torch, *arrays)

    return {"torch": build}


_TORCH = {
    "random_uniform": lambda torch, dims: torch.rand(dims),
    "random_normal": lambda torch, dims: torch.randn(dims),
}


def filled(op, dims, dtype="float32", **options):
    attrs = {"dims": dims} | ({} if op == "random_bits" else {"dtype": dtype})
    peer = None
    if op in _TORCH:
        peer = _torch(lambda torch, key: _TORCH[op](torch, dims))
    return Case(
        op,
        (((2,), "uint32"),),
        attrs,
        bytes=math.prod(dims) * _numpy_dtype(dtype).itemsize,
        make=lambda rng: [_key(rng)],
        grad=False,
        peer=peer,
        **options,
    )


def randint(dims, low, high, dtype):
    return Case(
        "randint",
        (((2,), "uint32"), ((), dtype), ((), dtype)),
        {"dims": dims, "dtype": dtype},
        make=lambda rng: [_key(rng), np.array(low, dtype), np.array(high, dtype)],
        grad=False,
    )


def dropout(shape, rate, dtype="float32", **options):
    def run(torch, x, key):
        return torch.nn.functional.dropout(torch_tensor(x), rate)

    return Case(
        "random_bernoulli_scale",
        ((shape, dtype), ((2,), "uint32")),
        {"rate": rate},
        bytes=2 * math.prod(shape) * _numpy_dtype(dtype).itemsize,
        make=lambda rng: [rng.standard_normal(shape).astype(_numpy_dtype(dtype)), _key(rng)],
        peer=_torch(run),
        **options,
    )


def gamma(shape, alphas, dtype="float32", stream=0, **options):
    """Shape parameters between two, evenly by their logarithm."""

    def run(torch, key, alpha):
        return torch._standard_gamma(torch.from_numpy(alpha))

    def make(rng):
        low, high = np.log(alphas)
        return [_key(rng), np.exp(rng.uniform(low, high, shape)).astype(dtype)]

    return Case(
        "random_gamma",
        (((2,), "uint32"), (shape, dtype)),
        {"stream": stream},
        make=make,
        relative=True,
        grad=False,
        peer=_torch(run),
        **options,
    )


def binomial(shape, most, dtype="float32", **options):
    """Up to `most` trials, of any probability."""

    def run(torch, key, counts, probabilities):
        return torch.binomial(torch.from_numpy(counts), torch.from_numpy(probabilities))

    def make(rng):
        counts = np.floor(np.exp(rng.uniform(0, np.log(most), shape))).astype(dtype)
        return [_key(rng), counts, rng.uniform(0, 1, shape).astype(dtype)]

    return Case(
        "random_binomial",
        (((2,), "uint32"), (shape, dtype), (shape, dtype)),
        make=make,
        grad=False,
        peer=_torch(run),
        **options,
    )


_SIZES = ((), (0, 3), (63,), (64,), (65,), (7, 31), (300, 1001))
_FLOATS = ("float16", "bfloat16", "float32", "float64")

CASES = [
    *(filled("random_bits", s, "uint32") for s in _SIZES),
    *(filled("random_uniform", s, d, tol=0.25) for s in _SIZES[2:] for d in _FLOATS),
    # 16: the radius is a root of a logarithm near 1, whose argument's last bit weighs the more.
    *(filled("random_normal", s, d, tol=16) for s in _SIZES for d in _FLOATS),
    *(filled("random_truncated_normal", s, d, tol=16) for s in _SIZES[:6] for d in _FLOATS),
    randint((1000,), -5, 6, "int32"),
    randint((77,), 0, 200, "uint8"),
    randint((77,), -(2**63), 2**63 - 1, "int64"),
    randint((3, 5), 4, 4, "int16"),
    *(dropout((7, 31), r) for r in (0.0, 0.1, 0.5, 1.0)),
    *(dropout((300, 1001), 0.3, d) for d in _FLOATS),
    dropout((0, 3), 0.3),
    # 1 / alpha is the power of what shrinks, and so of its last bits.
    *(gamma((33, 101), (0.01, 1000.0), d, tol=200) for d in ("float32", "float64")),
    gamma((7, 31), (0.5, 2.0), stream=1, tol=16),
    gamma((0, 3), (0.5, 2.0)),
    *(binomial((33, 101), 10**5, d) for d in ("float32", "float64")),
    binomial((), 40),
    filled("random_bits", (4 << 20,), "uint32", speed=True),
    filled("random_uniform", (4 << 20,), speed=True),
    filled("random_normal", (4 << 20,), speed=True),
    filled("random_truncated_normal", (4 << 20,), speed=True),
    dropout((4096, 1024), 0.1, speed=True),
    dropout((4096, 1024), 0.1, "bfloat16", speed=True),
    gamma((1 << 18,), (0.1, 10.0), speed=True),
    binomial((1 << 18,), 1000, speed=True),
]
