"""Convolutions launched kernel by kernel, past the choice of kernels and tiles.

The structures are those of cuda/kernels/conv/params.h; which taps meet which pixels is found here
by trying all.
"""

import dataclasses
import itertools
import math

import numpy as np
from gemm_launch import EPILOGUE, OPERAND, TILES, TYPES
from ptxkernel import Buffer, _cuda

from bench.harness import primitive

DIVISOR = np.dtype([("value", "u4"), ("multiplier", "u4"), ("shift", "i4")])
WINDOWS = np.dtype(
    [("data", "u8"), ("channels", "i4"), ("group", "i4")]
    + [(name, "i4", 3) for name in ("size", "stride", "start", "step")]
    + [("positions", DIVISOR, 3), ("taps", DIVISOR, 3), ("by_group", DIVISOR), ("aligned", "i4")],
    align=True,
)
FILTER = np.dtype([("first", "i8"), ("tap", "i8", 3)])
TARGET = np.dtype([(name, "i4", 3) for name in ("size", "stride", "start")])
PARAMS = np.dtype(
    [("windows", WINDOWS), ("b", OPERAND), ("filter", FILTER), ("target", TARGET)]
    + [("c", "u8"), ("elements", "i8")]
    + [(name, "i4") for name in ("row", "m", "n", "k", "depth", "direction")]
    + [("epilogue", EPILOGUE)],
    align=True,
)
MOST_SETS, WRITTEN, JOIN_THREADS = 64, -1, 256
SET = np.dtype(
    [("first", "i8"), ("elements", "i8"), ("positions", "i4", 3), ("splits", "i4")], align=True
)
JOIN = np.dtype(
    [("parts", "u8"), ("c", "u8")]
    + [(name, "i4") for name in ("pixels", "columns", "shares", "across", "strided")]
    + [("size", DIVISOR, 3), ("stride", DIVISOR, 3), ("sets", SET, MOST_SETS)]
    + [("epilogue", EPILOGUE)],
    align=True,
)
OVERLAP = np.dtype(
    [("parts", "u8"), ("result", "u8"), ("elements", "i8")]
    + [(name, "i4") for name in ("results", "splits", "windows")]
    + [(name, "i4", 3) for name in ("source_size", "kernel", "low", "dilation")]
    + [("by_stride", DIVISOR, 3), ("by_size", DIVISOR, 3), ("by_channels", DIVISOR)]
    + [("by_group", DIVISOR), ("type", "i4")],
    align=True,
)
DIRECTIONS = ("forward", "input_grad", "weight_grad")


def divisor(d):
    """What divides by d: the smallest shift of at least 31 + log2(d)."""
    shift = 31 + max(d - 1, 0).bit_length()
    return d, -(-(1 << shift) // max(d, 1)), shift


@dataclasses.dataclass(frozen=True)
class Convolution:
    """Sizes and attributes of one, in two dimensions."""

    n: int
    size: tuple
    cin: int
    cout: int
    kernel: tuple
    strides: tuple = (1, 1)
    padding: tuple = (0, 0, 0, 0)
    dilation: tuple = (1, 1)
    groups: int = 1

    @property
    def attrs(self):
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def out(self):
        return tuple(
            (s + sum(self.padding[2 * i : 2 * i + 2]) - (k - 1) * d - 1) // t + 1
            for i, (s, k, d, t) in enumerate(
                zip(self.size, self.kernel, self.dilation, self.strides)
            )
        )

    def operands(self, kind, seed=0):
        """x, w and y of small integers, which every kind multiplies without an error."""
        rng = np.random.default_rng(seed)
        shapes = (
            (self.n, *self.size, self.cin),
            (*self.kernel, self.cin // self.groups, self.cout),
            (self.n, *self.out, self.cout),
        )
        return [rng.integers(-3, 4, s).astype(TYPES[kind][0]) for s in shapes]


def _windows(c, x, size, positions, taps):
    """Those over x, its spatial sizes and what one dimension more in front has left at 1."""
    w = np.zeros((), WINDOWS)
    channels = x.shape[-1]
    w["channels"], w["group"] = channels, channels // c.groups
    w["by_group"] = divisor(channels // c.groups)
    w["size"], w["stride"] = (1, *size), 1
    w["positions"] = [divisor(p) for p in (1, *positions)]
    w["taps"] = [divisor(t) for t in (1, *taps)]
    w["aligned"] = channels // c.groups * x.itemsize % 16 == 0
    return w


def _over_x(c, x):
    w = _windows(c, x, c.size, c.out, c.kernel)
    w["stride"], w["step"] = (1, *c.strides), (1, *c.dilation)
    w["start"] = (0, -c.padding[0], -c.padding[2])
    return w


def _forward(c, x, w):
    p = np.zeros((), PARAMS)
    p["windows"] = _over_x(c, x)
    p["target"]["size"], p["target"]["stride"] = (1, *c.out), 1
    p["m"], p["n"] = c.n * math.prod(c.out), c.cout // c.groups
    p["k"] = math.prod(c.kernel) * (c.cin // c.groups)
    return [p]


def _weight_grad(c, x, y):
    p = np.zeros((), PARAMS)
    p["windows"] = _over_x(c, x)
    p["m"], p["n"] = math.prod(c.kernel) * (c.cin // c.groups), c.cout // c.groups
    p["k"] = c.n * math.prod(c.out)
    return [p]


def _input_grad(c, y, w):
    """One launch for each set of pixels that meet the same taps."""
    tap = (c.kernel[1] * w.shape[-2] * c.cout, w.shape[-2] * c.cout)
    return [
        p
        for start in itertools.product(*map(range, c.strides))
        if (p := _residue(c, y, tap, start)) is not None
    ]


def _residue(c, y, tap, start):
    p = np.zeros((), PARAMS)
    positions, taps, first, step, back = [], [], [], [], []
    for d in range(2):
        met = [
            (k, (start[d] + c.padding[2 * d] - k * c.dilation[d]) // c.strides[d])
            for k in range(c.kernel[d])
            if (start[d] + c.padding[2 * d] - k * c.dilation[d]) % c.strides[d] == 0
        ] or [(0, 0)]
        positions.append(len(range(start[d], c.size[d], c.strides[d])))
        taps.append(len(met))
        first.append(met[0])
        step.append(met[1][0] - met[0][0] if met[1:] else 0)
        back.append(met[1][1] - met[0][1] if met[1:] else 0)
    assert all(taps), "sets without taps are for the table of cases"
    p["windows"] = _windows(c, y, c.out, positions, taps)
    p["windows"]["start"] = (0, *(at for _, at in first))
    p["windows"]["step"] = (0, *back)
    p["filter"]["first"] = sum(k * t for (k, _), t in zip(first, tap))
    p["filter"]["tap"] = (0, *(s * t for s, t in zip(step, tap)))
    p["target"]["size"] = (1, *c.size)
    p["target"]["stride"], p["target"]["start"] = (1, *c.strides), (0, *start)
    p["m"], p["n"] = c.n * math.prod(positions), c.cin // c.groups
    p["k"] = math.prod(taps) * (c.cout // c.groups)
    return p if p["m"] else None


def kernel_name(kind, size, direction):
    """All but exact ones learn the direction when they are launched."""
    return f"conv_{kind}_{size}" + (f"_{direction}" if kind == "exact" else "")


def launch(module, kind, size, direction, c, activation=0, extra=False, *, name=None):
    """What the kernel of that name in a module computes, and what it should; in float32.

    Args:
        extra: with a bias and a residual (forward only).
    """
    x, w, y = c.operands(kind)
    wide = [a.astype(np.float64) for a in (x, w, y)]
    if direction == "forward":
        launches, a, b = _forward(c, x, w), x, w
        want = primitive("conv").reference(*wide[:2], **c.attrs)
    elif direction == "input_grad":
        launches, a, b = _input_grad(c, y, w), y, w
        grad = primitive("conv_input_grad").reference
        want = grad(wide[2], wide[1], input_dims=c.size, **c.attrs)
    else:
        launches, a, b = _weight_grad(c, x, y), x, y
        grad = primitive("conv_weight_grad").reference
        want = grad(wide[0], wide[2], kernel_dims=c.kernel, **c.attrs)
    on_a, on_b, out = Buffer(a), Buffer(b), Buffer.empty(want.shape, np.float32)
    on_bias, on_residual = None, None
    if extra:
        bias = np.arange(-c.cout // 2, c.cout - c.cout // 2)[: c.cout]
        residual = np.random.default_rng(1).integers(-9, 9, want.shape).astype(np.float32)
        want = want + bias + residual
        on_bias, on_residual = Buffer(bias.astype(TYPES[kind][0])), Buffer(residual)
    threads, side, shared = TILES[size]["bf16" if kind == "f16" else kind]
    for p in launches:
        p["windows"]["data"] = on_a.memory.address
        run = c.cout // c.groups
        p["b"] = on_b.memory.address, c.cout, run * b.itemsize % 16 == 0
        p["c"], p["row"], p["elements"] = out.memory.address, want.shape[-1], want.size
        p["depth"] = -(-int(p["k"]) // 32) * 32
        p["epilogue"] = (
            on_bias.memory.address if extra else 0,
            on_residual.memory.address if extra else 0,
            TYPES[kind][1],
            0,
            activation,
        )
        tiles = -(-int(p["m"]) // side) * -(-int(p["n"]) // side) * c.groups
        p["direction"] = DIRECTIONS.index(direction)
        kernel = module.kernel(name or kernel_name(kind, size, direction))
        kernel.launch([tiles], [threads], [p.tobytes()], shared=shared + side * 20)
    _cuda.synchronize()
    return out.get(), np.maximum(want, 0) if activation else want


# Of strides 2 and 3: parts of each set, of which one has none and one is in its place already.
SPLITS = (19, 0, 3, WRITTEN, 2, 8)


def launch_join(module, lanes, shares=1, *, name=None):
    """What the kernel makes of parts of integers, and what it should."""
    rng = np.random.default_rng(5)
    n, size, strides, columns = 3, (5, 7), (2, 3), 12 if lanes == 4 else 7
    written, want = rng.integers(-9, 10, (2, n, *size, columns)).astype(np.float32)
    bias, residual = np.arange(columns, dtype=np.float32), written + 1
    p, parts, first = np.zeros((), JOIN), [], 0
    for k, (start, splits) in enumerate(zip(itertools.product(*map(range, strides)), SPLITS)):
        own = (slice(None), *(slice(at, None, stride) for at, stride in zip(start, strides)))
        shape = want[own].shape
        elements = want[own].size
        p["sets"][k] = first, elements, (1, *shape[1:3]), splits
        if splits == WRITTEN:
            want[own] = written[own]
            continue
        parts.append(rng.integers(-9, 10, (splits, *shape)).astype(np.float32))
        first += splits * elements
        want[own] = np.maximum(parts[-1].sum(0) + bias + residual[own], 0)
    flat = np.concatenate([part.reshape(-1) for part in parts])
    on_parts, on_c, on_bias, on_residual = map(Buffer, (flat, written, bias, residual))
    across = 4 if lanes == 4 else 8
    p["parts"], p["c"] = on_parts.memory.address, on_c.memory.address
    p["pixels"], p["columns"] = n * math.prod(size), columns // lanes
    p["shares"], p["across"], p["strided"] = shares, across, 1
    p["size"] = [divisor(x) for x in (1, *size)]
    p["stride"] = [divisor(x) for x in (1, *strides)]
    p["epilogue"] = on_bias.memory.address, on_residual.memory.address, 0, 0, 1
    kernel = module.kernel(name or f"conv_join_{lanes}")
    # Fewer blocks than would hold all pixels at once.
    kernel.launch([1, 2], [JOIN_THREADS], [p.tobytes()])
    _cuda.synchronize()
    return on_c.get(), want


# Rows of windows overlap, columns have gaps between them; some of both lie in the padding.
OVERLAPPING = Convolution(2, (9, 11), 6, 1, (3, 2), (4, 3), (1, 2, 2, 1), (2, 1), groups=2)


def launch_overlap_add(module, *, name=None):
    """What the kernel makes of parts of integers, and what it should."""
    c, splits = OVERLAPPING, 3
    group = c.cin // c.groups
    shape = (splits, c.groups, c.n, *c.out, *c.kernel, group)
    parts = np.random.default_rng(7).integers(-9, 10, shape).astype(np.float32)
    want = np.zeros((c.n, *c.size, c.cin), np.float32)
    for at in itertools.product(*map(range, (*c.out, *c.kernel))):
        window, tap = at[:2], at[2:]
        row, column = (
            window[d] * c.strides[d] - c.padding[2 * d] + tap[d] * c.dilation[d] for d in (0, 1)
        )
        if 0 <= row < c.size[0] and 0 <= column < c.size[1]:
            given = parts[(slice(None),) * 3 + at].sum(0)  # groups, n, channels of a group
            want[:, row, column] += given.transpose(1, 0, 2).reshape(c.n, c.cin)
    p = np.zeros((), OVERLAP)
    on_parts, result = Buffer(parts), Buffer.empty(want.shape, np.float32)
    p["parts"], p["result"] = on_parts.memory.address, result.memory.address
    p["elements"], p["results"], p["splits"] = parts[0].size, want.size, splits
    p["windows"] = c.n * math.prod(c.out)
    p["source_size"], p["kernel"], p["dilation"] = (1, *c.out), (1, *c.kernel), (1, *c.dilation)
    p["low"] = (0, c.padding[0], c.padding[2])
    p["by_stride"] = [divisor(x) for x in (1, *c.strides)]
    p["by_size"] = [divisor(x) for x in (1, *c.size)]
    p["by_channels"], p["by_group"] = divisor(c.cin), divisor(group)
    kernel = module.kernel(name or "conv_overlap_add")
    kernel.launch([-(-want.size // 256)], [256], [p.tobytes()])
    _cuda.synchronize()
    return result.get(), want
