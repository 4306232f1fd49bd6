"""ldmatrix and mma. Which lane holds which element is written here from the manual's tables for
each shape,
as rows and columns of the i-th element of a thread."""

import ml_dtypes
import numpy as np
import pytest
from ptxkernel import Buffer, run

LANE = np.arange(32)
G, T = LANE // 4, LANE % 4  # the manual's groupID and threadID_in_group


# (type, shape k) -> rows and columns of A and B: functions of the element's number.
def a_half_16(i):
    return G + 8 * (i % 4 >= 2), T * 2 + i % 2 + 8 * (i >= 4)


def b_half_16(i):
    return T * 2 + i % 2 + 8 * (i >= 2), G


def a_half_8(i):
    return G + 8 * (i >= 2), T * 2 + i % 2


def b_half_8(i):
    return T * 2 + i, G


def a_tf32_4(i):
    return G + 8 * i, T


def b_tf32_4(i):
    return T, G


def a_tf32_8(i):
    return G + 8 * (i in (1, 3)), T + 4 * (i >= 2)


def b_tf32_8(i):
    return T + 4 * i, G


def a_byte_16(i):
    return G + 8 * (i >= 4), T * 4 + i % 4


def b_byte_16(i):
    return T * 4 + i, G


def a_byte_32(i):
    return G + 8 * (4 <= i < 8 or i >= 12), T * 4 + i % 4 + 16 * (i >= 8)


def b_byte_32(i):
    return T * 4 + i % 4 + 16 * (i >= 4), G


def c_place(i):
    return G + 8 * (i >= 2), T * 2 + i % 2


LAYOUTS = {
    ("half", 8): (a_half_8, b_half_8),
    ("half", 16): (a_half_16, b_half_16),
    ("tf32", 4): (a_tf32_4, b_tf32_4),
    ("tf32", 8): (a_tf32_8, b_tf32_8),
    ("byte", 16): (a_byte_16, b_byte_16),
    ("byte", 32): (a_byte_32, b_byte_32),
}
KINDS = {
    "f16": ("half", np.float16),
    "bf16": ("half", ml_dtypes.bfloat16),
    "tf32": ("tf32", np.float32),
    "s8": ("byte", np.int8),
    "u8": ("byte", np.uint8),
}


def fragment(matrix, place, elements):
    """[lane, register]: each lane's elements, packed, the first lowest."""
    parts = [matrix[place(i)] for i in range(elements)]
    return np.ascontiguousarray(np.stack(parts, 1)).view(np.uint32)


def unpacked(d, dtype):
    """The matrix from [lane, register] of an accumulator."""
    values = np.ascontiguousarray(d).view(dtype).reshape(32, 4)
    matrix = np.empty((16, 8), dtype)
    for i in range(4):
        matrix[c_place(i)] = values[:, i]
    return matrix


def multiply(opcode, a, b, c, registers):
    """Runs one mma on fragments [lane, register]; returns the accumulator's fragment."""
    operands, loads, number = [], "", 0
    for k, part in enumerate((a, b, c)):
        names = []
        for r in range(part.shape[1]):
            names.append(f"%x{number}")
            loads += f"mad.wide.u32 %rd1, %lane, {4 * part.shape[1]}, %p{k + 1};"
            loads += f"ld.global.b32 %x{number}, [%rd1+{4 * r}];\n"
            number += 1
        operands.append("{" + ", ".join(names) + "}")
    results = ["%d" + str(r) for r in range(registers)]
    stores = "".join(f"st.global.b32 [%rd2+{4 * r}], {name};" for r, name in enumerate(results))
    body = f"""{{ .reg .b32 %x<{number}>, %d<4>;
{loads} mad.wide.u32 %rd2, %lane, {4 * registers}, %p0;
{opcode} {{{", ".join(results)}}}, {", ".join(operands)};
{stores} }}"""
    out = Buffer.empty((32, registers), np.uint32)
    run(body, out, Buffer(a), Buffer(b), Buffer(c))
    return out.get()


def accumulator(c, dtype):
    return fragment(c.astype(dtype), c_place, 4)


MMAS = [
    *[(f"m16n8k{k}", "f32", t, t, "f32") for k in (8, 16) for t in ("f16", "bf16")],
    *[(f"m16n8k{k}", "f16", "f16", "f16", "f16") for k in (8, 16)],
    *[(f"m16n8k{k}", "f32", "tf32", "tf32", "f32") for k in (4, 8)],
    *[
        (f"m16n8k{k}", "s32", a, b, "s32")
        for k in (16, 32)
        for a in ("s8", "u8")
        for b in ("s8", "u8")
    ],
]


@pytest.mark.parametrize("shape, d, a_kind, b_kind, c", MMAS, ids=str)
def test_mma(shape, d, a_kind, b_kind, c):
    rng = np.random.default_rng(7)
    k = int(shape.rpartition("k")[2])
    family, dtype = KINDS[a_kind]
    other = KINDS[b_kind][1]
    places = LAYOUTS[family, k]
    result = {"f32": np.float32, "f16": np.float16, "s32": np.int32}[d]
    opcode = f"mma.sync.aligned.{shape}.row.col.{d}.{a_kind}.{b_kind}.{c}"
    for exact in (True, False):
        if family == "byte":
            top = 6 if exact else 128
            a = rng.integers(0 if a_kind == "u8" else -top, top, (16, k)).astype(dtype)
            b = rng.integers(0 if b_kind == "u8" else -top, top, (k, 8)).astype(other)
            start = rng.integers(-(2**28), 2**28, (16, 8))
        elif exact:  # every sum of products is a number of the accumulator
            a, b = (
                rng.integers(-4, 5, (16, k)).astype(dtype),
                rng.integers(-4, 5, (k, 8)).astype(other),
            )
            start = rng.integers(-50, 50, (16, 8))
        else:
            a, b = (
                rng.standard_normal((16, k)).astype(dtype),
                rng.standard_normal((k, 8)).astype(other),
            )
            start = rng.standard_normal((16, 8)).astype(result)
        if family == "tf32":  # the lower 13 bits are not looked at
            a, b = ((v.view(np.uint32) | 0x1FFF).view(np.float32) for v in (a, b))
        got = multiply(
            opcode,
            fragment(a, places[0], 16 * k // 32),
            fragment(b, places[1], 8 * k // 32),
            accumulator(start, result),
            2 if d == "f16" else 4,
        )
        if family == "tf32":
            a, b = ((v.view(np.uint32) & 0xFFFFE000).view(np.float32) for v in (a, b))
        wide = np.int64 if family == "byte" else np.float64
        expected = a.astype(wide) @ b.astype(wide) + start.astype(wide)
        size = np.abs(a.astype(wide)) @ np.abs(b.astype(wide)) + np.abs(start.astype(wide))
        bound = 0 if exact or family == "byte" else size * k * np.finfo(result).eps
        assert (np.abs(unpacked(got, result).astype(wide) - expected) <= bound).all()


def test_mma_saturates():
    """Sums of bytes wrap, or are clamped with .satfinite."""
    a, b = np.full((16, 32), 127, np.int8), np.full((32, 8), 127, np.int8)
    start = np.full((16, 8), 2**31 - 1000, np.int64)
    parts = fragment(a, a_byte_32, 16), fragment(b, b_byte_32, 8), accumulator(start, np.int32)
    clamped = multiply("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32", *parts, 4)
    assert (clamped.view(np.int32) == 2**31 - 1).all()
    wrapped = multiply("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", *parts, 4)
    assert (wrapped.view(np.int32) == 2**31 - 1000 + 32 * 127 * 127 - 2**32).all()


@pytest.mark.parametrize("generic", [False, True])
@pytest.mark.parametrize("trans", ["", ".trans"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix(count, trans, generic):
    """Lanes 8k to 8k + 7 name the rows of matrix k, in any order and at any distance."""
    rng = np.random.default_rng(8)
    matrices = rng.integers(0, 2**16, (count, 8, 8)).astype(np.uint16)
    slots = rng.permutation(40)[: 8 * count]  # where each row lies, in steps of 16 bytes
    memory = np.zeros((40, 8), np.uint16)
    memory[slots] = matrices.reshape(-1, 8)
    addresses = np.zeros(32, np.uint32)
    addresses[: 8 * count] = 16 * slots
    names = [f"%r{20 + k}" for k in range(count)]
    register = "%r6"
    space = ".shared"
    place = ""
    if generic:
        place, register, space = "cvt.u64.u32 %rd4, %r6; cvta.shared.u64 %rd4, %rd4;", "%rd4", ""
    body = f"""{{ .shared .align 16 .b8 s[640]; mov.u32 %r1, s; mov.u32 %r2, %thread;
L: mad.wide.u32 %rd1, %r2, 4, %p1; ld.global.u32 %r3, [%rd1]; mad.lo.u32 %r4, %r2, 4, %r1;
st.shared.u32 [%r4], %r3;
add.u32 %r2, %r2, 32; setp.lt.u32 %q0, %r2, 160; @%q0 bra L; bar.warp.sync 0xffffffff;
add.u64 %rd2, %p2, %off4; ld.global.u32 %r5, [%rd2]; add.u32 %r6, %r5, %r1; {place}
ldmatrix.sync.aligned.m8n8.x{count}{trans}{space}.b16 {{{", ".join(names)}}}, [{register}];
mad.wide.u32 %rd3, %thread, {4 * count}, %p0;
{"".join(f"st.global.u32 [%rd3+{4 * k}], {n};" for k, n in enumerate(names))} }}"""
    out = Buffer.empty((32, count), np.uint32)
    run(body, out, Buffer(memory), Buffer(addresses))
    halves = out.get().view(np.uint16).reshape(32, count, 2)
    for k in range(count):
        matrix = matrices[k].T if trans else matrices[k]
        assert (halves[:, k, 0] == matrix[LANE // 4, LANE % 4 * 2]).all()
        assert (halves[:, k, 1] == matrix[LANE // 4, LANE % 4 * 2 + 1]).all()
