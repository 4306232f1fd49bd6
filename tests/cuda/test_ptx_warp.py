"""Shuffles, votes, matches and reductions over a warp, by the manual's pseudo-code;
special registers."""

import numpy as np
import pytest
from ptxkernel import ON_GPU, Buffer, run

STORE = "add.u64 %rd9, %p0, %off4; st.global.u32 [%rd9], %r1;"
LOAD = "add.u64 %rd8, %p1, %off4; ld.global.u32 %r2, [%rd8];"
rng = np.random.default_rng(11)


def results(body, *arrays, block=(32,), grid=(1,)):
    count = int(np.prod(block) * np.prod(grid))
    out = Buffer(np.full(count, 0xDEAD, np.uint32))
    run(body, out, *[Buffer(a) for a in arrays], block=block, grid=grid)
    return out.get()


def shuffled(mode, a, b, c):
    """(value, predicate) for each lane, as the manual's pseudo-code says."""
    values, inside = [], []
    for lane in range(32):
        bval, cval, segment = int(b[lane]) & 31, int(c[lane]) & 31, int(c[lane]) >> 8 & 31
        most = (lane & segment) | (cval & ~segment & 31)
        least = lane & segment
        if mode == "up":
            j = lane - bval
            ok = j >= most
        elif mode == "down":
            j = lane + bval
            ok = j <= most
        elif mode == "bfly":
            j = lane ^ bval
            ok = j <= most
        else:
            j = least | (bval & ~segment & 31)
            ok = j <= most
        values.append(a[j if ok else lane])
        inside.append(ok)
    return np.array(values), np.array(inside)


@pytest.mark.parametrize("clamp", [0, 0x1F, 0x1C1F, 0x181F, 0x1E1F, 0x0F, 0x1803, 0x1000])
@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
def test_shuffle(mode, clamp):
    body = f"""{LOAD} add.u64 %rd7, %p2, %off4; ld.global.u32 %r3, [%rd7];
shfl.sync.{mode}.b32 %r4|%q0, %r2, %r3, {clamp}, 0xffffffff;
selp.u32 %r5, 1, 0, %q0; shl.b32 %r5, %r5, 16; add.u32 %r1, %r4, %r5; {STORE}"""
    a = rng.integers(0, 2**16, 32).astype(np.uint32)
    for b in (np.full(32, 1), np.full(32, 4), np.full(32, 31), rng.integers(0, 64, 32)):
        values, inside = shuffled(mode, a, b, np.full(32, clamp))
        got = results(body, a, b.astype(np.uint32))
        assert (got == values + (inside.astype(np.uint32) << 16)).all()


def test_shuffle_in_halves():
    """Two groups of lanes, each with its own mask, on different sides of a branch and on one."""
    a = rng.integers(0, 2**32, 32, np.uint32)
    apart = f"""{LOAD} setp.lt.u32 %q0, %lane, 16; @%q0 bra A;
shfl.sync.bfly.b32 %r1, %r2, 3, 31, 0xffff0000; bra B;
A: shfl.sync.bfly.b32 %r1, %r2, 5, 31, 0x0000ffff; B: {STORE}"""
    lane = np.arange(32)
    assert (results(apart, a) == a[np.where(lane < 16, lane ^ 5, lane ^ 3)]).all()
    together = f"""{LOAD} setp.lt.u32 %q0, %lane, 16; selp.b32 %r3, 0xffff, 0xffff0000, %q0;
shfl.sync.bfly.b32 %r1, %r2, 3, 31, %r3; {STORE}"""
    assert (results(together, a) == a[lane ^ 3]).all()


@pytest.mark.parametrize("threads", [32, 20])
def test_votes(threads):
    """Of all lanes that there are: a warp may be cut off."""
    mask = (1 << threads) - 1
    for votes in (np.zeros(32), np.ones(32), rng.integers(0, 2, 32)):
        votes = votes[:threads].astype(np.uint32)
        for negated in ("", "!"):
            yes = votes != bool(negated)
            ballot = int(sum(1 << k for k in range(threads) if yes[k]))
            expected = yes.all() | yes.any() * 2 | (len(set(yes)) == 1) * 4
            body = f"""{LOAD} setp.ne.u32 %q0, %r2, 0; mov.u32 %r1, 0;
vote.sync.all.pred %q1, {negated}%q0, {mask}; @%q1 or.b32 %r1, %r1, 1;
vote.sync.any.pred %q2, {negated}%q0, {mask}; @%q2 or.b32 %r1, %r1, 2;
vote.sync.uni.pred %q3, {negated}%q0, {mask}; @%q3 or.b32 %r1, %r1, 4; {STORE}"""
            assert (results(body, votes, block=(threads,)) == expected).all()
            body = (
                f"{LOAD} setp.ne.u32 %q0, %r2, 0; "
                f"vote.sync.ballot.b32 %r1, {negated}%q0, {mask}; {STORE}"
            )
            assert (results(body, votes, block=(threads,)) == ballot).all()


HALVES = "setp.lt.u32 %q5, %lane, 16; selp.b32 %r8, 0xffff, 0xffff0000, %q5;"


def groups():
    return [slice(0, 16), slice(16, 32)]


def test_votes_of_halves():
    votes = rng.integers(0, 2, 32).astype(np.uint32)
    votes[:16] = 1
    body = f"""{LOAD} {HALVES} setp.ne.u32 %q0, %r2, 0; vote.sync.all.pred %q1, %q0, %r8;
selp.u32 %r1, 1, 0, %q1; {STORE}"""
    assert (results(body, votes) == np.repeat([1, votes[16:].all()], 16)).all()


REDUCTIONS = {
    "add.u32": lambda v: v.sum(dtype=np.uint32),
    "min.u32": np.min,
    "max.u32": np.max,
    "min.s32": lambda v: v.view(np.int32).min().view(np.uint32),
    "max.s32": lambda v: v.view(np.int32).max().view(np.uint32),
    "and.b32": np.bitwise_and.reduce,
    "or.b32": np.bitwise_or.reduce,
    "xor.b32": np.bitwise_xor.reduce,
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_redux(name):
    a = rng.integers(0, 2**32, 32, np.uint32)
    whole = results(f"{LOAD} redux.sync.{name} %r1, %r2, 0xffffffff; {STORE}", a)
    assert (whole == REDUCTIONS[name](a)).all()
    halves = results(f"{LOAD} {HALVES} redux.sync.{name} %r1, %r2, %r8; {STORE}", a)
    assert (halves == np.repeat([REDUCTIONS[name](a[g]) for g in groups()], 16)).all()


def test_match_any():
    a = rng.integers(0, 5, 32).astype(np.uint32)
    got = results(f"{LOAD} match.any.sync.b32 %r1, %r2, 0xffffffff; {STORE}", a)
    assert (got == [sum(1 << k for k in range(32) if a[k] == v) for v in a]).all()
    text = (
        f"{LOAD} {HALVES} cvt.u64.u32 %rd1, %r2; shl.b64 %rd1, %rd1, 32; "
        f"match.any.sync.b64 %r1, %rd1, %r8; {STORE}"
    )
    expected = [
        sum(1 << k for k in range(32) if a[k] == a[lane] and k // 16 == lane // 16)
        for lane in range(32)
    ]
    assert (results(text, a) == expected).all()


def test_match_all():
    text = f"""{LOAD} {HALVES} match.all.sync.b32 %r1|%q0, %r2, %r8; @!%q0 or.b32 %r1, %r1, 1;
{STORE}"""
    a = np.repeat(np.array([7, 9], np.uint32), 16)
    assert (results(text, a) == np.repeat([0xFFFF, 0xFFFF0000], 16)).all()
    a[3] = 8
    assert (results(text, a) == np.repeat([1, 0xFFFF0000], 16)).all()


def test_activemask():
    body = (
        f"and.b32 %r2, %lane, 1; setp.eq.u32 %q0, %r2, 0; mov.u32 %r1, 5; "
        f"@%q0 activemask.b32 %r1; {STORE}"
    )
    assert (results(body) == np.where(np.arange(32) % 2, 5, 0x55555555)).all()


def test_places():
    """Thread, block, lane and warp numbers in three dimensions, x first."""
    block, grid = (4, 6, 3), (2, 3, 2)
    names = ["%tid.x", "%tid.y", "%tid.z", "%ctaid.x", "%ctaid.y", "%ctaid.z"]
    names += ["%ntid.x", "%ntid.y", "%ntid.z", "%nctaid.x", "%nctaid.y", "%nctaid.z"]
    names += ["%laneid", "%warpid", "%nwarpid"]
    reads = "\n".join(f"mov.u32 %r{k + 10}, {name};" for k, name in enumerate(names))
    stores = "\n".join(f"st.global.u32 [%rd1+{4 * k}], %r{k + 10};" for k in range(len(names)))
    body = f"""{reads}
mad.lo.u32 %r1, %r12, %r17, %r11; mad.lo.u32 %r1, %r1, %r16, %r10;
mad.lo.u32 %r2, %r15, %r20, %r14; mad.lo.u32 %r2, %r2, %r19, %r13;
mad.lo.u32 %r1, %r2, {np.prod(block)}, %r1; mul.wide.u32 %rd1, %r1, {4 * len(names)};
add.u64 %rd1, %rd1, %p0; {stores}"""
    shape = (*grid[::-1], *block[::-1], len(names))
    out = Buffer.empty(shape, np.uint32)
    run(body, out, block=block, grid=grid)
    cz, cy, cx, tz, ty, tx = np.indices(shape[:-1])
    linear = (tz * block[1] + ty) * block[0] + tx
    expected = [tx, ty, tz, cx, cy, cz, *np.broadcast_arrays(*block, *grid, linear)[:6]]
    expected += [linear % 32, linear // 32, np.full_like(linear, -(-np.prod(block) // 32))]
    for k, (name, values) in enumerate(zip(names, expected)):
        if ON_GPU and name in ("%warpid", "%nwarpid"):
            continue  # of the multiprocessor there, which moves warps as it likes
        assert (out.get()[..., k] == values).all(), name


@pytest.mark.parametrize(
    "name, rule",
    [
        ("eq", lambda k: k == 0),
        ("lt", lambda k: k < 0),
        ("le", lambda k: k <= 0),
        ("gt", lambda k: k > 0),
        ("ge", lambda k: k >= 0),
    ],
)
def test_lane_masks(name, rule):
    lanes = np.arange(32)
    expected = [sum(1 << int(k) for k in lanes if rule(k - lane)) for lane in lanes]
    assert (results(f"mov.u32 %r1, %lanemask_{name}; {STORE}") == expected).all()


def test_sizes_and_clock():
    body = f"{{ .shared .b8 s[100]; mov.u32 %r1, %dynamic_smem_size; {STORE} }}"
    out = Buffer.empty(32, np.uint32)
    run(body, out, shared=64)
    assert (out.get() == 64).all()
    body = f"""mov.u64 %rd1, %clock64; mov.u32 %r2, 0; L: add.u32 %r2, %r2, 1;
setp.lt.u32 %q0, %r2, 300; @%q0 bra L;
mov.u64 %rd2, %clock64; setp.gt.u64 %q1, %rd2, %rd1; selp.u32 %r1, 1, 0, %q1;
add.u32 %r1, %r1, WARP_SZ; {STORE}"""
    assert (results(body) == 33).all()
