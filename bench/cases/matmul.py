"""matmul and linear.

Tolerance: a sum of k products of float32 in blocks has error about sqrt(k) * eps relative to the
product of the operands' sizes; 2 * sqrt(k) of the largest result, which is itself about sqrt(k)
times the size of one product, is strict for all kernels. Half precision has the sums of float32
(vdpbf16ps rounds twice for two products, as two additions do) and rounds the result once more, by
half a unit.
"""

from __future__ import annotations

import math
import re

import numpy as np

from bench.harness import EPS, Case, _numpy_dtype, random
from bench.networks import CONVOLUTIONS, transformer
from bench.peers import torch_tensor


def _tolerance(roundings: float, dtype: str) -> float:
    """Error of sums in units of eps(dtype), dtype being that of the result."""
    if dtype in ("bfloat16", "float16"):
        return 0.5 + roundings * EPS["float32"] / EPS[dtype]
    return roundings


def _numpy_matmul(transpose_a=False, transpose_b=False):
    def build(arrays):
        a, b = arrays
        a = a.swapaxes(-1, -2) if transpose_a else a
        b = b.swapaxes(-1, -2) if transpose_b else b
        return lambda: np.matmul(a, b)

    return build


def _torch_matmul(transpose_a=False, transpose_b=False):
    def build(arrays):
        import torch

        a, b = (torch_tensor(x) for x in arrays)
        a = a.transpose(-1, -2) if transpose_a else a
        b = b.transpose(-1, -2) if transpose_b else b
        # int8 into int32
        product = torch._int_mm if a.dtype == torch.int8 else torch.matmul
        return lambda: product(a, b)

    return build


def _tensorflow_matmul(transpose_a=False, transpose_b=False):
    def build(arrays):
        import tensorflow as tf

        a, b = (tf.constant(x) for x in arrays)
        product = tf.function(lambda a, b: tf.linalg.matmul(a, b, transpose_a, transpose_b))
        return lambda: product(a, b)

    return build


def _jax_matmul(transpose_a=False, transpose_b=False, out_dtype=None):
    def build(arrays):
        import jax

        def product(a, b):
            a = a.swapaxes(-1, -2) if transpose_a else a
            b = b.swapaxes(-1, -2) if transpose_b else b
            return jax.numpy.matmul(a, b, preferred_element_type=out_dtype)

        if out_dtype == "float64":  # which JAX would silently compute in float32
            jax.config.update("jax_enable_x64", True)
        a, b = (jax.numpy.asarray(x) for x in arrays)
        compiled = jax.jit(product)
        return lambda: compiled(a, b).block_until_ready()

    return build


def matmul(m, k, n, dtype="float32", batch_a=(), batch_b=None, ta=False, tb=False, **more) -> Case:
    batch_b = batch_a if batch_b is None else batch_b
    a = (*batch_a, *((k, m) if ta else (m, k)))
    b = (*batch_b, *((n, k) if tb else (k, n)))
    batch = math.prod(np.broadcast_shapes(batch_a, batch_b))
    attrs = {"transpose_a": ta, "transpose_b": tb, **more.pop("attrs", {})}
    out = attrs.get("out_dtype", dtype)
    peers = {"jax": _jax_matmul(ta, tb, out), "torch": _torch_matmul(ta, tb)}
    if dtype != "int8":  # the others do not multiply int8 into int32
        peers |= {"numpy": _numpy_matmul(ta, tb), "tensorflow": _tensorflow_matmul(ta, tb)}
    label = f"{dtype}:{'x'.join(map(str, (*batch_a, m, k, n)))}"
    label += (":Ta" if ta else "") + (":Tb" if tb else "")
    if batch_b != batch_a:
        label += f":b{'x'.join(map(str, batch_b)) or '-'}"
    return Case(
        "matmul",
        ((a, dtype), (b, dtype)),
        attrs,
        flops=2.0 * batch * m * k * n,
        bytes=_numpy_dtype(dtype).itemsize * (math.prod(a) + math.prod(b))
        + _numpy_dtype(out).itemsize * batch * m * n,
        tol=_tolerance(2 + 2 * math.sqrt(max(k, 1)), out),
        terms=math.sqrt(k),  # the usual size of a result; one of few elements may cancel
        peer=peers,
        label=label,
        spell=label if batch_a == batch_b and batch_a != (0,) else "",
        **more,
    )


def linear(m, k, n, activation="none", dtype="float32", bias=True, tw=False, **more) -> Case:
    inputs = [((m, k), dtype), ((n, k) if tw else (k, n), dtype)] + (
        [((n,), dtype)] if bias else []
    )

    def make(rng):
        # Weights of a layer's usual size: the bound is relative to outputs, which tanh and sigmoid
        # keep below one however large the sums are that they are taken of.
        arrays = [random(rng, shape, kind) for shape, kind in inputs]
        arrays[1] = (arrays[1] / math.sqrt(max(k, 1))).astype(arrays[1].dtype)
        return arrays

    return Case(
        "linear",
        inputs,
        {"activation": activation, "transpose_w": tw},
        make=make,
        flops=2.0 * m * k * n,
        bytes=_numpy_dtype(dtype).itemsize * (m * k + k * n + m * n),
        tol=_tolerance(4 + 2 * math.sqrt(max(k, 1)), dtype),
        **more,
    )


ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")
# One-sized, prime, just below and above the sizes of tiles and blocks.
_SIZES = [
    (1, 1, 1),
    (1, 7, 1),
    (1, 33, 129),
    (5, 1, 3),
    (6, 16, 16),
    (7, 17, 15),
    (13, 64, 65),
    (64, 300, 48),
    (97, 257, 101),
    (150, 513, 37),
    (3, 40, 400),
    (400, 40, 3),
    (129, 20, 260),
    (23, 190, 37),
    (48, 501, 30),
]
# A copied six rows at a time and B by the tiles that read it first: a rest of rows, of terms and of
# columns, several blocks of each, and an A much narrower than B.
_COPIED = [
    *[(12, 530, 33), (17, 1030, 70), (151, 70, 261), (295, 523, 300), (49, 67, 530)],
    (301, 70, 250),  # wide panels: tasks of all rows and half of the columns
]
# Rows of whole lines, which a large result has stored past the caches: sums that are short and not,
# a rest of rows, panels that are whole and not.
_LINES = [(145, 64, 80), (20, 31, 192), (13, 70, 128)]
# One row or column: ranges of terms whose sums are added, the last one shorter, and ranges of
# columns of each; a row that is added in parts.
_VECTORS = [(1, 2053, 331), (331, 2053, 1), (1, 130, 4500), (4500, 131, 1), (1, 1030, 9000)]
_EMPTY = [(0, 3, 4), (3, 0, 4), (3, 4, 0)]
# Narrow elements: each number of rows that has a path of its own, terms that fill no word, vector
# or block, one column.
_NARROW = [
    (1, 2100, 130),
    (2, 33, 67),
    (4, 130, 200),
    (5, 63, 64),
    (6, 1100, 70),
    (7, 1030, 131),
    (8, 2051, 96),
    (9, 31, 33),
    (50, 64, 130),
    (97, 257, 101),
    (200, 300, 150),
    (130, 2500, 70),
    (70, 301, 1),
]
_TRANSPOSES = [(ta, tb) for ta in (False, True) for tb in (False, True)]

# Layers of real models: an MLP at batch 128, ResNet-50's head and 1x1 convolutions, a decoder step,
# a transformer's projection.
_LAYERS = [
    (128, 784, 512),
    (128, 512, 512),
    (8, 2048, 1000),
    (1, 2048, 2048),
    (2048, 256, 1024),
    (25088, 64, 64),
    (392, 2048, 512),
]

# What a dense layer's gradients are products of.
_GRADIENTS = [(256, 2048, 1024), (784, 128, 512)]

CASES = [
    *(
        matmul(m, k, n, ta=ta, tb=tb)
        for m, k, n in _SIZES
        for ta in (False, True)
        for tb in (False, True)
    ),
    *(
        matmul(m, k, n, dtype, ta=ta, tb=tb, grad=False)
        for dtype in ("float32", "float64")
        for m, k, n in _COPIED
        for ta, tb in ((False, False), (False, True), (True, False))
    ),
    *(linear(m, k, n, "relu", grad=False) for m, k, n in _COPIED),
    *(
        matmul(m, k, n, dtype, ta=ta, grad=False)
        for dtype in ("float32", "float64")
        for m, k, n in _LINES
        for ta in (False, True)
    ),
    *(
        matmul(m, k, n, dtype, ta=ta, tb=tb, grad=False)
        for dtype in ("float32", "float64")
        for m, k, n in _VECTORS
        for ta, tb in ((False, False), (True, False), (False, True))
    ),
    *(linear(m, k, n, a, grad=False) for m, k, n in _VECTORS for a in ("none", "relu", "silu")),
    # Several ranges of rows that keep their part of B, and of terms deeper than a block.
    matmul(1030, 1033, 130, grad=False),
    matmul(1030, 1033, 130, tb=True, grad=False),
    matmul(1024, 520, 129, ta=True, grad=False),
    matmul(2049, 70, 65, ta=True, grad=False),
    matmul(500, 1500, 64, grad=False),
    matmul(500, 1500, 64, tb=True, grad=False),
    *(linear(m, k, n, a, grad=False) for m, k, n in _LINES for a in ("relu", "silu")),
    matmul(33, 40, 48, batch_a=(3,), grad=False),
    *(matmul(m, k, n) for m, k, n in _EMPTY),
    matmul(5, 6, 7, batch_a=(0,)),
    matmul(5, 6, 7, batch_a=(3,)),
    matmul(5, 6, 7, batch_a=(2, 3), tb=True),
    matmul(5, 6, 7, batch_a=(2, 3), batch_b=(), ta=True),
    matmul(5, 6, 7, batch_a=(2, 3), batch_b=()),
    matmul(5, 6, 7, batch_a=(), batch_b=(2, 3)),
    matmul(5, 6, 7, batch_a=(4, 1, 3), batch_b=(2, 1)),
    matmul(33, 40, 50, batch_a=(2, 1), batch_b=(1, 3), tb=True),
    *(
        matmul(m, k, n, dtype, ta=ta, tb=tb)
        for dtype in ("float64", "bfloat16", "float16", "int8", "int32", "uint8", "int64")
        for m, k, n in [(1, 33, 40), (13, 40, 37), (22, 203, 21), (70, 300, 20)]
        for ta, tb in [(False, False), (True, True)]
    ),
    *(
        matmul(m, k, n, dtype, ta=ta, tb=tb, attrs={"out_dtype": out}, grad=False)
        for dtype, out in [("bfloat16", "float32"), ("int8", "int32")]
        for m, k, n in _NARROW
        for ta, tb in _TRANSPOSES
    ),
    *(matmul(m, k, n, "bfloat16") for m, k, n in [*_NARROW, *_EMPTY]),
    *(
        matmul(9, 33, 40, "bfloat16", batch_a=batch_a, batch_b=batch_b, ta=ta, tb=tb)
        for batch_a, batch_b in [((3,), (3,)), ((2, 3), ()), ((4, 1), (3,))]
        for ta, tb in _TRANSPOSES
    ),
    matmul(6, 33, 1, "bfloat16", batch_a=(2, 1), batch_b=(3,)),
    *(
        linear(m, k, n, activation)
        for activation in ACTIVATIONS
        for m, k, n in [(1, 20, 33), (19, 70, 45)]
    ),
    linear(9, 20, 33, "relu", bias=False),
    linear(9, 20, 33, "relu", tw=True),
    linear(9, 0, 33, "relu"),
    *(
        linear(m, k, n, activation, dtype="bfloat16", tw=tw)
        for activation in ACTIVATIONS
        for m, k, n in [(3, 20, 33), (19, 71, 45), (33, 2500, 70), (7, 30, 1), (8, 1100, 45)]
        for tw in (False, True)
    ),
    linear(9, 20, 33, "tanh", dtype="float64"),
    *(matmul(n, n, n, speed=True) for n in (128, 256, 512, 1024, 2048)),
    *(matmul(m, k, n, speed=True) for m, k, n in _LAYERS),
    *(
        matmul(m, k, n, ta=ta, tb=tb, speed=True)
        for m, k, n in [(128, 784, 512), (2048, 256, 1024), (512, 512, 512)]
        for ta, tb in [(True, False), (False, True), (True, True)]
    ),
    *(matmul(m, k, 2048, tb=True, speed=True) for m, k in [(1, 2048), (8, 1000), (32, 1000)]),
    matmul(64, 64, 64, batch_a=(64,), speed=True),
    matmul(512, 64, 512, batch_a=(32,), tb=True, speed=True),
    matmul(512, 512, 512, "float64", speed=True),
    *(
        matmul(m, k, n, dtype, ta=ta, tb=tb, attrs=attrs, speed=True)
        for dtype, attrs in [("bfloat16", {}), ("int8", {"out_dtype": "int32"})]
        for m, k, n, ta, tb in [
            *((n, n, n, False, False) for n in (128, 256, 512, 1024, 2048)),
            *((m, k, n, False, False) for m, k, n in _LAYERS),
            *((512, 512, 512, ta, tb) for ta, tb in _TRANSPOSES[1:]),
            *((m, k, n, ta, tb) for m, k, n in _GRADIENTS for ta, tb in _TRANSPOSES[1:3]),
            *((m, 2048, 1000, False, True) for m in (1, 8)),
        ]
    ),
]


SYNTAX = "float32:16x128x64x128:Ta:Tb: batch, m, k, n; float32 and the batch may be left out"
_PRODUCT = re.compile(r"((?P<dtype>[a-z]+\d+):)?(?P<sizes>\d+(x\d+){2,})(?P<ta>:Ta)?(?P<tb>:Tb)?")


def parse(text: str) -> list[Case] | None:
    """The case of a product spelled as in SYNTAX, or None where it is none. int8 gives int32."""
    match = _PRODUCT.fullmatch(text)
    dtype = match and match["dtype"] or "float32"
    if match is None or dtype not in (*EPS, "int8"):
        return None
    *batch, m, k, n = map(int, match["sizes"].split("x"))
    attrs = {"out_dtype": "int32"} if dtype == "int8" else {}
    ta, tb = bool(match["ta"]), bool(match["tb"])
    return [matmul(m, k, n, dtype, tuple(batch), ta=ta, tb=tb, attrs=attrs, speed=True)]


def _typed(dtype: str, rows) -> list[Case]:
    """Products (m, k, n, batch, transpose_b) of one dtype."""
    attrs = {"out_dtype": "int32"} if dtype == "int8" else {}
    return [
        matmul(m, k, n, dtype, batch, tb=tb, attrs=attrs, speed=True) for m, k, n, batch, tb in rows
    ]


def _layers(_) -> list[Case]:
    return [
        matmul(m, k, n, ta=ta, tb=tb, speed=True)
        for m, k, n in _LAYERS + _GRADIENTS
        for ta, tb in _TRANSPOSES
    ]


def _gradients(_) -> list[Case]:
    """What the gradients of the layers' products are: dA = dC B^T, dB = A^T dC."""
    return [
        case
        for m, k, n in _LAYERS
        for case in (matmul(m, n, k, tb=True, speed=True), matmul(k, m, n, ta=True, speed=True))
    ]


def _odd(_) -> list[Case]:
    """Widths and depths that are multiples of nothing."""
    sizes = [(127, 65, 129), (257, 511, 255), (1000, 333, 777), (61, 1021, 509), (509, 127, 1021)]
    return [matmul(m, k, n, ta=ta, tb=tb, speed=True) for m, k, n in sizes
            for ta, tb in _TRANSPOSES]  # fmt: skip


def _pointwise(batch: int) -> list[tuple]:
    """The 1x1 convolutions of ResNet-50 as products."""
    rows = [c for c in CONVOLUTIONS["resnet50"] if c.kernel == 1 and c.strides == 1]
    return [(batch * c.size**2, c.cin, c.cout, (), False) for c in rows]


_SQUARES = [(n, n, n, (), False) for n in (512, 1024, 2048, 4096)]
_CURVE = [(n, n, n, (), False) for n in (*range(64, 513, 64), *range(640, 1025, 128), 1536, 2048)]
_SMALL = [(n, n, n, (2 * 1024 // n,), False) for n in (32, 48, 64, 96, 128)]

LISTS = {
    "square": lambda _: _typed("float32", _SQUARES),
    "curve": lambda _: _typed("float32", _CURVE),
    "layers": _layers,
    "gradients": _gradients,
    "odd": _odd,
    "batched": lambda _: _typed("float32", _SMALL),
    **{f"bert{suffix}": lambda batch, t=dtype: _typed(t, transformer(batch, 128, 768, 12))
       for suffix, dtype in (("", "float32"), ("_bfloat16", "bfloat16"))},
    **{f"resnet50{suffix}": lambda batch, t=dtype: _typed(t, _pointwise(batch))
       for suffix, dtype in (("", "float32"), ("_bfloat16", "bfloat16"), ("_int8", "int8"))},
    "bert_int8": lambda batch: _typed("int8", transformer(batch, 128, 768, 12)[:3]),
    "square_bfloat16": lambda _: _typed("bfloat16", _SQUARES[:3]),
    "square_int8": lambda _: _typed("int8", _SQUARES[:3]),
}  # fmt: skip
