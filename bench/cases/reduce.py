"""Reductions and scans.

Tolerance: a sum is a tree over blocks of 4,096 numbers in at least 32 partial sums, so that its
error is a few eps times the root of the number of terms, which is also the size of a sum of random
terms: 8 eps of the largest result covers it (products and means as well). Scans are carried in
double and rounded once.
"""

from __future__ import annotations

import math

import numpy as np

from bench.harness import Case, _numpy_dtype
from bench.peers import torch_tensor

_TORCH = {
    "reduce_sum": lambda torch, x, axes: x.sum(axes),
    "reduce_mean": lambda torch, x, axes: x.mean(axes),
    "reduce_max": lambda torch, x, axes: x.amax(axes),
    "reduce_min": lambda torch, x, axes: x.amin(axes),
    "reduce_any": lambda torch, x, axes: x.any(axes[0]),
    "reduce_logsumexp": lambda torch, x, axes: x.logsumexp(axes),
    "moments": lambda torch, x, axes: torch.var_mean(x, axes, correction=0),
    "argmax": lambda torch, x, axis: x.argmax(axis),
    "cumsum": lambda torch, x, axis: x.cumsum(axis),
}


def _peer(op, where):
    if op not in _TORCH:
        return None

    def build(arrays):
        import torch

        x = torch_tensor(arrays[0])
        return lambda: _TORCH[op](torch, x, where)

    return {"torch": build}


def reduction(op, shape, axes, dtype="float32", keepdims=False, **options):
    # The reference rounds as well when it runs in the same dtype.
    options.setdefault("tol", 8 if dtype != "float64" else 32)
    if op in ("reduce_sum", "reduce_mean", "moments") and "float" in dtype:
        options.setdefault("make", _away_from_zero(shape, dtype))
    return Case(
        op,
        ((shape, dtype),),
        {"axes": axes, "keepdims": keepdims},
        bytes=math.prod(shape) * _numpy_dtype(dtype).itemsize,
        peer=_peer(op, axes),
        **options,
    )


def position(op, shape, axis, dtype="float32", **options):
    return Case(
        op,
        ((shape, dtype),),
        {"axis": axis, "keepdims": False},
        bytes=math.prod(shape) * _numpy_dtype(dtype).itemsize,
        grad=False,
        peer=_peer(op, axis),
        **options,
    )


def scan(op, shape, axis, dtype="float32", reverse=False, **options):
    options.setdefault("tol", 4)
    return Case(
        op,
        ((shape, dtype),),
        {"axis": axis, "reverse": reverse},
        bytes=2 * math.prod(shape) * _numpy_dtype(dtype).itemsize,
        peer=_peer(op, axis),
        **options,
    )


def _away_from_zero(shape, dtype):
    """Sums that do not cancel: an error relative to a sum near 0 says nothing."""
    return lambda rng: [(1 + rng.standard_normal(shape)).astype(_numpy_dtype(dtype))]


def _near_one(shape, dtype="float32"):
    """Products of many numbers that neither vanish nor overflow."""
    return lambda rng: [(1 + 0.01 * rng.standard_normal(shape)).astype(_numpy_dtype(dtype))]


def _with_zeros(shape):
    def make(rng):
        x = rng.standard_normal(shape).astype(np.float32)
        x.reshape(-1)[::5] = 0
        return [x]

    return make


_SHAPES = [
    ((), ()),
    ((7,), (0,)),
    ((5, 9), (1,)),
    ((9, 5), (0,)),
    ((3, 17, 5), (1,)),
    ((4, 33, 6, 3), (0, 2)),
    ((2, 3, 4, 5, 3), (0, 2, 4)),
    ((3, 1, 4), (1,)),
    ((6, 70), ()),
    ((300, 10), (0,)),
    ((41, 1, 129), (0, 1)),
    ((2, 1000, 33), (1,)),
    ((3, 70001), (1,)),
    ((9001, 3), (0,)),
    ((700, 257), (0,)),
    ((40, 2300), (0,)),
    ((1100, 131), (1,)),
    ((5, 140000), (0, 1)),
]
_SMALL = _SHAPES[:13]
_BIG = (16, 56, 56, 64)

CASES = [
    *(reduction("reduce_sum", s, a) for s, a in _SHAPES),
    *(
        reduction("reduce_sum", (60, 37, 5), a, d)
        for d in ("float16", "bfloat16", "float64", "int8", "int32", "uint64", "complex64")
        for a in ((1,), (2,), (0, 1))
    ),
    *(reduction("reduce_sum", s, (0,), keepdims=True) for s in ((0, 3), (4, 0))),
    *(reduction("reduce_mean", s, a) for s, a in _SMALL),
    *(reduction("reduce_mean", (50, 31), (0,), d) for d in ("float16", "bfloat16", "float64")),
    *(
        reduction("reduce_prod", s, a, make=_near_one(s), tol=8 + math.prod(s))
        for s, a in _SMALL[:9]
    ),
    reduction("reduce_prod", (6, 7), (1,), make=_with_zeros((6, 7))),
    reduction("reduce_prod", (6, 7), (0,), "int64"),
    *(reduction(op, s, a) for op in ("reduce_max", "reduce_min") for s, a in _SHAPES),
    *(
        reduction(op, (60, 37, 5), a, d)
        for op in ("reduce_max", "reduce_min")
        for d in ("bool", "uint8", "int16", "int64", "float16", "bfloat16", "float64")
        for a in ((1,), (2,))
    ),
    *(
        reduction(op, s, (1,), "bool", grad=False)
        for op in ("reduce_any", "reduce_all")
        for s in ((20, 4), (5, 3, 70), (3, 0))
    ),
    *(reduction("reduce_logsumexp", s, a) for s, a in _SMALL),
    *(reduction("reduce_logsumexp", (50, 31), (1,), d) for d in ("float16", "float64")),
    *(reduction("moments", s, a) for s, a in _SHAPES),
    *(reduction("moments", (50, 31), (0,), d) for d in ("float16", "bfloat16", "float64")),
    *(
        position(op, s, a, d)
        for op in ("argmax", "argmin")
        for d in ("float32", "int8", "float64", "bfloat16")
        for s, a in (((7,), 0), ((5, 90), 1), ((90, 5), 0), ((3, 40, 700), 1))
    ),
    *(
        scan(op, s, a, reverse=r)
        for op in ("cumsum", "cummax", "cummin")
        for s, a in (((9,), 0), ((5, 40), 1), ((40, 5), 0), ((3, 20, 300), 1), ((2, 1031), 1))
        for r in (False, True)
    ),
    *(
        scan("cumprod", s, a, reverse=r, make=_near_one(s), tol=50)
        for s, a in (((9,), 0), ((40, 5), 0))
        for r in (False, True)
    ),
    scan("cumprod", (4, 6), 1, make=_with_zeros((4, 6))),
    *(scan(op, (3, 39), 1, "float64") for op in ("cumsum", "cummax", "cummin")),
    *(scan("cumsum", (30, 7), 0, d) for d in ("float16", "bfloat16", "float64", "int32", "int8")),
    *(
        Case(
            "linear_recurrence",
            ((s, "float32"), (s, "float32")),
            {"axis": 1, "reverse": r},
            make=lambda rng, s=s: [
                (0.5 * rng.random(s)).astype(np.float32),
                rng.standard_normal(s).astype(np.float32),
            ],
            tol=8,
        )
        for s in ((3, 9), (2, 9, 300))
        for r in (False, True)
    ),
    reduction("reduce_sum", (4096, 1024), (1,), speed=True, label="rows"),
    reduction("reduce_sum", (4096, 1024), (0,), speed=True, label="columns"),
    reduction("reduce_sum", (32768, 10), (0,), speed=True, label="narrow_columns"),
    reduction("reduce_sum", (128, 512), (0,), speed=True, label="small_columns"),
    reduction("reduce_sum", _BIG, (0, 1, 2), speed=True, label="channels"),
    reduction("reduce_sum", (4 << 20,), (0,), speed=True, label="all"),
    reduction("reduce_mean", (64, 49, 512), (1,), speed=True, label="global_pool"),
    reduction("reduce_mean", (4096, 1024), (1,), "bfloat16", speed=True, label="rows"),
    reduction("reduce_max", (4096, 1024), (1,), speed=True, label="rows"),
    reduction("reduce_max", (4096, 1024), (0,), speed=True, label="columns"),
    reduction("moments", _BIG, (0, 1, 2), speed=True, label="channels"),
    reduction("moments", (4096, 1024), (1,), speed=True, label="rows"),
    reduction("reduce_logsumexp", (4096, 1024), (1,), speed=True, label="rows"),
    position("argmax", (4096, 1000), 1, speed=True, label="rows"),
    scan("cumsum", (512, 4096), 1, speed=True, label="rows"),
    scan("cumsum", (512, 4096), 0, speed=True, label="columns"),
]
