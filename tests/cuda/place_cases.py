"""Sorts, scatters, copies, pooling, recurrent layers and random numbers, in which place_faults.py
plants."""

import itertools

import ml_dtypes
import numpy as np
from planted_cases import DIVISOR, Cases, divisor, integers, structure
from ptxkernel import Buffer

from keras_native.engine.primitives import random as numbers
from keras_native.engine.tensor import from_numpy

# The structures of cuda/kernels/gather, shape, pool, rnn and random/params.h.
LINES = np.dtype(
    [("lines", "i4"), ("n", "i4"), ("by_n", DIVISOR), ("by_inner", DIVISOR)], align=True
)
CASES = Cases(
    {
        "sort.KeyParams": np.dtype(
            [("x", "u8"), ("keys", "u8"), ("lines", LINES), ("type", "i4"), ("descending", "i4")],
            align=True,
        ),
        "sort.PassParams": structure(
            p="keys order next_keys next_order counts", i="lines n tiles shift"
        ),
        "scatter.JoinParams": np.dtype(
            [(name, "u8") for name in ("x", "updates", "out", "parts", "keys", "order")]
            + [(name, "i4") for name in ("elements", "count", "rows", "type")]
            + [("by_inner", DIVISOR), ("by_count", DIVISOR)],
            align=True,
        ),
        "shape.TransposedParams": np.dtype(
            [("from", "u8"), ("to", "u8"), ("rows", "i4"), ("columns", "i4"), ("zeros", "i4")]
            + [("row_stride", "i8"), ("column_stride", "i8")]
            + [("by_columns", DIVISOR), ("by_rows", DIVISOR), ("dims", "i4"), ("size", "i4", 6)]
            + [("from_stride", "i8", 6), ("to_stride", "i8", 6)],
            align=True,
        ),
        "pooling.Params": np.dtype(
            [(name, "u8") for name in ("a", "b", "c", "out", "numbers", "places")]
            + [("packs", "i4"), ("channels", "i4")]
            + [(name, "i4", 3) for name in ("size", "positions", "window", "stride", "low")]
            + [("by_channels", DIVISOR), ("by", DIVISOR, 3), ("type", "i4")]
            + [("count_padding", "i4")],
            align=True,
        ),
        "rnn.Params": structure(
            p="a w",
            q="a_row",
            i="w_row w_column depth batch steps units step time zero_output sequences",
            p2="mask x bias h c next_h next_c outputs gates kept_h kept_c z r reset given_outputs"
            " given_gates given_h given_c passed dc next_passed next_dc dx ds",
        ),
        "random.Params": np.dtype(
            [(name, "u8") for name in ("key", "low", "high", "x", "out")]
            + [("count", "i8"), ("type", "i4"), ("threshold", "u4"), ("scale", "f4")],
            align=True,
        ),
    }
)


@CASES.add("sort.PassParams", "", "gather/sort_params.h", "gather/sort.cu")
def sort(launch):
    """Two lines of two tiles, bfloat16 in two passes; many are equal."""
    n, tiles = 3000, 2
    x = (np.random.default_rng(0).standard_normal((2, n)) * 4).astype(ml_dtypes.bfloat16)
    keys, orders = [Buffer.empty((2, n), np.uint32) for _ in range(3)], [0]
    counts = Buffer.empty((2, 256, tiles), np.int32)
    lines = (2, n, divisor(n), divisor(1))
    fields = {"x": Buffer(x), "keys": keys[0], "lines": lines, "type": 2}
    launch(24, 256, end="_keys_float", of="sort.KeyParams", **fields)
    for k in range(2):
        orders.append(Buffer.empty((2, n), np.int32))
        fields = {"keys": keys[k], "order": orders[k], "counts": counts}
        fields |= {"next_keys": keys[k + 1], "next_order": orders[k + 1]}
        for end, blocks in (("_count", 2 * tiles), ("_scan", 2), ("_move", 2 * tiles)):
            launch(blocks, 256, end=end, lines=2, n=n, tiles=tiles, shift=8 * k, **fields)
    return [(orders[2].get(), np.argsort(x.astype(np.float32), axis=1, kind="stable"))]


@CASES.add(
    "scatter.JoinParams",
    "join<float, Sum>(p);",
    *("gather/params.h", "gather/places.cuh", "gather/scatter_params.h", "gather/scatter.cu"),
    _pieces="join_pieces<float, Sum>(p);",
)
def scatter(launch):
    """100 updates of few rows: each goes on over pieces of 32."""
    outer, count, inner, rows = 2, 100, 3, 5
    keys = np.random.default_rng(0).integers(0, 3, count).astype(np.uint32)
    updates, out = integers(outer, count, inner), Buffer(np.zeros((outer, rows, inner), np.float32))
    fields = {
        "updates": Buffer(updates),
        "out": out,
        "parts": Buffer.empty((outer, 4, 2, inner), np.float32),
        "keys": Buffer(keys),
        "order": Buffer(np.argsort(keys, kind="stable").astype(np.int32)),
        "by_inner": divisor(inner),
        "by_count": divisor(count),
    }
    sizes = {"elements": outer * count * inner, "count": count, "rows": rows}
    launch(3, 256, **fields, **sizes)
    launch(1, 256, end="_pieces", **fields, **sizes)
    want = np.zeros((outer, rows, inner))
    for k, row in enumerate(keys):
        want[:, row] += updates[:, k]
    return [(out.get(), want)]


@CASES.add(
    "shape.TransposedParams", "copy<uint32_t>(p);", "shape/params.h", "shape/transposed_copy.cu"
)
def transposed(launch):
    """Two times three by two tiles with remainders, and zeros after the rows."""
    x, y = integers(2, 70, 45), Buffer.empty((2, 45, 72), np.float32)
    sizes = {"rows": 70, "columns": 45, "zeros": 2, "row_stride": 45, "column_stride": 72}
    places = {"dims": 1, "size": [2] * 6, "from_stride": [70 * 45] * 6, "to_stride": [45 * 72] * 6}
    tiles = {"by_columns": divisor(2), "by_rows": divisor(3)}
    launch(12, 256, **{"from": Buffer(x)}, to=y, **sizes, **places, **tiles)
    want = np.zeros((2, 45, 72))
    want[:, :, :70] = x.swapaxes(1, 2)
    return [(y.get(), want)]


POOLED = {"size": (1, 7, 9), "window": (1, 3, 2), "stride": (1, 2, 1), "low": (0, 1, 0)}
POSITIONS = (1, 3, 9)


def pooling(launch, result, lanes, **operands):
    """Windows that begin before and end behind the pixels, and no last one; eight channels of two
    images in packs of `lanes`."""
    of = {"by": [divisor(n) for n in result], "by_channels": divisor(8 // lanes)}
    packs = 2 * int(np.prod(result)) * 8 // lanes
    sizes = {"packs": packs, "channels": 8 // lanes, "positions": POSITIONS}
    launch(-(-packs // 256), 256, **operands, **sizes, **POOLED, **of)


def windows():
    """Of each its position, and the pixels in it with their numbers."""
    for a, b in itertools.product(range(POSITIONS[1]), range(POSITIONS[2])):
        pixels = [(2 * a - 1 + i, b + j, 2 * i + j) for i in range(3) for j in range(2)]
        yield a, b, [(y, x, k) for y, x, k in pixels if 0 <= y < 7 and x < 9]


@CASES.add("pooling.Params", "run<MaximumPlaces, 4>(p);", "pool/params.h", "pool/pool.cu")
def largest(launch):
    """And where they are; of equals the first."""
    x = integers(2, 7, 9, 8, largest=3)
    y, places = (Buffer.empty((2, *POSITIONS[1:], 8), t) for t in (np.float32, np.uint8))
    pooling(launch, POSITIONS, 4, a=Buffer(x), out=y, places=places)
    want, where = np.zeros(y.shape), np.zeros(y.shape)
    for a, b, pixels in windows():
        values = np.stack([x[:, i, j] for i, j, _ in pixels])
        want[:, a, b] = values.max(0)
        where[:, a, b] = np.array([k for *_, k in pixels])[values.argmax(0)]
    return [(y.get(), want), (places.get(), where)]


@CASES.add("pooling.Params", "run<AverageGrad, 1>(p);", "pool/params.h", "pool/pool.cu")
def averages(launch):
    """Their gradient: pixels of the padding do not count."""
    ct, dx = integers(2, *POSITIONS[1:], 8), Buffer.empty((2, 7, 9, 8), np.float32)
    pooling(launch, POOLED["size"], 1, a=Buffer(ct), out=dx)
    want = np.zeros(dx.shape)
    for a, b, pixels in windows():
        for i, j, _ in pixels:
            want[:, i, j] += ct[:, a, b] / len(pixels)
    return [(dx.get(), want)]


@CASES.add(
    "rnn.Params",
    "step<4, false>(p, [&](const Unit& unit, const float (&sums)[4]) { lstm(p, unit, sums); });",
    *("../../csrc/kernels/activation.h", "activation.cuh", "rnn/params.h", "rnn/step.cuh"),
    "rnn/rnn.cu",
)
def step(launch):
    """Of an LSTM: two by two blocks with remainders, three stages, the last one short."""
    batch, units, depth = 19, 21, 70
    a, w = integers(batch, depth, largest=1), integers(depth, 4, units, largest=2) / 8
    x, h, c = integers(batch, 4, units) / 8, integers(batch, units), integers(batch, units) / 4
    given = {"a": a, "w": w, "x": x, "h": h, "c": c}
    given = {name: Buffer(array.astype(np.float32)) for name, array in given.items()}
    results = {n: Buffer.empty(h.shape, np.float32) for n in ("next_h", "next_c", "outputs")}
    sizes = {"a_row": depth, "w_row": 4 * units, "w_column": 1, "depth": depth}
    sizes |= {"batch": batch, "steps": 1, "units": units}
    launch(4, 256, **given, **results, **sizes)
    i, f, new, o = np.moveaxis(x + np.tensordot(a, w, 1), 1, 0).astype(np.float64)
    i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
    state = f * c + i * np.tanh(new)
    wanted = {"next_c": state, "next_h": o * np.tanh(state), "outputs": o * np.tanh(state)}
    return [(results[name].get(), want) for name, want in wanted.items()]


@CASES.add(
    "random.Params",
    """each_block<kWords>(p, [&](int64_t at, const uint32_t (&words)[4]) {
      for (int w = 0; w < 4; ++w) put(p, at + w * kBlocks, truncated_normal(words[w]));
    });""",
    *("philox.cuh", "random/params.h", "random/random.cu"),
)
def random(launch):
    """Truncated normal numbers, the last group not whole."""
    key, y = np.array([123456789, 987654321], np.uint32), Buffer.empty(1000, np.float32)
    launch(1, 256, key=Buffer(key), out=y, count=1000)
    return [(y.get(), numbers.random_truncated_normal(from_numpy(key), (1000,)).numpy())]
