"""What the emulator must find: each fault planted in a kernel, beside the kernel as it should be."""

import dataclasses

import numpy as np
import pytest
from ptxkernel import Buffer, _cuda, launch, source


@dataclasses.dataclass
class Planted:
    """A kernel with a hole {x}: what stands there rightly, and wrongly. Two parameters: 128 words to
    read, all zero, and 1024 to write. `at` is (thread's x, offset of the address in its memory)."""

    id: str
    fault: str
    body: str
    right: str
    wrong: str
    at: tuple | None = None
    block: int = 32
    grid: int = 1
    outer: str = ""
    shared: int = 0


SHARED = ".shared .align 16 .b8 s[512]; mov.u32 %r30, s; mad.lo.u32 %r31, %tid, 4, %r30;"
LOCAL = ".local .align 16 .b8 l[32]; mov.u64 %rd30, l;"
ROW = "mad.lo.u32 %r31, %tid, 16, %r30;"
FILL = "st.shared.u32 [%r31], %tid;"
NEXT = "xor.b32 %r1, %tid, {k}; mad.lo.u32 %r1, %r1, 4, %r30;"
OUT = "add.u64 %rd9, %p1, %off4; st.global.u32 [%rd9], {v};"
COPY = "add.u64 %rd20, %p0, %off4; cp.async.ca.shared.global [%r31], [%rd20], 4;"

BOUNDS = [
    Planted("load past the end", "out of bounds", "add.u64 %rd1, %p0, %off4; ld.global.u32 %r1, [%rd1+{x}];", "0", "388", (31, 512)),
    Planted("load before the begin", "out of bounds", "add.u64 %rd1, %p0, %off4; ld.global.u32 %r1, [%rd1+{x}];", "0", "-4", (0, -4)),
    Planted("vector across the end", "out of bounds", "ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%p0+{x}];", "496", "512", (0, 512)),
    Planted("store past the end", "out of bounds", "st.global.u32 [%p1+{x}], 1;", "4092", "4096", (0, 4096), block=1),
    Planted("generic load", "out of bounds", "ld.u8 %h1, [%p0+{x}];", "511", "512", (0, 512)),
    Planted("null", "out of bounds", "{x} ld.global.u32 %r1, [%rd1];", "mov.u64 %rd1, %p0;", "mov.u64 %rd1, 0;"),
    Planted("atomic", "out of bounds", "red.global.add.u32 [%p0+{x}], 1;", "508", "512", (0, 512)),
    Planted("static shared memory", "out of bounds", SHARED + "st.shared.u32 [%r31+{x}], 0;", "384", "388", (31, 512)),
    Planted("shared memory below zero", "out of bounds", SHARED + "st.shared.u32 [%r30+{x}], 7;", "0", "-4", block=1),
    Planted("dynamic shared memory", "out of bounds", "mov.u32 %r1, d; st.shared.u32 [%r1+{x}], %lane;", "60", "64", (0, 64), shared=64, outer=".extern .shared .align 16 .b8 d[];", block=1),
    Planted("generic shared memory", "out of bounds", SHARED + "mov.u64 %rd1, s; cvta.shared.u64 %rd1, %rd1; st.u32 [%rd1+{x}], %lane;", "508", "512", block=1),
    Planted("local memory", "out of bounds", LOCAL + "st.local.u32 [%rd30+{x}], 0;", "28", "32", (0, 32)),
    Planted("local memory below zero", "out of bounds", LOCAL + "st.local.u32 [%rd30+{x}], 0;", "0", "-4"),
    Planted("parameters", "out of bounds", "ld.param.u32 %r1, [a1+{x}];", "4", "8", (0, 16)),
    Planted("parameters below zero", "out of bounds", "ld.param.u32 %r1, [a0+{x}];", "4", "-8"),
    Planted("constants", "out of bounds", "ld.const.u32 %r1, [t+{x}];", "12", "16", outer=".const .align 4 .u32 t[4] = {1, 2, 3, 4};"),
    Planted("cp.async from", "out of bounds", SHARED + "cp.async.ca.shared.global [%r31], [%p0+{x}], 4; cp.async.wait_all;", "508", "512", (0, 512), block=1),
    Planted("cp.async from, in part", "out of bounds", SHARED + "cp.async.ca.shared.global [%r30], [%p0+{x}, 16, 12; cp.async.wait_all;", "496]", "512]", (0, 512), block=1),
    Planted("cp.async to", "out of bounds", SHARED + "cp.async.ca.shared.global [%r30+{x}], [%p0], 4; cp.async.wait_all;", "508", "512", (0, 512), block=1),
    Planted("cp.async to below zero", "out of bounds", SHARED + "cp.async.ca.shared.global [%r30+{x}], [%p0], 16; cp.async.wait_all;", "0", "-16", block=1),
    Planted("ldmatrix", "out of bounds", SHARED + ROW + "st.shared.v4.u32 [%r31], {{%tid, %tid, %tid, %tid}}; bar.warp.sync 0xffffffff; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r1}}, [%r31+{x}];", "0", "400", (7, 512)),
    Planted("ldmatrix of global memory", "out of bounds", "mad.wide.u32 %rd1, %lane, 16, %p0; {x}", "", "ldmatrix.sync.aligned.m8n8.x1.b16 {%r1}, [%rd1];", (0, 0)),
    Planted("write to constants", "write to read-only memory", "mov.u64 %rd1, {x}1; cvta.{x}.u64 %rd1, %rd1; st.u32 [%rd1], 1;", "global", "const", outer=".const .align 4 .u32 const1; .global .align 4 .u32 global1;", block=1),
]

ALIGNMENT = [
    Planted("global", "misaligned", "add.u64 %rd1, %p0, {x}; ld.global.u32 %r1, [%rd1];", "4", "2", (0, 2)),
    Planted("global store", "misaligned", "st.global.u16 [%p1+{x}], 7;", "2", "1", (0, 1), block=1),
    Planted("vector", "misaligned", "ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%p0+{x}];", "16", "8", (0, 8)),
    Planted("64 bits", "misaligned", "ld.global.u64 %rd1, [%p0+{x}];", "8", "4", (0, 4)),
    Planted("shared", "misaligned", SHARED + "st.shared.u32 [%r30+{x}], 1;", "4", "3", (0, 3), block=1),
    Planted("local", "misaligned", LOCAL + "st.local.u64 [%rd30+{x}], %rd30;", "8", "4", (0, 4)),
    Planted("constants", "misaligned", "ld.const.u32 %r1, [t+{x}];", "4", "5", outer=".const .align 4 .u32 t[4] = {1, 2, 3, 4};"),
    Planted("parameters", "misaligned", "ld.param.u64 %rd1, [a0+{x}];", "8", "4", (0, 4)),
    Planted("atomic", "misaligned", "red.global.add.u64 [%p0+{x}], 1;", "8", "4", (0, 4)),
    Planted("cp.async", "misaligned", SHARED + "cp.async.cg.shared.global [%r30], [%p0+{x}], 16; cp.async.wait_all;", "16", "8", (0, 8), block=1),
    Planted("cp.async to", "misaligned", SHARED + "cp.async.ca.shared.global [%r30+{x}], [%p0], 8; cp.async.wait_all;", "8", "4", (0, 4), block=1),
    Planted("ldmatrix", "misaligned", SHARED + ROW + "st.shared.v4.u32 [%r31], {{%tid, %tid, %tid, %tid}}; bar.warp.sync 0xffffffff; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r1}}, [%r31+{x}];", "16", "8", (0, 8)),
]

NOTHING_WRITTEN = [
    Planted("shared memory", "uninitialised", SHARED + "{x} bar.sync 0; ld.shared.u32 %r1, [%r31];", FILL, "", (0, 0)),
    Planted("part of shared memory", "uninitialised", SHARED + "{x} bar.sync 0; ld.shared.v2.u32 {{%r1, %r2}}, [%r30];", FILL, "setp.ne.u32 %q0, %tid, 1; @%q0 " + FILL, (0, 0)),
    Planted("ldmatrix", "uninitialised", SHARED + ROW + "{x} bar.warp.sync 0xffffffff; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r1, %r2, %r3, %r4}}, [%r31];", "st.shared.v4.u32 [%r31], {%tid, %tid, %tid, %tid};", "setp.ne.u32 %q0, %lane, 19; @%q0 st.shared.v4.u32 [%r31], {%tid, %tid, %tid, %tid};", (19, 304)),
    Planted("register stored", "uninitialised", "{x} " + OUT.format(v="%r1"), "mov.u32 %r1, 0;", ""),
    Planted("register of some lanes", "uninitialised", "{x} mov.u32 %r1, 4; " + OUT.format(v="%r1"), "", "setp.lt.u32 %q0, %lane, 7; @%q0", (7, 28)),
    Planted("arithmetic passes it on", "uninitialised", "{x} add.u32 %r2, %r1, 1; mul.lo.u32 %r3, %r2, 0; " + OUT.format(v="%r3"), "mov.u32 %r1, 0;", ""),
    Planted("address", "uninitialised", "{x} ld.global.u32 %r1, [%rd1];", "mov.u64 %rd1, %p0;", "setp.lt.u32 %q0, %lane, 3; @%q0 mov.u64 %rd1, %p0; setp.ge.u32 %q1, %lane, 3; @%q1 add.u64 %rd1, %rd1, 0; @%q1 sub.u64 %rd1, %rd1, %rd1; @%q1 add.u64 %rd1, %rd1, %p0;", (3, None)),
    Planted("predicate", "uninitialised", "{x} @%q1 add.u32 %r2, %lane, 1;", "setp.eq.u32 %q1, %lane, 0;", ""),
    Planted("memory of the device", "uninitialised", "ld.global.u32 %r1, [%p1+{x}]; " + "add.u64 %rd9, %p0, %off4; st.global.u32 [%rd9], %r1;", "0", "4"),
    Planted("local memory", "uninitialised", LOCAL + "{x} ld.local.u32 %r1, [%rd30]; " + OUT.format(v="%r1"), "st.local.u32 [%rd30], 5;", ""),
    Planted("atomic", "uninitialised", SHARED + "{x} red.shared.add.u32 [%r31], 1;", FILL, ""),
    Planted("mask of a vote", "uninitialised", "{x} vote.sync.any.pred %q1, %q2, %r1;", "mov.u32 %r1, -1; setp.eq.u32 %q2, %lane, 0;", "setp.eq.u32 %q2, %lane, 0; setp.lt.u32 %q3, %lane, 31; @%q3 mov.u32 %r1, -1; @!%q3 sub.u32 %r1, %r1, %r1; @!%q3 sub.u32 %r1, %r1, 1;", (31, None)),
    Planted("operand of mma", "uninitialised", "mov.b32 %r1, 0; {x} mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {{%f1, %f2, %f3, %f4}}, {{%r1, %r1}}, {{%r2}}, {{%f5, %f5, %f5, %f5}};", "mov.b32 %r2, 0; mov.f32 %f5, 0f00000000;", "mov.f32 %f5, 0f00000000;"),
]

RACES = [
    Planted("read after write, later warp reads", "race in shared memory", SHARED + FILL + "{x} " + NEXT.format(k=32) + " ld.shared.u32 %r2, [%r1];", "bar.sync 0;", "", block=64),
    Planted("read after write in a warp", "race in shared memory", SHARED + FILL + "{x} " + NEXT.format(k=1) + " ld.shared.u32 %r2, [%r1];", "bar.warp.sync 0xffffffff;", ""),
    Planted("write after read", "race in shared memory", SHARED + FILL + " bar.sync 0; " + NEXT.format(k=32) + " ld.shared.u32 %r2, [%r1]; {x} st.shared.u32 [%r31], %r2;", "bar.sync 0;", "", block=64),
    Planted("write after read in a warp", "race in shared memory", SHARED + FILL + " bar.sync 0; " + NEXT.format(k=3) + " ld.shared.u32 %r2, [%r1]; {x} st.shared.u32 [%r31], %r2;", "bar.warp.sync 0xffffffff;", ""),
    Planted("write after write", "race in shared memory", SHARED + FILL + "{x} " + NEXT.format(k=32) + " st.shared.u32 [%r1], 0;", "bar.sync 0;", "", block=64),
    Planted("two lanes write different values", "race in shared memory", SHARED + "st.shared.u32 [%r30], {x};", "7", "%lane"),
    Planted("bytes of a word", "race in shared memory", SHARED + "cvt.u16.u32 %h1, %tid; add.u32 %r1, %r30, %tid; st.shared.u8 [%r1], %h1; {x} xor.b32 %r2, %tid, 33; add.u32 %r2, %r2, %r30; ld.shared.u8 %h2, [%r2];", "bar.sync 0;", "", block=64),
    Planted("one barrier of a loop", "race in shared memory", SHARED + "mov.u32 %r5, 0; L: " + FILL + " bar.sync 0; " + NEXT.format(k=32) + " ld.shared.u32 %r2, [%r1]; {x} add.u32 %r5, %r5, 1; setp.lt.u32 %q0, %r5, 3; @%q0 bra L;", "bar.sync 0;", "", block=64),
    Planted("barrier of other warps", "race in shared memory", SHARED + FILL + " setp.lt.u32 %q0, %tid, 64; {x} " + NEXT.format(k=32) + " @%q0 ld.shared.u32 %r2, [%r1];", "@%q0 bar.sync 1, 64; @!%q0 bar.sync 2, 64;", "@%q0 bar.sync 1, 64; @!%q0 bar.sync 2, 64; xor.b32 %r1, %tid, 64; mad.lo.u32 %r1, %r1, 4, %r30; ld.shared.u32 %r2, [%r1];", block=128),
    Planted("an atomic and a store", "race in shared memory", SHARED + "setp.eq.u32 %q0, %tid, 0; @%q0 st.shared.u32 [%r30], 0; {x} red.shared.add.u32 [%r30], 1;", "bar.sync 0;", "bar.warp.sync 0xffffffff;", block=64),
    Planted("cp.async not waited for", "race with cp.async", SHARED + COPY + " {x} ld.shared.u32 %r2, [%r31];", "cp.async.wait_all;", ""),
    Planted("cp.async of the group too many", "race with cp.async", SHARED + COPY + " cp.async.commit_group; {x} bar.sync 0; ld.shared.u32 %r2, [%r31];", "cp.async.wait_group 0;", "cp.async.wait_group 1;"),
    Planted("cp.async not committed", "race with cp.async", SHARED + COPY + " {x} cp.async.wait_group 0; ld.shared.u32 %r2, [%r31]; cp.async.wait_all;", "cp.async.commit_group;", ""),
    Planted("cp.async waited for, no barrier", "race in shared memory", SHARED + COPY + " cp.async.wait_all; {x} " + NEXT.format(k=32) + " ld.shared.u32 %r2, [%r1];", "bar.sync 0;", "", block=64),
    Planted("cp.async into what is read", "race in shared memory", SHARED + FILL + " bar.sync 0; " + NEXT.format(k=32) + " ld.shared.u32 %r2, [%r1]; {x} " + COPY + " cp.async.wait_all;", "bar.sync 0;", "", block=64),
    Planted("cp.async over what is copied", "race with cp.async", SHARED + COPY + " {x} " + COPY + " cp.async.wait_all;", "cp.async.wait_all;", ""),
    Planted("cp.async at the end", "race with cp.async", SHARED + COPY + " {x}", "cp.async.wait_all;", ""),
    Planted("blocks write one place", "race in global memory", "{x} st.global.u32 [%rd1], %ctaid;", "add.u64 %rd1, %p1, %off4;", "mov.u64 %rd1, %p1;", grid=2, block=1),
    Planted("a block reads what another writes", "race in global memory", "add.u64 %rd1, %p0, %off4; st.global.u32 [%rd1], 1; {x} ld.global.u32 %r2, [%rd1];", "", "setp.eq.u32 %q0, %ctaid, 0; @%q0 add.u64 %rd1, %rd1, 32; @!%q0 sub.u64 %rd1, %rd1, 32;", grid=2, block=8),
    Planted("a block writes what another reads", "race in global memory", "ld.global.u32 %r2, [%p0]; {x} st.global.u32 [%rd1], 1;", "add.u64 %rd1, %p1, %off4;", "mov.u64 %rd1, %p0;", grid=3, block=1),
    Planted("sums without atomics", "race in global memory", "{x}", "red.global.add.u32 [%p0], 1;", "ld.global.u32 %r1, [%p0]; add.u32 %r1, %r1, 1; st.global.u32 [%p0], %r1;", grid=2, block=1),
]

BARRIERS = [
    Planted("in one side of a branch", "divergent barrier", "setp.lt.u32 %q0, %lane, 16; {x} bar.sync 0;", "", "@%q0", (16, None)),
    Planted("in a loop of different lengths", "divergent barrier", "mov.u32 %r1, {x}; L: bar.sync 0; sub.u32 %r1, %r1, 1; setp.gt.s32 %q0, %r1, 0; @%q0 bra L;", "3", "%lane", block=64),
    Planted("one warp leaves another waiting", "deadlock", "setp.lt.u32 %q0, %tid, 32; {x}", "@%q0 bar.sync 1, 32; bar.sync 0;", "@%q0 bar.sync 1, 64; bar.sync 0;", block=64),
    Planted("two barriers crossed", "deadlock", "setp.lt.u32 %q0, %tid, 32; @%q0 bra A; bar.sync {x}, 64; bra B; A: bar.sync 2, 64; B:", "2", "3", block=64),
    Planted("numbers of threads differ", "divergent barrier", "setp.ge.u32 %q0, %tid, 64; @%q0 ret; setp.lt.u32 %q0, %tid, 32; @%q0 bra A; bar.sync 2, {x}; bra B; A: bar.sync 2, 64; B:", "64", "96", block=96),
    Planted("no multiple of a warp", "divergent barrier", "bar.sync 1, {x};", "64", "48", block=64),
    Planted("a barrier that there is not", "divergent barrier", "bar.sync {x};", "15", "16"),
    Planted("mask with lanes that are elsewhere", "wrong sync mask", "setp.lt.u32 %q0, %lane, 16; @!%q0 bra E; shfl.sync.bfly.b32 %r2, %lane, 1, 31, {x}; E:", "0xffff", "0xffffffff", (0, None)),
    Planted("mask without the lane itself", "wrong sync mask", "setp.eq.u32 %q1, %lane, 0; vote.sync.ballot.b32 %r1, %q1, {x};", "0xffffffff", "0xfffffffe", (0, None)),
    Planted("lanes that left", "wrong sync mask", "setp.eq.u32 %q0, %lane, {x}; @%q0 ret; redux.sync.add.u32 %r1, %lane, 0xffffffff;", "99", "5"),
    Planted("a warp that is cut off", "wrong sync mask", "match.any.sync.b32 %r1, %lane, {x};", "0xff", "0xffffffff", block=8),
    Planted("bar.warp.sync", "wrong sync mask", "setp.lt.u32 %q0, %lane, 16; @%q0 bar.warp.sync {x};", "0xffff", "0xffffffff"),
    Planted("shuffle from a lane that is not there", "wrong sync mask", "setp.ne.u32 %q0, %lane, 9; @!%q0 bra E; shfl.sync.idx.b32 %r1, %lane, {x}, 31, 0xfffffdff; E:", "8", "9", (0, None)),
    Planted("mma without a lane", "wrong sync mask", "mov.b32 %r1, 0; mov.f32 %f1, 0f00000000; setp.ne.u32 %q0, %lane, {x}; @%q0 mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {{%f2, %f3, %f4, %f5}}, {{%r1, %r1, %r1, %r1}}, {{%r1, %r1}}, {{%f1, %f1, %f1, %f1}};", "99", "30", (30, None)),
    Planted("branch table", "bad branch", "T: .branchtargets A, B; brx.idx {x}, T; A: B:", "1", "2", (0, None)),
]
ALL = BOUNDS + ALIGNMENT + NOTHING_WRITTEN + RACES + BARRIERS


def reports_of(planted, hole, seed):
    """Reports of the kernel with `hole` in its place, and the addresses of its two buffers."""
    _cuda.set_options(seed=seed)
    _cuda.clear_reports()
    body = planted.body.replace("{x}", hole).replace("{{", "{").replace("}}", "}")
    text = source("{" + body + "}", 2, outer=planted.outer, name="planted")
    buffers = Buffer(np.zeros(128, np.uint32)), Buffer(np.zeros(1024, np.uint32))
    if planted.id == "memory of the device":
        half = Buffer.empty(1, np.uint64)
        launch(source("st.global.u32 [%p0], 1;", 1), half, block=(1,))
        buffers = buffers[0], half
    args = dict(grid=(planted.grid,), block=(planted.block,), shared=planted.shared, name="planted")
    kernel = launch(text, *buffers, **args)
    try:
        _cuda.synchronize()
    except RuntimeError as error:
        assert "kernel planted" in str(error)
    assert kernel
    return _cuda.reports(), [b.memory.address for b in buffers]


@pytest.mark.parametrize("planted", ALL, ids=lambda p: p.id.replace(" ", "_"))
def test_found(planted):
    """The fault alone is found, whatever the order of warps; the right kernel has none."""
    for seed in range(1, 6):
        reports, _ = reports_of(planted, planted.right, seed)
        assert [r["text"] for r in reports] == []
        reports, bases = reports_of(planted, planted.wrong, seed)
        # Who reads too early may also find that nothing has been written yet.
        early = {"uninitialised"} if planted in RACES else set()
        faults = {r["fault"] for r in reports}
        assert planted.fault in faults and faults <= {planted.fault} | early, reports
        first = next(r for r in reports if r["fault"] == planted.fault)
        assert first["kernel"] == "planted"
        assert first["source"].startswith("PTX line ")
        assert first["opcode"].split(".")[0] in planted.body + planted.wrong
        if planted.at:
            thread, offset = planted.at
            assert first["thread"][0] == thread
            if offset is not None:
                assert first["address"] in [offset, *(b + offset for b in bases)]


def test_use_after_free():
    text = source("ld.global.u32 %r1, [%p0];", 1)
    buffer = Buffer(np.zeros(32, np.uint32))
    launch(text, np.uint64(buffer.memory.address))
    _cuda.synchronize()
    address = buffer.memory.address
    del buffer
    kernel = launch(text, np.uint64(address))
    with pytest.raises(RuntimeError, match="use after free"):
        _cuda.synchronize()
    (report,) = _cuda.reports()
    assert report["fault"] == "use after free" and report["address"] == address
    assert kernel


def test_addresses_are_never_used_again():
    addresses = {Buffer(np.zeros(8, np.uint32)).memory.address for _ in range(20)}
    assert len(addresses) == 20


LIMITS = {
    "threads": (dict(block=(1024,)), dict(block=(1025,))),
    "threads in all": (dict(block=(32, 32)), dict(block=(32, 33))),
    "z of the block": (dict(block=(1, 1, 64)), dict(block=(1, 1, 65))),
    "y of the grid": (dict(grid=(1, 65535)), dict(grid=(1, 65536))),
    "no block": (dict(grid=(1,)), dict(grid=(0,))),
    "shared memory": (dict(shared=163 << 10), dict(shared=(163 << 10) + 1)),
    "declared threads": (dict(block=(64,), launch=".maxntid 64"), dict(block=(65,), launch=".maxntid 64")),
    "declared threads in two": (
        dict(block=(8, 8), launch=".reqntid 8, 8"),
        dict(block=(9, 8), launch=".reqntid 8, 8"),
    ),
}


@pytest.mark.parametrize("right, wrong", LIMITS.values(), ids=LIMITS)
def test_launch_limits(right, wrong):
    for sizes, good in ((right, True), (wrong, False)):
        sizes = dict(sizes)
        kernel = _cuda.Module(source("", 0, launch=sizes.pop("launch", ""), name="limited")).kernel("limited")
        arguments = dict(grid=[1], block=[1]) | {
            k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()
        }
        if good:
            kernel.launch(arguments=[], **arguments)
            _cuda.synchronize()
            assert _cuda.reports() == []
        else:
            with pytest.raises(RuntimeError, match="limited"):
                kernel.launch(arguments=[], **arguments)


def test_source_lines():
    """With .loc a report names the file and line, and where the line was inlined."""
    body = """.loc 1 12 3
add.u64 %rd1, %p0, 512;
.loc 1 14 1, function_name I, inlined_at 1 30 5
ld.global.u32 %r1, [%rd1];"""
    text = source(body, 1).replace(".target sm_80", '.target sm_80\n.file 1 "some/where/gemm.cu"')
    text = text.replace(".version 8.5\n", ".version 8.5\n", 1).replace('.file 1 "', '\n.file 1 "')
    header, rest = text.split(".address_size 64\n", 1)
    file = next(line for line in header.splitlines() if line.startswith(".file"))
    text = header.replace(file, "") + ".address_size 64\n" + file + "\n" + rest
    buffer = Buffer(np.zeros(128, np.uint32))
    kernel = launch(text, buffer, grid=(3, 1), block=(4, 2))
    with pytest.raises(RuntimeError, match=r"kernel k at gemm\.cu:14 from gemm\.cu:30 \(ld\.global\.u32\)"):
        buffer.get()
    (report,) = _cuda.reports()
    assert report["source"] == "gemm.cu:14 from gemm.cu:30"
    assert len(report["block"]) == 3 and report["thread"] == [0, 0, 0]
    assert f"0x{report['address']:x}" in report["text"]
    assert kernel


def test_place_in_three_dimensions():
    """The block and thread of a fault, counted as the kernel counts them."""
    body = """mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ctaid.y;
setp.eq.u32 %q0, %tid, 1; setp.eq.and.u32 %q0, %r1, 2, %q0; setp.eq.and.u32 %q0, %r2, 3, %q0;
setp.eq.and.u32 %q0, %r3, 1, %q0; setp.eq.and.u32 %q0, %ctaid, 2, %q0; @%q0 ld.global.u32 %r4, [%p0+512];"""
    buffer = Buffer(np.zeros(128, np.uint32))
    kernel = launch(source(body, 1), buffer, grid=(3, 2), block=(2, 4, 5))
    with pytest.raises(RuntimeError):
        buffer.get()
    (report,) = _cuda.reports()
    assert report["block"] == [2, 1, 0] and report["thread"] == [1, 2, 3]
    assert kernel


def test_races_can_be_left_out():
    planted = next(p for p in RACES if p.id == "write after read")
    _cuda.set_options(races=False)
    kernel = launch(
        source("{" + planted.body.replace("{x}", "") + "}", 2),
        Buffer(np.zeros(128, np.uint32)),
        Buffer(np.zeros(1024, np.uint32)),
        block=(64,),
    )
    _cuda.synchronize()
    assert _cuda.reports() == [] and kernel
