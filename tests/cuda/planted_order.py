"""Planted faults of order: races, barriers and masks."""

from planted import COPY, FILL, NEXT, SHARED, Planted

RACES = [
    Planted(
        "read after write, later warp reads",
        "race in shared memory",
        SHARED + FILL + "{x} " + NEXT.format(k=32) + " ld.shared.u32 %r2, [%r1];",
        "bar.sync 0;",
        "",
        block=64,
    ),
    Planted(
        "read after write in a warp",
        "race in shared memory",
        SHARED + FILL + "{x} " + NEXT.format(k=1) + " ld.shared.u32 %r2, [%r1];",
        "bar.warp.sync 0xffffffff;",
        "",
    ),
    Planted(
        "write after read",
        "race in shared memory",
        SHARED
        + FILL
        + " bar.sync 0; "
        + NEXT.format(k=32)
        + " ld.shared.u32 %r2, [%r1]; {x} st.shared.u32 [%r31], %r2;",
        "bar.sync 0;",
        "",
        block=64,
    ),
    Planted(
        "write after read in a warp",
        "race in shared memory",
        SHARED
        + FILL
        + " bar.sync 0; "
        + NEXT.format(k=3)
        + " ld.shared.u32 %r2, [%r1]; {x} st.shared.u32 [%r31], %r2;",
        "bar.warp.sync 0xffffffff;",
        "",
    ),
    Planted(
        "write after write",
        "race in shared memory",
        SHARED + FILL + "{x} " + NEXT.format(k=32) + " st.shared.u32 [%r1], 0;",
        "bar.sync 0;",
        "",
        block=64,
    ),
    Planted(
        "two lanes write different values",
        "race in shared memory",
        SHARED + "st.shared.u32 [%r30], {x};",
        "7",
        "%lane",
    ),
    Planted(
        "bytes of a word",
        "race in shared memory",
        SHARED + "cvt.u16.u32 %h1, %thread; add.u32 %r1, %r30, %thread; st.shared.u8 [%r1], %h1; "
        "{x} xor.b32 %r2, %thread, 33; add.u32 %r2, %r2, %r30; ld.shared.u8 %h2, [%r2];",
        "bar.sync 0;",
        "",
        block=64,
    ),
    Planted(
        "one barrier of a loop",
        "race in shared memory",
        SHARED
        + "mov.u32 %r5, 0; L: "
        + FILL
        + " bar.sync 0; "
        + NEXT.format(k=32)
        + " ld.shared.u32 %r2, [%r1]; {x} add.u32 %r5, %r5, 1; setp.lt.u32 %q0, %r5, 3; "
        "@%q0 bra L;",
        "bar.sync 0;",
        "",
        block=64,
    ),
    Planted(
        "barrier of other warps",
        "race in shared memory",
        SHARED
        + FILL
        + " setp.lt.u32 %q0, %thread, 64; {x} "
        + NEXT.format(k=32)
        + " @%q0 ld.shared.u32 %r2, [%r1];",
        "@%q0 bar.sync 1, 64; @!%q0 bar.sync 2, 64;",
        "@%q0 bar.sync 1, 64; @!%q0 bar.sync 2, 64; xor.b32 %r1, %thread, 64; "
        "mad.lo.u32 %r1, %r1, 4, %r30; ld.shared.u32 %r2, [%r1];",
        block=128,
    ),
    Planted(
        "an atomic and a store",
        "race in shared memory",
        SHARED + "setp.eq.u32 %q0, %thread, 0; @%q0 st.shared.u32 [%r30], 0; "
        "{x} red.shared.add.u32 [%r30], 1;",
        "bar.sync 0;",
        "bar.warp.sync 0xffffffff;",
        block=64,
    ),
    Planted(
        "cp.async not waited for",
        "race with cp.async",
        SHARED + COPY + " {x} ld.shared.u32 %r2, [%r31];",
        "cp.async.wait_all;",
        "",
    ),
    Planted(
        "cp.async of the group too many",
        "race with cp.async",
        SHARED + COPY + " cp.async.commit_group; {x} bar.sync 0; ld.shared.u32 %r2, [%r31];",
        "cp.async.wait_group 0;",
        "cp.async.wait_group 1;",
    ),
    Planted(
        "cp.async not committed",
        "race with cp.async",
        SHARED + COPY + " {x} cp.async.wait_group 0; ld.shared.u32 %r2, [%r31]; cp.async.wait_all;",
        "cp.async.commit_group;",
        "",
    ),
    Planted(
        "cp.async waited for, no barrier",
        "race in shared memory",
        SHARED
        + COPY
        + " cp.async.wait_all; {x} "
        + NEXT.format(k=32)
        + " ld.shared.u32 %r2, [%r1];",
        "bar.sync 0;",
        "",
        block=64,
    ),
    Planted(
        "cp.async into what is read",
        "race in shared memory",
        SHARED
        + FILL
        + " bar.sync 0; "
        + NEXT.format(k=32)
        + " ld.shared.u32 %r2, [%r1]; {x} "
        + COPY
        + " cp.async.wait_all;",
        "bar.sync 0;",
        "",
        block=64,
    ),
    Planted(
        "cp.async over what is copied",
        "race with cp.async",
        SHARED + COPY + " {x} " + COPY + " cp.async.wait_all;",
        "cp.async.wait_all;",
        "",
    ),
    Planted(
        "cp.async at the end",
        "race with cp.async",
        SHARED + COPY + " {x}",
        "cp.async.wait_all;",
        "",
    ),
    Planted(
        "blocks write one place",
        "race in global memory",
        "{x} st.global.u32 [%rd1], %block;",
        "add.u64 %rd1, %p1, %off4;",
        "mov.u64 %rd1, %p1;",
        grid=2,
        block=1,
    ),
    Planted(
        "a block reads what another writes",
        "race in global memory",
        "add.u64 %rd1, %p0, %off4; st.global.u32 [%rd1], 1; {x} ld.global.u32 %r2, [%rd1];",
        "",
        "setp.eq.u32 %q0, %block, 0; @%q0 add.u64 %rd1, %rd1, 32; @!%q0 sub.u64 %rd1, %rd1, 32;",
        grid=2,
        block=8,
    ),
    Planted(
        "a block writes what another reads",
        "race in global memory",
        "ld.global.u32 %r2, [%p0]; {x} st.global.u32 [%rd1], 1;",
        "add.u64 %rd1, %p1, %off4;",
        "mov.u64 %rd1, %p0;",
        grid=3,
        block=1,
    ),
    Planted(
        "sums without atomics",
        "race in global memory",
        "{x}",
        "red.global.add.u32 [%p0], 1;",
        "ld.global.u32 %r1, [%p0]; add.u32 %r1, %r1, 1; st.global.u32 [%p0], %r1;",
        grid=2,
        block=1,
    ),
]

BARRIERS = [
    Planted(
        "in one side of a branch",
        "divergent barrier",
        "setp.lt.u32 %q0, %lane, 16; {x} bar.sync 0;",
        "",
        "@%q0",
        (16, None),
    ),
    Planted(
        "in a loop of different lengths",
        "divergent barrier",
        "mov.u32 %r1, {x}; L: bar.sync 0; sub.u32 %r1, %r1, 1; setp.gt.s32 %q0, %r1, 0; "
        "@%q0 bra L;",
        "3",
        "%lane",
        block=64,
    ),
    Planted(
        "one warp leaves another waiting",
        "deadlock",
        "setp.lt.u32 %q0, %thread, 32; {x}",
        "@%q0 bar.sync 1, 32; bar.sync 0;",
        "@%q0 bar.sync 1, 64; bar.sync 0;",
        block=64,
    ),
    Planted(
        "two barriers crossed",
        "deadlock",
        "setp.lt.u32 %q0, %thread, 32; @%q0 bra A; bar.sync {x}, 64; bra B; A: bar.sync 2, 64; B:",
        "2",
        "3",
        block=64,
    ),
    Planted(
        "numbers of threads differ",
        "divergent barrier",
        "setp.ge.u32 %q0, %thread, 64; @%q0 ret; setp.lt.u32 %q0, %thread, 32; @%q0 bra A; "
        "bar.sync 2, {x}; bra B; A: bar.sync 2, 64; B:",
        "64",
        "96",
        block=96,
    ),
    Planted("no multiple of a warp", "divergent barrier", "bar.sync 1, {x};", "64", "48", block=64),
    Planted("a barrier that there is not", "divergent barrier", "bar.sync {x};", "15", "16"),
    Planted(
        "mask with lanes that are elsewhere",
        "wrong sync mask",
        "setp.lt.u32 %q0, %lane, 16; @!%q0 bra E; shfl.sync.bfly.b32 %r2, %lane, 1, 31, {x}; E:",
        "0xffff",
        "0xffffffff",
        (0, None),
    ),
    Planted(
        "mask without the lane itself",
        "wrong sync mask",
        "setp.eq.u32 %q1, %lane, 0; vote.sync.ballot.b32 %r1, %q1, {x};",
        "0xffffffff",
        "0xfffffffe",
        (0, None),
    ),
    Planted(
        "lanes that left",
        "wrong sync mask",
        "setp.eq.u32 %q0, %lane, {x}; @%q0 ret; redux.sync.add.u32 %r1, %lane, 0xffffffff;",
        "99",
        "5",
    ),
    Planted(
        "a warp that is cut off",
        "wrong sync mask",
        "match.any.sync.b32 %r1, %lane, {x};",
        "0xff",
        "0xffffffff",
        block=8,
    ),
    Planted(
        "bar.warp.sync",
        "wrong sync mask",
        "setp.lt.u32 %q0, %lane, 16; @%q0 bar.warp.sync {x};",
        "0xffff",
        "0xffffffff",
    ),
    Planted(
        "shuffle from a lane that is not there",
        "wrong sync mask",
        "setp.ne.u32 %q0, %lane, 9; @!%q0 bra E; "
        "shfl.sync.idx.b32 %r1, %lane, {x}, 31, 0xfffffdff; E:",
        "8",
        "9",
        (0, None),
    ),
    Planted(
        "mma without a lane",
        "wrong sync mask",
        "mov.b32 %r1, 0; mov.f32 %f1, 0f00000000; setp.ne.u32 %q0, %lane, {x}; "
        "@%q0 mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {{%f2, %f3, %f4, %f5}}, "
        "{{%r1, %r1, %r1, %r1}}, {{%r1, %r1}}, {{%f1, %f1, %f1, %f1}};",
        "99",
        "30",
        (30, None),
    ),
    Planted(
        "branch table",
        "bad branch",
        "T: .branchtargets A, B; brx.idx {x}, T; A: B:",
        "1",
        "2",
        (0, None),
    ),
]
