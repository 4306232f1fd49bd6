"""Attention launched kernel by kernel, past the choice of kernels and tiles.

The structure is that of cuda/kernels/attention/params.h.
"""

import math

import numpy as np
from gemm_launch import OPERAND, TYPES
from ptxkernel import Buffer, _cuda

from bench import harness

STRIDES = np.dtype([("batch", "i8"), ("head", "i8"), ("query", "i4"), ("key", "i4")], align=True)
ADDRESSES = ("out", "dq", "dk", "dv", "ds", "lse", "given_out", "given_lse", "ct_lse", "statistics")
SIZES = ("batch", "heads", "key_heads", "queries", "keys", "size", "value_size", "causal")
PARAMS = np.dtype(
    [(name, OPERAND) for name in ("q", "k", "v", "ct")]
    + [(name, "u8") for name in ("bias", "mask", "key")]
    + [("bias_strides", STRIDES), ("mask_strides", STRIDES)]
    + [(name, "u8") for name in ADDRESSES]
    + [("statistics_pitch", "i4")]
    + [(name, "i4") for name in SIZES]
    + [("scale", "f4"), ("scale_2", "f4"), ("threshold", "u4"), ("kept", "f4"), ("type", "i4")],
    align=True,
)
PAIR_MAPS = ("own", "own_2", "other", "other_2", "out_map", "out_2_map", "statistics_map")
WARPGROUP_GRAD = np.dtype(
    [(name, "u8", 16) for name in PAIR_MAPS] + [("problem", PARAMS), ("heads_at_once", "i4")],
    align=True,
)
MAPS = ("q_map", "k_map", "v_map", "out_map")
WARPGROUP = np.dtype(
    [(name, "u8", 16) for name in MAPS]
    + [("problem", PARAMS), ("blocks", "i4"), ("heads_at_once", "i4")],
    align=True,
)


def params(case, arrays, there):
    """The launch of a case of bench/cases/attention.py on buffers `there`, one for each array, but
    for its results."""
    attrs = case.attrs
    (batch, queries, heads, size), (_, keys, key_heads, value_size) = (
        arrays[0].shape,
        arrays[2].shape,
    )
    kind = next(k for k in ("exact", "f16", "bf16") if TYPES[k][0] == arrays[0].dtype)
    p = np.zeros((), PARAMS)
    rest = iter(range(3, len(arrays)))
    for name, row, width, at in (
        ("q", heads * size, size, 0),
        ("k", key_heads * size, size, 1),
        ("v", key_heads * value_size, value_size, 2),
    ):
        p[name] = there[at].memory.address, row, width * arrays[0].itemsize % 16 == 0
    if attrs["has_mask"]:
        at = next(rest)
        assert arrays[at].shape == (queries, keys)
        p["mask"], p["mask_strides"] = there[at].memory.address, (0, 0, keys, 1)
    if attrs["dropout"]:
        p["key"] = there[next(rest)].memory.address
        p["threshold"] = round(attrs["dropout"] * 2**32)
        p["kept"] = 1 / (1 - attrs["dropout"])
    if "has_lse_ct" in attrs:
        out, lse, ct = (there[next(rest)].memory.address for _ in range(3))
        p["given_out"], p["given_lse"] = out, lse
        p["ct"] = ct, heads * value_size, value_size * arrays[0].itemsize % 16 == 0
    for name, value in zip(
        SIZES, (batch, heads, key_heads, queries, keys, size, value_size, attrs["causal"])
    ):
        p[name] = value
    p["scale"], p["scale_2"] = attrs["scale"], attrs["scale"] * math.log2(math.e)
    p["type"] = TYPES[kind][1]
    return p


def errors(case, results, parts=None):
    """The largest error of each result beside float64, in eps of its largest value.

    Of a gradient they are about one, where the table's bounds let a head of a group be left out.
    `parts`: which of the case's results they are.
    """
    arrays = case.arrays()
    wanted = harness.expected(case, arrays)
    eps = 2.0 ** {"bfloat16": -8, "float16": -11}[str(arrays[0].dtype)]
    return [
        np.abs(got.astype(np.float64) - wanted[part]).max() / np.abs(wanted[part]).max() / eps
        for got, part in zip(results, parts or range(len(wanted)))
    ]


def run(module, name, case, tile, shared, of="forward"):
    """Results of a case by one kernel: [out, lse]; [dk, dv] or [dq] for `of` "keys" or "queries".

    `tile`: rows of a block, and its threads; `shared`: bytes.
    """
    arrays = case.arrays()
    there = [Buffer(a) for a in arrays]
    p = params(case, arrays, there)
    batch, queries, heads, _ = arrays[0].shape
    if of == "forward":
        (lse_dims, out_dims) = (batch, heads, queries), (batch, queries, heads, p["value_size"])
        results = {"out": (out_dims, arrays[0].dtype), "lse": (lse_dims, np.float32)}
    else:
        gradients = {"queries": ("dq",), "keys": ("dk", "dv")}[of]
        places = {"dq": 0, "dk": 1, "dv": 2}
        results = {n: (arrays[places[n]].shape, arrays[0].dtype) for n in gradients}
    outputs = {n: Buffer.empty(dims, dtype) for n, (dims, dtype) in results.items()}
    for n, buffer in outputs.items():
        p[n] = buffer.memory.address
    if of != "forward":
        statistics = Buffer.empty((4, batch * heads * queries), np.float32)
        p["statistics"] = statistics.memory.address
        kernel = _cuda.Module(_cuda.image_ptx("attention/statistics")).kernel(
            "attention_statistics"
        )
        kernel.launch([-(-batch * heads * queries // 8)], [256], [p.tobytes()])
    rows, threads = tile
    tiles = -(-int(p["keys" if of == "keys" else "queries"]) // rows)
    blocks = tiles * batch * int(p["key_heads" if of == "keys" else "heads"])
    module.kernel(name).launch([blocks], [threads], [p.tobytes()], shared=shared)
    _cuda.synchronize()
    return [buffer.get() for buffer in outputs.values()]


def run_warpgroup(module, name, case, tile, shared, grid, heads_at_once):
    """[out, lse] of a case of 16 bits by a kernel for warp groups.

    `tile`: its rows, columns and threads; `grid`: so many blocks compute all.
    """
    arrays = case.arrays()
    there = [Buffer(a) for a in arrays]
    w = np.zeros((), WARPGROUP)
    p = w["problem"] = params(case, arrays, there)
    batch, queries, heads, _ = arrays[0].shape
    rows, columns, threads = tile
    out = Buffer.empty((batch, queries, heads, p["value_size"]), arrays[0].dtype)
    lse = Buffer.empty((batch, heads, queries), np.float32)
    w["problem"]["out"], w["problem"]["lse"] = out.memory.address, lse.memory.address
    shapes = [a.shape for a in arrays[:3]] + [(batch, queries, heads, int(p["value_size"]))]
    for map_, buffer, shape, box in zip(
        MAPS, (*there[:3], out), shapes, (rows, columns, columns, 16)
    ):
        w[map_] = tensor_map(buffer, arrays[0].dtype, shape, box)
    w["blocks"] = -(-queries // rows) * batch * heads
    w["heads_at_once"] = heads_at_once
    data = w.tobytes()
    data += bytes(-len(data) % 64)  # maps are aligned to as much
    module.kernel(name).launch([grid], [threads], [data], shared=shared)
    _cuda.synchronize()
    return [out.get(), lse.get()]


def run_warpgroup_grad(module, name, case, tile, shared, heads_at_once, of):
    """[dk, dv] or [dq] of a case of 16 bits, for `of` "keys" or "queries", by warp groups.

    `tile`: its rows, columns and threads.
    """
    arrays = case.arrays()
    there = [Buffer(a) for a in arrays]
    w = np.zeros((), WARPGROUP_GRAD)
    p = params(case, arrays, there)
    batch, queries, heads, _ = arrays[0].shape
    keys, key_heads = arrays[1].shape[1:3]
    rows, columns, threads = tile
    pitch = p["statistics_pitch"] = -(-queries // 4) * 4
    statistics = Buffer.empty((2, batch * heads, pitch), np.float32)
    p["statistics"] = statistics.memory.address
    kernel = _cuda.Module(_cuda.image_ptx("attention/statistics")).kernel(
        "attention_statistics_packs"
    )
    kernel.launch([-(-batch * heads * pitch // 16)], [256], [p.tobytes()])
    pairs = [(0, -1 - case.attrs["has_lse_ct"]), (1, 2)]  # queries and cotangents, keys and values
    (own, other), results = (pairs[::-1], pairs[1]) if of == "keys" else (pairs, (0,))
    outputs = [Buffer.empty(arrays[k].shape, arrays[k].dtype) for k in results]
    for names, buffers, shapes, box in (
        (PAIR_MAPS[:2], [there[k] for k in own], [arrays[k].shape for k in own], rows),
        (PAIR_MAPS[2:4], [there[k] for k in other], [arrays[k].shape for k in other], columns),
        (PAIR_MAPS[4:6], outputs, [buffer.shape for buffer in outputs], 16),
    ):
        for map_, buffer, shape in zip(names, buffers, shapes):
            w[map_] = tensor_map(buffer, arrays[0].dtype, shape, box)
    by_head = batch * heads
    data = _cuda.tensor_map(
        7, statistics.memory.address, [pitch, by_head, 2], [pitch * 4, by_head * pitch * 4],
        [columns, 1, 2], 0,
    )  # fmt: skip
    w["statistics_map"] = np.frombuffer(data, "u8")
    w["problem"], w["heads_at_once"] = p, heads_at_once
    tiles = -(-(keys if of == "keys" else queries) // rows)
    blocks = tiles * batch * (key_heads if of == "keys" else heads)
    data = w.tobytes()
    data += bytes(-len(data) % 64)
    module.kernel(name).launch([blocks], [threads], [data], shared=shared)
    _cuda.synchronize()
    return [buffer.get() for buffer in outputs]


def tensor_map(buffer, dtype, shape, rows):
    """The map of [batch, length, heads, size] for boxes of `rows` of one head and 64 columns."""
    batch, length, heads, size = shape
    kind, swizzle = (6 if dtype == np.float16 else 9), 3
    row = heads * size * dtype.itemsize
    data = _cuda.tensor_map(
        kind, buffer.memory.address, [size, heads, length, batch],
        [size * dtype.itemsize, row, length * row], [64, 1, rows, 1], swizzle,
    )  # fmt: skip
    return np.frombuffer(data, "u8")
