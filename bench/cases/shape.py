"""Moving elements. Every result is exact; what counts is bytes moved a second."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bench.harness import Case, _numpy_dtype


def _bytes(shape, dtype, times=2):
    return times * math.prod(shape) * _numpy_dtype(dtype).itemsize


def _torch(run):
    """Peer: run(torch, *tensors)."""

    def build(arrays):
        import torch

        tensors = [torch.from_numpy(a) for a in arrays]
        return lambda: run(torch, *tensors)

    return {"torch": build}


def transpose(shape, perm, dtype="float32", **options):
    return Case(
        "transpose",
        ((shape, dtype),),
        {"perm": perm},
        bytes=_bytes(shape, dtype),
        grad=dtype == "float32",
        peer=_torch(lambda torch, x: x.permute(perm).contiguous()),
        **options,
    )


def slice_(shape, start, stop, step, dtype="float32", **options):
    return Case("slice", ((shape, dtype),), {"start": start, "stop": stop, "step": step}, **options)


def pad(shape, low, high, interior=None, dtype="float32", **options):
    interior = interior or (0,) * len(shape)
    attrs = {"low": low, "high": high, "interior": interior}
    wide = tuple((np.add(shape, low) + high).tolist())
    flat = [v for a, b in zip(reversed(low), reversed(high)) for v in (a, b)]
    return Case(
        "pad",
        ((shape, dtype), ((), dtype)),
        attrs,
        bytes=_bytes(shape, dtype, 1) + _bytes(wide, dtype, 1),
        peer=_torch(lambda torch, x, value: torch.nn.functional.pad(x, flat)),
        **options,
    )


def broadcast(shape, dims, dtype="float32", **options):
    return Case(
        "broadcast_to",
        ((shape, dtype),),
        {"dims": dims},
        bytes=_bytes(dims, dtype, 1),
        peer=_torch(lambda torch, x: x.broadcast_to(dims).contiguous()),
        **options,
    )


def concat(shapes, axis, dtype="float32", **options):
    return Case(
        "concat",
        tuple((s, dtype) for s in shapes),
        {"axis": axis},
        bytes=sum(_bytes(s, dtype) for s in shapes),
        peer=_torch(lambda torch, *parts: torch.cat(parts, axis)),
        **options,
    )


def flip(shape, axes, dtype="float32", **options):
    return Case(
        "flip",
        ((shape, dtype),),
        {"axes": axes},
        bytes=_bytes(shape, dtype),
        peer=_torch(lambda torch, x: torch.flip(x, axes)),
        **options,
    )


def _window(op, shapes, start, attrs):
    def make(rng):
        return [rng.standard_normal(s).astype(np.float32) for s in shapes] + [
            np.array(start, np.int32)
        ]

    inputs = tuple((s, "float32") for s in shapes) + (((len(start),), "int32"),)
    return Case(op, inputs, attrs, make=make)


_TYPES = ("bool", "int8", "float16", "bfloat16", "int32", "float64", "complex128")

CASES = [
    transpose((5, 7), (1, 0)),
    transpose((129, 67), (1, 0)),
    transpose((2, 33, 3, 16), (0, 2, 1, 3)),
    transpose((2, 5, 70, 3), (0, 3, 1, 2)),
    transpose((2, 3, 5, 70), (0, 2, 3, 1)),
    transpose((2, 5, 70, 9), (0, 3, 1, 2)),
    transpose((3, 4, 5, 6, 2), (4, 2, 0, 3, 1)),
    transpose((0, 4), (1, 0)),
    transpose((1000, 333), (1, 0)),
    transpose((128, 320), (1, 0)),
    transpose((67, 161), (1, 0)),
    transpose((2, 193, 130), (0, 2, 1)),
    *(transpose((37, 66), (1, 0), d) for d in _TYPES),
    *(transpose((131, 192), (1, 0), d) for d in _TYPES),
    *(transpose((6, 37, 2), (1, 0, 2), d) for d in _TYPES),
    slice_((9, 20), (2, 3), (8, 17), (2, 1)),
    slice_((9, 20), (8, 19), (-1, 0), (-1, -3)),
    slice_((4, 5, 6), (1, 0, 0), (2, 5, 6), (1, 1, 1)),
    slice_((4, 5), (1, 0), (1, 5), (1, 1)),
    slice_((9, 2000), (2, 3), (8, 1999), (1, 1)),
    pad((3, 4, 5), (1, 0, 2), (0, 2, 1)),
    pad((4, 5), (1, 0), (0, 2), (1, 2)),
    pad((0, 5), (1, 0), (0, 2)),
    pad((300, 401), (2, 1), (1, 3)),
    broadcast((), (3, 4)),
    broadcast((5, 1), (3, 5, 7)),
    broadcast((1, 5, 1, 2), (4, 5, 3, 2)),
    broadcast((301,), (500, 301)),
    broadcast((7, 1), (7, 3001)),
    *(broadcast((5, 1), (5, 77), dtype) for dtype in ("bool", "int16", "float64", "complex128")),
    concat(((2, 3), (2, 5), (2, 0)), 1),
    concat(((2, 3, 4), (5, 3, 4)), 0),
    concat(((40, 31, 64), (40, 90, 64)), 1),
    flip((5, 6, 7), (0, 2)),
    flip((200, 601), (1,)),
    Case("reshape", (((4, 6), "float32"),), {"dims": (3, 8)}),
    Case("copy", (((4, 6), "float32"),)),
    _window("dynamic_slice", ((7, 9),), (5, -2), {"sizes": (3, 4)}),
    _window("dynamic_update_slice", ((7, 9), (3, 4)), (5, 2), {}),
    *(
        Case("full", (), {"dims": dims, "value": v, "dtype": d}, grad=False)
        for dims in ((3, 5), (5, 1001))
        for d, v in [("float32", 0.1), ("bfloat16", 3.3), ("float16", 7e4), ("int8", -3)]
    ),
    *(Case("iota", (), {"size": 300, "dtype": d}, grad=False) for d in ("int32", "float16")),
    transpose((2048, 2048), (1, 0), speed=True),
    transpose((2000, 2000), (1, 0), speed=True),
    transpose((2048, 2048), (1, 0), "float16", speed=True),
    transpose((512, 512), (1, 0), speed=True),
    transpose((1001, 1003), (1, 0), speed=True),
    transpose((2051, 2051), (1, 0), speed=True),
    transpose((8, 28, 28, 128), (0, 3, 1, 2), speed=True, label="NHWC_to_NCHW_in_cache"),
    transpose((8, 112, 112, 8), (0, 3, 1, 2), speed=True, label="8_channels_to_NCHW"),
    transpose((16, 64, 56, 56), (0, 2, 3, 1), speed=True, label="NCHW_to_NHWC"),
    transpose((8, 512, 12, 64), (0, 2, 1, 3), speed=True, label="BSHD_to_BHSD"),
    transpose((16, 56, 56, 64), (0, 3, 1, 2), speed=True, label="NHWC_to_NCHW"),
    broadcast((1024,), (4096, 1024), speed=True),
    broadcast((4096, 1), (4096, 1024), speed=True),
    concat(((16, 56, 56, 64), (16, 56, 56, 64)), 3, speed=True, label="channels"),
    pad((16, 56, 56, 64), (0, 1, 1, 0), (0, 1, 1, 0), speed=True, label="images"),
    flip((16, 112, 112, 16), (2,), speed=True, label="left_right"),
]
CASES = [dataclasses.replace(case, tol=0.01) for case in CASES]  # exact, in other words
