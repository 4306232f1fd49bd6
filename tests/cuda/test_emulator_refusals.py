"""What is unknown is refused by name; text that is no PTX is a Python error, never a crash."""

import random

import numpy as np
import pytest
from ptxkernel import HEADER, Buffer, _cuda, launch, run, source

pytestmark = pytest.mark.emulator

# Instruction -> what the message must say besides the instruction's line.
UNKNOWN = {
    "tcgen05.wait::ld.sync.aligned;": "tcgen05.wait::ld.sync.aligned: unknown instruction",
    "wgmma.fence.sync.aligned;": "needs .target sm_90a",
    "tex.1d.v4.f32.s32 {%f1, %f2, %f3, %f4}, [%rd1, {%r1}];": "",
    "call foo, (%r1);": "",
    "bar.red.popc.pred %q1, 0, %q0;": "no such form",
    "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%f1,%f2,%f3,%f4}, "
    "{%r1,%r2,%r3,%r4}, {%r5,%r6}, {%f1,%f2,%f3,%f4};": "unknown element type",
    "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%fd1,%fd2}, {%fd3}, "
    "{%fd4}, {%fd1,%fd2};": "unknown shape",
    "cvt.rn.satfinite.e2m1x2.f32 %h1, %f1, %f2;": "no type",
    "cvt.rn.e4m3x2.f32 %h1, %f1, %f2;": "needs .rn and .satfinite",
    "cvt.rn.f16.e5m2 %h1, %h2;": "no type",
    "shfl.idx.b32 %r1, %r2, 0, 31;": "only the .sync form is known",
    "add.cc.u32 %r1, %r2, %r3;": "unknown modifier '.cc'",
    "add.sat.u32 %r1, %r2, %r3;": "only .s32 saturates",
    "add.s8 %h1, %h2, %h3;": "8 are needed",
    "prmt.b32.f4e %r1, %r2, %r3, %r4;": "unknown modifier '.f4e'",
    "min.s32 %r1, %r2, %r3, %r4;": "too many operands",
    "add.f32 %f1, %f2, %f3, %f4;": "too many operands",
    "setp.lt.f16x2 %q0, %r1, %r2;": "only p|q of a pair",
    "set.lt.f32.f16x2 %f1, %r1, %r2;": "no such form",
    "vabsdiff4.u32.u32.u32 %r1, %r2, %r3, %r4;": "unknown instruction",
    "setp.lt.b32 %q0, %r1, %r2;": "no such comparison",
    "setp.lo.f32 %q0, %f1, %f2;": "no such comparison",
    "setp.num.s32 %q0, %r1, %r2;": "no such comparison",
    "atom.global.add.s64 %rd1, [%rd2], %rd3;": "no such operation on this type",
    "atom.global.min.f32 %f1, [%rd2], %f3;": "no such operation on this type",
    "atom.global.exch.b128 %rd1, [%rd2], %rd3;": "no such operation on this type",
    "atom.local.add.u32 %r1, [%rd2], %r3;": "global or shared memory",
    "ld.global.b128 %rd1, [%rd2];": "128-bit",
    "ld.global.pred %q1, [%rd2];": "no such type",
    "ld.global.v8.f32 {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8}, [%rd1];": "",
    "cp.async.bulk.commit_group;": "needs .target sm_90",
    "cp.async.cg.shared.global [%r1], [%rd1], 8;": "copies 4, 8 or 16 bytes",
    "ldmatrix.sync.aligned.m8n8.shared.b16 {%r1}, [%r2];": "number of matrices",
    "ldmatrix.sync.aligned.m8n16.x1.shared.b8 {%r1}, [%r2];": "only .m8n8",
    "mov.u32 %r1, %smid2;": "unknown special register '%smid2'",
    "mov.u32 %r1, nothing;": "unknown name 'nothing'",
    "bra nowhere;": "unknown label 'nowhere'",
    "redux.sync.add.f32 %f1, %f2, -1;": "",
    "popc.b16 %r1, %h1;": "",
    "dp4a.u16.u16 %r1, %r2, %r3, %r4;": "no such types",
    # wrong operands
    "add.s32 %r1, %r2;": "too few operands",
    "add.s32;": "too few operands",
    "add.s32 %r1, %r2, %r3, %r4;": "too many operands",
    "add.s32 %rd1, %r2, %r3;": "'%rd1' has 64 bits, 32 are needed",
    "add.s64 %rd1, %r2, %rd3;": "'%r2' has 32 bits, 64 are needed",
    "add.s32 %q1, %r2, %r3;": "'%q1' has 1 bits",
    "and.pred %q1, %r2, %q3;": "'%r2' has 32 bits, 1 are needed",
    "mul.wide.s32 %r1, %r2, %r3;": "64 are needed",
    "setp.eq.s32 %r1, %r2, %r3;": "1 are needed",
    "selp.b32 %r1, %r2, %r3, %r4;": "1 are needed",
    "selp.b32 %r1, %r2, %r3, 1;": "constant of another type",
    "add.s32 5, %r2, %r3;": "a result must be a register",
    "add.s32 !%r1, %r2, %r3;": "'!' before a result",
    "add.s32 %r1, !%r2, %r3;": "'!' before what is no predicate",
    "add.s32 %r1|%q1, %r2, %r3;": "two results where there is one",
    "add.s32 %r1, [%rd1], %r3;": "operand of a kind",
    "add.f32 %f1, %f2, 1;": "constant of another type",
    "add.s32 %r1, %r2, 1.5;": "constant of another type",
    "add.f64 %fd1, %fd2, 0f3F800000;": "constant of another type",
    "ld.global.u32 %r1, %rd1;": "must be an address",
    "ld.global.u32 %r1, [%h1];": "cannot hold an address",
    "ld.global.v2.u32 {%r1}, [%rd1];": "number of registers",
    "ld.global.u32 %h1, [%rd1];": "'%h1' has 16 bits",
    "st.global.v4.f32 [%rd1], {%f1, %f2};": "number of registers",
    "mov.b64 {%r1, %h1}, %rd1;": "16 bits, 32 are needed",
    "mov.b32 %r1, {%r2, %r3};": "32 bits, 16 are needed",
    "cvt.u16.u32 %h1, %h2;": "16 bits, 32 are needed",
    "lop3.b32 %r1, %r2, %r3, %r4, %r5;": "must be a constant",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3}, "
    "{%r5,%r6,%r7}, {%f1,%f2,%f3,%f4};": "number of registers",
    "vote.sync.any.pred %q1, %r1, -1;": "1 are needed",
    "bar.arrive 1;": "number of threads is missing",
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_refused_by_name(text):
    """The message names the kernel, the line of the text and the instruction."""
    line = source("@@", 1).split("@@")[0].count("\n") + 1
    with pytest.raises((ValueError, RuntimeError)) as error:
        launch(source(text, 1), np.uint64(0))
    message = str(error.value)
    assert f"PTX line {line}" in message, message
    assert text.split()[0].rstrip(";") in message, message
    assert UNKNOWN[text] in message, message


SUMS = "{%f1, %f2, %f3, %f4}, "
LOAD_2D = "cp.async.bulk.tensor.2d.shared::cluster.global"


def wgmma(types, operands, *, n=8, sums=SUMS):
    return f"wgmma.mma_async.sync.aligned.m64n{n}k16.{types} {sums}{operands};"


def to_barrier(opcode, operands):
    return f"{opcode}.mbarrier::complete_tx::bytes {operands};"


HOPPER = {
    wgmma("f16.f16.f16", "%rd1, %rd2, 1, 1, 1, 0, 0"): "only sums of f32",
    wgmma("f32.f16.f16", "%rd1, %rd2, 1, 1, 1, 0, 0", n=12): "only shapes m64nNk16",
    wgmma("f32.f16.bf16", "%rd1, %rd2, 1, 1, 1, 0, 0"): "two bf16 or f16",
    wgmma("f32.f16.f16", "%rd1, %rd2, 1, 1, 1, 0, 0", n=16): "number of accumulators",
    wgmma("f32.f16.f16", "{%r1, %r2}, %rd2, 1, 1, 1, 0"): "takes four registers",
    wgmma("f32.f16.f16", "%rd1, %rd2, 1, 2, 1, 0, 0"): "no such value",
    wgmma("f32.f16.f16", "%rd1, %rd2, 1, 1, 1, 0"): "too few operands",
    wgmma("f32.f16.f16", "%rd1, %rd2, %r1, 1, 1, 0, 0"): "1 are needed",
    "mbarrier.arrive_drop.shared::cta.b64 %rd1, [%r1];": "only init, inval",
    "mbarrier.init.shared::cta.b32 [%r1], 1;": "is .b64",
    "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1];": "number of bytes is missing",
    to_barrier("cp.async.bulk.shared::cluster.global", "[%r1], [%rd1], 16, [%r2]"): "of tensors",
    to_barrier(LOAD_2D, "[%r1], [%rd1, {%r2}], [%r3]"): "number of coordinates",
    to_barrier(LOAD_2D + ".im2col", "[%r1], [%rd1, {%r2, %r3}], [%r4]"): "modifier '.im2col'",
    to_barrier(LOAD_2D, "[%r1], [%rd1+64, {%r2, %r3}], [%r4]"): "expected ']'",
    to_barrier(LOAD_2D, "[%r1], [%rd1, %r2], [%r3]"): "expected coordinates",
    "ld.global.u32 %r1, [%rd1, {%r2}];": "coordinates where there is no tensor",
    "setmaxnreg.inc.sync.aligned.u32 16;": "from 24 to 256",
    "setmaxnreg.inc.sync.aligned.u32 100;": "from 24 to 256",
    "setmaxnreg.inc.sync.aligned.u32 264;": "from 24 to 256",
    "setmaxnreg.inc.sync.aligned.u32 %r1;": "must be a constant",
    "fence.proxy.alias;": "only .proxy.async",
    "elect.sync %r1|%r2, -1;": "1 are needed",
}


@pytest.mark.usefixtures("h100")
@pytest.mark.parametrize("text", HOPPER)
def test_refused_on_hopper(text):
    with pytest.raises((ValueError, RuntimeError)) as error:
        launch(source(text, 1, target="sm_90a"), np.uint64(0))
    message = str(error.value)
    assert text.split()[0].rstrip(";") in message and HOPPER[text] in message, message


@pytest.mark.parametrize("gpu, target", [("A100", "sm_90"), ("A100", "sm_90a"), ("B200", "sm_90a")])
def test_targets_of_other_gpus(gpu, target, cuda):
    """sm_90a is for GPUs of capability 9.0 alone."""
    try:
        cuda.emulate(gpu)
        with pytest.raises(RuntimeError, match="NO_BINARY_FOR_GPU.*" + target):
            launch(source("", 0, target=target))
    finally:
        cuda.emulate(None)


TEXTS = {
    "": "without a .target",
    "int main() {}": "unknown directive 'int'",
    HEADER.replace("64\n", "32\n"): "only .address_size 64",
    HEADER.replace("sm_80", "hopper"): ".target",
    HEADER + ".func f() { ret; }": "functions that are called",
    HEADER + ".visible .entry k() { ret;": "not closed",
    HEADER + ".visible .entry k() { ret; } .visible .entry k() { ret; }": "two kernels",
    HEADER + ".visible .entry k() { .reg .b32 %r<4>; .reg .b32 %r<3>; }": "declared twice",
    HEADER + ".visible .entry k() { .reg .b32 %r<99999999999>; }": "more than",
    HEADER + ".visible .entry k() { .reg .b32 %r<-1>; }": "more than",
    HEADER + ".visible .entry k() { .reg .b128 %r; }": "not known",
    HEADER + ".visible .entry k() { .reg .v4 .b32 %r; }": "vector registers",
    HEADER + ".visible .entry k() { L: L: ret; }": "two labels",
    HEADER + ".visible .entry k() { @%p bra L; L: }": "'%p' is no predicate",
    HEADER + ".visible .entry k() { .reg .b32 %p; @%p bra L; L: }": "'%p' is no predicate",
    HEADER + ".visible .entry k() { .reg .b32 %p; mov.u32 %p, 0x; }": "bad number '0x'",
    HEADER + ".visible .entry k() { .reg .b32 %p; mov.u32 %p, 12ab; }": "bad number '12ab'",
    HEADER + ".visible .entry k() { .reg .b32 %p; mov.f32 %p, 0f12; }": "bad number '0f12'",
    HEADER + ".visible .entry k() {" + "{" * 1000: "nested",
    HEADER + ".visible .entry k() { mov.u32 " + "!" * 100000 + "; }": "nested",
    HEADER + ".visible .entry k() { mov.u32 " + "{" * 100000 + "; }": "nested",
    HEADER + ".global .b8 x[99999999999999];": "more than",
    HEADER + ".global .b8 x[1073741824][1073741824];": "too large",
    HEADER + ".global .align 3 .b8 x[4];": "power of two",
    HEADER + ".global .align 0 .b8 x[4];": "power of two",
    HEADER + ".global x;": "without a type",
    HEADER + ".global .u32 x = y;": "address of 'y'",
    HEADER + ".global .u64 x = y;": "address of 'y'",
    HEADER + ".shared .b8 s[4]; .global .u64 x = s;": "address of 's'",
    HEADER + ".global .u32 x[2] = {" + "{" * 1000: "nested",
    HEADER + ".file 1 x": "file's name",
    HEADER + '.file 1 "': "file's name",
    HEADER + ".visible .entry k(.param .b8 p[1073741824]) { ret; }": "parameters are too large",
    HEADER.replace("8.5", "eight"): "version",
    "\x7fELF": "machine code",
}


@pytest.mark.parametrize("text", TEXTS, ids=[t[-40:] for t in TEXTS])
def test_bad_text(text):
    with pytest.raises(RuntimeError) as error:
        _cuda.Module(text).kernel("k")
    assert TEXTS[text] in str(error.value)


def test_memory_of_kernels_is_limited():
    for space, size in ((".shared", 49153), (".local", 600000)):
        with pytest.raises(RuntimeError, match=f"{size} bytes"):
            launch(source(f"{{ {space} .b8 x[{size}]; }}", 0))


def test_target_of_another_gpu():
    with pytest.raises(RuntimeError, match="sm_90.*A100"):
        _cuda.Module(source("", 0).replace("sm_80", "sm_90"))


def test_arguments_of_a_launch():
    kernel = _cuda.Module(source("", 2, name="two")).kernel("two")
    array = _cuda.DeviceArray(16)
    wrong = [
        ([], "kernel 'two' takes 2 arguments, got 0"),
        ([array, array, array], "takes 2 arguments, got 3"),
        ([array, np.uint32(1)], "argument 1 has 4 bytes, its parameter 8"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            kernel.launch([1], [1], arguments)
    with pytest.raises(TypeError, match="DeviceArray"):
        kernel.launch([1], [1], [array, object()])
    with pytest.raises(ValueError, match="one to three sizes"):
        kernel.launch([1, 1, 1, 1], [1], [array, array])
    with pytest.raises(RuntimeError, match="no kernel 'three'"):
        _cuda.Module(source("", 0)).kernel("three")
    with pytest.raises(ValueError, match="sizes differ"):
        array.copy_in(np.zeros(17, np.uint8))
    with pytest.raises(MemoryError, match="bytes"):
        _cuda.DeviceArray(1 << 50)


def test_work_goes_on_after_a_fault():
    """A kernel that failed leaves memory and device as they were."""
    data = Buffer(np.arange(32, dtype=np.uint32))
    kernel = launch(source("ld.global.u32 %r1, [%p0+4096];", 1), data)
    with pytest.raises(RuntimeError, match="out of bounds"):
        _cuda.synchronize()
    _cuda.clear_reports()
    run(
        "add.u64 %rd1, %p0, %off4; ld.global.u32 %r1, [%rd1]; add.u32 %r1, %r1, 1; "
        "st.global.u32 [%rd1], %r1;",
        data,
    )
    assert (data.get() == np.arange(1, 33)).all() and kernel


def test_a_fault_that_nobody_waits_for_is_told_later():
    launch(source("ld.global.u32 %r1, [%p0+4096];", 1), Buffer(np.arange(32, dtype=np.uint32)))
    with pytest.raises(RuntimeError, match="out of bounds"):
        _cuda.synchronize()
    _cuda.synchronize()


CORPUS = """{ .shared .align 16 .b8 s[512]; .local .align 8 .b8 l[16]; mov.u32 %r1, s;
mad.lo.u32 %r2, %thread, 4, %r1; add.u64 %rd1, %p0, %off4; mov.u64 %rd2, l;
ld.global.u32 %r3, [%rd1]; st.shared.u32 [%r2], %r3; st.local.u32 [%rd2+4], %r3;
bar.sync 0;
xor.b32 %r4, %thread, 1; mad.lo.u32 %r4, %r4, 4, %r1; ld.shared.u32 %r5, [%r4];
cvt.rn.f32.u32 %f1, %r5; fma.rn.f32 %f2, %f1, 0f3FC00000, %f1; sqrt.rn.f32 %f2, %f2;
setp.gt.and.f32 %q0|%q1, %f2, %f1, !%q2;
selp.b32 %r6, %r5, %r3, %q0; @%q1 bra L; add.s32 %r6, %r6, 7;
L: shfl.sync.bfly.b32 %r7|%q3, %r6, 4, 31, 0xffffffff;
vote.sync.ballot.b32 %r8, %q3, -1; redux.sync.add.u32 %r9, %r7, -1;
mov.b64 %rd3, {%r8, %r9}; mov.b64 {%r10, _}, %rd3; prmt.b32 %r11, %r10, %r9, 0x5410;
cp.async.ca.shared.global [%r2], [%rd1], 4; cp.async.commit_group; cp.async.wait_group 0;
bar.sync 0;
atom.global.add.u32 %r12, [%p0], 1; red.shared.max.s32 [%r1], %r12;
mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32
{%f4,%f5,%f6,%f7}, {%r3,%r5,%r6,%r7}, {%r8,%r9}, {%f1,%f2,%f1,%f2};
ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r13}, [%r1];
T: .branchtargets A, B; and.b32 %r14, %thread, 1; brx.idx %r14, T;
A: add.u32 %r13, %r13, 1; B: bfe.u32 %r15, %r13, 3, 9; st.global.u32 [%rd1], %r15; }"""


def mutated(text, words, rng):
    """One small change: a line, token or character is gone, doubled, swapped or replaced."""
    lines = text.split("\n")
    kind = rng.randrange(7)
    at = rng.randrange(len(lines))
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind == 2:
        return text[: rng.randrange(len(text))]
    elif kind == 3:
        k = rng.randrange(len(text))
        return (
            text[:k] + rng.choice("{}[](),;.%@!|<>0-9xfd\"'/* \n_") + text[k + rng.randrange(2) :]
        )
    else:
        tokens = lines[at].split(" ")
        k = rng.randrange(len(tokens))
        others = rng.choice(lines).split(" ")
        tokens[k] = rng.choice(["", rng.choice(others), rng.choice(words)])
        lines[at] = " ".join(tokens)
    return "\n".join(lines)


WORDS = [
    ".b8",
    ".f64",
    "%q1,",
    "%rd1,",
    "-1,",
    "0xffffffffffffffff,",
    "{%r1,",
    "%r1};",
    "[%rd1+-8]",
    "[%h1]",
]
WORDS += [
    "99999999999999999999",
    "mma.sync;",
    "ld.pred",
    ".align",
    "st.shared.v4.u32",
    "0f3F800000,",
    "_,",
    "s,",
]


HOPPER_CORPUS = """{ .shared .align 1024 .b8 s[2048]; .shared .align 8 .b8 bar[16];
.reg .pred %one; .reg .b64 %desc, %st; mov.u32 %r1, s; mov.u32 %r2, bar;
setp.eq.u32 %one, %thread, 0; mad.lo.u32 %r3, %thread, 16, %r1; mov.u32 %r4, 0;
@%one mbarrier.init.shared::cta.b64 [%r2], 1; fence.mbarrier_init.release.cluster;
st.shared.v4.u32 [%r3], {%r4, %r4, %r4, %r4}; fence.proxy.async.shared::cta; bar.sync 0;
@%one cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%m0, {0, 1}], [%r1];
cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; bar.sync 0;
@%one mbarrier.arrive.expect_tx.shared::cta.b64 %st, [%r2], 512;
@%one cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes
[%r1], [%m0, {0, 0}], [%r2];
W: mbarrier.try_wait.parity.shared::cta.b64 %q1, [%r2], 0; @!%q1 bra W;
elect.sync %r5|%q2, -1; setmaxnreg.dec.sync.aligned.u32 128;
shr.u32 %r6, %r1, 4; cvt.u64.u32 %desc, %r6; or.b64 %desc, %desc, 0x1000080000;
mov.b32 %r10, 0; mov.b32 %r11, 0; mov.b32 %r12, 0; mov.b32 %r13, 0;
wgmma.fence.sync.aligned;
wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1,%f2,%f3,%f4}, %desc, %desc, 0, 1, 1, 0, 0;
wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16
{%f1,%f2,%f3,%f4}, {%r10,%r11,%r12,%r13}, %desc, %q1, 1, -1, 1;
wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;
add.u64 %rd1, %p0, %off4; st.global.f32 [%rd1], %f3; }"""
HOPPER_WORDS = [
    "-1,",
    "0xffffffffffffffff,",
    "1,",
    "m64n256k16",
    "%thread,",
    "%desc,",
    "[%r2+4],",
    "[%m0,",
    "{0,",
    "{-2147483648,",
    "2147483647}],",
    "wgmma.commit_group.sync.aligned;",
    "bar.sync",
    "1000000;",
]


def check_mutations(whole, words, part, *arguments, block=32):
    """Mutated text runs, or is a Python error: the process lives. Launches end after a while."""
    rng = random.Random(part)
    _cuda.set_options(most_instructions=20000)
    ran = refused = failed = 0
    for _ in range(400):
        text = whole
        for _ in range(rng.randrange(1, 4)):
            text = mutated(text, words, rng)
        try:
            kernel = _cuda.Module(text).kernel("k")
            kernel.launch([2], [block], list(arguments))
        except (RuntimeError, ValueError):
            refused += 1
            continue
        try:
            _cuda.synchronize()
            ran += 1
        except RuntimeError:
            failed += 1
    assert ran + refused + failed == 400 and refused > 100 and ran + failed > 20


@pytest.mark.parametrize("part", range(8))
def test_mutations_never_crash(part):
    data = Buffer(np.arange(32, dtype=np.uint32))
    check_mutations(source(CORPUS, 1), WORDS, part, data.memory)


@pytest.mark.usefixtures("h100")
@pytest.mark.parametrize("part", range(8))
def test_mutations_on_hopper_never_crash(part):
    text = source(HOPPER_CORPUS, 1, target="sm_90a", maps=1)
    tensor = Buffer(np.zeros((32, 64), np.float16))
    box = _cuda.tensor_map(6, tensor.memory.address, [64, 32], [128], [64, 4], 3)
    out = Buffer(np.zeros(128, np.float32))
    run(HOPPER_CORPUS, out, box, block=(128,), target="sm_90a")
    check_mutations(text, HOPPER_WORDS, part, out.memory, box, block=128)
