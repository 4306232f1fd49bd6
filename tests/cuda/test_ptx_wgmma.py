"""wgmma: products of a warpgroup. Where elements lie in shared memory and in registers is written
here from the manual's tables and figures of matrix descriptors and fragments."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest
from ptxkernel import Buffer, run
from tensor_boxes import swizzled

pytestmark = pytest.mark.usefixtures("h100")
TARGET = "sm_90a"
DTYPES = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}
MODES = {"none": 0, "128": 1, "64": 2, "32": 3}  # of a descriptor
DEPTH = 16
THREAD = np.arange(128)
ROWS = 64


@dataclasses.dataclass
class Operand:
    """A matrix [outer, k] in shared memory: offsets of its elements and the descriptor's fields.

    `major` is "k" or "outer": along which elements are neighbours. Atoms of eight rows
    lie `gap` bytes further apart than they must.
    """

    matrix: np.ndarray
    major: str
    swizzle: str
    gap: int = 0
    first: int = 0  # of k: products begin there

    def __post_init__(self):
        outer, k = np.meshgrid(*map(np.arange, self.matrix.shape), indexing="ij")
        along, across = (k, outer) if self.major == "k" else (outer, k)
        span = 16 if self.swizzle == "none" else int(self.swizzle)
        # An atom: eight rows of `span` bytes, along the dimension that is contiguous.
        atom = 8 * span + self.gap
        width = span // 2
        atoms_along = self.matrix.shape[1 if self.major == "k" else 0] // width
        # Atoms follow each other along the contiguous dimension, then across.
        along_step, across_step = atom, atom * max(atoms_along, 1)
        offsets = along // width * along_step + along % width * 2
        offsets += across // 8 * across_step + across % 8 * span
        self.offsets = swizzled(offsets, self.swizzle) if self.swizzle != "none" else offsets
        self.bytes = int(self.offsets.max()) + 2
        self.bytes = -(-self.bytes // 1024) * 1024
        if self.swizzle == "none" and self.major == "outer":
            self.stride, self.leading = along_step, across_step
        else:
            self.leading, self.stride = along_step, across_step

    def memory(self) -> np.ndarray:
        """Those bytes, with NaN where no element is."""
        out = np.full(self.bytes // 2, 0x7FFF, np.uint16)
        out[self.offsets // 2] = self.matrix.view(np.uint16)
        return out

    @property
    def used(self) -> np.ndarray:
        """What a product takes of the matrix."""
        return self.matrix[:, self.first : self.first + DEPTH].astype(np.float64)

    def descriptor(self) -> int:
        """That of the operand if its memory began at zero: inside an atom, k goes on by bytes."""
        begin = 2 * self.first if self.major == "k" else self.first // 8 * self.stride
        fields = begin >> 4 | self.leading >> 4 << 16 | self.stride >> 4 << 32
        return fields | MODES[self.swizzle] << 62


def sum_place(i):
    """Rows and columns of the i-th sum of each thread."""
    row = THREAD // 32 * 16 + THREAD % 32 // 4 + 8 * (i // 2 % 2)
    return row, i // 4 * 8 + THREAD % 4 * 2 + i % 2


def operand_place(i):
    """The same for the i-th element of A, where it is in registers."""
    row = THREAD // 32 * 16 + THREAD % 32 // 4 + 8 * (i // 2 % 2)
    return row, THREAD % 4 * 2 + i % 2 + 8 * (i // 4)


def fragment(a):
    """[thread, register] of A."""
    parts = [a[operand_place(i)] for i in range(8)]
    return np.ascontiguousarray(np.stack(parts, 1)).view(np.uint32)


FILL = """mov.u32 %r2, %thread;
F: mul.lo.u32 %r5, %r2, 4; setp.ge.u32 %q0, %r5, {bytes}; @%q0 bra FEND;
mad.wide.u32 %rd1, %r2, 4, %p1; ld.global.u32 %r4, [%rd1]; add.u32 %r3, %r5, %s;
st.shared.u32 [%r3], %r4; add.u32 %r2, %r2, %threads; bra F;
FEND: fence.proxy.async.shared::cta; bar.sync 0;
"""


def multiply(kind, a, b, start=None, *, scales=(1, 1), adds=None, times=1):
    """Sums [64, n] in float32 of a product. A may be an array: it is in registers then."""
    n = b.matrix.shape[0]
    in_registers = isinstance(a, np.ndarray)
    memory = b.memory() if in_registers else np.concatenate([b.memory(), a.memory()])
    regs = n // 2
    sums = ", ".join(f"%d{i}" for i in range(regs))
    place = "shr.u32 %r6, {at}, 4; cvt.u64.u32 %rd2, %r6; add.u64 {to}, %rd2, {rest};"
    text = place.format(at="%s", to="%descb", rest=b.descriptor()) + "\n"
    flags = [scales[0], scales[1], int(b.major == "outer")]
    if in_registers:
        text += "mad.wide.u32 %rd3, %thread, 16, %p3;\n"
        text += "ld.global.v4.b32 {%a0, %a1, %a2, %a3}, [%rd3];\n"
        left = "{%a0, %a1, %a2, %a3}"
    else:
        text += f"add.u32 %r7, %s, {b.bytes};\n"
        text += place.format(at="%r7", to="%desca", rest=a.descriptor()) + "\n"
        left = "%desca"
        flags.insert(2, int(a.major == "outer"))
    text += f"mad.lo.u32 %r8, %thread, {regs}, 0; mad.wide.u32 %rd4, %r8, 4, %p2;\n"
    text += "mad.wide.u32 %rd5, %r8, 4, %p0;\n"
    if start is not None:
        text += "".join(f"ld.global.f32 %d{i}, [%rd4+{4 * i}];\n" for i in range(regs))
    text += f"setp.ne.u32 %adds, {int(start is not None)}, 0; wgmma.fence.sync.aligned;\n"
    shape = f"m64n{n}k16.f32.{kind}.{kind}"
    adds = "%adds" if adds is None else adds
    for k in range(times):
        text += f"wgmma.mma_async.sync.aligned.{shape} {{{sums}}}, {left}, %descb, "
        text += f"{adds if k == 0 else 1}, {', '.join(map(str, flags))};\n"
    text += "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n"
    text += "".join(f"st.global.f32 [%rd5+{4 * i}], %d{i};\n" for i in range(regs))
    body = f"""{{ .shared .align 1024 .b8 s[{memory.nbytes}]; .reg .b32 %s; .reg .f32 %d<{regs}>;
.reg .b32 %a<4>; .reg .b64 %desca, %descb; .reg .pred %adds; mov.u32 %s, s;
{FILL.format(bytes=memory.nbytes)} {text} }}"""
    out = Buffer(np.zeros((128, regs), np.float32))
    first = np.zeros((128, regs), np.float32)
    if start is not None:
        for i in range(regs):
            first[:, i] = start[sum_place(i)]
    left_buffer = Buffer(fragment(a)) if in_registers else Buffer(np.zeros(1, np.uint32))
    run(body, out, Buffer(memory), Buffer(first), left_buffer, block=(128,), target=TARGET)
    result, matrix = out.get(), np.empty((ROWS, n), np.float32)
    for i in range(regs):
        matrix[sum_place(i)] = result[:, i]
    return matrix


def whole_numbers(rng, shape, kind):
    """Products of these are exact."""
    return rng.integers(-8, 9, shape).astype(DTYPES[kind])


def check(kind, a, b, **more):
    rng = np.random.default_rng(3)
    left = a.astype(np.float64) if isinstance(a, np.ndarray) else a.used
    n = b.matrix.shape[0]
    product = left @ b.used.T
    assert (multiply(kind, a, b, **more) == product).all()
    start = rng.integers(-100, 100, (ROWS, n)).astype(np.float32)
    assert (multiply(kind, a, b, start, **more) == product + start).all()


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("n", [8, 16, 24, 64, 104, 128, 192, 256])
def test_columns(n, kind):
    rng = np.random.default_rng(n)
    a = Operand(whole_numbers(rng, (ROWS, DEPTH), kind), "k", "none")
    b = Operand(whole_numbers(rng, (n, DEPTH), kind), "k", "none")
    check(kind, a, b)


@pytest.mark.parametrize("gap", [0, 1024])
@pytest.mark.parametrize("swizzle", MODES)
@pytest.mark.parametrize("major", ["k", "outer"])
@pytest.mark.parametrize("side", ["a", "b"])
def test_layouts(side, major, swizzle, gap):
    """Every swizzle, along either dimension. Of whole atoms along k each 16 in turn."""
    rng = np.random.default_rng(7)
    along_k = major == "k" and swizzle != "none"
    depth = int(swizzle) // 2 if along_k else 2 * DEPTH if swizzle != "none" else DEPTH
    n = 64
    whole = whole_numbers(rng, (ROWS if side == "a" else n, depth), "bf16")
    other = Operand(whole_numbers(rng, (n if side == "a" else ROWS, DEPTH), "bf16"), "k", "none")
    for first in range(0, depth, DEPTH):
        laid = Operand(whole, major, swizzle, gap, first)
        check("bf16", *((laid, other) if side == "a" else (other, laid)))


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("major", ["k", "outer"])
def test_a_in_registers(kind, major):
    rng = np.random.default_rng(8)
    a = whole_numbers(rng, (ROWS, DEPTH), kind)
    b = Operand(whole_numbers(rng, (64, DEPTH), kind), major, "none")
    check(kind, a, b)


@pytest.mark.parametrize("in_registers", [False, True])
@pytest.mark.parametrize("scales", [(1, -1), (-1, 1), (-1, -1)])
def test_signs(scales, in_registers):
    rng = np.random.default_rng(9)
    a, b = whole_numbers(rng, (ROWS, DEPTH), "f16"), whole_numbers(rng, (32, DEPTH), "f16")
    left = a if in_registers else Operand(a, "k", "none")
    got = multiply("f16", left, Operand(b, "k", "none"), scales=scales)
    assert (got == scales[0] * scales[1] * (a.astype(np.float64) @ b.astype(np.float64).T)).all()


def test_start_that_is_left_out():
    """With scale-d false or 0 the sums need not have been written; with 1 they count."""
    rng = np.random.default_rng(10)
    a, b = whole_numbers(rng, (ROWS, DEPTH), "bf16"), whole_numbers(rng, (8, DEPTH), "bf16")
    product = a.astype(np.float64) @ b.astype(np.float64).T
    operands = Operand(a, "k", "none"), Operand(b, "k", "none")
    start = np.full((ROWS, 8), 5, np.float32)
    assert (multiply("bf16", *operands, start, adds=0) == product).all()
    assert (multiply("bf16", *operands, start, adds=1) == product + 5).all()
    assert (multiply("bf16", *operands, start, adds="!%adds") == product).all()
    assert (multiply("bf16", *operands, adds=0) == product).all()


def test_sums_over_several():
    """Products in a group follow each other."""
    rng = np.random.default_rng(11)
    a, b = whole_numbers(rng, (ROWS, DEPTH), "bf16"), whole_numbers(rng, (40, DEPTH), "bf16")
    product = a.astype(np.float64) @ b.astype(np.float64).T
    got = multiply("bf16", Operand(a, "k", "none"), Operand(b, "k", "none"), times=3)
    assert (got == 3 * product).all()


@pytest.mark.parametrize("kind", DTYPES)
def test_rounding(kind):
    rng = np.random.default_rng(12)
    a, b = (rng.standard_normal((r, DEPTH)).astype(DTYPES[kind]) for r in (ROWS, 64))
    start = rng.standard_normal((ROWS, 64)).astype(np.float32)
    got = multiply(kind, Operand(a, "k", "none"), Operand(b, "k", "none"), start)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    size = np.abs(wide_a) @ np.abs(wide_b).T + np.abs(start)
    bound = size * DEPTH * np.finfo(np.float32).eps
    assert (np.abs(got - (wide_a @ wide_b.T + start)) <= bound).all()
