"""Planted faults of bulk copies, and of what their mbarriers count."""

from planted_hopper import (
    ARRIVE,
    BEGUN,
    COPY,
    EXPECT,
    EXPECTING,
    FILLED,
    LOAD,
    LOADED,
    MAKE,
    ONE,
    OPEN,
    PROXY,
    READ,
    RULE,
    SEEN,
    SHARED,
    WAIT,
    W,
    hopper,
)

BULK = [
    hopper(
        "reads before the bytes have come", COPY, BEGUN + "{x} " + READ + W, W.replace("W", "V"), ""
    ),
    hopper(
        "reads behind another barrier",
        COPY,
        ONE
        + MAKE.format(count=1)
        + "@%one mbarrier.init.shared::cta.b64 [%b+8], 1; "
        + OPEN
        + EXPECT.format(bytes=512)
        + LOADED
        + "@%one mbarrier.arrive.shared::cta.b64 _, [%b+8]; "
        + WAIT.format(label="V", at="%b+{x}", parity=0)
        + READ
        + W,
        "0",
        "8",
    ),
    hopper(
        "waits by the parity before",
        COPY,
        BEGUN + WAIT.format(label="V", at="%b", parity="{x}") + READ + W,
        "0",
        "1",
    ),
    hopper(
        "loads over what others read",
        SHARED,
        ONE
        + MAKE.format(count=1)
        + OPEN
        + "st.shared.u32 [%r31], %thread; bar.sync 0; xor.b32 %r1, %thread, 32; "
        "mad.lo.u32 %r1, %r1, 4, %s; ld.shared.u32 %r2, [%r1]; {x} "
        + EXPECT.format(bytes=512)
        + LOADED
        + W,
        "bar.sync 0;",
        "",
        block=64,
        also=COPY,
    ),
    hopper(
        "loads twice into one place",
        COPY,
        ONE
        + MAKE.format(count=1)
        + OPEN
        + EXPECT.format(bytes=1024)
        + LOADED
        + LOAD.format(to="%s+{x}", map="%m0")
        + W,
        "512",
        "0",
    ),
    hopper(
        "more bytes than expected",
        RULE,
        ONE + MAKE.format(count=1) + OPEN + EXPECT.format(bytes="{x}") + LOADED + W,
        "512",
        "496",
    ),
    hopper(
        "fewer bytes than expected",
        "deadlock",
        ONE + MAKE.format(count=1) + OPEN + EXPECT.format(bytes="{x}") + LOADED + W,
        "512",
        "528",
    ),
    hopper(
        "nobody expects the bytes",
        COPY,
        ONE + MAKE.format(count=1) + OPEN + LOADED + "{x} " + W,
        EXPECT.format(bytes=512),
        "@%one " + ARRIVE,
    ),
    hopper(
        "expects too many",
        RULE,
        ONE + MAKE.format(count=2) + OPEN + "@%one mbarrier.expect_tx.shared::cta.b64 [%b], {x};",
        "1048575",
        "1048576",
    ),
    hopper(
        "mbarrier without its fence",
        PROXY,
        ONE + MAKE.format(count=1) + "{x} bar.sync 0; " + EXPECT.format(bytes=512) + LOADED + W,
        "fence.mbarrier_init.release.cluster;",
        "",
    ),
    hopper("ends before the bytes have come", COPY, BEGUN + "{x}", W, ""),
    hopper(
        "load misaligned",
        "misaligned",
        EXPECTING + LOAD.format(to="%s+{x}", map="%m0") + W,
        "128",
        "64",
    ),
    hopper(
        "load from the middle of 16 bytes",
        "misaligned",
        EXPECTING + LOADED.replace("{{0, 0}}", "{{{x}, 0}}") + W,
        "8",
        "4",
    ),
    hopper(
        "load out of bounds",
        "out of bounds",
        EXPECTING + LOAD.format(to="%s+{x}", map="%m0") + W,
        "3584",
        "3712",
    ),
    hopper(
        "no map",
        "operand rule",
        EXPECTING + "mov.u64 %rd1, {x}; " + LOAD.format(to="%s", map="%rd1") + W,
        "%m0",
        "%p1",
    ),
    hopper(
        "map misaligned",
        "misaligned",
        EXPECTING + "add.u64 %rd1, %m0, {x}; " + LOAD.format(to="%s", map="%rd1") + W,
        "0",
        "32",
    ),
    hopper(
        "load at an unmade mbarrier",
        RULE,
        EXPECTING + LOADED.replace("[%b]", "[%b+{x}]") + W,
        "0",
        "8",
    ),
]

STORE = (
    "@%one cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%m1, {{0, 8}}], [%s{at}]; "
)
COMMIT = "cp.async.bulk.commit_group; "
STORED = "cp.async.bulk.wait_group.read 0; "
STORE_0 = STORE.replace("{at}", "")
STORES = [
    hopper(
        "stores what no fence has shown",
        PROXY,
        FILLED + "{x} bar.sync 0; " + STORE_0 + COMMIT + STORED,
        "fence.proxy.async.shared::cta;",
        "",
    ),
    hopper(
        "fence before the writes",
        PROXY,
        "{x}" + " bar.sync 0; " + STORE_0 + COMMIT + STORED,
        FILLED + "fence.proxy.async;",
        FILLED.replace("mov.u32 %r4", "fence.proxy.async; mov.u32 %r4"),
    ),
    hopper(
        "stores before all have written",
        SHARED,
        FILLED + "fence.proxy.async; {x} " + STORE.replace("{at}", "+512") + COMMIT + STORED,
        "bar.sync 0;",
        "",
        block=64,
        also=COPY,
    ),
    hopper(
        "writes before the store has read",
        COPY,
        FILLED + SEEN + STORE_0 + COMMIT + "{x} st.shared.u32 [%r31], 1; " + STORED,
        STORED + "bar.sync 0;",
        "bar.sync 0;",
    ),
    hopper(
        "others write before the store has read",
        COPY,
        FILLED + SEEN + STORE_0 + COMMIT + "{x} st.shared.u32 [%r31], 1; " + STORED,
        STORED + "bar.sync 0;",
        "bar.sync 0;",
        block=64,
    ),
    hopper(
        "waits for too few stores",
        COPY,
        FILLED
        + SEEN
        + STORE_0
        + COMMIT
        + "cp.async.bulk.wait_group.read {x}; bar.sync 0; st.shared.u32 [%r31], 1; "
        + STORED,
        "0",
        "1",
    ),
    hopper(
        "ends before the store has read", COPY, FILLED + SEEN + STORE_0 + COMMIT + "{x}", STORED, ""
    ),
    hopper("store without a group", COPY, FILLED + SEEN + STORE_0 + "{x} " + STORED, COMMIT, ""),
    hopper(
        "stores what nothing was written to",
        "uninitialised",
        FILLED + SEEN + STORE.replace("{at}", "+{x}") + COMMIT + STORED,
        "0",
        "1024",
    ),
    hopper(
        "store misaligned",
        "misaligned",
        FILLED + SEEN + STORE.replace("{at}", "+{x}") + COMMIT + STORED,
        "0",
        "16",
    ),
    hopper(
        "store past the memory",
        "out of bounds",
        FILLED
        + SEEN
        + STORE_0.replace("%m1", "%m{x}").replace("{0, 8}", "{0, 30}")
        + COMMIT
        + STORED,
        "1",
        "2",
        maps=3,
    ),
    hopper(
        "store that begins before the tensor",
        "out of bounds",
        FILLED + SEEN + STORE_0.replace("{0, 8}", "{0, {x}}") + COMMIT + STORED,
        "8",
        "-1",
    ),
]
