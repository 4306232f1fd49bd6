"""Faults planted in what threads do together for a row or a column, each by one edit of one source:
shuffles, joins of warps, and guards of what lies beyond the last one. Kernels are those of
row_cases.py."""

from planted_kernels import Planted

DEVICE, PACK, ELEMENTS, MOMENTS = "device.cuh", "pack.cuh", "elements.cuh", "moments.cuh"
REDUCE, SCAN, POSITION = "reduce/reduce.cu", "reduce/scan.cu", "reduce/position.cu"
PAIR, SOFTMAX, COLUMNS = "reduce/pair.cu", "softmax/softmax.cu", "norm/columns.cu"
BARRIER = "__syncthreads();"
JOIN = "for (int by = 16; by; by /= 2) value"
STORED = "shared[threadIdx.x / 32] = value;\n    "
JOINED = "value = Op::join(value, shared[w]);\n    "
LINES = "shared[warp][lane * lanes + l] = all.v[l];\n    "
ORDERED = """      const Carry before = value.shuffled(by);
      if (lane >= by) value = Carry::join(before, value);"""
WARPS = "for (int by = warps / 2; by; by /= 2)"
JOINTS = "if (lane % kWarp == 0) joints[lane / kWarp] = value;\n      "

FAULTS = [
    # Over the lanes of a warp, and over warps.
    Planted("halves of a warp apart", ELEMENTS, JOIN, JOIN.replace("16", "8"), "sum_rows"),
    Planted("neighbours apart", ELEMENTS, JOIN, JOIN.replace("by;", "by > 1;"), "max_short_rows"),
    Planted("one distance twice", ELEMENTS, "value, by)", "value, max(by, 2))", "sum_rows"),
    Planted("shuffled down", ELEMENTS, "__shfl_xor_sync", "__shfl_down_sync", "softmax_warp"),
    Planted("mask of half a warp", ELEMENTS, "0xFFFFFFFFu", "0xFFFFu", "max_short_rows", True),
    Planted("half of the warps", ELEMENTS, "w < group / 32", "w < group / 64", "sum_rows"),
    Planted("no barrier before warps' sums", ELEMENTS, STORED + BARRIER, STORED, "sum_rows", True),
    Planted("no barrier after warps' sums", ELEMENTS, JOINED + BARRIER, JOINED, "moments", True),
    Planted("warps of some", SOFTMAX, WARPS, WARPS.replace("/ 2", "/ 4", 1), "softmax_warps"),
    Planted("warps that are not there", SOFTMAX, "joints[lane % warps]", "joints[lane]",
            "softmax_warps", True),
    Planted("no barrier before the joints", SOFTMAX, JOINTS + BARRIER, JOINTS, "softmax_warps",
            True),
    Planted("place of the lane's own", POSITION, "__shfl_xor_sync(0xFFFFFFFFu, best.at, by)",
            "best.at", "position"),
    Planted("moments of half a warp", MOMENTS, "by < 32;", "by < 16;", "moments_merge"),
    Planted("mean of the lane's own", MOMENTS, "__shfl_xor_sync(0xFFFFFFFFu, all.mean, by)",
            "all.mean", "moments_merge"),
    Planted("deviations without those of means", MOMENTS, " + d * d * a.count * share", "",
            "moments_merge"),
    # Elements of half a word.
    Planted("first half twice", DEVICE, "static_cast<uint16_t>(word >> 16)",
            "static_cast<uint16_t>(word)", "sum_packs"),
    Planted("shift of bfloat16", DEVICE, "(bits) << 16", "(bits) << 15", "sum_packs"),
    Planted("halves of a pack", PACK, "{low.x, low.y, high.x, high.y}",
            "{low.x, high.x, low.y, high.y}", "sum_packs"),
    # Over lanes that have the same columns.
    Planted("neighbouring columns", REDUCE, "int by = p.across;", "int by = 1;", "sum_columns"),
    Planted("columns of half a warp", REDUCE, "by = p.across; by < 32;", "by = p.across; by < 16;",
            "sum_columns"),
    Planted("first column of a pack", REDUCE, "__shfl_xor_sync(0xFFFFFFFFu, all.v[l], by)",
            "__shfl_xor_sync(0xFFFFFFFFu, all.v[0], by)", "sum_packs"),
    Planted("warps over each other", REDUCE, "shared[warp][lane * lanes + l] = ",
            "shared[warp][lane + l] = ", "sum_packs", True),
    Planted("no barrier before warps' columns", REDUCE, LINES + BARRIER, LINES, "sum_packs", True),
    Planted("neighbouring channels", COLUMNS, "int by = kAcross;", "int by = 1;", "statistics"),
    Planted("channels of another group", COLUMNS, "int by = lanes / 2;", "int by = 16;",
            "statistics_merge"),
    Planted("lane of the warp", COLUMNS, "lane = threadIdx.x % lanes;", "lane = threadIdx.x % 32;",
            "statistics_merge"),
    # One after the other.
    Planted("scan of half a warp", SCAN, "by < 32; by *= 2", "by < 16; by *= 2", "scan"),
    Planted("terms further before", SCAN, "{__shfl_up_sync(0xFFFFFFFFu, value, by)}",
            "{__shfl_up_sync(0xFFFFFFFFu, value, 2 * by)}", "scan"),
    Planted("terms behind", SCAN, "{__shfl_up_sync(0xFFFFFFFFu, value, by)}",
            "{__shfl_down_sync(0xFFFFFFFFu, value, by)}", "scan"),
    Planted("no first lane", SCAN, "if (lane >= by)", "if (lane > by)", "scan"),
    Planted("lane before the last", SCAN, "{__shfl_sync(0xFFFFFFFFu, value, 31)}",
            "{__shfl_sync(0xFFFFFFFFu, value, 30)}", "scan"),
    Planted("order of the join", SCAN, "Carry::join(before, value)", "Carry::join(value, before)",
            "recurrence"),
    Planted("half of what is carried", SCAN, "__shfl_sync(0xFFFFFFFFu, b, 31)", "b", "recurrence"),
    Planted("shuffle of some lanes", SCAN, ORDERED,
            "      if (lane >= by) value = Carry::join(value.shuffled(by), value);", "scan", True),
    Planted("pieces of those above", SCAN, "for (int d = 0; d < down; ++d)",
            "for (int d = 1; d < down; ++d)", "scan_columns"),
    Planted("no barrier before the pieces", SCAN, "pieces[threadIdx.x] = piece;\n    " + BARRIER,
            "pieces[threadIdx.x] = piece;", "scan_columns", True),
    # What the last block has no row or column for.
    Planted("no last row, reduced", REDUCE, "inside = unit < p.outer * p.pieces;", "inside = true;",
            "max_short_rows", True),
    Planted("no end of a piece", REDUCE, "min(first + p.piece, p.reduced) : first",
            "first + p.piece : first", "sum_rows"),
    Planted("no last column read", REDUCE, "if (column >= p.inner) return all;", "", "sum_columns",
            True),
    Planted("no last column written", REDUCE, "threadIdx.x >= p.across || column >= p.inner",
            "threadIdx.x >= p.across", "sum_columns"),
    Planted("no last row, scanned", SCAN, "  if (row >= p.outer) return;", "  ", "scan", True),
    Planted("no last element, scanned", SCAN, "if (i < p.n) store", "store", "scan"),
    Planted("no last column, scanned", SCAN, "inside = column < p.outer * p.inner;",
            "inside = true;", "scan_columns", True),
    Planted("no last row, softmax", SOFTMAX, "inside = index < p.rows;", "inside = true;",
            "softmax_warp", True),
    Planted("no last group", COLUMNS, "inside = unit / groups < p.samples;", "inside = true;",
            "statistics_merge", True),
    Planted("no last channel", COLUMNS, "inside = channel < p.channels;", "inside = true;",
            "statistics"),
]  # fmt: skip
