"""Convolution and its gradients, conv_bias_act.

Tolerance: a sum of k products has error about sqrt(k) * eps of one product's size, and its own size
is sqrt(k) products, so the error relative to the largest result hardly grows; what is allowed is
sqrt(k) * eps, at least 4 eps, of the largest result. Where all of few results cancel, or an
activation bounds them, the sqrt(k) of the sum's usual size stands in its place.
"""

from __future__ import annotations

import functools
import math
import re

import numpy as np

from bench.harness import EPS, Case
from bench.networks import CONVOLUTIONS
from bench.peers_conv import peers


def geometry(n, sizes, cin, cout, kernel, strides=1, pad=0, dilation=1, groups=1):
    """Attributes, and the shapes of x, w and y; ints are for every dimension."""
    rank = len(sizes)

    def spread(value):
        return (value,) * rank if isinstance(value, int) else tuple(value)

    kernel, strides, dilation = spread(kernel), spread(strides), spread(dilation)
    padding = (pad,) * (2 * rank) if isinstance(pad, int) else tuple(pad)
    out = tuple(
        (s + padding[2 * i] + padding[2 * i + 1] - (k - 1) * d - 1) // st + 1
        for i, (s, k, st, d) in enumerate(zip(sizes, kernel, strides, dilation))
    )
    attrs = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
    return attrs, (n, *sizes, cin), (*kernel, cin // groups, cout), (n, *out, cout)


def cases(
    n, sizes, cin, cout, kernel, dtype="float32", ops="fdw", label="", spell="", **more
) -> list[Case]:  # fmt: skip
    """Forward (f), gradient by the input (d) and by the weights (w) of one convolution."""
    speed = more.pop("speed", False)
    attrs, x, w, y = geometry(n, sizes, cin, cout, kernel, **more)
    taps = math.prod(w[:-2])
    flops = 2 * math.prod(y) * math.prod(w[:-1])
    size = {"float16": 2, "bfloat16": 2, "float64": 8}.get(dtype, 4)
    traffic = size * (math.prod(x) + math.prod(w) + math.prod(y))
    groups = attrs["groups"]
    kinds = {
        "f": ("conv", (x, w), attrs, math.prod(w[:-1])),
        "d": ("conv_input_grad", (y, w), {**attrs, "input_dims": x[1:-1]}, taps * cout // groups),
        "w": ("conv_weight_grad", (x, y), {**attrs, "kernel_dims": w[:-2]}, math.prod(y[:-1])),
    }
    result = []
    for kind in ops:
        op, shapes, op_attrs, terms = kinds[kind]
        result.append(
            Case(
                op=op,
                inputs=tuple((s, dtype) for s in shapes),
                attrs=op_attrs,
                flops=flops,
                bytes=traffic,
                tol=max(4.0, math.sqrt(terms)),
                terms=math.sqrt(terms),
                speed=speed,
                peer=peers(op, op_attrs, len(sizes), groups == cin == cout),
                label=label and f"{label} {kind}",
                spell=spell and f"{spell}:{kind}",
            )
        )
    return result


def fused(n, sizes, cin, cout, kernel, activation, dtype="float32", **more) -> Case:
    speed, residual = more.pop("speed", False), more.pop("residual", False)
    attrs, x, w, y = geometry(n, sizes, cin, cout, kernel, **more)
    attrs = {**attrs, "activation": activation}
    added = ((y, dtype),) if residual else ()
    terms = math.prod(w[:-1])
    return Case(
        op="conv_bias_act",
        inputs=((x, dtype), (w, dtype), ((cout,), dtype), *added),
        attrs=attrs,
        flops=2 * math.prod(y) * math.prod(w[:-1]),
        tol=max(4.0, math.sqrt(terms)),
        terms=math.sqrt(terms),
        # A kink of the activation within a difference's step would spoil it.
        grad=activation not in ("relu", "relu6"),
        speed=speed,
        peer=None if residual else peers("conv_bias_act", attrs, len(sizes), False),
    )


def special(value) -> Case:
    """One infinity or NaN reaches exactly the results whose window holds it."""
    attrs, x, w, _ = geometry(2, (7, 6), 5, 18, 3, pad=1)

    def make(rng):
        operands = [rng.standard_normal(s).astype("float32") for s in (x, w)]
        operands[0][1, 3, 2, 4] = value
        return operands

    return Case(
        op="conv",
        inputs=((x, "float32"), (w, "float32")),
        attrs=attrs,
        tol=8,
        grad=False,
        make=make,
        label=f"with {value}",
    )


CASES: list[Case] = [
    # Plain, and every attribute by itself and together.
    *cases(2, (9, 8), 16, 32, 3),
    *cases(2, (9, 8), 5, 7, 3, pad=1),
    *cases(3, (7, 7), 33, 50, 3, pad=1),
    *cases(1, (11, 9), 8, 24, 3, strides=2, pad=(0, 1, 0, 1)),
    *cases(2, (10, 9), 6, 9, (2, 3), strides=(3, 2), pad=(2, 0, 1, 3), dilation=(2, 1)),
    *cases(2, (8, 12), 4, 17, 3, dilation=2, pad=2),
    *cases(2, (8, 9), 6, 10, 2, pad=(-1, 2, 0, -2)),
    # Nothing but padding is left of a row.
    *cases(1, (2,), 7, 16, 3, strides=3, pad=(4, -1)),
    # First layers: one or three channels.
    *cases(4, (12, 12), 1, 32, 3),
    *cases(4, (5, 5), 3, 16, 3),
    *cases(4, (5, 6), 3, 16, 3),
    *cases(16, (7, 9), 8, 16, 3, strides=2, dtype="float64"),
    *cases(2, (19, 17), 3, 64, 7, strides=2, pad=3),
    # Sources that are the same for each row, or for each two images.
    *cases(3, (5, 8, 18), 2, 16, 3),
    *cases(6, (17, 9), 3, 16, 3, strides=2),
    fused(4, (10, 10), 2, 16, 3, "relu", residual=True),
    # With padding, and copied: whole images, some rows or planes, pieces of a row.
    *cases(3, (19, 21), 3, 40, 3, strides=2, pad=1),
    *cases(1, (75, 90), 3, 17, 5, strides=2, pad=(2, 1, -1, 3)),
    *cases(2, (9, 30, 31), 2, 8, 3, pad=1, ops="f"),
    *cases(1, (4500,), 15, 5, 3, pad=(1, 2), ops="f"),
    *cases(2, (61, 60), 3, 24, (3, 1), strides=(2, 1), pad=(4, 0, -2, 0), dtype="float64", ops="f"),
    fused(1, (75, 90), 3, 56, (3, 5), "silu", strides=2, pad=1, residual=True),
    # Few channels of the result: of x for its gradient, of y forward; also in several pieces.
    *cases(2, (9, 8), 16, 3, 3, pad=1),
    *cases(2, (11, 13), 2, 9, 2, strides=3),
    *cases(2, (8, 9), 4, 12, (3, 2), strides=(1, 2), pad=(-1, 2, 0, -1), dtype="float64"),
    *cases(2, (40,), 11, 4, 4, pad=(9, 0), dilation=3),
    # A long row of few channels, cut in pieces.
    *cases(1, (1100,), 32, 32, 2, pad=(4, 0), dilation=4),
    *cases(2, (5, 6, 7), 16, 2, (3, 1, 2), pad=(2, 1, 0, 0, 1, 0), dilation=(2, 1, 1)),
    *cases(5, (62, 64), 3, 16, 3, strides=2, pad=(0, 1, 0, 1), ops="d"),
    *cases(3, (62, 64), 9, 3, 3, pad=1, ops="f"),
    *cases(2, (10, 30, 30), 1, 8, 3, pad=1, ops="d"),
    *(fused(2, (6, 5), 16, 3, 3, a, pad=1) for a in ("none", "sigmoid")),
    # Pointwise.
    *cases(2, (7, 7), 40, 24, 1),
    *cases(2, (7, 8), 12, 16, 1, strides=2),
    *cases(2, (7, 9), 12, 17, 1, strides=(2, 3), pad=(0, -1, 0, -2)),
    *cases(1, (3, 5, 4), 7, 9, 1, strides=(2, 1, 3), dtype="float64"),
    # windows apart: patches, with a rest, with gaps, the whole image
    *cases(2, (28, 30), 3, 66, 14, strides=14),
    *cases(2, (13, 9), 3, 20, 4, strides=4, dtype="float64"),
    *cases(2, (9, 8), 5, 70, (2, 3), strides=(3, 4), pad=(0, -1, 0, 0)),
    *cases(3, (6, 5), 4, 65, (6, 5)),
    *cases(2, (21,), 7, 9, 4, strides=5),
    *cases(2, (4, 5, 6), 3, 5, (2, 1, 3), strides=(2, 2, 3)),
    *cases(2, (12, 8), 3, 20, 4, strides=4, dtype="bfloat16"),
    *cases(1, (35, 48), 3, 40, 16, strides=16),
    *cases(1, (28, 14), 3, 24, 14, strides=14, dtype="bfloat16"),
    # Wide strides: windows that overlap, gaps, padding, groups, dilation.
    *cases(2, (30, 31), 3, 20, 10, strides=9, pad=(3, 2, 0, 4)),
    *cases(2, (31, 27), 5, 12, (5, 4), strides=(9, 10), pad=(2, 0, 1, 3)),
    *cases(2, (29, 30), 6, 16, (3, 12), strides=(11, 9), pad=(0, -2, -1, 5), groups=2),
    *cases(1, (33, 26), 4, 9, 3, strides=9, dilation=(6, 2), pad=4, dtype="float16"),
    *cases(3, (300,), 6, 10, 150, strides=70, pad=(20, 0)),
    *cases(1, (11, 9, 10), 2, 7, (5, 6, 2), strides=(5, 4, 5), pad=(1, 0, 0, 2, 0, 0)),
    *cases(1, (20, 19), 2, 1100, 10, strides=9, ops="d"),  # few results of many terms
    fused(2, (28, 30), 3, 20, 14, "gelu", strides=14, residual=True),
    *(fused(2, (6, 5), 11, 70, 1, a, strides=2, residual=True) for a in ("relu6", "silu")),
    fused(3, (4, 4), 1700, 37, 1, "relu", residual=True),  # few results of many terms
    fused(1, (1, 1), 520, 530, 1, "silu", residual=True),  # ranges of the terms of one row
    fused(1, (1, 1), 40, 33, 1, "relu", residual=True),
    fused(2, (6, 5), 5, 9, 1, "gelu", dtype="float64", residual=True),
    # Groups and depthwise.
    *cases(2, (6, 7), 12, 18, 3, pad=1, groups=3),
    *cases(2, (9, 8), 24, 24, 3, pad=1, groups=24),
    *cases(2, (9, 8), 19, 19, 3, strides=2, pad=(0, 1, 0, 1), groups=19),
    *cases(2, (12, 11), 8, 8, (5, 2), pad=2, dilation=2, groups=8),
    *cases(2, (7, 6), 5, 15, 3, pad=1, groups=5),
    *cases(2, (7, 23), 41, 41, 3, pad=1, groups=41),
    *cases(1, (6, 20), 41, 41, 5, pad=2, groups=41),
    *cases(3, (7, 5), 70, 70, 3, pad=(2, 0, 1, 3), groups=70),
    *cases(2, (6, 4), 16, 16, 3, pad=(1, 1, 2, 2), groups=16),
    *cases(1, (37, 70), 48, 48, 3, pad=1, groups=48),
    *cases(5, (11, 13), 50, 50, 3, strides=2, pad=(1, 0, 0, 2), groups=50),
    *cases(2, (10, 12), 33, 33, 3, pad=(-1, 2, 0, -2), groups=33),
    *cases(3, (9, 10), 37, 37, 7, pad=3, groups=37),
    *cases(2, (14, 7), 48, 48, 7, pad=(2, 4, 3, 3), groups=48),
    # Windows wider than the image; weights that the first cache does not keep, in groups.
    *cases(2, (3, 2), 27, 27, 7, pad=3, groups=27),
    *cases(1, (5, 19), 107, 107, 7, pad=3, groups=107),
    *cases(2, (9, 15), 33, 33, 5, pad=2, groups=33),
    # One tap by the weights, more channels of x than of y: 16 MB of operands and more, and less.
    *cases(1, (150, 100), 250, 70, 1, ops="w"),
    *cases(1, (40, 40), 100, 70, 1, ops="w"),
    # By the weights, rows of results in parts: 4 MB of operands and more, 12 with stride 2.
    *cases(1, (65, 63), 133, 133, 3, pad=(1, 1, 2, 0), groups=133, ops="w"),
    *cases(3, (81, 83), 133, 133, 5, strides=2, pad=(1, 2, 2, 1), groups=133, ops="w"),
    *cases(1, (65, 63), 133, 133, 7, pad=3, groups=133, ops="w"),
    *cases(2, (15, 16), 33, 33, 5, strides=2, pad=(2, 1, 0, 3), groups=33),
    # Fewer channels than a vector's; padding that whole windows see.
    *cases(2, (9, 11), 12, 12, 5, pad=2, groups=12),
    *cases(2, (10, 15), 9, 9, 3, strides=2, pad=1, groups=9),
    *cases(2, (6, 9), 35, 35, 3, pad=(4, 3, 1, 1), groups=35),
    *cases(2, (6, 9), 35, 35, 3, pad=(1, 1, 4, 3), groups=35),
    # Pixels of whole lines, which may go past the caches.
    *cases(2, (15, 30), 32, 32, 3, strides=2, pad=(0, 1, 0, 1), groups=32),
    *cases(2, (13, 22), 16, 16, 5, strides=2, pad=(2, 1, 1, 3), groups=16, dtype="float64"),
    *cases(2, (9, 14), 32, 32, 7, strides=(3, 1), pad=3, groups=32),
    *(fused(2, (8, 12), 64, 64, 3, a, pad=1, groups=64) for a in ("relu6", "silu")),
    # One and three dimensions.
    *cases(3, (21,), 7, 19, 4, strides=2, pad=1),
    *cases(2, (30,), 6, 6, 5, pad=(4, 0), groups=6),
    *cases(1, (5, 6, 4), 4, 9, (2, 3, 2), strides=(1, 2, 1), pad=(1, 0, 1, 1, 0, 1)),
    *cases(2, (4, 5, 5), 6, 6, 3, pad=1, groups=6),
    # Large enough for several blocks, tasks and partial sums.
    *cases(6, (15, 14), 24, 40, 3, pad=1),
    *cases(9, (20, 21), 3, 16, 3, pad=1),
    # Enough channels and squares for Winograd.
    *cases(3, (17, 19), 64, 72, 3, pad=1),
    *cases(9, (13, 12), 37, 70, 3),
    *cases(5, (16, 16), 32, 48, 3, pad=(-1, 2, 3, 0)),
    # Pixels that no window reaches, and so without a gradient.
    *cases(9, (13, 13), 32, 40, 3, pad=(0, -1, 0, -1)),
    *cases(5, (17, 14), 40, 33, 3, pad=(0, -4, 1, -3)),
    fused(9, (9, 12), 32, 35, 3, "relu6", pad=1),
    fused(9, (9, 13), 32, 67, 3, "relu", pad=1, residual=True),
    *(fused(9, (9, 13), 32, 67, 3, a, pad=1) for a in ("silu", "gelu")),
    # Weights of more than 4 MB by many squares, the last block of them with fewer.
    *cases(3, (9, 14), 260, 270, 3, pad=1, ops="fd"),
    *cases(2, (8, 9), 260, 262, 3, pad=1, dtype="bfloat16", ops="f"),
    fused(3, (9, 9), 270, 259, 3, "relu", pad=1, residual=True),
    # The same by cubes: odd sizes, borders, crops, and by planes.
    *cases(3, (7, 9, 8), 32, 48, 3),
    *cases(2, (5, 8, 7), 37, 70, 3, pad=1),
    *cases(3, (6, 7, 9), 33, 35, 3, pad=(-1, 2, 0, -2, 3, 0)),
    *cases(2, (9, 9, 8), 32, 32, 3, pad=(0, -2, 0, -1, 0, -3)),
    *cases(2, (5, 9, 8), 33, 40, (1, 3, 3), pad=(1, 0, 1, 1, 0, 0)),
    fused(3, (5, 6, 7), 32, 67, 3, "relu", pad=1, residual=True),
    *(fused(3, (5, 6, 7), 40, 35, 3, a, pad=1) for a in ("none", "relu6", "gelu")),
    # Stride 2, enough channels and pixels for fewer multiplications.
    *cases(4, (21, 24), 40, 33, 3, strides=2, pad=(0, 1, 0, 1)),
    *cases(5, (24, 17), 32, 70, 3, strides=2, pad=(1, 1, 2, 0)),
    *cases(2, (34, 40), 48, 35, 4, strides=2, pad=1),
    *cases(3, (31, 36), 33, 32, 4, strides=2, pad=(0, 3, 2, 1)),
    *cases(2, (35, 32), 40, 32, 4, strides=2, pad=(3, 0, 1, 2), ops="d"),
    *cases(10, (32, 30), 35, 33, 4, strides=2, pad=1, ops="w"),
    *cases(90, (27, 28), 32, 32, 3, strides=2, pad=(1, 1, 0, 1), ops="w"),
    *(fused(4, (26, 24), 32, 37, 3, a, strides=2, pad=(0, 1, 0, 1)) for a in ("relu6", "gelu")),
    # Taps along one dimension, and enough channels and results for fast algorithms.
    *cases(4, (90,), 48, 70, 3),
    *cases(2, (93,), 64, 40, 7, pad=(2, 4)),
    *cases(6, (140,), 65, 64, 7, strides=3),
    *cases(4, (86,), 40, 45, 5, dilation=3, pad=(12, 0)),
    *cases(2, (30, 17), 33, 48, (1, 9), pad=(0, 0, 4, 4)),
    *cases(3, (31, 6), 48, 32, (5, 1), pad=(-1, 2, 0, 0)),
    *cases(2, (19, 5, 4), 32, 40, (4, 1, 1), pad=(2, 1, 0, 0, 0, 0)),
    *(fused(3, (101,), 48, 37, 6, a, residual=r) for a, r in (("relu", True), ("gelu", False))),
    fused(3, (101,), 48, 80, 3, "relu6", dilation=2),
    # The same in rows of a window: odd sizes, one-sided padding, a last block of few channels.
    *cases(2, (19, 22), 40, 48, 5, pad=2),
    *cases(3, (13, 18), 33, 70, (4, 5), pad=(3, 0, 1, 2)),
    *cases(5, (9, 10), 64, 37, 7, pad=3),
    *cases(2, (12, 30), 32, 33, (2, 7)),
    *cases(2, (5, 17, 20), 32, 35, (1, 5, 4), pad=(0, 0, 1, 4, 2, 1)),
    *cases(2, (4, 12, 12), 40, 48, (1, 5, 5), pad=(1, -1, 2, 2, 2, 2)),
    *(
        fused(2, (15, 18), 40, 67, 5, a, pad=2, residual=r)
        for a, r in (("relu6", True), ("gelu", False))
    ),
    # Few output channels, of which a vector would hold few: gradients with both sides turned.
    *cases(3, (10, 9), 20, 1, 3, pad=1, ops="dw"),
    *cases(2, (11, 14), 33, 7, (2, 5), pad=(-1, 2, 0, 3), dilation=(2, 1), ops="dw"),
    *cases(2, (40,), 17, 3, 4, pad=(5, 0), ops="dw"),
    *cases(2, (5, 6, 7), 16, 2, 3, pad=(1, 0, 0, 2, 1, 1), ops="dw"),
    *cases(2, (9, 8), 12, 3, 3, dtype="float64", ops="dw"),
    *cases(2, (9, 8), 24, 3, 3, dtype="bfloat16", ops="dw"),
    # Empty and single.
    *cases(0, (5, 5), 3, 4, 3),
    *cases(0, (8, 8), 4, 64, 1, groups=2),
    *cases(0, (5, 11), 16, 8, 1, dtype="float64"),
    *(
        case
        for cin, cout in ((8, 0), (0, 8))
        for kernel in (1, 3)
        for case in cases(2, (5, 6), cin, cout, kernel, pad=1)
    ),
    fused(2, (5, 6), 8, 0, 3, "relu"),
    *cases(1, (1, 1), 1, 1, 1),
    *cases(1, (3, 3), 1, 1, 3),
    # Other dtypes.
    *cases(2, (6, 5), 5, 9, 3, pad=1, dtype="float64"),
    *cases(2, (6, 5), 8, 8, 3, pad=1, groups=8, dtype="float64"),
    *cases(2, (6, 5), 5, 9, 3, pad=1, dtype="float16"),
    *cases(2, (6, 5), 5, 9, 3, pad=1, dtype="bfloat16"),
    *cases(3, (17, 19), 64, 71, 3, pad=1, dtype="bfloat16"),
    *cases(5, (16, 16), 32, 48, 3, pad=(-1, 2, 3, 0), dtype="bfloat16"),
    *cases(3, (6, 7, 9), 32, 50, 3, pad=(-1, 2, 0, 1, 1, 1), dtype="bfloat16"),
    fused(3, (5, 6, 7), 35, 35, 3, "relu6", pad=1, dtype="bfloat16", residual=True),
    *cases(2, (17, 13), 40, 70, 1, dtype="bfloat16"),
    *cases(2, (7, 9), 12, 17, 1, strides=(2, 3), pad=(0, -1, 0, -2), dtype="bfloat16"),
    *(fused(2, (6, 5), 5, 20, 3, a, pad=1) for a in ("none", "relu", "relu6", "sigmoid", "tanh")),
    *(fused(2, (6, 5), 5, 20, 3, a) for a in ("silu", "gelu", "gelu_tanh")),
    *(fused(2, (6, 5), 16, 16, 3, a, pad=1, groups=16) for a in ("relu", "silu", "tanh")),
    *(fused(2, (9, 6), 35, 35, 3, a, strides=2, pad=1, groups=35) for a in ("relu6", "gelu")),
    fused(2, (6, 5), 16, 16, 3, "gelu", pad=1, groups=16, dtype="float64"),
    # With a residual: whole and partial panels, several tasks, groups, an activation of each kind.
    *(fused(2, (6, 5), 5, 20, 3, a, pad=1, residual=True) for a in ("none", "relu", "silu")),
    fused(9, (21, 20), 6, 130, 1, "none", residual=True),
    *(fused(3, (7, 9), 70, 80, 1, a, residual=True) for a in ("none", "relu", "relu6")),
    fused(2, (6, 7), 12, 18, 3, "none", pad=1, groups=3, residual=True),
    fused(2, (6, 5), 16, 16, 3, "none", pad=1, groups=16, residual=True),
    fused(2, (6, 5), 5, 9, 3, "relu", strides=2, dtype="float64", residual=True),
    fused(2, (6, 5), 5, 9, 3, "none", pad=1, dtype="float16", residual=True),
    fused(2, (6, 5), 5, 9, 3, "none", pad=1, dtype="bfloat16", residual=True),
    *(
        fused(9, (9, 13), 33, 67, 3, a, pad=1, dtype="bfloat16", residual=True)
        for a in ("none", "relu6", "gelu")
    ),
    *(
        fused(3, (9, 13), 33, 67, 1, a, dtype="bfloat16", residual=True)
        for a in ("none", "relu", "relu6", "gelu")
    ),
    fused(3, (4, 4), 1700, 37, 1, "relu", dtype="bfloat16", residual=True),
    fused(3, (4, 4), 9000, 37, 1, "silu", dtype="bfloat16", residual=True),
    fused(2, (6, 5), 11, 1, 1, "relu", strides=2, dtype="bfloat16", residual=True),
    fused(1, (1, 1), 40, 33, 1, "relu", dtype="bfloat16", residual=True),
    special(np.inf),
    special(np.nan),
]

# Sizes of real networks, batch 8 unless said.
SPEED: list[Case] = [
    *cases(128, (28, 28), 1, 32, 3, label="mnist 28x28x1-32 b128"),
    *cases(128, (13, 13), 32, 64, 3, label="mnist 13x13x32-64 b128"),
    *cases(8, (224, 224), 3, 64, 7, strides=2, pad=3, ops="fw", label="resnet stem"),
    *cases(8, (56, 56), 64, 64, 3, pad=1, label="resnet 3x3 56x56x64"),
    *cases(8, (28, 28), 128, 128, 3, pad=1, label="resnet 3x3 28x28x128"),
    *cases(8, (14, 14), 256, 256, 3, pad=1, label="resnet 3x3 14x14x256"),
    *cases(8, (7, 7), 512, 512, 3, pad=1, label="resnet 3x3 7x7x512"),
    *cases(8, (19, 23, 23), 32, 32, 3, label="scans 19x23x23x32"),
    *cases(64, (200,), 128, 128, 7, label="text 200x128 7 b64"),
    *cases(64, (194,), 128, 128, 7, strides=3, label="text 194x128 7/3 b64"),
    *cases(8, (56, 56), 64, 256, 1, label="resnet 1x1 56x56x64-256"),
    *cases(8, (56, 56), 256, 64, 1, label="resnet 1x1 56x56x256-64"),
    *cases(8, (14, 14), 1024, 256, 1, label="resnet 1x1 14x14x1024-256"),
    *cases(8, (7, 7), 512, 2048, 1, label="resnet 1x1 7x7x512-2048"),
    *cases(8, (56, 56), 256, 512, 1, strides=2, label="resnet 1x1/2 56x56x256-512"),
    *cases(8, (224, 224), 3, 192, 16, strides=16, ops="fw", label="vit patches"),
    *cases(8, (224, 224), 3, 32, 3, strides=2, pad=(0, 1, 0, 1), ops="fw", label="mobilenet stem"),
    *cases(8, (112, 112), 32, 32, 3, pad=1, groups=32, label="depthwise 112x112x32"),
    *cases(8, (112, 112), 96, 96, 3, strides=2, pad=1, groups=96, label="depthwise/2 112x112x96"),
    *cases(8, (56, 56), 144, 144, 3, pad=1, groups=144, label="depthwise 56x56x144"),
    *cases(8, (14, 14), 384, 384, 3, pad=1, groups=384, label="depthwise 14x14x384"),
    *cases(8, (7, 7), 960, 960, 3, pad=1, groups=960, label="depthwise 7x7x960"),
]
CASES += [Case(**{**vars(case), "speed": True}) for case in SPEED]


_LAYER = re.compile(
    r"(?P<sizes>\d+(x\d+)+)-(?P<cout>\d+):(?P<kernel>\d+(x\d+)*)(/(?P<strides>\d+))?"
    r"(:p(?P<pad>\d+))?(:d(?P<dilation>\d+))?(:g(?P<groups>\d+))?(:(?P<dtype>b?float\d+))?"
    r"(:(?P<ops>[fdw]+))?"
)
SYNTAX = (
    "8x56x56x64-128:3x3/2:p1:d1:g1:float32:fdw: batch, sizes and channels, then output channels; "
    "window and strides; zeros on each side, (window - 1) / 2 if not given; dilation, groups, "
    "dtype; forward, gradient by the input, by the weights"
)


def parse(text: str) -> list[Case] | None:
    """The cases of a convolution spelled as in SYNTAX, or None where it is none."""
    match = _LAYER.fullmatch(text)
    if match is None:
        return None
    n, *sizes, cin = map(int, match["sizes"].split("x"))
    kernel = tuple(map(int, match["kernel"].split("x")))
    kernel = kernel * len(sizes) if len(kernel) == 1 else kernel
    if not sizes or len(kernel) != len(sizes) or (match["dtype"] or "float32") not in EPS:
        return None
    return layer(
        n,
        tuple(sizes),
        cin,
        int(match["cout"]),
        kernel,
        strides=int(match["strides"] or 1),
        pad=None if match["pad"] is None else int(match["pad"]),
        dilation=int(match["dilation"] or 1),
        groups=int(match["groups"] or 1),
        dtype=match["dtype"] or "float32",
        ops=match["ops"] or "fdw",
    )


def layer(
    n, sizes, cin, cout, kernel, strides=1, pad=None, dilation=1, groups=1, dtype="float32",
    ops="fdw",
) -> list[Case]:  # fmt: skip
    """Speed cases of one layer, which `parse` can read back."""
    same = tuple((k - 1) // 2 * dilation if k % 2 else 0 for k in kernel)
    spell = f"{'x'.join(map(str, (n, *sizes, cin)))}-{cout}:{'x'.join(map(str, kernel))}"
    spell += f"/{strides}" * (strides > 1)
    spell += "" if pad is None else f":p{pad}"
    spell += f":d{dilation}" * (dilation > 1) + f":g{groups}" * (groups > 1)
    spell += f":{dtype}" * (dtype != "float32")
    zeros = tuple(z for low in (same if pad is None else (pad,) * len(sizes)) for z in (low, low))
    return cases(
        n, sizes, cin, cout, kernel, dtype, ops, spell=spell, strides=strides, pad=zeros,
        dilation=dilation, groups=groups, speed=True,
    )  # fmt: skip


def network(name: str, batch: int) -> list[Case]:
    """Every layer of a network of bench.networks, forward and gradients; a shape stands once."""
    found = {}
    for row in CONVOLUTIONS[name]:
        ops = "d" if row.transposed else "fw" if row.cin == 3 else "fdw"
        sizes, kernel = (row.size,) * 2, (row.kernel,) * 2
        for case in layer(
            batch, sizes, row.cin, row.cout, kernel, row.strides, groups=row.groups, ops=ops
        ):
            found[case.name] = case
    return list(found.values())


def _others(batch: int) -> list[Case]:
    """Dilated, grouped, one- and three-dimensional ones."""
    texts = ("28x28x128-128:3x3:d2", "28x28x128-128:3x3:g4", "14x14x256-256:3x3:g32",
             "256x128-128:5", "1024x64-64:9:d4", "1000x64-64:3/2", "16x28x28x32-64:3x3x3",
             "8x14x14x128-128:3x3x3", "8x56x56x64-64:1x3x3/2")  # fmt: skip
    return [case for text in texts for case in parse(f"{batch}x{text}")]


def _windows(batch: int) -> list[Case]:
    """Windows larger than 3x3, and layers with few channels on one side."""
    texts = ("32x32x32-128:5x5", "35x35x48-64:5x5", "14x14x32-64:5x5", "28x28x128-128:5x5",
             "56x56x64-64:7x7", "17x17x128-192:7x7", "24x24x64-64:3x5", "128x128x64-3:3x3",
             "128x128x64-3:9x9", "128x128x32-1:3x3", "64x64x16-3:3x3", "224x224x3-64:3x3:fw",
             "28x28x1-64:3x3:fw", "10x32x32x32-2:3x3x3")  # fmt: skip
    return [case for text in texts for case in parse(f"{batch}x{text}")]


LISTS = {
    **{name: functools.partial(network, name) for name in CONVOLUTIONS},
    "others": _others,
    "windows": _windows,
}
