"""atom and red: every operation and type in global and shared memory, alone and from many
threads."""

import exactly
import inputs
import numpy as np
import pytest
from ptxkernel import DTYPES, Buffer, run

INTEGERS = ("u32", "s32", "u64", "s64")
OPERATIONS = [
    *[("add", k) for k in ("u32", "s32", "u64", "f32", "f64", "f16", "bf16", "f16x2", "bf16x2")],
    *[(op, k) for op in ("min", "max") for k in INTEGERS],
    *[(op, k) for op in ("and", "or", "xor", "exch") for k in ("b32", "b64")],
    *[(op, "u32") for op in ("inc", "dec")],
    *[("cas", k) for k in ("b16", "b32", "b64")],
]
FORMATS = {"f16": exactly.F16, "bf16": exactly.BF16, "f32": exactly.F32, "f64": exactly.F64}


def applied(op, kind, old, b, c, ftz):
    """What the memory holds afterwards."""
    if kind.endswith("x2"):
        dtype = FORMATS[kind[:-2]].dtype
        return applied(op, kind[:-2], old.view(dtype), b.view(dtype), None, ftz).view(np.uint32)
    if op == "add" and kind in FORMATS:
        return exactly.arithmetic("add", FORMATS[kind], ftz=ftz)(old, b)
    rules = {
        "add": lambda: old + b,
        "min": lambda: np.minimum(old, b),
        "max": lambda: np.maximum(old, b),
        "and": lambda: old & b,
        "or": lambda: old | b,
        "xor": lambda: old ^ b,
        "exch": lambda: b,
        "cas": lambda: np.where(old == b, c, old),
        "inc": lambda: np.where(old >= b, 0, old + np.uint32(1)),
        "dec": lambda: np.where((old == 0) | (old > b), b, old - np.uint32(1)),
    }
    return rules[op]().astype(old.dtype)


SPACE = {
    "global": ("", "add.u64 %rd3, %rd2, 0;", ".global", "%rd3"),
    "generic": ("", "add.u64 %rd3, %rd2, 0;", "", "%rd3"),
    "shared": (
        ".shared .align 8 .b8 s[1024];",
        "mov.u32 %r1, s; mad.lo.u32 %r1, %thread, 8, %r1;",
        ".shared",
        "%r1",
    ),
}


def instruction(name, op, kind, space, address):
    rounding = ".noftz" if op == "add" and kind[-3:] in ("f16", "6x2") else ""
    destination = "%x3, " if name == "atom" else ""
    third = ", %x2" if op == "cas" else ""
    return f"{name}{space}.{op}{rounding}.{kind} {destination}[{address}], %x1{third};"


@pytest.mark.parametrize("space", SPACE)
@pytest.mark.parametrize("op, kind", OPERATIONS)
def test_alone(op, kind, space):
    """Each thread at a place of its own: the old value comes back, the new one stays;
    red gives no value."""
    old, b, c = (v[:800] for v in inputs.cases([kind if kind[-2:] != "x2" else "b32"] * 3))
    if op == "cas":
        b = np.where(np.arange(len(b)) % 2, old, b)
    if op in ("inc", "dec"):
        old[::2], b[::2] = old[::2] % 9, b[::2] % 9
    dtype, register, move = DTYPES[kind]
    size = np.dtype(dtype).itemsize
    declared, place, dot, address = SPACE[space]
    count = len(old) // 100 * 100
    old, b, c = old[:count], b[:count], c[:count]
    through = space == "shared"
    enter = f"st.shared.{move} [{address}], %x4;" if through else ""
    leave = f"ld.shared.{move} %x4, [{address}]; st.global.{move} [%rd2], %x4;" if through else ""
    for name in ("atom", "red") if op not in ("cas", "exch") else ("atom",):
        body = f"""{{ {declared} .reg .{register} %x<6>;
mul.wide.u32 %rd1, %gid, {size}; add.u64 %rd2, %p1, %rd1; {place}
add.u64 %rd4, %p2, %rd1; ld.global.{move} %x1, [%rd4]; add.u64 %rd4, %p3, %rd1;
ld.global.{move} %x2, [%rd4];
ld.global.{move} %x4, [%rd2]; {enter} {"mov.b32 %x3, %x4;" if register == "b32" else ""}
{instruction(name, op, kind, dot, address)} {leave}
add.u64 %rd5, %p0, %rd1; {f"st.global.{move} [%rd5], %x3;" if name == "atom" else ""} }}"""
        memory, returned = (
            Buffer(old),
            Buffer(old * 0 if kind[0] in "usb" and kind != "bf16" else np.zeros_like(old)),
        )
        run(body, returned, memory, Buffer(b), Buffer(c), grid=(count // 100,), block=(100,))
        ftz = kind == "f32" and not through
        expected = applied(op, kind, old, b, c, ftz)
        shown = FORMATS[kind[:-2]].dtype if kind.endswith("x2") else dtype
        inputs.same(memory.get().view(shown), expected.view(shown), (old.view(shown),))
        if name == "atom":
            inputs.same(returned.get(), old, (old,))


@pytest.mark.parametrize("name", ["atom", "red"])
@pytest.mark.parametrize("kind", ["u32", "u64", "f32", "f64"])
def test_sums_from_all_blocks(name, kind):
    """Every addition counts once, whoever meets whom;
    small whole numbers add exactly in any order."""
    dtype, register, move = DTYPES[kind]
    body = f"""{{ .reg .{register} %x<4>; and.b32 %r1, %gid, 3;
mul.wide.u32 %rd1, %r1, {np.dtype(dtype).itemsize};
add.u64 %rd1, %rd1, %p0; {"cvt.rn." + kind if kind[0] == "f" else "cvt." + kind}.u32 %x1, %gid;
{instruction(name, "add", kind, ".global", "%rd1")} }}"""
    sums = Buffer(np.zeros(4, dtype))
    run(body, sums, grid=(7,), block=(96,))
    assert (sums.get() == [sum(range(k, 7 * 96, 4)) for k in range(4)]).all()


def test_tickets():
    """atom.add hands out every number once."""
    body = """{ atom.global.add.u32 %r1, [%p1], 1; mul.wide.u32 %rd1, %r1, 4;
add.u64 %rd1, %rd1, %p0;
st.global.u32 [%rd1], %gid; }"""
    owners, counter = Buffer.empty(500, np.uint32), Buffer(np.zeros(1, np.uint32))
    run(body, owners, counter, grid=(5,), block=(100,))
    assert counter.get()[0] == 500
    assert sorted(owners.get()) == list(range(500))


def test_compare_and_swap_builds_any_operation():
    """The loop that is written for products: each of the threads gets its turn."""
    body = """{ ld.relaxed.gpu.global.u32 %r1, [%p0];
L: mul.lo.u32 %r2, %r1, 3; atom.global.cas.b32 %r3, [%p0], %r1, %r2;
setp.ne.u32 %q0, %r3, %r1; mov.u32 %r1, %r3; @%q0 bra L; }"""
    value = Buffer(np.ones(1, np.uint32))
    run(body, value, grid=(2,), block=(40,))
    assert value.get()[0] == pow(3, 80, 2**32)


def test_flush_of_float32():
    """Additions of float32 in global memory flush subnormal numbers, those in shared memory do
    not."""
    tiny = np.float32(2.0**-130)
    body = """{ .shared .align 4 .b8 s[4]; mov.u32 %r1, s; mov.f32 %f1, 0f00080000;
st.shared.f32 [%r1], %f1;
red.shared.add.f32 [%r1], %f1; red.global.add.f32 [%p0], %f1; ld.shared.f32 %f2, [%r1];
st.global.f32 [%p0+4], %f2; }"""
    out = Buffer(np.array([tiny, 0], np.float32))
    run(body, out, block=(1,))
    assert np.float32(2.0**-130) == np.uint32(0x00080000).view(np.float32)
    assert (out.get() == [0, 2 * tiny]).all()
