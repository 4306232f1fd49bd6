"""Planted faults of warpgroups: products, registers of those, setmaxnreg."""

from planted import Planted
from planted_hopper import (
    COPY,
    EXPECT,
    FILLED,
    LOADED,
    MAKE,
    OPEN,
    PRODUCT,
    PROXY,
    REGISTERS,
    SEEN,
    SHARED,
    W,
    hopper,
)

# Rows of 16 bytes, eight of them beside each other, then the next sixteen of k; zeros.
DESCRIPTOR = """.reg .b64 %desc; shr.u32 %r5, %s, 4; cvt.u64.u32 %desc, %r5;
or.b64 %desc, %desc, 0x1000080000; """
FENCE, GROUP = "wgmma.fence.sync.aligned; ", "wgmma.commit_group.sync.aligned; "
DONE = "wgmma.wait_group.sync.aligned 0; "
MMA = (
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%f1, %f2, %f3, %f4}}, "
    "%desc, %desc, {scale}, 1, 1, 0, 0; "
)
MMA_0 = MMA.replace("{scale}", "0")
MMA_REGISTERS = (
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%f1, %f2, %f3, %f4}}, "
    "{{%r10, %r11, %r12, %r13}}, %desc, 0, 1, 1, 0; "
)
READY = FILLED + SEEN + DESCRIPTOR
IN_REGISTERS = (
    READY + "".join(f"mov.b32 %r1{k}, 0; " for k in range(4)) + FENCE + MMA_REGISTERS + GROUP
)
BEGUN_MMA = READY + FENCE + MMA_0 + GROUP


def warpgroup(*parts, **more) -> Planted:
    return hopper(*parts, **({"block": 128} | more))


PRODUCTS = [
    warpgroup(
        "reads a sum too early",
        REGISTERS,
        BEGUN_MMA + "{x} add.f32 %f5, %f1, %f2; " + DONE,
        DONE,
        "",
    ),
    warpgroup(
        "stores a sum too early",
        REGISTERS,
        BEGUN_MMA + "{x} add.u64 %rd9, %p1, %off4; st.global.f32 [%rd9], %f3; " + DONE,
        DONE,
        "",
    ),
    warpgroup(
        "reads a copy of a sum too early",
        REGISTERS,
        BEGUN_MMA + "mov.f32 %f5, %f1; {x} add.f32 %f6, %f5, %f5; " + DONE,
        DONE,
        "",
    ),
    warpgroup(
        "overwrites a sum", REGISTERS, BEGUN_MMA + "{x} mov.f32 %f4, 0f00000000; " + DONE, DONE, ""
    ),
    warpgroup(
        "waits for too few groups",
        REGISTERS,
        BEGUN_MMA + "wgmma.wait_group.sync.aligned {x}; add.f32 %f5, %f1, %f2; " + DONE,
        "0",
        "1",
    ),
    warpgroup("ends without waiting", REGISTERS, BEGUN_MMA + "{x}", DONE, ""),
    warpgroup(
        "waits without a group",
        REGISTERS,
        READY + FENCE + MMA_0 + "{x} " + DONE + "add.f32 %f5, %f1, %f2; " + GROUP + DONE,
        GROUP,
        "",
    ),
    warpgroup(
        "overwrites an operand", REGISTERS, IN_REGISTERS + "{x} mov.b32 %r12, 5; " + DONE, DONE, ""
    ),
    warpgroup(
        "an operand without fence",
        REGISTERS,
        READY + FENCE + "mov.b32 %r10, 0; mov.b32 %r11, 0; "
        "mov.b32 %r12, 0; mov.b32 %r13, 0; {x} "
        + "add.u32 %r14, %r10, %r11; "
        + MMA_REGISTERS
        + GROUP
        + DONE,
        FENCE,
        "",
    ),
    warpgroup(
        "a sum without fence",
        REGISTERS,
        READY
        + FENCE
        + "".join(f"mov.f32 %f{k}, 0f00000000; " for k in range(1, 5))
        + "{x} "
        + MMA.replace("{scale}", "1")
        + GROUP
        + DONE,
        FENCE,
        "",
    ),
    warpgroup(
        "a sum that was read without fence",
        REGISTERS,
        BEGUN_MMA + DONE + "add.f32 %f5, %f1, %f2; {x} " + MMA_0 + GROUP + DONE,
        FENCE,
        "",
    ),
    warpgroup(
        "a sum as operand",
        REGISTERS,
        READY
        + FENCE
        + MMA_0
        + GROUP
        + "{x} mov.b32 %r10, %f1; mov.b32 %r11, %f2; mov.b32 %r12, %f3; mov.b32 %r13, %f4; "
        + FENCE
        + MMA_REGISTERS.replace("%f1, %f2, %f3, %f4", "%f5, %f6, %f7, %f8")
        + GROUP
        + DONE,
        DONE,
        "",
    ),
    warpgroup(
        "sums that nothing was written to",
        "uninitialised",
        READY + FENCE + MMA.replace("{scale}", "{x}") + GROUP + DONE,
        "0",
        "1",
    ),
    warpgroup(
        "writes what a wgmma reads",
        PRODUCT,
        BEGUN_MMA + "{x} bar.sync 0; st.shared.u32 [%r3], 1; " + DONE,
        DONE,
        "",
    ),
    warpgroup(
        "loads over what a wgmma reads",
        PRODUCT,
        FILLED
        + MAKE.format(count=1)
        + OPEN
        + SEEN
        + DESCRIPTOR
        + EXPECT.format(bytes=512)
        + FENCE
        + MMA_0
        + GROUP
        + "{x} bar.sync 0; "
        + LOADED
        + W
        + DONE,
        DONE,
        "",
    ),
    warpgroup(
        "reads before the bytes have come, by wgmma",
        COPY,
        FILLED
        + MAKE.format(count=1)
        + OPEN
        + SEEN
        + DESCRIPTOR
        + EXPECT.format(bytes=512)
        + LOADED
        + "{x} "
        + FENCE
        + MMA_0
        + GROUP
        + DONE
        + W,
        W.replace("W", "V"),
        "",
        also=PRODUCT,
    ),
    warpgroup(
        "reads what no fence has shown",
        PROXY,
        FILLED + "{x} bar.sync 0; " + DESCRIPTOR + FENCE + MMA_0 + GROUP + DONE,
        "fence.proxy.async;",
        "",
    ),
    warpgroup(
        "reads what others have not written",
        SHARED,
        FILLED + "fence.proxy.async; {x} " + DESCRIPTOR + FENCE + MMA_0 + GROUP + DONE,
        "bar.sync 0;",
        "",
        also=PRODUCT,
    ),
    warpgroup(
        "reads what nothing was written to",
        "uninitialised",
        READY + "add.u64 %desc, %desc, {x}; " + FENCE + MMA_0 + GROUP + DONE,
        "0",
        "16",
    ),
    warpgroup(
        "wgmma out of bounds",
        "out of bounds",
        READY + "add.u64 %desc, %desc, {x}; " + FENCE + MMA_0 + GROUP + DONE,
        "0",
        "2048",
    ),
    warpgroup(
        "swizzle from within its pattern",
        "misaligned",
        READY
        + "and.b64 %desc, %desc, 0x3fff; or.b64 %desc, %desc, 0xC000001000000000; "
        + "add.u64 %desc, %desc, {x}; "
        + FENCE
        + MMA_0
        + GROUP
        + DONE,
        "0",
        "8",
    ),
    warpgroup(
        "a descriptor with other bits",
        "operand rule",
        READY + "or.b64 %desc, %desc, {x}; " + FENCE + MMA_0 + GROUP + DONE,
        "0",
        "0x8000",
    ),
    warpgroup(
        "a descriptor with base offset",
        "operand rule",
        READY + "or.b64 %desc, %desc, {x}; " + FENCE + MMA_0 + GROUP + DONE,
        "0",
        "0x2000000000000",
    ),
    warpgroup(
        "descriptors of lanes differ",
        "wrong sync mask",
        READY + "cvt.u64.u32 %rd1, {x}; "
        "and.b64 %rd1, %rd1, 1; add.u64 %desc, %desc, %rd1; " + FENCE + MMA_0 + GROUP + DONE,
        "0",
        "%thread",
    ),
    warpgroup(
        "descriptors of warps differ",
        "wrong sync mask",
        READY + "shr.u32 %r6, {x}, 5; and.b32 %r6, %r6, 2; "
        "cvt.u64.u32 %rd1, %r6; add.u64 %desc, %desc, %rd1; " + FENCE + MMA_0 + GROUP + DONE,
        "0",
        "%thread",
    ),
    warpgroup(
        "a fifth warp",
        "wrong sync mask",
        FILLED.replace("s[4096]", "s[8192]")
        + SEEN
        + DESCRIPTOR
        + "setp.ge.u32 %q1, %thread, {x}; @%q1 bra END; "
        + FENCE
        + MMA_0
        + GROUP
        + DONE
        + "END:",
        "128",
        "160",
        block=160,
    ),
    warpgroup(
        "half a warp",
        "wrong sync mask",
        READY + FENCE + "setp.lt.u32 %q1, %lane, {x}; @%q1 " + MMA_0 + GROUP + DONE,
        "32",
        "16",
    ),
    warpgroup(
        "warps part",
        "wrong sync mask",
        READY
        + FENCE
        + "setp.lt.u32 %q1, %thread, {x}; @%q1 bra L1; "
        + MMA_0
        + "bra L2; L1: "
        + MMA_0
        + "L2: "
        + GROUP
        + DONE,
        "128",
        "64",
    ),
    warpgroup(
        "a warp does not commit",
        "deadlock",
        READY + FENCE + MMA_0 + "setp.lt.u32 %q1, %thread, {x}; @%q1 " + GROUP + DONE,
        "128",
        "96",
    ),
    warpgroup(
        "more registers than there are",
        "deadlock",
        "setmaxnreg.inc.sync.aligned.u32 {x};",
        "168",
        "176",
        block=384,
    ),
    warpgroup(
        "takes more and gives",
        "operand rule",
        "setmaxnreg.inc.sync.aligned.u32 {x};",
        "168",
        "160",
        block=384,
    ),
    warpgroup(
        "gives more and takes",
        "operand rule",
        "setmaxnreg.dec.sync.aligned.u32 {x};",
        "168",
        "176",
        block=384,
    ),
    warpgroup(
        "a warpgroup gives to no other",
        "deadlock",
        "setp.ge.u32 %q1, %thread, 256; @%q1 bra GIVE; "
        "setmaxnreg.inc.sync.aligned.u32 {x}; bra END; "
        "GIVE: setmaxnreg.dec.sync.aligned.u32 24; END:",
        "240",
        "248",
        block=384,
    ),
]
