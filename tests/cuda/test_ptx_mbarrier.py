"""mbarrier: phases, counts of arrivals and bytes, waits by state and by parity."""

import numpy as np
import pytest
from ptxkernel import Buffer, run

pytestmark = pytest.mark.usefixtures("h100")
TARGET = "sm_90"
# An mbarrier at %b, made by one thread; %one: whether this is that thread.
BEGIN = """.shared .align 8 .b8 bar[64]; .reg .b32 %b; .reg .pred %one, %done; .reg .b64 %state;
mov.u32 %b, bar; setp.eq.u32 %one, %thread, 0;
"""
SYNC = "fence.mbarrier_init.release.cluster; bar.sync 0;"
WAIT = """{label}: mbarrier.{wait}.parity{sem}.shared::cta.b64 %done, [{at}], {parity};
@!%done bra {label};
"""


def init(count, offset=0):
    return f"@%one mbarrier.init.shared::cta.b64 [%b+{offset}], {count};\n"


def wait(label, parity, *, at="%b", wait="try_wait", sem=""):
    return WAIT.format(label=label, parity=parity, at=at, wait=wait, sem=sem)


@pytest.mark.parametrize("form", ["try_wait", "test_wait"])
@pytest.mark.parametrize("sem", ["", ".acquire.cta"])
@pytest.mark.parametrize("rounds", [1, 5])
def test_all_arrive_and_wait(form, sem, rounds):
    """A barrier of all threads, by parity, once a round: what was written before is there."""
    body = f"""{{ {BEGIN} .shared .align 4 .b8 s[512]; {init(128)} {SYNC}
mov.u32 %r1, s; mad.lo.u32 %r2, %thread, 4, %r1; xor.b32 %r3, %thread, 37;
mad.lo.u32 %r3, %r3, 4, %r1; mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u32 %r8, %thread;
L: st.shared.u32 [%r2], %r8;
mbarrier.arrive.release.cta.shared::cta.b64 _, [%b];
{wait("W", "%r5", wait=form, sem=sem)} xor.b32 %r5, %r5, 1;
ld.shared.u32 %r6, [%r3]; mad.lo.u32 %r8, %r6, 3, %r8;
mbarrier.arrive.shared::cta.b64 %state, [%b];
V: mbarrier.{form}.shared::cta.b64 %done, [%b], %state; @!%done bra V; xor.b32 %r5, %r5, 1;
add.u32 %r4, %r4, 1; setp.lt.u32 %q0, %r4, {rounds}; @%q0 bra L;
add.u64 %rd1, %p0, %off4; st.global.u32 [%rd1], %r8; }}"""
    out = Buffer.empty(128, np.uint32)
    run(body, out, block=(128,), target=TARGET)
    expected = np.arange(128, dtype=np.uint32)
    for _ in range(rounds):
        expected = expected + np.uint32(3) * expected[np.arange(128) ^ 37]
    assert (out.get() == expected).all()


def observed(steps, count, dtype=np.uint32):
    """Runs one thread's steps, each of which may leave a value in %r10; returns those."""
    body = f"{{ {BEGIN} {init(count)} {SYNC}\n"
    for k, step in enumerate(steps):
        body += f"{step}\nst.global.u32 [%p0+{4 * k}], %r10;\n"
    out = Buffer(np.zeros(len(steps), dtype))
    run(body + "}", out, block=(1,), target=TARGET)
    return out.get().tolist()


def ended(parity):
    return (
        f"mbarrier.test_wait.parity.shared::cta.b64 %done, [%b], {parity}; "
        "selp.u32 %r10, 1, 0, %done;"
    )


ARRIVE = "mbarrier.arrive.shared::cta.b64 %state, [%b];"


def test_parity():
    """Of a new barrier the phase before the first has ended, which has parity 1."""
    steps = [ended(0), ended(1), ARRIVE + ended(0), ARRIVE + ended(0), ended(1)]
    steps += [ARRIVE + ARRIVE + ended(1), ended(0)]
    assert observed(steps, 2) == [0, 1, 0, 1, 0, 1, 0]


def test_arrivals_in_one_go():
    steps = ["mbarrier.arrive.shared::cta.b64 _, [%b], 3;" + ended(0), ended(1)]
    steps += [ARRIVE + ended(0), "mbarrier.arrive.shared::cta.b64 _, [%b], 4;" + ended(1)]
    assert observed(steps, 4) == [0, 1, 1, 1]


def test_state():
    """A state stands for the phase in which the arrival was."""
    test = "mbarrier.test_wait.shared::cta.b64 %done, [%b], {}; selp.u32 %r10, 1, 0, %done;"
    steps = [".reg .b64 %x, %y; mbarrier.arrive.shared::cta.b64 %x, [%b];" + test.format("%x")]
    steps += ["mbarrier.arrive.shared::cta.b64 %y, [%b];" + test.format("%x"), test.format("%y")]
    steps += ["mbarrier.arrive.shared::cta.b64 %x, [%b];" + test.format("%y"), test.format("%x")]
    assert observed(steps, 2) == [0, 1, 1, 1, 0]


def test_bytes():
    """A phase ends with the last arrival and the last byte, whichever comes later."""
    expect = "mbarrier.{}expect_tx.shared::cta.b64 {}[%b], {};"
    complete = "mbarrier.complete_tx.shared::cta.b64 [%b], {};"
    steps = [expect.format("arrive.", "_, ", 96) + ended(0)]
    steps += [complete.format(64) + ended(0), complete.format(32) + ended(0)]
    steps += [expect.format("", "", 8) + ended(1), complete.format(8) + ended(1)]
    steps += [ARRIVE + ended(1)]
    assert observed(steps, 1) == [0, 0, 1, 0, 0, 1]


def test_bytes_before_they_are_expected():
    complete = "mbarrier.complete_tx.shared::cta.b64 [%b], 48;"
    expect = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%b], 48;"
    assert observed([complete + ended(0), expect + ended(0)], 1) == [0, 1]


def test_made_again():
    again = "mbarrier.inval.shared::cta.b64 [%b]; mbarrier.init.shared::cta.b64 [%b], 2;"
    steps = [ARRIVE + ended(0), again + ended(0), ARRIVE + ended(0), ARRIVE + ended(0)]
    assert observed(steps, 1) == [1, 0, 0, 1]


@pytest.mark.parametrize("generic", [False, True])
def test_addresses(generic):
    """Barriers beside each other do not disturb each other; generic addresses name them too."""
    if generic:
        place = "mov.u64 %rd1, bar; cvta.shared.u64 %rd1, %rd1;"
        arrive = "mbarrier.arrive.b64 _, [%rd1+{}];"
    else:
        place, arrive = "", "mbarrier.arrive.shared::cta.b64 _, [%b+{}];"
    body = f"""{{ {BEGIN} {place} {init(2, 0)} {init(1, 8)} {init(3, 16)} {SYNC}
{arrive.format(0)} {arrive.format(8)} {arrive.format(16)}"""
    for k in range(3):
        body += f"""mbarrier.test_wait.parity.shared::cta.b64 %done, [%b+{8 * k}], 0;
selp.u32 %r10, 1, 0, %done; st.global.u32 [%p0+{4 * k}], %r10;\n"""
    out = Buffer(np.zeros(3, np.uint32))
    run(body + "}", out, block=(1,), target=TARGET)
    assert out.get().tolist() == [0, 1, 0]


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_producer_and_consumers(stages, cuda):
    """A warp fills a ring of stages that others empty, by two barriers a stage, in any order of
    warps."""
    tiles, block = 11, 128
    data = np.random.default_rng(1).integers(0, 2**32, (tiles, 32), np.uint32)
    inits = "".join(init(32, 8 * k) + init(block - 32, 8 * (k + stages)) for k in range(stages))
    step = f"""add.u32 %r4, %r4, 1; setp.eq.u32 %q1, %r4, {stages}; selp.u32 %r4, 0, %r4, %q1;
selp.u32 %r6, 1, 0, %q1; xor.b32 %r5, %r5, %r6; add.u32 %r3, %r3, 1;
setp.lt.u32 %q0, %r3, {tiles};"""
    # %r4 the stage, %r5 its parity, %r3 the tile; %r7, %r8 the stage's barriers, %r9 its memory.
    places = f"""mad.lo.u32 %r7, %r4, 8, %b; add.u32 %r8, %r7, {8 * stages};
mad.lo.u32 %r9, %r4, 128, %r1; mad.lo.u32 %r9, %lane, 4, %r9;"""
    body = f"""{{ {BEGIN} .shared .align 4 .b8 s[512]; {inits} {SYNC}
mov.u32 %r1, s; mov.u32 %r3, 0; mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u32 %r11, 0;
setp.ge.u32 %q2, %thread, 32; @%q2 bra CONSUMER;
P: {places} xor.b32 %r6, %r5, 1; {wait("WP", "%r6", at="%r8")}
mad.wide.u32 %rd1, %r3, 128, %p1; mad.wide.u32 %rd1, %lane, 4, %rd1; ld.global.u32 %r10, [%rd1];
st.shared.u32 [%r9], %r10; mbarrier.arrive.shared::cta.b64 _, [%r7]; {step} @%q0 bra P;
bra END;
CONSUMER:
C: {places} {wait("WC", "%r5", at="%r7")} xor.b32 %r9, %r9, 20; ld.shared.u32 %r10, [%r9];
mad.lo.u32 %r11, %r11, 31, %r10; mbarrier.arrive.shared::cta.b64 _, [%r8]; {step} @%q0 bra C;
add.u64 %rd2, %p0, %off4; st.global.u32 [%rd2], %r11;
END: }}"""
    for seed in (1, 2, 3):
        cuda.set_options(seed=seed)
        out = Buffer(np.zeros(block, np.uint32))
        run(body, out, Buffer(data), block=(block,), target=TARGET)
        expected = np.zeros(32, np.uint32)
        for tile in data:
            expected = expected * np.uint32(31) + tile[np.arange(32) ^ 5]
        assert (out.get()[32:].reshape(-1, 32) == expected).all()


@pytest.mark.parametrize("mask", [0xFFFFFFFF, 0x80000000, 0x00FF0000])
def test_elect(mask):
    """One thread of the mask is the leader, and all are told which."""
    body = f"""{{ .reg .pred %leads; shl.b32 %r3, 1, %lane; and.b32 %r4, %r3, {mask};
setp.eq.u32 %q1, %r4, 0; @%q1 bra END;
elect.sync %r1|%leads, {mask}; selp.u32 %r2, 1, 0, %leads;
elect.sync _|%leads, {mask}; selp.u32 %r2, %r2, 2, %leads;
add.u64 %rd1, %p0, %off8; st.global.v2.u32 [%rd1], {{%r1, %r2}};
END: }}"""
    out = Buffer(np.full((32, 2), 99, np.uint32))
    run(body, out, target=TARGET)
    inside = mask >> np.arange(32) & 1 == 1
    leader, leads = out.get().T
    assert len(set(leader[inside])) == 1 and inside[leader[inside][0]]
    assert (leads[inside] == np.where(np.arange(32)[inside] == leader[inside][0], 1, 2)).all()
    assert (leader[~inside] == 99).all()
