"""Loads and stores: every width and vector in every space, variables and their initial values,
parameters."""

import inputs
import numpy as np
import pytest
from ptxkernel import DTYPES, Buffer, launch, run, source

PLAIN = ("u8", "s8", "u16", "s16", "u32", "s32", "f32", "u64", "s64", "f64", "b32", "b64")
LANES = 64
ZEROS = {"f32": "0f00000000", "f64": "0d0000000000000000"}

# How a space is declared, and where a thread's own 16 bytes begin. Local memory is each thread's.
SPACES = {
    "global": ("", "mad.wide.u32 %rd3, %thread, 16, %p2;", "global", "%rd3"),
    "shared": (
        ".shared .align 16 .b8 s[1024];",
        "mov.u32 %r1, s; mad.lo.u32 %r1, %thread, 16, %r1;",
        "shared",
        "%r1",
    ),
    "local": (".local .align 16 .b8 l[16];", "mov.u64 %rd3, l;", "local", "%rd3"),
    "generic global": ("", "mad.wide.u32 %rd3, %thread, 16, %p2;", "", "%rd3"),
    "generic shared": (
        ".shared .align 16 .b8 s[1024];",
        "mov.u64 %rd3, s; cvta.shared.u64 %rd3, %rd3; mad.wide.u32 %rd3, %thread, 16, %rd3;",
        "",
        "%rd3",
    ),
    "generic local": (
        ".local .align 16 .b8 l[16];",
        "mov.u64 %rd3, l; cvta.local.u64 %rd3, %rd3;",
        "",
        "%rd3",
    ),
}


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("space", SPACES)
def test_there_and_back(space, kind):
    """Through the space and out again, one element and in vectors of two and four."""
    declared, place, name, address = SPACES[space]
    dtype, register, _ = DTYPES[kind]
    size = np.dtype(dtype).itemsize
    rng = np.random.default_rng(1)
    dot = f".{name}" if name else ""
    for lanes in (1, 2, 4):
        if lanes * size > 16:
            continue
        vector = f".v{lanes}" if lanes > 1 else ""
        names = [f"%x{k}" for k in range(lanes)]
        group = "{" + ", ".join(names) + "}" if lanes > 1 else names[0]
        step = lanes * size
        body = f"""{{ {declared} .reg .{register} %x<4>;
mad.wide.u32 %rd1, %thread, {step}, %p1;
mad.wide.u32 %rd2, %thread, {step}, %p0;
{place}
ld.global{vector}.{kind} {group}, [%rd1];
st{dot}{vector}.{kind} [{address}], {group};
mov.{register} %x0, {ZEROS.get(kind, "0")};
ld{dot}{vector}.{kind} {group}, [{address}+0];
st.global{vector}.{kind} [%rd2], {group}; }}"""
        data = inputs.of(kind, LANES * lanes, rng)
        out = Buffer(np.zeros_like(data))
        run(body, out, Buffer(data), Buffer(np.zeros(LANES * 16, np.uint8)), block=(LANES,))
        inputs.same(out.get(), data, (data,))


@pytest.mark.parametrize("kind", ["u8", "s8", "u16", "s16", "u32", "s32"])
@pytest.mark.parametrize("register, out", [("r", np.uint32), ("rd", np.uint64)])
def test_extension(kind, register, out):
    """A register wider than what is loaded gets the sign, or zeros; a store takes the low bits."""
    dtype = DTYPES[kind][0]
    size = np.dtype(dtype).itemsize
    data = inputs.of(kind, LANES, np.random.default_rng(2))
    result, low = Buffer.empty(LANES, out), Buffer.empty(LANES, dtype)
    body = f"""mad.wide.u32 %rd1, %thread, {size}, %p2;
mad.wide.u32 %rd2, %thread, {np.dtype(out).itemsize}, %p0;
mad.wide.u32 %rd3, %thread, {size}, %p1;
ld.global.{kind} %{register}9, [%rd1];
st.global.u{8 * np.dtype(out).itemsize} [%rd2], %{register}9;
st.global.{kind} [%rd3], %{register}9;"""
    run(body, result, low, Buffer(data), block=(LANES,))
    signed = data.astype(f"i{np.dtype(out).itemsize}") if kind[0] == "s" else data
    assert (result.get() == signed.astype(out)).all()
    assert (low.get() == data).all()


def test_offsets():
    """Addresses with constants added and taken away, and a constant alone."""
    data, out = np.arange(96, dtype=np.uint32), Buffer(np.zeros(32, np.uint32))
    body = """add.u64 %rd1, %p1, %off4; add.u64 %rd2, %p0, %off4;
ld.global.u32 %r1, [%rd1+256]; ld.global.u32 %r2, [%rd1+4];
add.u64 %rd1, %rd1, 128; ld.global.u32 %r3, [%rd1+-128];
add.u32 %r1, %r1, %r2; sub.u32 %r1, %r1, %r3; st.global.u32 [%rd2], %r1;"""
    run(body, out, Buffer(data))
    k = np.arange(32)
    assert (out.get() == (k + 64) + (k + 1) - k).all()


def test_vector_with_holes():
    """A result that is not wanted is written _."""
    data, out = np.arange(128, dtype=np.float32), Buffer(np.zeros(32, np.float32))
    body = """mad.wide.u32 %rd1, %thread, 16, %p1; add.u64 %rd2, %p0, %off4;
ld.global.v4.f32 {_, %f1, _, %f2}, [%rd1]; add.f32 %f1, %f1, %f2; st.global.f32 [%rd2], %f1;"""
    run(body, out, Buffer(data))
    assert (out.get() == data[1::4] + data[3::4]).all()


def test_variables():
    """Constant and global variables begin as they are written; addresses among them are generic."""
    outer = """.const .align 4 .u32 table[4] = {10, 20, 0x1E};
.global .align 4 .f32 scale = 0f3FC00000;
.global .align 8 .b8 letters[6] = {1, 2, 3, 4, 5, 6};
.global .align 8 .u64 link = generic(letters);
.global .align 4 .u32 zeros[3];
"""
    body = """and.b32 %r1, %thread, 3; mul.wide.u32 %rd1, %r1, 4;
mov.u64 %rd2, table; add.u64 %rd2, %rd2, %rd1; ld.const.u32 %r2, [%rd2];
ld.global.f32 %f1, [scale]; cvt.rn.f32.u32 %f2, %r2; mul.f32 %f1, %f1, %f2;
ld.global.u64 %rd3, [link]; cvt.u64.u32 %rd4, %r1; add.u64 %rd3, %rd3, %rd4;
ld.u8 %h1, [%rd3]; cvt.rn.f32.u16 %f3, %h1; add.f32 %f1, %f1, %f3;
ld.const.u32 %r3, [table+4]; ld.global.u32 %r4, [zeros+8]; add.u32 %r3, %r3, %r4;
cvt.rn.f32.u32 %f4, %r3; add.f32 %f1, %f1, %f4;
add.u64 %rd5, %p0, %off4; st.global.f32 [%rd5], %f1;"""
    out = Buffer.empty(32, np.float32)
    run(body, out, outer=outer)
    k = np.arange(32) % 4
    assert (out.get() == 1.5 * np.array([10, 20, 30, 0])[k] + (k + 1) + 20).all()


def test_parameters():
    """Structures by value: parts of every width at any offset."""
    text = source("", 0).replace(
        ".entry k()",
        ".entry k(.param .u64 out, .param .align 16 .b8 s[48], .param .u16 h, .param .f64 d)",
    )
    body = """ld.param.u64 %rd1, [out]; add.u64 %rd1, %rd1, %off8;
ld.param.v4.f32 {%f1, %f2, %f3, %f4}, [s+16]; ld.param.u8 %h1, [s+3]; ld.param.s16 %r2, [s+6];
ld.param.u16 %h3, [h]; ld.param.f64 %fd1, [d]; ld.param.v2.u32 {%r5, %r6}, [s+40];
cvt.rn.f64.u16 %fd2, %h1; add.f64 %fd1, %fd1, %fd2;
cvt.rn.f64.s32 %fd2, %r2; add.f64 %fd1, %fd1, %fd2;
cvt.rn.f64.u16 %fd2, %h3; add.f64 %fd1, %fd1, %fd2;
cvt.f64.f32 %fd2, %f1; fma.rn.f64 %fd1, %fd2, 0d4024000000000000, %fd1;
cvt.f64.f32 %fd2, %f4; add.f64 %fd1, %fd1, %fd2;
cvt.rn.f64.u32 %fd2, %r6; add.f64 %fd1, %fd1, %fd2;
st.global.f64 [%rd1], %fd1;
ret;"""
    structure = np.zeros(48, np.uint8)
    structure[3] = 200
    structure[6:8] = np.array([-7], np.int16).view(np.uint8)
    structure[16:32] = np.array([1.5, 2.5, 3.5, 4.5], np.float32).view(np.uint8)
    structure[40:48] = np.array([8, 9], np.uint32).view(np.uint8)
    out = Buffer.empty(32, np.float64)
    text = text[: text.rindex("ret;")] + body + "\n}\n"
    launch(text, out, structure.tobytes(), np.uint16(60000), np.float64(0.25))
    assert (out.get() == 0.25 + 200 - 7 + 60000 + 15 + 4.5 + 9).all()


def test_spaces_of_generic_addresses():
    declared = "{ .shared .align 4 .b8 s[4]; .local .align 4 .b8 l[4];"
    body = f"""{declared} mov.u64 %rd1, s; cvta.shared.u64 %rd1, %rd1; mov.u64 %rd2, l;
cvta.local.u64 %rd2, %rd2;
mov.u32 %r1, 0;
isspacep.shared %q0, %rd1; @%q0 or.b32 %r1, %r1, 1;
isspacep.shared %q0, %p0; @%q0 or.b32 %r1, %r1, 2;
isspacep.global %q0, %p0; @%q0 or.b32 %r1, %r1, 4;
isspacep.global %q0, %rd2; @%q0 or.b32 %r1, %r1, 8;
isspacep.local %q0, %rd2; @%q0 or.b32 %r1, %r1, 16;
cvta.to.shared.u64 %rd3, %rd1; mov.u64 %rd4, s; setp.eq.u64 %q0, %rd3, %rd4;
@%q0 or.b32 %r1, %r1, 32;
add.u64 %rd5, %p0, %off4; st.global.u32 [%rd5], %r1; }}"""
    out = Buffer.empty(32, np.uint32)
    run(body, out)
    assert (out.get() == 1 + 4 + 16 + 32).all()


def test_dynamic_shared_memory():
    """It begins behind the static one, and is as long as the launch says."""
    outer = ".extern .shared .align 16 .b8 dynamic[];\n"
    body = """{ .shared .align 4 .b8 static[20];
mov.u32 %r1, static; mov.u32 %r2, dynamic; mad.lo.u32 %r3, %thread, 4, %r2;
st.shared.u32 [%r3], %thread;
setp.lt.u32 %q0, %thread, 5; mad.lo.u32 %r4, %thread, 4, %r1; @%q0 st.shared.u32 [%r4], 77;
bar.sync 0; xor.b32 %r5, %thread, 63; mad.lo.u32 %r5, %r5, 4, %r2; ld.shared.u32 %r6, [%r5];
add.u64 %rd1, %p0, %off4; st.global.u32 [%rd1], %r6; }"""
    out = Buffer.empty(64, np.uint32)
    run(body, out, block=(64,), shared=256, outer=outer)
    assert (out.get() == 63 - np.arange(64)).all()
