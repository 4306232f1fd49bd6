"""cp.async: sizes, zero fill, groups and stages."""

import numpy as np
import pytest
from ptxkernel import Buffer, run

FORMS = [("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)]


@pytest.mark.parametrize("cache, size", FORMS)
@pytest.mark.parametrize(
    "wait", ["cp.async.wait_all;", "cp.async.commit_group; cp.async.wait_group 0;"]
)
def test_copies(cache, size, wait):
    data = np.random.default_rng(1).integers(0, 256, 32 * size).astype(np.uint8)
    body = f"""{{ .shared .align 16 .b8 s[512]; mov.u32 %r1, s;
mad.lo.u32 %r2, %thread, {size}, %r1;
mad.wide.u32 %rd1, %thread, {size}, %p1;
cp.async.{cache}.shared.global.L2::128B [%r2], [%rd1], {size};
{wait} bar.sync 0;
mov.u32 %r3, %thread; L: add.u32 %r4, %r3, %r1; ld.shared.u8 %h1, [%r4]; cvt.u64.u32 %rd2, %r3;
add.u64 %rd3, %p0, %rd2; st.global.u8 [%rd3], %h1; add.u32 %r3, %r3, 32;
setp.lt.u32 %q0, %r3, {32 * size};
@%q0 bra L; }}"""
    out = Buffer.empty(32 * size, np.uint8)
    run(body, out, Buffer(data))
    assert (out.get() == data).all()


@pytest.mark.parametrize("cache, size", FORMS)
def test_zero_fill(cache, size):
    """With a source size, the rest of the target becomes zero; nothing is read at size zero."""
    data = np.arange(1, 32 * size + 1).astype(np.uint8) | 1
    sizes = (np.arange(32) % (size + 1)).astype(np.uint32)
    body = f"""{{ .shared .align 16 .b8 s[512]; mov.u32 %r1, s;
mad.lo.u32 %r2, %thread, {size}, %r1;
mad.wide.u32 %rd1, %thread, {size}, %p1; add.u64 %rd4, %p2, %off4; ld.global.u32 %r5, [%rd4];
setp.eq.u32 %q1, %r5, 0; @%q1 mov.u64 %rd1, 0;
cp.async.{cache}.shared.global [%r2], [%rd1], {size}, %r5; cp.async.wait_all;
mov.u32 %r3, 0; L: add.u32 %r4, %r3, %r2; ld.shared.u8 %h1, [%r4];
mad.lo.u32 %r6, %thread, {size}, %r3;
cvt.u64.u32 %rd2, %r6; add.u64 %rd3, %p0, %rd2; st.global.u8 [%rd3], %h1; add.u32 %r3, %r3, 1;
setp.lt.u32 %q0, %r3, {size}; @%q0 bra L; }}"""
    out = Buffer.empty((32, size), np.uint8)
    run(body, out, Buffer(data), Buffer(sizes))
    expected = np.where(np.arange(size) < sizes[:, None], data.reshape(32, size), 0)
    assert (out.get() == expected).all()


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_stages(stages):
    """A ring of stages: stage k is read while the next ones are under way."""
    tiles = 9
    data = np.random.default_rng(2).integers(0, 2**32, (tiles, 32), np.uint32)
    fetch = """setp.ge.u32 %q2, %r8, {tiles}; @%q2 bra {label};
rem.u32 %r9, %r8, {stages}; mad.lo.u32 %r10, %r9, 128, %r2; mul.wide.u32 %rd1, %r8, 128;
add.u64 %rd1, %rd1, %p1;
add.u64 %rd1, %rd1, %off4; cp.async.ca.shared.global [%r10], [%rd1], 4;
{label}: cp.async.commit_group;
add.u32 %r8, %r8, 1;"""
    parts = {"tiles": tiles, "stages": stages}
    first = "\n".join(fetch.format(label=f"F{k}", **parts) for k in range(stages - 1))
    body = f"""{{ .shared .align 16 .b8 s[512]; mov.u32 %r1, s; mad.lo.u32 %r2, %thread, 4, %r1;
mov.u32 %r8, 0;
{first}
mov.u32 %r3, 0; mov.u32 %r4, 0; xor.b32 %r5, %thread, 5; mad.lo.u32 %r5, %r5, 4, %r1;
L: cp.async.wait_group {stages - 2}; bar.sync 0;
{fetch.format(label="G", **parts)}
rem.u32 %r6, %r3, {stages}; mad.lo.u32 %r7, %r6, 128, %r5; ld.shared.u32 %r11, [%r7];
mad.lo.u32 %r4, %r4, 31, %r11; add.u32 %r3, %r3, 1; setp.lt.u32 %q0, %r3, {tiles}; @%q0 bra L;
add.u64 %rd2, %p0, %off4; st.global.u32 [%rd2], %r4; }}"""
    out = Buffer.empty(32, np.uint32)
    run(body, out, Buffer(data))
    expected = np.zeros(32, np.uint32)
    for tile in data:
        expected = expected * np.uint32(31) + tile[np.arange(32) ^ 5]
    assert (out.get() == expected).all()
