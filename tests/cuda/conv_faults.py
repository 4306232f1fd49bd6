"""Faults planted in the convolutions, each by one edit of one source. Kernels are named by kind,
direction and the convolution of test_conv_faults.py that they are tried on."""

from planted_kernels import Planted

SOURCES, IMPLICIT, JOIN = "conv/sources.cuh", "conv/implicit.cuh", "conv/join.cuh"
OVERLAP, WINDOW = "conv/overlap_add.cuh", "conv/window_at.cuh"
PIPELINE, OPERAND, EPILOGUE = "gemm/pipeline.cuh", "gemm/operand.cuh", "gemm/epilogue.cuh"
LOOP_WAIT, LOOP_BARRIER = (
    "        copy_async_wait<tile.stages - 2>();",
    "        __syncthreads();  // the next",
)
FORWARD, BACK, WEIGHTS = "bf16_forward_odd", "bf16_inputgrad_odd", "bf16_weightgrad_odd"
EXACT = "exact_forward_odd"
IN_SIZE = "static_cast<unsigned>(r.at[d] + c.at[d]) < static_cast<unsigned>(g.size[d])"
PIXEL = "{data + static_cast<int64_t>(b.pixel) * g.channels * bytes,"
KEPT_BARRIER = "  __syncthreads();\n  const WindowSource"

FAULTS = [
    # Guards.
    Planted("no guard of rows", SOURCES, "bool inside = r.inside && c.inside;",
            "bool inside = c.inside;", FORWARD, True),
    Planted("no guard of rows, exact", SOURCES, "bool inside = r.inside && c.inside;",
            "bool inside = c.inside;", EXACT, True),
    Planted("no guard of positions", IMPLICIT, "a(p.windows, w.product, w.k_end, p.m)",
            "a(p.windows, w.product, w.k_end + 64, p.m)", WEIGHTS, True),
    Planted("padding in front", SOURCES, IN_SIZE, "r.at[d] + c.at[d] < g.size[d]", FORWARD),
    Planted("padding behind", SOURCES, IN_SIZE, IN_SIZE.replace(" < ", " <= "), FORWARD),
    Planted("padding behind, back", SOURCES, IN_SIZE, IN_SIZE.replace(" < ", " <= "), BACK),
    Planted("padding of one dimension", SOURCES, IN_SIZE, "(d == 1 || " + IN_SIZE + ")", WEIGHTS),
    Planted("no guard of filter's rows", SOURCES,
            "r * p.b.row * bytes, r < rows}", "r * p.b.row * bytes, true}", BACK, True),
    # Windows: strides, padding, dilation.
    Planted("no stride", SOURCES, "p.at[d] * g.stride[d] + g.start[d]", "p.at[d] + g.start[d]",
            FORWARD),
    Planted("padding's sign", SOURCES, "* g.stride[d] + g.start[d]", "* g.stride[d] - g.start[d]",
            WEIGHTS),
    Planted("no dilation", SOURCES, "t.at[d] * g.step[d]", "t.at[d]", FORWARD),
    Planted("cotangents of other taps", SOURCES, "t.at[d] * g.step[d]", "-t.at[d] * g.step[d]",
            BACK),
    Planted("stride of rows of pixels", SOURCES, "b.pixel * g.size[d]", "b.pixel * g.size[1]",
            FORWARD),
    Planted("stride of taps", SOURCES, "pixels * g.size[d]", "pixels * g.size[1]", FORWARD),
    Planted("taps' sizes", SOURCES, "divide(t.at[2], g.taps[2])", "divide(t.at[2], g.taps[1])",
            FORWARD),
    Planted("positions' sizes", SOURCES, "divide(rest, g.positions[2])",
            "divide(rest, g.positions[1])", WEIGHTS),
    Planted("channels of a pixel", SOURCES, PIXEL, PIXEL.replace("g.channels", "g.group"), FORWARD),
    Planted("group's channels", SOURCES, "static_cast<int64_t>(group) * g.group * bytes",
            "static_cast<int64_t>(group) * bytes", FORWARD),
    # What is kept of windows.
    Planted("no barrier after windows", IMPLICIT, KEPT_BARRIER, KEPT_BARRIER[18:],
            "bf16_forward_chunks", True),
    Planted("windows of another block", SOURCES, "kept[r - first]", "kept[r % 64 ^ 1]", FORWARD),
    Planted("windows over stages", IMPLICIT, "Loop::kTile.stages * (",
            "(Loop::kTile.stages - 1) * (", "bf16_forward_chunks", True),
    # The filter.
    Planted("filter's group", SOURCES, "p.filter.first + group * p.windows.group",
            "p.filter.first + group", BACK),
    Planted("filter's first tap", SOURCES, "(p.filter.first + group", "(group", BACK),
    Planted("filter's taps", SOURCES, "t.at[1] * steps[1]", "t.at[1] * steps[2]",
            "bf16_inputgrad_chunks"),
    # Waits.
    Planted("late wait", PIPELINE, LOOP_WAIT, LOOP_WAIT.replace("2", "1"),
            "bf16_forward_chunks", True),
    Planted("loop barrier, back", PIPELINE, LOOP_BARRIER, "    //",
            "bf16_inputgrad_chunks", True),
    Planted("loop barrier, weights", PIPELINE, LOOP_BARRIER, "    //",
            "exact_weightgrad_odd", True),
    Planted("chunks at any address", OPERAND, "if (walk.of.aligned)", "if (true)", FORWARD, True),
    # Where results go, and what is added to them.
    Planted("no stride of targets", IMPLICIT, "at.at[d] * p.target.stride[d]", "at.at[d]", BACK),
    Planted("targets of another set", IMPLICIT, " + p.target.start[d];", ";", BACK),
    Planted("bias of the first group", IMPLICIT, "to * p.row + column, column,",
            "to * p.row + column, column - first_column,", FORWARD),
    Planted("weights of the first group", IMPLICIT,
            "part + to * p.row + column", "part + to * p.row + column - first_column", WEIGHTS),
    Planted("residual of the row", EPILOGUE, "load_element(e.residual, at + i,",
            "load_element(e.residual, column + i,", FORWARD),
    # The join of parts.
    Planted("parts of another set", JOIN, "p.parts + set.first", "p.parts", "join"),
    Planted("pixels in order", JOIN, "if (!p.strided) return", "return", "join"),
    Planted("sets of one dimension", JOIN, "m.set += start * sets;", "m.set += start;", "join"),
    Planted("positions of the first set", JOIN, "p.sets[m.set].positions[d]",
            "p.sets[0].positions[d]", "join"),
    Planted("every part in each share", JOIN, "s += p.shares", "s += 1", "join"),
    Planted("shares apart", JOIN, "by < p.shares; by *= 2", "by < 1; by *= 2", "join"),
    Planted("half of the shares", JOIN, "int by = 1; by < p.shares", "int by = 2; by < p.shares",
            "join"),
    Planted("parts over each other", JOIN, "s * set.elements", "s", "join", True),
    Planted("over what is written", JOIN, " && set.splits != kWritten)", ")", "join"),
    Planted("no guard of pixels", JOIN, "pixel < p.pixels && column", "column", "join", True),
    Planted("no guard of columns", JOIN, " && column < p.columns;", ";", "join", True),
    Planted("pixels between two rounds", JOIN, "first += gridDim.y * down",
            "first += 2 * gridDim.y * down", "join"),
    # Windows added up where they overlap.
    Planted("no padding back", WINDOW, "at + p.low[d]", "at", "overlap"),
    Planted("no dilation back", WINDOW, "k * p.dilation[d]", "k", "overlap"),
    Planted("taps between windows", WINDOW, "rest == 0 && window <", "window <", "overlap"),
    Planted("windows beyond the last", WINDOW, " && window < p.source_size[d] ?", " ?", "overlap"),
    Planted("rows of windows", OVERLAP, "* p.source_size[1] + row", "* p.source_size[2] + row",
            "overlap"),
    Planted("windows of the first group", OVERLAP, "static_cast<int64_t>(group)",
            "static_cast<int64_t>(0)", "overlap"),
    Planted("rows of taps", OVERLAP, "* p.kernel[1] + b", "* p.kernel[2] + b + 1", "overlap"),
    Planted("channels of all groups", OVERLAP, "* p.by_group.value", "* p.by_channels.value",
            "overlap"),
    Planted("the first part alone", OVERLAP, "p.parts[s * p.elements + at]", "p.parts[at]",
            "overlap"),
    Planted("no guard of results", OVERLAP, "  if (thread >= p.results) return;\n", "",
            "overlap", True),
]  # fmt: skip
