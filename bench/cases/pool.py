"""Pooling and its gradients.

Tolerance: a maximum is exact; an average or a gradient adds at most a window's worth of terms.
"""

from __future__ import annotations

import math

import numpy as np

from bench import harness
from bench.harness import Case


def geometry(n, sizes, channels, window, strides=None, pad=0):
    """Attributes, and the shapes of x and y; ints are for every dimension."""
    rank = len(sizes)
    window = (window,) * rank if isinstance(window, int) else tuple(window)
    strides = window if strides is None else strides
    strides = (strides,) * rank if isinstance(strides, int) else tuple(strides)
    padding = (pad,) * (2 * rank) if isinstance(pad, int) else tuple(pad)
    out = tuple(
        (s + padding[2 * i] + padding[2 * i + 1] - w) // st + 1
        for i, (s, w, st) in enumerate(zip(sizes, window, strides))
    )
    attrs = {"window": window, "strides": strides, "padding": padding}
    return attrs, (n, *sizes, channels), (n, *out, channels)


def _torch(op, attrs, shape):
    pad = attrs["padding"]
    if len(pad) != 4 or pad[::2] != pad[1::2]:
        return {}

    def forward(torch, x):
        functional = torch.nn.functional
        if op.startswith("max"):
            where = attrs["window"], attrs["strides"], pad[::2]
            return functional.max_pool2d(x, *where, return_indices=op.endswith("_places"))
        counts = attrs["count_include_pad"]
        return functional.avg_pool2d(x, attrs["window"], attrs["strides"], pad[::2], False, counts)

    def build(arrays):
        import torch

        if not op.endswith(("_grad", "_scatter")):
            x = torch.from_numpy(arrays[0]).permute(0, 3, 1, 2)
            return lambda: forward(torch, x)
        # Where the gradient needs no x, any will do.
        x = torch.from_numpy(arrays[0]) if op == "max_pool_grad" else torch.randn(shape)
        x = x.permute(0, 3, 1, 2).requires_grad_()
        y, ct = forward(torch, x), torch.from_numpy(arrays[-1]).permute(0, 3, 1, 2)
        return lambda: torch.autograd.grad(y, x, ct, retain_graph=True)

    return {"torch": build}


# The pass that keeps places leaves the others alone.
_PLACED = ("float32", "float64")


def _by_places(dtype, attrs, x, y, traffic, make) -> list[Case]:
    """The maximum that says where it is, and the gradient that is told."""
    numbers = math.prod(y)
    return [
        Case(
            "max_pool_places",
            ((x, dtype),),
            attrs,
            bytes=traffic + numbers,
            tol=0.5,
            grad=False,
            make=lambda rng: [rng.integers(-3, 4, x).astype(dtype)],
            peer=_torch("max_pool_places", attrs, x),
        ),
        Case(
            "max_pool_scatter",
            ((y, "uint8"), (y, dtype)),
            {**attrs, "input_dims": x[1:-1]},
            bytes=traffic + numbers,
            grad=False,
            make=make,
            peer=_torch("max_pool_scatter", attrs, x),
        ),
    ]


def cases(n, sizes, channels, window, dtype="float32", label="", speed=False, **more) -> list[Case]:
    """Both poolings, their gradients and the adjoint of the maximum's gradient."""
    attrs, x, y = geometry(n, sizes, channels, window, **more)

    def with_maximum(last):
        def make(rng):
            # Ties are common: the first of the largest elements is meant.
            value = rng.integers(-3, 4, x).astype(dtype)
            out = harness.primitive("max_pool").reference(value, **attrs)
            return [value, out, rng.standard_normal(last).astype(dtype)]

        return make

    def with_places(rng):
        value = rng.integers(-3, 4, x).astype(dtype)
        places = harness.primitive("max_pool_places").reference(value, **attrs)[1]
        return [places, rng.standard_normal(y).astype(dtype)]

    three = ((x, dtype), (y, dtype))
    traffic = 4 * (math.prod(x) + math.prod(y))
    averages = {**attrs, "count_include_pad": False}
    result = [
        Case(
            "max_pool",
            ((x, dtype),),
            attrs,
            bytes=traffic,
            tol=0.5,
            # Among many elements two of a window are closer than the step of a difference.
            grad=math.prod(x) < 5000,
            peer=_torch("max_pool", attrs, x),
        ),
        Case(
            "max_pool_grad",
            (*three, (y, dtype)),
            attrs,
            bytes=2 * traffic,
            make=with_maximum(y),
            grad=False,
            peer=_torch("max_pool_grad", attrs, x),
        ),
        *(_by_places(dtype, attrs, x, y, traffic, with_places) if dtype in _PLACED else ()),
        Case("max_pool_select", (*three, (x, dtype)), attrs, make=with_maximum(x), grad=False),
        *(
            Case("avg_pool", ((x, dtype),), a, bytes=traffic, peer=_torch("avg_pool", a, x))
            for a in (averages, {**averages, "count_include_pad": True})
        ),
        Case(
            "avg_pool_grad",
            ((y, dtype),),
            {**averages, "input_dims": x[1:-1]},
            bytes=traffic,
            peer=_torch("avg_pool_grad", averages, x),
        ),
    ]
    extra = {"speed": speed, "label": label}
    return [Case(**{**vars(case), **extra}) for case in result]


def special(op) -> Case:
    attrs, x, _ = geometry(1, (6, 6), 11, 3, strides=2, pad=1)

    def make(rng):
        value = rng.standard_normal(x).astype("float32")
        value[0, 2, 3, 4], value[0, 4, 4, :9], value[0, :2, :2, 1] = np.nan, np.inf, -np.inf
        return [value]

    return Case(op, ((x, "float32"),), attrs, grad=False, make=make, label="special")


CASES: list[Case] = [
    *cases(2, (8, 6), 16, 2),
    *cases(2, (9, 7), 19, 2),
    *cases(2, (9, 7), 5, 3, strides=2, pad=1),
    *cases(1, (8, 9), 33, (3, 2), strides=1, pad=(0, 2, 1, 0)),
    *cases(2, (11, 10), 8, 2, strides=3),
    *cases(2, (9, 40), 8, 3, strides=2, pad=1),
    *cases(2, (10, 41), 8, (2, 3), strides=(3, 2)),
    *cases(3, (13,), 9, 3, strides=2, pad=(1, 0)),
    *cases(2, (4, 6, 5), 7, 2, strides=(2, 1, 2)),
    *cases(9, (26, 26), 24, 2),
    *cases(2, (4, 6), 48, 2),
    *cases(2, (4, 6), 24, 2, dtype="float64"),
    *cases(0, (4, 4), 3, 2),
    *cases(1, (1, 1), 1, 1),
    *cases(2, (5, 5), 6, 3, strides=2, dtype="float64"),
    *cases(2, (5, 5), 6, 3, strides=2, dtype="float16"),
    *cases(2, (5, 5), 6, 3, strides=2, dtype="bfloat16"),
    special("max_pool"),
    special("max_pool_places"),
    *cases(128, (26, 26), 32, 2, speed=True, label="26x26x32 b128 2x2"),
    *cases(8, (112, 112), 64, 3, strides=2, pad=1, speed=True, label="112x112x64 b8 3x3/2"),
]
