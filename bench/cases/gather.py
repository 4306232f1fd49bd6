"""Gathers, scatters and sorts.

Copies are exact. A scatter adds the updates of one place in order, in accumulators of float32 or
wider: tol is a few eps times the root of the largest number of updates for a place.
"""

from __future__ import annotations

import math

import numpy as np

from bench.harness import Case, _numpy_dtype


def _values(rng, shape, dtype):
    if dtype.startswith(("int", "uint")):
        return rng.integers(0, 9, shape).astype(dtype)
    # Sums that do not cancel: an error relative to a sum near 0 says nothing.
    return (1 + rng.standard_normal(shape)).astype(_numpy_dtype(dtype))


def _case(op, shapes, dtype, index_at, index_shape, low, high, attrs, index="int32", **options):
    """Values of `shapes` with an operand of indices in [low, high) put at place `index_at`."""
    inputs = [(s, dtype) for s in shapes]
    inputs.insert(index_at, (index_shape, index))

    def make(rng):
        arrays = [_values(rng, s, dtype) for s in shapes]
        arrays.insert(index_at, rng.integers(low, high, index_shape).astype(index))
        return arrays

    options.setdefault("tol", 8)
    return Case(op, tuple(inputs), attrs, make=make, **options)


def _torch(run):
    def build(arrays):
        import torch

        tensors = [torch.from_numpy(a) for a in arrays]
        return lambda: run(torch, *tensors)

    return {"torch": build}


def gather(shape, indices, axis, dtype="float32", low=None, **options):
    n = shape[axis]
    taken = shape[:axis] + indices + shape[axis + 1 :]
    return _case(
        "gather", [shape], dtype, 1, indices, -n if low is None else low, n, {"axis": axis},
        bytes=2 * math.prod(taken) * _numpy_dtype(dtype).itemsize,
        peer=_torch(lambda torch, x, i: torch.nn.functional.embedding(i, x)),
        **options,
    )  # fmt: skip


def gather_grad(size, indices, inner, dtype="float32", **options):
    options.setdefault("low", -size)
    low = options.pop("low")
    return _case(
        "gather_grad", [indices + inner], dtype, 0, indices, low, size,
        {"axis": 0, "size": size},
        bytes=(math.prod(indices) + size) * math.prod(inner) * _numpy_dtype(dtype).itemsize,
        peer=_torch(
            lambda torch, i, ct: torch.ops.aten.embedding_dense_backward(ct, i, size, -1, False)
        ),
        **options,
    )  # fmt: skip


# Of a table's rows r0, a momentum r1 and the gradient r2; and of a table of a narrow dtype.
MOMENTUM = (
    "r3:float32=const[0.9]; r4:float32=mul r1 r3; r5:float32=add r4 r2; "
    "r6:float32=const[0.1]; r7:float32=mul r5 r6; r8:float32=sub r0 r7; out r8 r5"
)
SUM = "r2:{0}=add r0 r1; r3:{0}=mul r1 r2; out r2 r3"


def fused_gather_grad(size, indices, inner, program=MOMENTUM, dtype="float32", **options):
    """A program over tables [size, *inner], the last of which is the gradient."""
    tables = 1 if program == SUM else 2
    table, low = (size, *inner), options.pop("low", -size)
    return _case(
        "fused_gather_grad", [table] * tables + [indices + inner], dtype, tables + 1, indices,
        low, size, {"program": program.format(dtype), "gradient": tables, "size": size},
        bytes=((2 * tables * size + math.prod(indices)) * math.prod(inner)
               * _numpy_dtype(dtype).itemsize),
        grad=False, updates=tuple(range(tables)) if tables == 2 else (),
        **options,
    )  # fmt: skip


def scatter_add(shape, indices, axis, dtype="float32", **options):
    n = shape[axis]
    updates = shape[:axis] + indices + shape[axis + 1 :]
    return _case(
        "scatter_add", [shape, updates], dtype, 1, indices, -n, n, {"axis": axis}, **options
    )


def along(op, shape, taken, axis, dtype="float32", **options):
    where = shape[:axis] + (taken,) + shape[axis + 1 :]
    shapes = [shape] if op == "take_along_axis" else [shape, where]
    n = shape[axis]
    return _case(op, shapes, dtype, 1, where, -n, n, {"axis": axis}, **options)


def nd(op, shape, count, depth, dtype="float32", **options):
    least = min(shape[:depth])
    updates = count + shape[depth:]
    shapes = [shape] if op == "gather_nd" else [shape, updates]
    return _case(op, shapes, dtype, 1, count + (depth,), -least, least, {}, **options)


def one_hot(shape, depth, axis, dtype, index="int32", **options):
    return Case(
        "one_hot",
        ((shape, index),),
        {"depth": depth, "axis": axis, "dtype": dtype},
        make=lambda rng: [rng.integers(0 if index[0] == "u" else -2, depth + 2, shape)
                          .astype(index)],
        grad=False,
        **options,
    )  # fmt: skip


def ordered(op, shape, dtype="float32", ties=False, nan=False, **attrs):
    speed = attrs.pop("speed", False)
    label = attrs.pop("label", "")

    def make(rng):
        x = rng.standard_normal(shape) * 50
        x = np.round(x / 20) if ties else x
        x = np.abs(x) if dtype.startswith("uint") else x
        x = x.astype(_numpy_dtype(dtype))
        if nan:
            x.reshape(-1)[::7] = np.nan
        return [x]

    run = {
        "sort": lambda torch, x: x.sort(stable=True, dim=attrs["axis"]),
        "argsort": lambda torch, x: x.argsort(stable=True, dim=attrs["axis"]),
        "top_k": lambda torch, x: x.topk(attrs["k"]),
    }[op]
    return Case(
        op, ((shape, dtype),), attrs, make=make, tol=0.5,
        # Differences must not change the order, so there may not be many.
        grad=not (ties or nan) and op != "argsort" and math.prod(shape) < 200,
        speed=speed, label=label, peer=_torch(run),
    )  # fmt: skip


def searchsorted(size, shape, side, dtype="float32"):
    return Case(
        "searchsorted",
        (((size,), dtype), (shape, dtype)),
        {"side": side},
        make=lambda rng: [
            np.sort(rng.integers(0, 50, size)).astype(dtype),
            rng.integers(-3, 55, shape).astype(dtype),
        ],
        grad=False,
    )


_SETS = ("scatter_nd_add", "scatter_nd_set", "scatter_nd_max", "scatter_nd_min", "scatter_nd_mul")

CASES = [
    gather((7, 5), (3,), 0),
    gather((7, 5), (2, 3), 1),
    gather((3, 7, 4), (6,), 1),
    gather((7, 5), (4,), 0, low=-30),
    gather((9, 3), (0,), 0),
    gather((300, 64), (50, 40), 0, index="int64"),
    *(gather((9, d), (40,), 0) for d in (256, 601)),
    *(gather((9, 3), (6,), a, d) for a in (0, 1) for d in ("bool", "bfloat16", "complex128")),
    gather_grad(11, (6,), (5,)),
    gather_grad(5, (7, 9), (3,)),
    gather_grad(5000, (40,), (17,)),
    gather_grad(400, (2000,), (70,)),
    gather_grad(3, (2000,), (700,)),
    gather_grad(50, (700,), (33,), "bfloat16"),
    gather_grad(50, (700,), (33,), "float16", index="int64"),
    fused_gather_grad(11, (6,), (5,)),
    fused_gather_grad(500, (7, 9), (3,)),
    fused_gather_grad(5000, (300,), (16,)),
    fused_gather_grad(40, (2000,), (70,), tol=60),
    fused_gather_grad(3, (20,), (700,)),
    fused_gather_grad(3, (0,), (70,)),
    fused_gather_grad(300, (70,), (), index="int64"),
    *(
        fused_gather_grad(50, (700,), (33,), SUM, d, tol=60)
        for d in ("float64", "bfloat16", "float16")
    ),
    *(scatter_add((6, 5, 4), (3, 3), a) for a in range(3)),
    *(scatter_add((6, 50), (30,), a, d) for a in (0, 1) for d in ("float64", "int32", "bfloat16")),
    *(
        along(op, s, 4, a)
        for op in ("take_along_axis", "scatter_along_axis_add")
        for s, a in (((6, 5), 0), ((6, 5), 1), ((3, 7, 2), 1), ((5,), 0))
    ),
    *(along("scatter_along_axis_add", (6, 50), 40, 1, d) for d in ("float16", "int32")),
    nd("gather_nd", (6, 5, 4), (3, 2), 1),
    nd("gather_nd", (6, 5, 4), (7,), 3),
    *(nd(op, (6, 5, 4), (7, 2), k) for op in _SETS for k in (1, 2, 3)),
    *(nd(op, (4, 6), (3,), 1, d) for op in _SETS for d in ("float16", "int32", "int64")),
    nd("scatter_nd_add", (30, 2), (50,), 1, "complex64"),
    *(one_hot((4, 5), 7, a, "float32") for a in range(3)),
    *(one_hot((6,), 9, 1, d) for d in ("bool", "int32", "bfloat16", "float16", "float64")),
    *(one_hot((6,), 9, 1, "float32", i) for i in ("uint8", "int64", "int16")),
    *(
        ordered(op, s, axis=a, **({"stable": True} if op == "argsort" else {}), ties=t)
        for op in ("sort", "argsort")
        for s, a in (((9,), 0), ((5, 400), 1), ((300, 4), 0), ((3, 20, 2), 1))
        for t in (False, True)
    ),
    *(
        ordered("argsort", (3, 400), d, ties=True, axis=1, stable=True)
        for d in ("int8", "uint16", "int64", "float16", "bfloat16", "float64")
    ),
    *(
        ordered("sort", (3, 400), d, axis=1)
        for d in ("uint8", "int32", "uint64", "float16", "bfloat16", "float64")
    ),
    ordered("sort", (5, 30), nan=True, axis=1),
    ordered("argsort", (5, 300), nan=True, axis=1, stable=True),
    ordered("top_k", (5, 30), k=4),
    ordered("top_k", (5, 30), k=30),
    ordered("top_k", (3, 700), k=5, ties=True),
    ordered("top_k", (3, 30), "int32", k=7, ties=True),
    ordered("top_k", (3, 30), nan=True, k=7),
    *(searchsorted(20, (3, 9), s, d) for s in ("left", "right") for d in ("float32", "int32")),
    gather((30000, 512), (32, 128), 0, low=0, speed=True, label="embedding_30000x512_4096"),
    gather_grad(30000, (4096,), (512,), low=0, speed=True, label="embedding_30000x512_4096"),
    gather_grad(1000, (16384,), (128,), low=0, speed=True, label="embedding_1000x128_16384"),
    fused_gather_grad(30000, (4096,), (512,), low=0, speed=True, label="embedding_30000x512_4096"),
    ordered("sort", (64, 4096), axis=1, speed=True, label="64x4096"),
    ordered("argsort", (64, 4096), axis=1, stable=True, speed=True, label="64x4096"),
    ordered("top_k", (64, 30000), k=10, speed=True, label="64x30000"),
]
