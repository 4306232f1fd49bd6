"""Faults planted in tile programs over many segments are found, by the emulator or by a wrong
result; none in what they were planted in."""

import re

import ml_dtypes
import numpy as np
import pytest
from group_faults import FAULTS
from planted_kernels import KERNELS, assert_found, fixtures, outcome, texts
from ptxkernel import Buffer, _cuda

pytestmark = pytest.mark.emulator

FILES = [
    "types.h",
    "divisor.h",
    "../../csrc/kernels/activation.h",
    "device.cuh",
    "activation.cuh",
    "elementwise/ops.h",
    "elementwise/params.h",
    "elementwise/interpreter.cuh",
    "elementwise/group.cu",
]
# Of all operations those that the program needs, and one of each list: a whole interpreter for each
# fault would be much to compile.
KEPT = ("copy", "add", "sub", "mul", "isnan", "abs", "round_bf16")

# The structures of cuda/kernels/elementwise/params.h.
STEP = np.dtype([(name, "u1") for name in ("op", "dst", "a", "b", "c")] + [("immediate", "u4")],
                align=True)  # fmt: skip
DIVISOR = np.dtype([("value", "u4"), ("multiplier", "u4"), ("shift", "i4")], align=True)
INPUT = np.dtype(
    [(name, "u1") for name in ("memory", "reg", "dims", "access")]
    + [("size", DIVISOR, 4), ("stride", "u4", 4)],
    align=True,
)
OUTPUT = np.dtype([("memory", "u1"), ("reg", "u1")], align=True)
CONSTANT = np.dtype([("bits", "u4"), ("reg", "u1")], align=True)
PROGRAM = np.dtype(
    [(name, "u1") for name in ("inputs", "outputs", "constants", "steps")]
    + [("input", INPUT, 16), ("output", OUTPUT, 12), ("constant", CONSTANT, 16)]
    + [("step", STEP, 96)],
    align=True,
)
SEGMENT = np.dtype([(name, "u4") for name in ("elements", "first", "packed")], align=True)
GROUP = np.dtype(
    [("program", PROGRAM), ("segments", "u4"), ("span", "u4"), ("segment", SEGMENT, 512)]
    + [("data", "u8", 3000)],
    align=True,
)
WORD, BF16, PACK, TILE, THREADS, SPAN = 0, 2, 1, 512, 128, 2


def few_ops(text):
    """The lists of operations without those that are not kept."""

    def shorter(found):
        rows = re.findall(r"X\((\w+), .*\)", found[2])
        lines = [line.strip(" \\") for line in found[2].splitlines()]
        kept = [line for name, line in zip(rows, lines, strict=True) if name in KEPT]
        return f"#define {found[1]}(X) {' '.join(kept)}\n"

    return re.sub(r"#define (NATIVE_CUDA_\w+)\(X\) +\\\n((?:.*\\\n)*.*\n)", shorter, text)


def one(name, kernel, fault=None):
    """The kernel in a namespace of its own."""
    text = few_ops(texts(FILES, fault))
    return text.replace("namespace native", f"namespace {name}_space").replace("tile_group", name)


text, module = fixtures(one, ["updates"], FAULTS)


def program():
    """v = v / 2 + g; w = w - rate * v, for w and v in float32 and g in bfloat16."""
    names = [name for name in re.findall(r"  X\((\w+),", float_ops()) if name in KEPT]
    p = np.zeros((), PROGRAM)
    w, v, g, rate, half, change = range(6)
    p["inputs"], p["outputs"], p["constants"], p["steps"] = 4, 2, 1, 4
    for k, (memory, dims) in enumerate([(WORD, 1), (WORD, 1), (BF16, 1), (WORD, 0)]):
        row = p["input"][k]
        row["memory"], row["reg"], row["dims"], row["stride"][0] = memory, k, dims, dims
        row["access"] = PACK if dims else 0
    p["output"][:2] = [(WORD, v), (WORD, w)]
    p["constant"][0] = np.float32(0.5).view(np.uint32), half
    steps = [("mul", v, v, half), ("add", v, v, g), ("mul", change, v, rate), ("sub", w, w, change)]
    for k, (op, to, a, b) in enumerate(steps):
        p["step"][k] = names.index(op), to, a, b, a, 0
    return p


def float_ops():
    """The list of operations on float32."""
    whole = (KERNELS / "elementwise/ops.h").read_text()
    return whole[whole.index("FLOAT_OPS(X)") : whole.index("FLOAT_TESTS(X)")]


def run(module, name):
    """Whether all results are right, and the names of what the emulator found. Segments of packs
    and such of none, of a whole tile and of several with and without a rest."""
    rng = np.random.default_rng(0)
    p = np.zeros((), GROUP)
    p["program"], p["span"] = program(), SPAN
    blocks, buffers, wanted = 0, [], []
    for k, size in enumerate([1029, 4, 1540, 1, 512, 7, 2048]):
        arrays = [rng.integers(-8, 9, size).astype(np.float32) for _ in range(3)]
        arrays[2] = arrays[2].astype(ml_dtypes.bfloat16)
        rate = np.float32(k + 1)
        mine = [Buffer(a) for a in arrays] + [Buffer(rate.reshape(1))]
        buffers += mine
        pointers = [b.memory.address for b in (*mine, mine[1], mine[0])]
        p["data"][6 * k : 6 * k + 6] = pointers
        p["segment"][k] = size, blocks, size % 4 == 0
        blocks += -(-size // (TILE * SPAN))
        new = arrays[1] / 2 + arrays[2].astype(np.float32)
        wanted += [(mine[1], new), (mine[0], arrays[0] - rate * new)]
        p["segments"] = k + 1

    def launch():
        kernel = module.kernel(name)
        kernel.launch([blocks], [THREADS], [p.tobytes()], shared=6 * 4 * TILE)
        _cuda.synchronize()
        return [(buffer.get(), want) for buffer, want in wanted]

    results, found = outcome(launch)
    return results is not None and all((a == b).all() for a, b in results), found


def test_sound_kernel(module):
    assert run(module, "sound_updates") == (True, set())


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f.id for f in FAULTS])
def test_fault_is_found(module, number):
    assert_found(FAULTS[number], *run(module, f"fault_{number}"))
