"""New values of variables are written to where the old ones are, unless somebody looks at them."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_native.engine import control
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul, shape
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

SIZE = 3001  # whole tiles and a rest


def tensor(seed, dims=(SIZE,), dtype="float32"):
    return from_numpy(np.random.default_rng(seed).uniform(0.5, 2, dims).astype(dtype))


def slots(count, dims=(SIZE,), dtype="float32"):
    return [Slot(tensor(seed, dims, dtype)) for seed in range(count)]


def number(value, like):
    return scalar(value, like.dtype)


def compiled(step, *arguments):
    """`step(*arguments)`, which writes to slots and returns tensors, compiled."""
    specs = [(t.dims, t.dtype) for t in arguments]
    fn = CompiledFunction(lambda *t: step(*t) or [], specs)
    return lambda: fn.run([t.array for t in arguments], [])


def arrays(variables):
    return [slot.core.get() for slot in variables]


def addresses(variables):
    return [array.address for array in arrays(variables)]


def contents(held):
    return [array.numpy().tobytes() for array in held]


def momentum(weight, velocity, g):
    new = ew.add(ew.mul(velocity.read(), number(0.9, g)), g)
    velocity.write(new)
    weight.write(ew.sub(weight.read(), ew.mul(new, number(0.1, g))))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32"])
@pytest.mark.parametrize("size", [1, 2, 511, 512, SIZE, 400_003])
def test_updates_stay_where_they_are(size, dtype):
    g = tensor(9, (size,), dtype)
    free, watched = slots(2, (size,), dtype), slots(2, (size,), dtype)
    run, run_watched = (compiled(lambda g, v=v: momentum(*v, g), g) for v in (free, watched))
    run(), run_watched()
    places = addresses(free)
    for _ in range(3):
        held = arrays(watched)
        before = contents(held)
        run(), run_watched()
        assert addresses(free) == places
        assert set(addresses(watched)).isdisjoint(array.address for array in held)
        assert contents(held) == before
        assert contents(arrays(free)) == contents(arrays(watched))


BINARY = [ew.add, ew.sub, ew.mul, ew.maximum, ew.lt]
UNARY = [ew.square, ew.tanh, ew.exp, ew.sqrt, ew.relu, ew.neg, ew.sin]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_updates(data):
    """Any program, and any of its values as new values: as with the old values kept."""
    count, size = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([7, 700, SIZE]))
    picks = st.integers(0, 99)
    program = data.draw(st.lists(st.tuples(picks, picks, picks), min_size=1, max_size=14))
    chosen = data.draw(st.lists(picks, min_size=count, max_size=count))

    def update(variables, g):
        known = [slot.read() for slot in variables] + [g]
        for op, a, b in program:
            x, y = known[a % len(known)], known[b % len(known)]
            ops = BINARY + UNARY
            op = ops[op % len(ops)]
            result = op(x, y) if op in BINARY else op(x)
            known.append(ew.cast(result, g.dtype))
        for slot, pick in zip(variables, chosen):
            slot.write(ew.add(known[-1 - pick % len(known)], number(0, g)))

    g = tensor(9, (size,))
    free, watched = slots(count, (size,)), slots(count, (size,))
    run, run_watched = (compiled(lambda g, v=v: update(v, g), g) for v in (free, watched))
    for _ in range(3):
        held = arrays(watched)
        run(), run_watched()
        assert contents(arrays(free)) == contents(arrays(watched))
        del held


@pytest.mark.parametrize("returned", [True, False])
def test_old_values_are_read_first(returned):
    """By another variable's update, by a product and by the caller."""
    a, b, c, d = slots(4, (40, 40))
    flat = Slot(tensor(7, (1600,)))  # another program than that of `a`, which comes first

    def step(g):
        old = a.read()
        a.write(ew.add(old, g))
        b.write(ew.add(b.read(), old))
        d.write(ew.mul(d.read(), number(2, g)))
        c.write(matmul.matmul(c.read(), old))
        flat.write(ew.sub(flat.read(), shape.reshape(old, (1600,))))
        return [d.read(), old] if returned else [d.read()]

    g = tensor(9, (40, 40))
    run = compiled(step, g)
    for _ in range(3):
        va, vb, vc, vd, vf = (array.numpy().copy() for array in arrays([a, b, c, d, flat]))
        twice, *old = (t.numpy() for t in run())
        for was in old:
            np.testing.assert_array_equal(was, va)
        np.testing.assert_array_equal(twice, vd * 2)
        np.testing.assert_array_equal(d.core.get().numpy(), vd * 2)
        np.testing.assert_array_equal(a.core.get().numpy(), va + g.numpy())
        np.testing.assert_array_equal(b.core.get().numpy(), vb + va)
        np.testing.assert_array_equal(flat.core.get().numpy(), vf - va.ravel())
        np.testing.assert_allclose(c.core.get().numpy(), vc @ va, rtol=1e-5)


def test_memory_of_others_is_not_written():
    theirs = np.full(SIZE, 3, "float32")
    adopted, first, second = slots(3)
    adopted.core.set(from_numpy(theirs, copy=False).array)
    second.store(first.current())  # one array for two variables
    variables = [adopted, first, second]
    g = tensor(9)

    def step(g):
        for slot in variables:
            slot.write(ew.add(slot.read(), g))

    run = compiled(step, g)
    start = first.core.get().numpy().copy()
    view = first.core.get().numpy()
    run(), run()
    assert (theirs == 3).all()
    np.testing.assert_array_equal(view, start)
    for slot in (first, second):
        np.testing.assert_array_equal(slot.core.get().numpy(), start + g.numpy() + g.numpy())


def test_another_thread_sees_whole_values():
    weight, velocity = (Slot(from_numpy(np.zeros(1 << 20, "float32"))) for _ in range(2))
    g = from_numpy(np.ones(1 << 20, "float32"))
    run = compiled(lambda g: momentum(weight, velocity, g), g)
    run()
    torn, looks, done = [], [0], threading.Event()

    def look():
        while not done.is_set():
            # Held for a moment: what somebody holds is not written to anyway.
            first, last = weight.core.get().numpy()[[0, -1]].tolist()
            looks[0] += 1
            if first != last:
                torn.append((first, last))

    reader = threading.Thread(target=look)
    reader.start()
    stayed = 0
    while looks[0] < 100_000:
        place = weight.core.get().address
        run()
        stayed += weight.core.get().address == place
    done.set()
    reader.join()
    assert not torn and stayed > 0


@pytest.mark.parametrize("returned", [True, False])
@pytest.mark.parametrize("taken", [True, False])
def test_what_a_branch_passes_on_is_not_written_to(taken, returned):
    """To the caller, to another variable and to a later update."""
    fast, slow, other = slots(3)
    level = from_numpy(np.float32(taken))

    def step(g, level):
        passed = control.cond(ew.gt(level, 0.0), fast.read, slow.read)
        fast.write(ew.sub(fast.read(), g))
        other.write(ew.add(other.read(), passed))
        if returned:
            return [passed]
        slow.write(passed)

    g = tensor(9)
    run = compiled(step, g, level)
    for _ in range(4):
        was_fast, was_slow, was_other = (a.numpy().copy() for a in arrays([fast, slow, other]))
        results = run()
        passed = was_fast if taken else was_slow
        found = results[0] if returned else slow.core.get()
        np.testing.assert_array_equal(found.numpy(), passed)
        np.testing.assert_array_equal(other.core.get().numpy(), was_other + passed)
        np.testing.assert_array_equal(fast.core.get().numpy(), was_fast - g.numpy())


VIEWS = {
    "array": lambda t: t.array.numpy(),
    "part": lambda t: t.numpy()[1:],
    "reshaped": lambda t: t.array.reshape((1, SIZE)).numpy(),
    "buffer": lambda t: np.frombuffer(memoryview(t.numpy()), "float32"),
    "dlpack": np.from_dlpack,
    "primitive": lambda t: shape.reshape(t, (SIZE, 1)).numpy(),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_stay_as_they_were(view):
    weight, velocity = slots(2)
    g = tensor(9)
    run = compiled(lambda g: momentum(weight, velocity, g), g)
    run()
    held = view(weight.read())
    weight.forget()
    before = held.copy()
    run(), run()
    np.testing.assert_array_equal(held, before)
    place = weight.core.get().address
    del held
    run()
    assert weight.core.get().address == place


def test_a_variable_is_its_own_argument():
    weight, velocity = slots(2)
    g = weight.current()
    before = g.numpy().copy()
    run = compiled(lambda g: momentum(weight, velocity, g), g)
    run(), run()
    np.testing.assert_array_equal(g.numpy(), before)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, MemoryError])
def test_a_step_that_fails_writes_nothing(error):
    weight, velocity = slots(2)
    g = tensor(9)
    fails = []

    def host(arrays, specs, attrs):
        if fails:
            raise error
        return arrays

    def step(g):
        (seen,) = STATE.trace.node(
            "call", [STATE.trace.lift(g).node], {}, [(g.dims, g.dtype)], pure=False, host=host
        )
        momentum(weight, velocity, seen)

    run = compiled(step, g)
    run(), run()
    places, before = addresses([weight, velocity]), contents(arrays([weight, velocity]))
    fails.append(True)
    with pytest.raises(error):
        run()
    assert contents(arrays([weight, velocity])) == before
    fails.clear()
    run()
    assert addresses([weight, velocity]) == places


def test_steps_that_share_variables_run_at_once():
    """Each takes whole values and leaves whole values; an update may be lost to another."""
    size = 1 << 18
    weight, velocity = (Slot(from_numpy(np.zeros(size, "float32"))) for _ in range(2))
    g = from_numpy(np.ones(size, "float32"))

    def step(g):
        new = ew.add(weight.read(), g)
        velocity.write(ew.add(velocity.read(), new))
        weight.write(new)
        return [ew.sub(weight.read(), velocity.read())]

    runs = [compiled(step, g) for _ in range(3)]
    torn = []

    def work(run):
        for _ in range(100):
            found = [run()[0], weight.core.get(), velocity.core.get()]
            torn.extend(t for t in found if np.ptp(t.numpy()) != 0)

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not torn


def test_a_store_meanwhile_is_not_forgotten():
    """What a slot remembers of its value is that of its last writer."""
    slot = Slot(tensor(0))
    core, later = slot.core, tensor(2)

    class Slow:
        version, get = property(lambda self: core.version), core.get

        def set(self, array):
            version = core.set(array)
            slot.core = core
            slot.store(later)  # as another thread would
            return version

    slot.core = Slow()
    slot.store(tensor(1))
    np.testing.assert_array_equal(slot.current().numpy(), later.numpy())
    np.testing.assert_array_equal(slot.core.get().numpy(), later.numpy())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_between_steps():
    weight = Slot(from_numpy(np.zeros(400_003, "float32")))
    g = from_numpy(np.ones(400_003, "float32"))
    run = compiled(lambda g: weight.write(ew.add(weight.read(), g)), g)

    def right(value):
        place = weight.core.get().address
        run()
        return (weight.core.get().numpy() == value).all() and weight.core.get().address == place

    run()
    child = os.fork()
    if child == 0:
        os._exit(0 if right(2) and right(3) else 1)
    assert right(2) and right(3)
    assert os.waitpid(child, 0)[1] == 0
