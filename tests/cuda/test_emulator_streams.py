"""Streams and events: work waits; two streams that use one memory without waiting are found."""

import numpy as np
import pytest
from ptxkernel import Buffer, _cuda, source

pytestmark = pytest.mark.emulator

ADD = """add.u64 %rd1, %p0, %off4; add.u64 %rd2, %p1, %off4; ld.global.u32 %r1, [%rd2];
add.u32 %r1, %r1, 1; st.global.u32 [%rd1], %r1;"""


@pytest.fixture
def add():
    """A function that puts `to = from + 1` into a stream."""
    kernel = _cuda.Module(source(ADD, 2, name="add")).kernel("add")

    def give(to, origin, stream, lanes=32, first=0):
        addresses = [np.uint64(b.memory.address + 4 * first) for b in (to, origin)]
        kernel.launch([1], [lanes], addresses, stream=stream)

    return give


def buffers(count):
    made = [Buffer(np.full(32, 10 * k, np.uint32)) for k in range(count)]
    _cuda.synchronize()
    return made


def faults():
    return {r["fault"] for r in _cuda.reports()}


def wait_for(first, second):
    event = _cuda.Event()
    first.record(event)
    second.wait(event)
    return event


@pytest.mark.parametrize("waits", ["event", "host", "no"])
@pytest.mark.parametrize("case", ["read after write", "write after read", "write after write"])
def test_two_streams(add, case, waits):
    first, second = _cuda.Stream(), _cuda.Stream()
    a, b, c = buffers(3)
    pairs = {
        "read after write": ((b, a), (c, b)),
        "write after read": ((b, a), (a, c)),
        "write after write": ((b, a), (b, c)),
    }[case]
    add(*pairs[0], first)
    if waits == "event":
        wait_for(first, second)
    if waits == "host":
        first.synchronize()
    add(*pairs[1], second)
    if waits == "no":
        with pytest.raises(
            RuntimeError, match="missing synchronisation: kernel add .*'add' in another stream"
        ):
            second.synchronize()
            first.synchronize()
        assert faults() == {"missing synchronisation"}
        assert _cuda.reports()[0]["address"] in [x.memory.address for x in (a, b)]
    else:
        second.synchronize()
        assert faults() == set()
        if case == "read after write":
            assert (c.get() == 2).all()


def test_three_streams_in_a_chain(add):
    """What an event brings, the next event passes on."""
    streams = [_cuda.Stream() for _ in range(3)]
    a, b, c = buffers(3)
    add(b, a, streams[0])
    events = [wait_for(streams[0], streams[1]), wait_for(streams[1], streams[2])]
    add(c, b, streams[2])
    streams[2].synchronize()
    assert faults() == set() and events
    assert (c.memory.copy_out(streams[2]).view(np.uint32) == 2).all()


@pytest.mark.parametrize("waits", [True, False])
def test_copy_to_the_host(add, waits):
    """A copy in another stream reads what was there before."""
    stream = _cuda.Stream()
    a, b = buffers(2)
    add(b, a, stream)
    if waits:
        stream.synchronize()
        assert (b.get() == 1).all() and faults() == set()
    else:
        assert (b.get() == 10).all()
        with pytest.raises(RuntimeError, match="copy to the host"):
            stream.synchronize()
        assert faults() == {"missing synchronisation"}


@pytest.mark.parametrize("waits", [True, False])
def test_copy_to_the_device(add, waits):
    """A copy into what another stream still reads."""
    stream = _cuda.Stream()
    a, b = buffers(2)
    add(b, a, stream)
    if waits:
        stream.synchronize()
    a.memory.copy_in(np.zeros(128, np.uint8))
    if waits:
        _cuda.synchronize()
        assert faults() == set()
    else:
        with pytest.raises(RuntimeError):
            _cuda.synchronize()
            stream.synchronize()
        assert faults() == {"missing synchronisation"}


def test_halves_of_one_buffer(add):
    """Streams that touch different places need not wait for each other."""
    first, second = _cuda.Stream(), _cuda.Stream()
    a, b = buffers(2)
    add(b, a, first, lanes=16)
    add(b, a, second, lanes=16, first=16)
    first.synchronize()
    second.synchronize()
    assert (b.get() == 1).all() and faults() == set()


def test_work_waits(add):
    """Nothing runs before somebody waits; an event tells whether it has."""
    stream, event = _cuda.Stream(), _cuda.Event()
    a, b = buffers(2)
    assert event.done()
    add(b, a, stream)
    stream.record(event)
    assert not event.done()
    assert sum(r["executed"] for r in _cuda.counts("add")) == 0
    event.synchronize()
    assert event.done()
    assert sum(r["executed"] for r in _cuda.counts("add")) > 0
