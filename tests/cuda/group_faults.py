"""Faults planted in tile programs over many segments, each by one edit of one source."""

from planted_kernels import Planted

INTERPRETER, GROUP = "elementwise/interpreter.cuh", "elementwise/group.cu"
KERNEL = "updates"
BEGIN = "(blockIdx.x - segment.first) * p.span * kElements"
END = "min(first + p.span * kElements, segment.elements)"
WIDEN = "input.access == Access::Pack && input.memory != Memory::Word"

FAULTS = [
    # Which segment, and which of its tiles.
    Planted("segment before", GROUP, "<= blockIdx.x", "< blockIdx.x", KERNEL),
    Planted("search ends early", GROUP, "while (end - s > 1)", "while (end - s > 2)", KERNEL),
    Planted("search of all but the last", GROUP, "end = p.segments;", "end = p.segments - 1;",
            KERNEL),
    Planted("pointers of inputs alone", GROUP, "(p.program.inputs + p.program.outputs)",
            "p.program.inputs", KERNEL),
    Planted("pointers of the first", GROUP, "p.data + s * (", "p.data + 0 * (", KERNEL),
    Planted("blocks of the launch", GROUP, "(blockIdx.x - segment.first)", "blockIdx.x", KERNEL),
    Planted("blocks of one tile begin", GROUP, BEGIN, BEGIN.replace(" * p.span", ""), KERNEL),
    Planted("blocks of one tile end", GROUP, END, END.replace("p.span * ", ""), KERNEL),
    Planted("every other tile", INTERPRETER, "first < end; first += step",
            "first < end; first += 2 * step", KERNEL),
    # Guards and packs.
    Planted("no guard of elements", INTERPRETER, "inside[v] = at[v] < elements;",
            "inside[v] = true;", KERNEL, True),
    Planted("one element beyond", INTERPRETER, "inside[v] = at[v] < elements;",
            "inside[v] = at[v] <= elements;", KERNEL, True),
    Planted("no guard of packs", INTERPRETER,
            "if (packed && neighbours.at >= segment.elements) return;", "", KERNEL, True),
    Planted("packs of anything", INTERPRETER,
            "packed = segment.packed;", "packed = true;", KERNEL, True),
    Planted("no wait for packs", INTERPRETER, "  copy_async_wait<0>();", "", KERNEL, True),
    Planted("packs stay narrow", INTERPRETER, WIDEN, WIDEN + " && false", KERNEL),
    # Operands and results.
    Planted("results where operands are", INTERPRETER,
            "store_packed(p.output[i].memory, data[p.inputs + i],",
            "store_packed(p.output[i].memory, data[i],", KERNEL),
    Planted("elements of the next result", INTERPRETER,
            "store(p.output[i].memory, data[p.inputs + i],",
            "store(p.output[i].memory, data[p.inputs + 1 - i],", KERNEL),
    Planted("scalar of the first operand", INTERPRETER, "load(p.input[i].memory, data[i], 0)",
            "load(p.input[i].memory, data[0], 0)", KERNEL),
    Planted("registers of a warp", INTERPRETER, "registers[r * kThreads + threadIdx.x]",
            "registers[r * 32 + threadIdx.x]", KERNEL, True),
    Planted("no constants", INTERPRETER, "i < p.constants", "i < 0", KERNEL, True),
    Planted("all but the last step", INTERPRETER,
            "i < p.steps; ++i)", "i < p.steps - 1; ++i)", KERNEL),
]  # fmt: skip
