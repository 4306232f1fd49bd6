"""Reductions, scans, softmax and statistics, in which row_faults.py plants."""

import ml_dtypes
import numpy as np
from planted_cases import Cases, integers, structure
from ptxkernel import Buffer

# The structures of cuda/kernels/reduce, softmax and norm/params.h.
CASES = Cases(
    {
        "reduce.Params": structure(
            p="x y", q="outer reduced inner piece", i="pieces across in_type out_type", f="divisor"
        ),
        "reduce.PairParams": structure(
            p="x parts next y y2", q="outer reduced inner piece", i="pieces type"
        ),
        "reduce.ScanParams": structure(p="x b y", q="outer n inner", i="down reverse type"),
        "softmax.Params": structure(
            p="a b c out", q="rows inner", i="n group type label_bytes label_signed"
        ),
        "norm.Params": structure(
            p="x ct residual gamma beta given_mean given_variance y dx dgamma dbeta mean variance"
            " parts row_statistics factors",
            q="rows",
            i="samples channels each pieces piece lanes type parameter_type clip",
            f="eps",
            i2="centred kept",
        ),
    }
)
REDUCE = ("reduce/params.h", "reduce/element.cuh", "reduce/reduce.cu")
SCAN = ("reduce/params.h", "reduce/scan.cu")
SOFTMAX = ("softmax/params.h", "softmax/softmax.cu")
PAIR = ("reduce/params.h", "reduce/pair.cu")
NORM = ("norm/params.h", "norm/columns.cu")


@CASES.add("reduce.Params", "rows<float, Sum, kThreads>(p);", *REDUCE)
def sum_rows(launch):
    """Two pieces of a row, a block each."""
    x, y = integers(3, 700), Buffer.empty((3, 2), np.float32)
    sizes = {"outer": 3, "reduced": 700, "inner": 1, "piece": 400, "pieces": 2, "divisor": 1}
    launch(6, 256, x=Buffer(x), y=y, **sizes)
    return [(y.get(), np.stack([x[:, :400].sum(1), x[:, 400:].sum(1)], 1))]


@CASES.add("reduce.Params", "rows<int32_t, Maximum, 32>(p);", *REDUCE)
def max_short_rows(launch):
    """A warp each, three in the last block with nothing to do. The largest is in each lane once."""
    x = integers(13, 45, dtype=np.int32)
    x[np.arange(13), np.arange(13) * 5 % 32] = 9
    x[3:] -= 20
    y = Buffer.empty(13, np.int32)
    launch(2, 256, x=Buffer(x), y=y, outer=13, reduced=45, inner=1, piece=45, pieces=1)
    return [(y.get(), x.max(1))]


def column_sums(launch, x, lanes, in_type):
    columns = x.shape[2]
    y = Buffer.empty((2, columns), np.float32)
    sizes = {"outer": 2, "reduced": 300, "inner": columns, "piece": 300, "pieces": 1, "divisor": 1}
    blocks = 2 * -(-columns // (8 * lanes))
    launch(blocks, 256, x=Buffer(x), y=y, across=8, in_type=in_type, **sizes)
    return [(y.get(), x.astype(np.float32).sum(1))]


@CASES.add("reduce.Params", "columns<float, Sum>(p);", *REDUCE)
def sum_columns(launch):
    return column_sums(launch, integers(2, 300, 13), 1, 0)


@CASES.add("reduce.Params", "packed_columns<Sum>(p);", *REDUCE)
def sum_packs(launch):
    """Of bfloat16."""
    return column_sums(launch, integers(2, 300, 40, dtype=ml_dtypes.bfloat16), 4, 2)


@CASES.add("reduce.Params", "rows<float, true>(p);", *REDUCE[:2], "reduce/position.cu")
def position(launch):
    """The first of equals."""
    x, y = integers(5, 600, largest=40), Buffer.empty(5, np.int32)
    launch(5, 256, x=Buffer(x), y=y, outer=5, reduced=600, inner=1)
    return [(y.get(), x.argmax(1))]


@CASES.add("reduce.ScanParams", "rows<Running<int32_t, Sum>>(p);", *SCAN)
def scan(launch):
    """Seven warps in the last block have nothing to do."""
    x = integers(9, 77, dtype=np.int32)
    y = Buffer.empty(x.shape, np.int32)
    launch(2, 256, x=Buffer(x), y=y, outer=9, n=77, inner=1, down=1)
    return [(y.get(), x.cumsum(1))]


@CASES.add("reduce.ScanParams", "rows<Affine>(p);", *SCAN)
def recurrence(launch):
    """Backwards."""
    a, b = integers(8, 77, largest=1), integers(8, 77)[::-1]
    y = Buffer.empty(a.shape, np.float32)
    launch(1, 256, x=Buffer(a), b=Buffer(b), y=y, outer=8, n=77, inner=1, down=1, reverse=1)
    want, carry = np.zeros_like(a), np.zeros(8)
    for i in reversed(range(77)):
        want[:, i] = carry = a[:, i] * carry + b[:, i]
    return [(y.get(), want)]


@CASES.add("reduce.ScanParams", "columns<Running<double, Sum>>(p);", *SCAN)
def scan_columns(launch):
    """32 threads for each of 18 columns, 8 columns a block."""
    x = integers(2, 50, 9)
    y = Buffer.empty(x.shape, np.float32)
    launch(3, 256, x=Buffer(x), y=y, outer=2, n=50, inner=9, down=32)
    return [(y.get(), x.cumsum(1))]


@CASES.add("softmax.Params", "run<Softmax, kFew>(p);", *SOFTMAX)
def softmax_warp(launch):
    """A warp each, four in a block."""
    x = integers(6, 200)
    y = Buffer.empty(x.shape, np.float32)
    launch(2, 128, a=Buffer(x), out=y, rows=6, inner=1, n=200, group=32)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    return [(y.get(), e / e.sum(1, keepdims=True))]


@CASES.add("softmax.Params", "run<LogSoftmaxGrad, Share{4, 1}>(p);", *SOFTMAX)
def softmax_warps(launch):
    """Four warps each."""
    ct, y = integers(3, 500), -np.abs(integers(3, 500))
    dx = Buffer.empty(ct.shape, np.float32)
    launch(3, 128, a=Buffer(ct), b=Buffer(y), out=dx, rows=3, inner=1, n=500, group=128)
    return [(dx.get(), ct - np.exp(y.astype(np.float64)) * ct.sum(1, keepdims=True))]


@CASES.add("reduce.PairParams", "rows<MomentsOf, kThreads>(p);", *PAIR)
def moments(launch):
    """A block each."""
    x, mean, variance = integers(3, 700), *(Buffer.empty(3, np.float32) for _ in range(2))
    sizes = {"outer": 3, "reduced": 700, "inner": 1, "piece": 700, "pieces": 1}
    launch(3, 256, x=Buffer(x), y=mean, y2=variance, **sizes)
    return [(mean.get(), x.mean(1)), (variance.get(), x.var(1))]


@CASES.add("reduce.PairParams", "merge<MomentsOf>(p);", *PAIR)
def moments_merge(launch):
    """Pieces of 10 elements, a warp for each result."""
    x, mean, variance = integers(9, 45, 10), *(Buffer.empty(9, np.float32) for _ in range(2))
    parts = np.stack([np.full((9, 45), 10), x.mean(2), x.var(2) * 10]).astype(np.float32)
    launch(2, 256, parts=Buffer(parts), y=mean, y2=variance, outer=9, reduced=45, inner=1)
    return [(mean.get(), x.mean((1, 2))), (variance.get(), x.var((1, 2)))]


@CASES.add("norm.Params", "statistics<4>(p);", *NORM)
def statistics(launch):
    """Two pieces of each sample's rows, two strips of channels."""
    x, parts = integers(2, 150, 40), Buffer.empty((2, 2, 2, 40), np.float32)
    sizes = {"rows": 150, "samples": 2, "channels": 40, "each": 1, "pieces": 2, "piece": 80}
    launch(8, 256, x=Buffer(x), parts=parts, **sizes)
    pieces = [x[:, :80], x[:, 80:]]
    want = [[p.mean(1), p.var(1) * p.shape[1]] for p in pieces]
    return [(parts.get(), np.array(want).transpose(2, 0, 1, 3))]


@CASES.add("norm.Params", "merge<false>(p);", *NORM)
def statistics_merge(launch):
    """Groups of two channels, eight lanes for each of 36 groups."""
    x = integers(9, 110, 8)
    parts = np.zeros((9, 11, 2, 8), np.float32)
    pieces = x.reshape(9, 11, 10, 8)
    parts[:, :, 0], parts[:, :, 1] = pieces.mean(2), pieces.var(2) * 10
    factors = Buffer(np.zeros((7, 9, 8), np.float32))
    sizes = {"rows": 110, "samples": 9, "channels": 8, "each": 2, "pieces": 11, "piece": 10}
    launch(2, 256, parts=Buffer(parts), factors=factors, lanes=8, eps=1, **sizes)
    groups = x.reshape(9, 110, 4, 2)
    mean, inverse = groups.mean((1, 3)), 1 / np.sqrt(groups.var((1, 3)) + 1)
    want = [np.repeat(v, 2, axis=1) for v in (mean, inverse, inverse)]
    return [(factors.get()[:3], np.stack(want))]
