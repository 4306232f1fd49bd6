"""Products of bytes and of float64, depthwise convolutions, and what attention's gradient needs of
each query: kernels in which product_faults.py plants."""

import math

import ml_dtypes
import numpy as np
from attention_launch import PARAMS as ATTENTION
from gemm_launch import BATCH, EPILOGUE, operands, product
from gemm_launch import PARAMS as PRODUCT
from planted_cases import DIVISOR, Cases, divisor, integers, structure
from ptxkernel import Buffer

from bench.harness import primitive

WINDOWS = [(name, "i4", 3) for name in ("kernel", "stride", "low", "dilation")]
# The structures of cuda/kernels/gemm, attention and conv/depthwise_params.h.
CASES = Cases(
    {
        "gemm.Params": PRODUCT,
        "gemm.IntegerParams": np.dtype([("product", PRODUCT), ("out_bytes", "i4")], align=True),
        "attention.Params": ATTENTION,
        "depthwise.Params": np.dtype(
            [("source", "u8"), ("weights", "u8"), ("result", "u8"), ("threads", "i8")]
            + [("source_size", "i4", 3), ("result_size", "i4", 3), *WINDOWS]
            + [("by_stride", DIVISOR, 3)]
            + [(f"by_{name}", DIVISOR) for name in ("channels", "width", "height", "depth")]
            + [(name, "i4") for name in ("channels", "source_channels", "weight_channels")]
            + [("multiplier", DIVISOR), ("type", "i4"), ("epilogue", EPILOGUE)],
            align=True,
        ),
        "depthwise.WeightParams": np.dtype(
            [("x", "u8"), ("ct", "u8"), ("parts", "u8"), ("x_size", "i4", 3), *WINDOWS]
            + [("by_size", DIVISOR, 3)]
            + [(name, "i4") for name in ("pixels", "piece", "channels", "x_channels", "across")]
            + [("multiplier", DIVISOR), ("type", "i4")],
            align=True,
        ),
        "depthwise.WalkParams": np.dtype(
            [("x", "u8"), ("y", "u8"), ("out", "u8"), ("threads", "i8")]
            + [(name, "i4") for name in ("x_height", "x_width", "height", "width")]
            + [(name, "i4") for name in ("low_row", "low_column", "channels", "rows")]
            + [(f"by_{name}", DIVISOR) for name in ("channels", "width", "walks")]
            + [(name, "i4") for name in ("turned", "columns", "piece", "across", "type")]
            + [("epilogue", EPILOGUE)],
            align=True,
        ),
        "depthwise.JoinParams": structure(p="parts out", i="elements pieces type"),
    }
)


# Products.

MATRICES = [
    *("../../csrc/kernels/activation.h", "tensor_map.h", "activation.cuh", "gemm/params.h"),
    *("gemm/tiles.h", "gemm/operand.cuh", "gemm/epilogue.cuh", "gemm/pipeline.cuh"),
    "gemm/product.cuh",
]
BYTES = [*MATRICES, "gemm/tensor.cuh", "gemm/integers.cuh"]


def matmul(transposes, a, b, c, chunk):
    """The structure of c = a b, products of the last two axes; operands are aligned if their rows
    are whole chunks of so many elements."""
    p = np.zeros((), PRODUCT)
    (m, k), n = a.shape[-2:], b.shape[-1]
    if transposes[0] == "t":
        m, k = k, m
    if transposes[1] == "t":
        n = b.shape[-2]
    for name, x in (("a", a), ("b", b)):
        p[name] = x.memory.address, x.shape[-1], x.shape[-1] % chunk == 0
    p["c"], p["m"], p["n"], p["k"] = c.memory.address, m, n, k
    p["depth"], p["products"] = -(-k // 64) * 64, math.prod(a.shape[:-2])
    p["turned_a"], p["turned_b"] = (letter == "t" for letter in transposes)
    batch = np.zeros((), BATCH)
    batch["dims"], batch["size"][0] = 1, p["products"]
    batch["a"][0], batch["b"][0] = (math.prod(x.shape[-2:]) for x in (a, b))
    p["batch"] = batch
    return p


def doubles(launch, transposes, m, n, k=37):
    """Two products, of two by two tiles each."""
    two = [operands(m, k, n, "exact", transposes, seed) for seed in range(2)]
    a, b = (Buffer(np.stack(x).astype(np.float64)) for x in zip(*two))
    c = Buffer.empty((2, m, n), np.float64)
    p = matmul(transposes, a, b, c, 2)
    fields = {name: p[name] for name in PRODUCT.names}
    launch(8, 256, shared=3 * 8 * (64 + 64 + 4) * 8, **fields)
    return [(c.get(), np.stack([product(*x, transposes) for x in two]))]


def double(turned_a, turned_b):
    return f"""product(p, DoubleLoop<kDouble, {turned_a}, {turned_b}>{{}},
                       [&](int64_t c) {{ return DoubleResults(p, c); }});"""


@CASES.add("gemm.Params", double("false", "true"), *MATRICES, "gemm/doubles.cu")
def doubles_nt(launch):
    """Results one by one."""
    return doubles(launch, "nt", 70, 101)


@CASES.add("gemm.Params", double("true", "false"), *MATRICES, "gemm/doubles.cu")
def doubles_tn(launch):
    """Results in pairs."""
    return doubles(launch, "tn", 101, 70)


def bytes_of(launch, transposes, dtype, m, n, k, out):
    """Two by two tiles. Of one operand all bytes, of the other few: the sums are exact in float32
    beside the bound of a result."""
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    a = rng.integers(info.min, info.max, (k, m) if transposes[0] == "t" else (m, k), dtype, True)
    b = rng.integers(max(info.min, -2), 3, (n, k) if transposes[1] == "t" else (k, n), dtype)
    on_a, on_b, c = Buffer(a), Buffer(b), Buffer.empty((m, n), out)
    p = matmul(transposes, on_a, on_b, c, 16)
    launch(4, 128, shared=4 * (64 + 64) * 64, product=p, out_bytes=c.dtype.itemsize)
    want = product(a, b, transposes)
    return [(c.get(), want if out == np.int32 else want.astype(np.int64).astype(out))]


def integer(kind):
    """The small kernel of integers.cu."""
    return f"product_of_bytes<kByteSmall, ByteType::{kind}, 32, 32>(p);"


@CASES.add("gemm.IntegerParams", integer("Signed"), *BYTES)
def bytes_by_terms(launch):
    """Copied as they are, in more steps than stages; results one by one."""
    return bytes_of(launch, "nt", np.int8, 70, 101, 336, np.int32)


@CASES.add("gemm.IntegerParams", integer("Unsigned"), *BYTES)
def bytes_anywhere(launch):
    """Rows at any address, of results the lowest bytes."""
    return bytes_of(launch, "nt", np.uint8, 101, 70, 75, np.uint8)


@CASES.add("gemm.IntegerParams", integer("Unsigned"), *BYTES)
def bytes_turned(launch):
    """A in whole words, B at any address; more steps than stages, results in pairs."""
    return bytes_of(launch, "tn", np.uint8, 80, 70, 300, np.int32)


@CASES.add("gemm.IntegerParams", integer("Signed"), *BYTES)
def bytes_by_rows(launch):
    """Neither operand turned: B must not be taken for one by terms."""
    return bytes_of(launch, "nn", np.int8, 70, 101, 80, np.int32)


@CASES.add("gemm.IntegerParams", integer("Signed"), *BYTES)
def bytes_by_columns(launch):
    """Both turned: A must not be taken for one by terms."""
    return bytes_of(launch, "tt", np.int8, 70, 101, 80, np.int32)


@CASES.add("gemm.IntegerParams", integer("Signed"), *BYTES)
def bytes_whole(launch):
    """Turned, of whole tiles: no two words of a bank at once."""
    return bytes_of(launch, "tn", np.int8, 128, 128, 128, np.int32)


# Statistics of attention: the kernels as they are.

STATISTICS = [
    *("../../csrc/kernels/activation.h", "tensor_map.h", "gemm/params.h", "philox.cuh"),
    *("attention/params.h", "attention/tiles.h", "attention/scores.cuh", "attention/statistics.cu"),
]
SIZES = {"batch": 2, "heads": 3, "key_heads": 1, "queries": 5, "keys": 45}
ROWS, LOG2E = (2, 3, 5), math.log2(math.e)


def given(width, dtype=np.float32):
    """out, ct, lse and its cotangent; the fields that have them; sums of ct out less that."""
    out, ct = integers(2, 5, 3, width, dtype=dtype), integers(2, 5, 3, width, dtype=dtype)[::-1]
    lse, ct_lse = integers(*ROWS), integers(*ROWS)[::-1]
    buffers = [Buffer(x) for x in (out, ct, lse, ct_lse)]
    fields = {"given_out": buffers[0], "given_lse": buffers[2], "ct_lse": buffers[3]}
    fields |= {"ct": (buffers[1].memory.address, 3 * width, 1), "value_size": width, **SIZES}
    products = out.astype(np.float64) * ct.astype(np.float64)
    return buffers, fields, products.sum(-1).swapaxes(1, 2) - ct_lse


def masked():
    """[2, queries, keys], for all heads: of the first image a query sees none, one those after
    itself alone, two a few behind the first 32; the last of all sees one."""
    mask = np.random.default_rng(0).integers(0, 4, (2, 5, 45)) == 0
    mask[0, :4], mask[1, 4] = False, False
    mask[0, 0, 5:], mask[0, 2:4, 40:], mask[1, 4, 2] = True, True, True
    return mask


def statistics_of(launch, fields):
    statistics = Buffer.empty((4, *ROWS), np.float32)
    launch(4, 256, end="_statistics", statistics=statistics, **fields)
    return statistics.get()


@CASES.add("attention.Params", "", *STATISTICS)
def statistics(launch):
    """Causal, with a mask: whether a query has keys; six warps of the last block do nothing."""
    buffers, fields, sums = given(40)
    mask, results = masked(), []
    on_mask = Buffer(mask)
    for causal in (0, 1):
        seen = mask & np.tri(5, 45, dtype=bool) if causal else mask
        alive = np.broadcast_to(seen.any(-1)[:, None], ROWS)
        places = {"mask": on_mask, "mask_strides": (225, 0, 45, 1), "causal": causal}
        want = np.stack([buffers[2].get() * LOG2E, sums, alive, np.zeros(ROWS)])
        results.append((statistics_of(launch, fields | places), want))
    return results


@CASES.add("attention.Params", "", *STATISTICS)
def statistics_shifted(launch):
    """Biases that leave a float no place for the scores of some queries, and some without end."""
    rng = np.random.default_rng(0)
    buffers, fields, sums = given(40)
    q, k = integers(2, 5, 3, 24), integers(2, 45, 1, 24)
    bias = rng.integers(-4, 5, (2, 3, 5, 45)).astype(np.float32)
    bias[:, :, 1:3] += np.float32(-1e5)
    bias[0, :, 3:] = -np.inf
    bias[0, :, 2, ::3] = -np.inf
    mask = rng.integers(0, 4, (2, 5, 45)) > 0
    mask[1, :, 8:], mask[:, :, 3] = False, True  # most lanes of a warp have no key
    bias[..., 0] += 1000 * ~mask[:, None, :, 0]  # of a key that is not seen
    lse = buffers[2].get()
    lse[:, :, 1:3], lse[0, :, 3:] = -1e5, -np.inf
    on = [Buffer(x) for x in (q, k, bias, mask, lse)]
    q, k = q.swapaxes(1, 2).astype(np.float64), k.swapaxes(1, 2).astype(np.float64)
    seen = np.where(mask[:, None], bias, -np.inf)
    top = seen.max(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scores = q / 64 @ k.swapaxes(-1, -2) + (seen - top).astype(np.float64)
        peak = scores.max(-1, keepdims=True)
        shifted = (peak + np.log(np.exp(scores - peak).sum(-1, keepdims=True)))[..., 0]
    large = ~(np.abs(lse) < 100) & np.isfinite(top[..., 0])
    want = [np.where(large, shifted, lse) * LOG2E, sums, 1 + large, np.where(large, top[..., 0], 0)]
    places = {
        "q": (on[0].memory.address, 72, 1),
        "k": (on[1].memory.address, 24, 1),
        **{"bias": on[2], "bias_strides": (675, 225, 45, 1)},
        **{"mask": on[3], "mask_strides": (225, 0, 45, 1)},
        **{"given_lse": on[4], "size": 24, "scale_2": LOG2E / 64},
    }
    got = statistics_of(launch, fields | places)
    # A logarithm of -infinity, as the first of the results, is to come as it is.
    ends = np.isneginf(want[0])
    return [(np.where(ends, 0, got), np.where(ends, 0, want)), (np.isneginf(got[0]), ends)]


@CASES.add("attention.Params", "", *STATISTICS)
def statistics_packs(launch):
    """Of bfloat16, a head's queries with a gap behind them; nothing beyond the last."""
    buffers, fields, sums = given(72, ml_dtypes.bfloat16)
    results = Buffer.empty((2, 2, 3, 8), np.float32)
    fields |= {"statistics": results, "statistics_pitch": 8, "type": 2}
    launch(4, 256, end="_statistics_packs", **fields)
    want = np.zeros(results.shape)
    want[..., :5] = buffers[2].get() * LOG2E, sums
    return [(results.get(), want)]


# Depthwise convolutions.

DEPTHWISE = [
    *("../../csrc/kernels/activation.h", "tensor_map.h", "activation.cuh", "gemm/params.h"),
    *("gemm/epilogue.cuh", "conv/depthwise_params.h", "conv/depthwise_join.cuh"),
]
WALK = [*DEPTHWISE, "conv/depthwise_walk.cu"]
ANY = [*DEPTHWISE, "conv/window_at.cuh", "conv/depthwise.cu"]
# Windows of 12 taps with gaps, that begin before and end behind the pixels, and two results for
# each of three channels.
SIZE, KERNEL, STRIDE, DILATION = (4, 7, 11), (2, 2, 3), (1, 2, 2), (2, 1, 2)
LOW, RESULT = (1, 0, 3), (4, 3, 7)
ATTRS = {"strides": STRIDE, "padding": (1, 1, 0, 0, 3, 3), "dilation": DILATION, "groups": 3}
WINDOW = {"kernel": KERNEL, "stride": STRIDE, "low": LOW, "dilation": DILATION}
OPERANDS = {"x": (2, *SIZE, 3), "w": (*KERNEL, 1, 6), "y": (2, *RESULT, 6)}


def correlate(launch, from_size, to_size, channels, **fields):
    """A thread for each channel of four neighbours."""
    depth, height, width = to_size
    across = -(-width // 4)
    threads = 2 * depth * height * across * channels
    by = {"channels": channels, "width": across, "height": height, "depth": depth}
    by = {f"by_{name}": divisor(n) for name, n in by.items()}
    sizes = {"source_size": from_size, "result_size": to_size, "threads": threads}
    by["by_stride"] = [divisor(n) for n in STRIDE]
    sizes |= {"channels": channels, "source_channels": 9 - channels, "weight_channels": 6}
    sizes["multiplier"] = divisor(2)
    launch(-(-threads // 256), 256, **fields, **sizes, **by, **WINDOW)


@CASES.add("depthwise.Params", "correlate<false, 1>(p);", *ANY)
def depthwise(launch):
    """With a bias."""
    x, w = (integers(*OPERANDS[name], largest=4) for name in "xw")
    bias, y = np.arange(6, dtype=np.float32), Buffer.empty(OPERANDS["y"], np.float32)
    on_bias = Buffer(bias)
    epilogue = (on_bias.memory.address, 0, 0, 0, 0)
    fields = {"source": Buffer(x), "weights": Buffer(w), "result": y, "epilogue": epilogue}
    correlate(launch, SIZE, RESULT, 6, **fields)
    return [(y.get(), primitive("conv").reference(x, w, **ATTRS) + bias)]


@CASES.add("depthwise.Params", "correlate<true, 1>(p);", *ANY)
def depthwise_back(launch):
    y, w = (integers(*OPERANDS[name], largest=4) for name in "yw")
    x = Buffer.empty(OPERANDS["x"], np.float32)
    correlate(launch, RESULT, SIZE, 3, source=Buffer(y), weights=Buffer(w), result=x)
    want = primitive("conv_input_grad").reference(y, w, input_dims=SIZE, **ATTRS)
    return [(x.get(), want)]


@CASES.add("depthwise.WeightParams", "weight_grad<1>(p);", *ANY)
def depthwise_weights(launch):
    """In two pieces, and two blocks of taps."""
    x, y = (integers(*OPERANDS[name], largest=4) for name in "xy")
    parts = Buffer.empty((2, *OPERANDS["w"]), np.float32)
    fields = {"x": Buffer(x), "ct": Buffer(y), "parts": parts, "x_size": SIZE, **WINDOW}
    sizes = {"pixels": 168, "piece": 100, "channels": 6, "x_channels": 3, "across": 8}
    by = {"by_size": [divisor(n) for n in RESULT], "multiplier": divisor(2)}
    launch([1, 2, 2], 256, **fields, **sizes, **by)
    grad = primitive("conv_weight_grad").reference
    pieces = np.arange(168).reshape(2, *RESULT, 1) < 100
    given = [np.where(part, y, 0) for part in (pieces, ~pieces)]
    return [(parts.get(), np.stack([grad(x, g, kernel_dims=KERNEL, **ATTRS) for g in given]))]


@CASES.add("depthwise.JoinParams", "", *WALK)
def depthwise_join(launch):
    """Of 75 pieces, three elements in the last block."""
    parts, out = integers(75, 19), Buffer.empty(19, np.float32)
    fields = {"parts": Buffer(parts), "out": out, "elements": 19, "pieces": 75}
    launch(3, 256, end="_join", **fields)
    return [(out.get(), parts.sum(0))]


# Two images of 9 by 7 pixels and two packs of channels, each column in two walks.
WALKS = {
    **{"x_height": 9, "x_width": 7, "height": 9, "width": 7, "low_row": 1, "low_column": 1},
    **{"channels": 2, "rows": 5, "threads": 56, "columns": 28, "piece": 14, "across": 2},
    **{"by_channels": divisor(2), "by_width": divisor(7), "by_walks": divisor(2)},
}


def taps(x):
    """[3, 3, images, 9, 7, channels]: what each tap of a window meets."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.array([[padded[:, a : a + 9, b : b + 7] for b in range(3)] for a in range(3)])


@CASES.add("depthwise.WalkParams", "correlate<DataType::F32>(p);", *WALK)
def walk(launch):
    x, w, y = integers(2, 9, 7, 8), integers(3, 3, 8), Buffer.empty((2, 9, 7, 8), np.float32)
    launch(1, 256, x=Buffer(x), y=Buffer(w), out=y, **WALKS)
    return [(y.get(), np.einsum("abnhwc,abc->nhwc", taps(x), w))]


@CASES.add(
    "depthwise.WalkParams",
    "__shared__ float joints[4][kThreads]; weight_grad<DataType::F32>(p, joints);",
    *WALK,
)
def walk_weights(launch):
    """A piece for each image."""
    x, ct = integers(2, 9, 7, 8), integers(2, 9, 7, 8)[::-1]
    parts = Buffer.empty((2, 3, 3, 8), np.float32)
    launch([1, 2], 256, x=Buffer(x), y=Buffer(ct), out=parts, **WALKS)
    return [(parts.get(), np.einsum("abnhwc,nhwc->nabc", taps(x), ct))]
