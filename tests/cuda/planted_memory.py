"""Planted faults of memory: bounds, alignment, and what nothing was written to."""

from planted import FILL, LOCAL, OUT, ROW, SHARED, Planted

BOUNDS = [
    Planted(
        "load past the end",
        "out of bounds",
        "add.u64 %rd1, %p0, %off4; ld.global.u32 %r1, [%rd1+{x}];",
        "0",
        "388",
        (31, 512),
    ),
    Planted(
        "load before the begin",
        "out of bounds",
        "add.u64 %rd1, %p0, %off4; ld.global.u32 %r1, [%rd1+{x}];",
        "0",
        "-4",
        (0, -4),
    ),
    Planted(
        "vector across the end",
        "out of bounds",
        "ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%p0+{x}];",
        "496",
        "512",
        (0, 512),
    ),
    Planted(
        "store past the end",
        "out of bounds",
        "st.global.u32 [%p1+{x}], 1;",
        "4092",
        "4096",
        (0, 4096),
        block=1,
    ),
    Planted("generic load", "out of bounds", "ld.u8 %h1, [%p0+{x}];", "511", "512", (0, 512)),
    Planted(
        "null",
        "out of bounds",
        "{x} ld.global.u32 %r1, [%rd1];",
        "mov.u64 %rd1, %p0;",
        "mov.u64 %rd1, 0;",
    ),
    Planted("atomic", "out of bounds", "red.global.add.u32 [%p0+{x}], 1;", "508", "512", (0, 512)),
    Planted(
        "static shared memory",
        "out of bounds",
        SHARED + "st.shared.u32 [%r31+{x}], 0;",
        "384",
        "388",
        (31, 512),
    ),
    Planted(
        "shared memory below zero",
        "out of bounds",
        SHARED + "st.shared.u32 [%r30+{x}], 7;",
        "0",
        "-4",
        block=1,
    ),
    Planted(
        "dynamic shared memory",
        "out of bounds",
        "mov.u32 %r1, d; st.shared.u32 [%r1+{x}], %lane;",
        "60",
        "64",
        (0, 64),
        shared=64,
        outer=".extern .shared .align 16 .b8 d[];",
        block=1,
    ),
    Planted(
        "generic shared memory",
        "out of bounds",
        SHARED + "mov.u64 %rd1, s; cvta.shared.u64 %rd1, %rd1; st.u32 [%rd1+{x}], %lane;",
        "508",
        "512",
        block=1,
    ),
    Planted(
        "local memory", "out of bounds", LOCAL + "st.local.u32 [%rd30+{x}], 0;", "28", "32", (0, 32)
    ),
    Planted(
        "local memory below zero",
        "out of bounds",
        LOCAL + "st.local.u32 [%rd30+{x}], 0;",
        "0",
        "-4",
    ),
    Planted("parameters", "out of bounds", "ld.param.u32 %r1, [a1+{x}];", "4", "8", (0, 16)),
    Planted("parameters below zero", "out of bounds", "ld.param.u32 %r1, [a0+{x}];", "4", "-8"),
    Planted(
        "constants",
        "out of bounds",
        "ld.const.u32 %r1, [t+{x}];",
        "12",
        "16",
        outer=".const .align 4 .u32 t[4] = {1, 2, 3, 4};",
    ),
    Planted(
        "cp.async from",
        "out of bounds",
        SHARED + "cp.async.ca.shared.global [%r31], [%p0+{x}], 4; cp.async.wait_all;",
        "508",
        "512",
        (0, 512),
        block=1,
    ),
    Planted(
        "cp.async from, in part",
        "out of bounds",
        SHARED + "cp.async.ca.shared.global [%r30], [%p0+{x}, 16, 12; cp.async.wait_all;",
        "496]",
        "512]",
        (0, 512),
        block=1,
    ),
    Planted(
        "cp.async to",
        "out of bounds",
        SHARED + "cp.async.ca.shared.global [%r30+{x}], [%p0], 4; cp.async.wait_all;",
        "508",
        "512",
        (0, 512),
        block=1,
    ),
    Planted(
        "cp.async to below zero",
        "out of bounds",
        SHARED + "cp.async.ca.shared.global [%r30+{x}], [%p0], 16; cp.async.wait_all;",
        "0",
        "-16",
        block=1,
    ),
    Planted(
        "ldmatrix",
        "out of bounds",
        SHARED
        + ROW
        + "st.shared.v4.u32 [%r31], {{%thread, %thread, %thread, %thread}}; bar.warp.sync 0xffffffff; "
        "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r1}}, [%r31+{x}];",
        "0",
        "400",
        (7, 512),
    ),
    Planted(
        "ldmatrix of global memory",
        "out of bounds",
        "mad.wide.u32 %rd1, %lane, 16, %p0; {x}",
        "",
        "ldmatrix.sync.aligned.m8n8.x1.b16 {%r1}, [%rd1];",
        (0, 0),
    ),
    Planted(
        "write to constants",
        "write to read-only memory",
        "mov.u64 %rd1, {x}1; cvta.{x}.u64 %rd1, %rd1; st.u32 [%rd1], 1;",
        "global",
        "const",
        outer=".const .align 4 .u32 const1; .global .align 4 .u32 global1;",
        block=1,
    ),
]

ALIGNMENT = [
    Planted(
        "global",
        "misaligned",
        "add.u64 %rd1, %p0, {x}; ld.global.u32 %r1, [%rd1];",
        "4",
        "2",
        (0, 2),
    ),
    Planted("global store", "misaligned", "st.global.u16 [%p1+{x}], 7;", "2", "1", (0, 1), block=1),
    Planted(
        "vector",
        "misaligned",
        "ld.global.v4.u32 {{%r1, %r2, %r3, %r4}}, [%p0+{x}];",
        "16",
        "8",
        (0, 8),
    ),
    Planted("64 bits", "misaligned", "ld.global.u64 %rd1, [%p0+{x}];", "8", "4", (0, 4)),
    Planted(
        "shared", "misaligned", SHARED + "st.shared.u32 [%r30+{x}], 1;", "4", "3", (0, 3), block=1
    ),
    Planted("local", "misaligned", LOCAL + "st.local.u64 [%rd30+{x}], %rd30;", "8", "4", (0, 4)),
    Planted(
        "constants",
        "misaligned",
        "ld.const.u32 %r1, [t+{x}];",
        "4",
        "5",
        outer=".const .align 4 .u32 t[4] = {1, 2, 3, 4};",
    ),
    Planted("parameters", "misaligned", "ld.param.u64 %rd1, [a0+{x}];", "8", "4", (0, 4)),
    Planted("atomic", "misaligned", "red.global.add.u64 [%p0+{x}], 1;", "8", "4", (0, 4)),
    Planted(
        "cp.async",
        "misaligned",
        SHARED + "cp.async.cg.shared.global [%r30], [%p0+{x}], 16; cp.async.wait_all;",
        "16",
        "8",
        (0, 8),
        block=1,
    ),
    Planted(
        "cp.async to",
        "misaligned",
        SHARED + "cp.async.ca.shared.global [%r30+{x}], [%p0], 8; cp.async.wait_all;",
        "8",
        "4",
        (0, 4),
        block=1,
    ),
    Planted(
        "ldmatrix",
        "misaligned",
        SHARED
        + ROW
        + "st.shared.v4.u32 [%r31], {{%thread, %thread, %thread, %thread}}; bar.warp.sync 0xffffffff; "
        "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r1}}, [%r31+{x}];",
        "16",
        "8",
        (0, 8),
    ),
]

NOTHING_WRITTEN = [
    Planted(
        "shared memory",
        "uninitialised",
        SHARED + "{x} bar.sync 0; ld.shared.u32 %r1, [%r31];",
        FILL,
        "",
        (0, 0),
    ),
    Planted(
        "part of shared memory",
        "uninitialised",
        SHARED + "{x} bar.sync 0; ld.shared.v2.u32 {{%r1, %r2}}, [%r30];",
        FILL,
        "setp.ne.u32 %q0, %thread, 1; @%q0 " + FILL,
        (0, 0),
    ),
    Planted(
        "ldmatrix",
        "uninitialised",
        SHARED + ROW + "{x} bar.warp.sync 0xffffffff; "
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r1, %r2, %r3, %r4}}, [%r31];",
        "st.shared.v4.u32 [%r31], {%thread, %thread, %thread, %thread};",
        "setp.ne.u32 %q0, %lane, 19; @%q0 st.shared.v4.u32 [%r31], {%thread, %thread, %thread, %thread};",
        (19, 304),
    ),
    Planted(
        "register stored", "uninitialised", "{x} " + OUT.format(v="%r1"), "mov.u32 %r1, 0;", ""
    ),
    Planted(
        "register of some lanes",
        "uninitialised",
        "{x} mov.u32 %r1, 4; " + OUT.format(v="%r1"),
        "",
        "setp.lt.u32 %q0, %lane, 7; @%q0",
        (7, 28),
    ),
    Planted(
        "arithmetic passes it on",
        "uninitialised",
        "{x} add.u32 %r2, %r1, 1; mul.lo.u32 %r3, %r2, 0; " + OUT.format(v="%r3"),
        "mov.u32 %r1, 0;",
        "",
    ),
    Planted(
        "address",
        "uninitialised",
        "{x} ld.global.u32 %r1, [%rd1];",
        "mov.u64 %rd1, %p0;",
        "setp.lt.u32 %q0, %lane, 3; @%q0 mov.u64 %rd1, %p0; setp.ge.u32 %q1, %lane, 3; "
        "@%q1 add.u64 %rd1, %rd1, 0; @%q1 sub.u64 %rd1, %rd1, %rd1; "
        "@%q1 add.u64 %rd1, %rd1, %p0;",
        (3, None),
    ),
    Planted(
        "predicate",
        "uninitialised",
        "{x} @%q1 add.u32 %r2, %lane, 1;",
        "setp.eq.u32 %q1, %lane, 0;",
        "",
    ),
    Planted(
        "memory of the device",
        "uninitialised",
        "ld.global.u32 %r1, [%p1+{x}]; " + "add.u64 %rd9, %p0, %off4; st.global.u32 [%rd9], %r1;",
        "0",
        "4",
    ),
    Planted(
        "local memory",
        "uninitialised",
        LOCAL + "{x} ld.local.u32 %r1, [%rd30]; " + OUT.format(v="%r1"),
        "st.local.u32 [%rd30], 5;",
        "",
    ),
    Planted("atomic", "uninitialised", SHARED + "{x} red.shared.add.u32 [%r31], 1;", FILL, ""),
    Planted(
        "mask of a vote",
        "uninitialised",
        "{x} vote.sync.any.pred %q1, %q2, %r1;",
        "mov.u32 %r1, -1; setp.eq.u32 %q2, %lane, 0;",
        "setp.eq.u32 %q2, %lane, 0; setp.lt.u32 %q3, %lane, 31; @%q3 mov.u32 %r1, -1; "
        "@!%q3 sub.u32 %r1, %r1, %r1; @!%q3 sub.u32 %r1, %r1, 1;",
        (31, None),
    ),
    Planted(
        "operand of mma",
        "uninitialised",
        "mov.b32 %r1, 0; "
        "{x} mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {{%f1, %f2, %f3, %f4}}, {{%r1, "
        "%r1}}, {{%r2}}, {{%f5, %f5, %f5, %f5}};",
        "mov.b32 %r2, 0; mov.f32 %f5, 0f00000000;",
        "mov.f32 %f5, 0f00000000;",
    ),
]
