"""Counters on kernels whose numbers are known by hand;
occupancy by the rules of the programming guide."""

import numpy as np
import pytest
from ptxkernel import Buffer, _cuda, run

pytestmark = pytest.mark.emulator


def counted(body, *arguments, opcode, **sizes):
    """The counts of the one instruction with that opcode."""
    kernel = run(body, *arguments, name="counted", **sizes)
    assert kernel  # the counts are its module's
    rows = [r for r in _cuda.counts("counted") if r["opcode"] == opcode]
    assert len(rows) == 1, _cuda.counts("counted")
    return rows[0]


def big():
    return Buffer(np.zeros(8192, np.uint32))


# (bytes from lane to lane, PTX vector and type) -> sectors of 32 bytes, and the fewest possible.
GLOBAL = {
    (4, "u32"): (4, 4),
    (8, "u32"): (8, 4),
    (32, "u32"): (32, 4),
    (128, "u32"): (32, 4),
    (0, "u32"): (1, 1),
    (8, "u64"): (8, 8),
    (16, "v4.u32"): (16, 16),
    (32, "v4.u32"): (32, 16),
    (1, "u8"): (1, 1),
    (2, "u16"): (2, 2),
}
REGISTERS = {
    "u32": "%r1",
    "u64": "%rd5",
    "v4.u32": "{%r1, %r2, %r3, %r4}",
    "u8": "%h1",
    "u16": "%h1",
}


@pytest.mark.parametrize("stride, kind", GLOBAL, ids=str)
def test_sectors(stride, kind):
    sectors, ideal = GLOBAL[stride, kind]
    for name in ("ld", "st"):
        other = f"mov.b32 {REGISTERS[kind]}, 0;" if kind == "u32" else ""
        operands = f"{REGISTERS[kind]}, [%rd1]" if name == "ld" else f"[%rd1], {REGISTERS[kind]}"
        if name == "st" and (stride == 0 or kind != "u32"):
            continue
        body = f"{other} mad.wide.u32 %rd1, %lane, {stride}, %p0; {name}.global.{kind} {operands};"
        row = counted(body, big(), opcode=f"{name}.global.{kind}")
        assert (row["executed"], row["requests"]) == (1, 1)
        assert (row["sectors"], row["ideal_sectors"]) == (sectors, ideal)


def test_sectors_that_begin_amid():
    """A warp whose first address is not a multiple of 32 touches one sector more."""
    body = "mad.wide.u32 %rd1, %lane, 4, %p0; ld.global.u32 %r1, [%rd1+16];"
    row = counted(body, big(), opcode="ld.global.u32")
    assert (row["sectors"], row["ideal_sectors"]) == (5, 4)


def test_sectors_of_some_lanes():
    body = (
        "mad.wide.u32 %rd1, %lane, 4, %p0; setp.lt.u32 %q0, %lane, 9; "
        "@%q0 ld.global.u32 %r1, [%rd1];"
    )
    row = counted(body, big(), opcode="ld.global.u32")
    assert (row["sectors"], row["ideal_sectors"]) == (2, 2)


# (bytes between lanes, type) -> passes over the banks.
SHARED = {
    (4, "u32"): 1,
    (0, "u32"): 1,
    (8, "u32"): 2,
    (16, "u32"): 4,
    (64, "u32"): 16,
    (128, "u32"): 32,
    (132, "u32"): 1,
    (12, "u32"): 1,
    (8, "u64"): 2,
    (16, "v4.u32"): 4,
    (144, "v4.u32"): 4,
    (128, "v4.u32"): 32,
    (1, "u8"): 1,
    (2, "u16"): 1,
}


@pytest.mark.parametrize("stride, kind", SHARED, ids=str)
def test_bank_conflicts(stride, kind):
    passes = SHARED[stride, kind]
    ideal = {"u64": 2, "v4.u32": 4}.get(kind, 1)
    body = f"""{{ .shared .align 16 .b8 s[8192]; mov.u32 %r20, s; mov.u32 %r21, %lane;
mov.u32 %r22, 0;
L: mad.lo.u32 %r23, %r21, 16, %r20; st.shared.v4.u32 [%r23], {{%r22, %r22, %r22, %r22}};
add.u32 %r21, %r21, 32; setp.lt.u32 %q0, %r21, 512; @%q0 bra L; bar.sync 0;
mad.lo.u32 %r24, %lane, {stride}, %r20; ld.shared.{kind} {REGISTERS[kind]}, [%r24]; }}"""
    row = counted(body, opcode=f"ld.shared.{kind}")
    assert (row["phases"], row["conflicts"]) == (passes, passes - ideal)


@pytest.mark.parametrize("stride, conflicts", [(16, 0), (128, 7), (144, 0), (32, 1), (80, 0)])
def test_bank_conflicts_of_ldmatrix(stride, conflicts):
    """Eight rows of 16 bytes are one pass if they fall into different banks; x2 is two such."""
    body = f"""{{ .shared .align 16 .b8 s[4096]; mov.u32 %r20, s; mov.u32 %r21, %lane;
mov.u32 %r22, 0;
L: mad.lo.u32 %r23, %r21, 16, %r20; st.shared.v4.u32 [%r23], {{%r22, %r22, %r22, %r22}};
add.u32 %r21, %r21, 32; setp.lt.u32 %q0, %r21, 256; @%q0 bra L; bar.sync 0;
and.b32 %r25, %lane, 15; mad.lo.u32 %r24, %r25, {stride}, %r20;
ldmatrix.sync.aligned.m8n8.x2.shared.b16 {{%r1, %r2}}, [%r24]; }}"""
    row = counted(body, opcode="ldmatrix.sync.aligned.m8n8.x2.shared.b16")
    assert (row["phases"], row["conflicts"]) == (2 + 2 * conflicts, 2 * conflicts)


def test_counts_of_cp_async():
    body = """{ .shared .align 16 .b8 s[2048]; mov.u32 %r1, s; mad.lo.u32 %r2, %lane, 64, %r1;
mad.wide.u32 %rd1, %lane, 16, %p0; cp.async.cg.shared.global [%r2], [%rd1], 16; cp.async.wait_all;
}"""
    row = counted(body, big(), opcode="cp.async.cg.shared.global")
    assert (row["sectors"], row["ideal_sectors"]) == (16, 16)
    assert (
        row["conflicts"] == 12
    )  # eight lanes 64 bytes apart meet in 4 passes instead of 1, four times


def test_classes_and_executions():
    """Each instruction once for each warp that comes to it, loops and skipped ones included."""
    body = """{ .shared .align 4 .b8 s[512]; .local .align 4 .b8 l[4]; mov.u32 %r1, s;
mad.lo.u32 %r2, %thread, 4, %r1;
mov.u32 %r3, 0; mov.f32 %f1, 0f3F800000; mov.u64 %rd1, l;
L: add.rn.f32 %f1, %f1, %f1; add.s32 %r3, %r3, 1; setp.lt.u32 %q0, %r3, 5; @%q0 bra L;
cvt.rzi.u32.f32 %r4, %f1; st.shared.u32 [%r2], %r4; st.local.u32 [%rd1], %r4; bar.sync 0;
setp.ge.u32 %q1, %thread, 64; @%q1 bra E; red.global.add.u32 [%p0], 1; E:
ld.global.u32 %r9, [%p1]; }"""
    kernel = run(body, big(), big(), block=(128,), grid=(3,), name="classes")
    assert kernel
    rows = {r["opcode"]: r for r in _cuda.counts("classes")}
    warps = 4 * 3
    expected = {
        "add.rn.f32": ("float", 5 * warps),
        "add.s32": ("integer", 5 * warps),
        "cvt.rzi.u32.f32": ("convert", warps),
        "st.shared.u32": ("shared", warps),
        "st.local.u32": ("local", warps),
        "bar.sync": ("sync", warps),
        "red.global.add.u32": ("atomic", 2 * 3),
        "ld.global.u32": ("global", warps),
        "mov.f32": ("move", warps),
    }
    assert {k: (rows[k]["class"], rows[k]["executed"]) for k in expected} == expected
    assert [r for r in _cuda.counts("classes") if r["opcode"] == "bra"][0]["class"] == "control"
    assert _cuda.counts("no such kernel") == []


def test_counts_add_up_and_are_cleared():
    kernel = run("add.u32 %r1, %thread, 77;", name="adding")
    for _ in range(2):
        kernel.launch([2], [64], [])
    _cuda.synchronize()

    def executed():
        return [r["executed"] for r in _cuda.counts("adding") if r["opcode"] == "add.u32"]

    assert executed() == [1 + 2 * 2 * 2]
    _cuda.clear_counts()
    assert executed() == [0]


# gpu, threads, registers, shared -> blocks on a multiprocessor, and what allows no more.
OCCUPANCY = [
    ("A100", 256, 32, 0, 8, "threads"),
    ("A100", 1024, 32, 0, 2, "threads"),
    ("A100", 256, 64, 0, 4, "registers"),
    ("A100", 128, 128, 0, 4, "registers"),
    ("A100", 256, 255, 0, 1, "registers"),
    ("A100", 32, 16, 0, 32, "blocks"),
    ("A100", 128, 32, 48 << 10, 3, "shared memory"),
    ("A100", 128, 32, 163 << 10, 1, "shared memory"),
    ("H100", 128, 32, 48 << 10, 4, "shared memory"),
    ("RTX5090", 256, 32, 0, 6, "threads"),
]


@pytest.mark.parametrize("gpu, threads, registers, shared, blocks, limit", OCCUPANCY)
def test_occupancy(gpu, threads, registers, shared, blocks, limit):
    found = _cuda.occupancy(gpu, threads, registers, shared)
    most = {"A100": 64, "H100": 64, "RTX5090": 48}[gpu]
    warps = blocks * threads // 32
    assert found == {"blocks": blocks, "warps": warps, "fraction": warps / most, "limit": limit}


def test_gpus_by_name():
    assert {"A100", "H100"} <= {g["name"] for g in _cuda.gpus()}
    with pytest.raises(ValueError, match="unknown GPU 'V2'"):
        _cuda.occupancy("V2", 32, 32, 0)


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_freed_memory_is_given_back():
    """With what the search for races remembers of it, fifty times its size."""
    body = "add.u64 %rd1, %p0, %off4; ld.global.u32 %r1, [%rd1];"
    words = 1 << 17

    def once():
        run(body, Buffer(np.zeros(words, np.uint32)), name="reads")

    once()
    before = resident()
    for _ in range(6):
        once()
    assert resident() - before < 2 * 50 * 4 * words
