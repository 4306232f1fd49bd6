"""Planted faults of mbarriers."""

from planted_hopper import ARRIVE, MAKE, ONE, OPEN, RULE, SHARED, WAIT, W, hopper

BARRIERS = [
    hopper(
        "arrives before init", RULE, ONE + "{x} bar.sync 0; " + ARRIVE, MAKE.format(count=32), ""
    ),
    hopper(
        "no barrier behind init",
        RULE,
        ONE + MAKE.format(count=64) + "{x} " + ARRIVE,
        "bar.sync 0;",
        "",
        block=64,
    ),
    hopper(
        "too many arrive",
        RULE,
        ONE + MAKE.format(count=32) + OPEN + "@%one mbarrier.arrive.shared::cta.b64 _, [%b], {x};",
        "32",
        "33",
    ),
    hopper(
        "counts none", RULE, ONE + "@%one mbarrier.init.shared::cta.b64 [%b], {x};", "1048575", "0"
    ),
    hopper(
        "no such parity",
        RULE,
        ONE + MAKE.format(count=32) + OPEN + ARRIVE + WAIT.format(label="W", at="%b", parity="{x}"),
        "0",
        "2",
    ),
    hopper(
        "made twice",
        RULE,
        ONE + MAKE.format(count=1) + "{x} " + MAKE.format(count=1),
        "@%one mbarrier.inval.shared::cta.b64 [%b];",
        "",
    ),
    hopper(
        "written over",
        RULE,
        ONE
        + MAKE.format(count=32)
        + OPEN
        + "@%one st.shared.u32 [%b+{x}], 7; bar.sync 0; "
        + ARRIVE,
        "8",
        "4",
    ),
    hopper(
        "read",
        "uninitialised",
        ONE
        + "mov.u32 %r1, 5; @%one st.shared.u32 [%b+8], %r1; "
        + MAKE.format(count=32)
        + OPEN
        + "@%one ld.shared.u32 %r2, [%b+{x}];",
        "8",
        "4",
    ),
    hopper(
        "mbarrier misaligned",
        "misaligned",
        ONE + "@%one mbarrier.init.shared::cta.b64 [%b+{x}], 1;",
        "8",
        "4",
    ),
    hopper(
        "mbarrier out of bounds",
        "out of bounds",
        ONE + "@%one mbarrier.init.shared::cta.b64 [%s+{x}], 1;",
        "4120",
        "4136",
    ),
    hopper(
        "mbarrier in memory",
        RULE,
        ONE + "{x} @%one mbarrier.init.b64 [%rd1], 1;",
        "mov.u64 %rd1, bar; cvta.shared.u64 %rd1, %rd1;",
        "mov.u64 %rd1, %p1;",
    ),
    hopper(
        "one does not arrive",
        "deadlock",
        ONE + MAKE.format(count="{x}") + OPEN + ARRIVE + W,
        "32",
        "33",
    ),
    hopper(
        "waits for a phase that nobody ends",
        "deadlock",
        ONE
        + MAKE.format(count=32)
        + OPEN
        + ARRIVE
        + W
        + "{x} "
        + WAIT.format(label="V", at="%b", parity=1),
        ARRIVE,
        "",
    ),
    hopper(
        "test_wait for ever",
        "deadlock",
        ONE + MAKE.format(count=32) + OPEN + "{x} "
        "V: mbarrier.test_wait.parity.shared::cta.b64 %done, [%b], 0; @!%done bra V;",
        ARRIVE,
        "",
    ),
    hopper(
        "reads without waiting",
        SHARED,
        ONE
        + MAKE.format(count=64)
        + OPEN
        + "st.shared.u32 [%r31], %thread; "
        + ARRIVE
        + "{x} xor.b32 %r1, %thread, 32; "
        "mad.lo.u32 %r1, %r1, 4, %s; ld.shared.u32 %r2, [%r1];",
        W,
        "",
        block=64,
    ),
    hopper(
        "writes before others have read",
        SHARED,
        ONE
        + MAKE.format(count=64)
        + OPEN
        + "st.shared.u32 [%r31], %thread; bar.sync 0; xor.b32 %r1, %thread, 32; "
        "mad.lo.u32 %r1, %r1, 4, %s; ld.shared.u32 %r2, [%r1]; "
        + ARRIVE
        + "{x} st.shared.u32 [%r31], %r2;",
        W,
        "",
        block=64,
    ),
    hopper(
        "arrives too early",
        SHARED,
        ONE + MAKE.format(count=64) + OPEN + "{x} " + W + "xor.b32 %r1, %thread, 32; "
        "mad.lo.u32 %r1, %r1, 4, %s; ld.shared.u32 %r2, [%r1];",
        "st.shared.u32 [%r31], %thread; " + ARRIVE,
        ARRIVE + "st.shared.u32 [%r31], %thread; ",
        block=64,
    ),
]
