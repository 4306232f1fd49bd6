"""Steps that need nothing of each other and work on one thread each run side by side, with the same
bits."""

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_native import _core
from keras_native.engine import host
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul, rnn
from keras_native.engine.primitives import shape as sh
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

STEPS, UNITS = 40, 64  # some 20 microseconds of one sequence
RNG = np.random.default_rng(0)


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32") / 4)


SEQUENCE = tensor(1, STEPS, UNITS)
INPUTS = {(gates, way): tensor(UNITS, gates * UNITS) for gates in (3, 4) for way in (False, True)}
WEIGHTS = {gates: tensor(UNITS, gates * UNITS) for gates in (3, 4)}
STATE = tensor(1, UNITS)


def long_short(x, reverse=False):
    z = sh.reshape(
        matmul.matmul(sh.reshape(x, (-1, UNITS)), INPUTS[4, reverse]), (1, -1, 4 * UNITS)
    )
    return rnn.lstm(z, STATE, STATE, WEIGHTS[4], reverse=reverse)[0]


def gated(x, reverse=False):
    z = sh.reshape(
        matmul.matmul(sh.reshape(x, (-1, UNITS)), INPUTS[3, reverse]), (1, -1, 3 * UNITS)
    )
    return rnn.gru(z, STATE, WEIGHTS[3], reverse=reverse)[0]


def compiled(fn, *arguments):
    return CompiledFunction(lambda *t: fn(*t), [(t.dims, t.dtype) for t in arguments])


def run(made, *arguments):
    return [a.numpy() for a in made.run([t.array for t in arguments], [])]


def groups(made):
    """The kernels of groups, in order."""
    names = [kernel for _, kernel in made.compiled.chosen([])]
    return [kernel for kernel in names if kernel.endswith("_beside")]


def same(fn, *arguments, groups_expected):
    """Compiled as eager, at several numbers of threads, with so many groups."""
    made, expected = compiled(fn, *arguments), [t.numpy() for t in fn(*arguments)]
    before = _core.threads()
    try:
        for threads in (1, 2, 3, 7):
            _core.set_threads(threads)
            for got, wanted in zip(run(made, *arguments), expected, strict=True):
                np.testing.assert_array_equal(got, wanted)
    finally:
        _core.set_threads(before)
    assert len(groups(made)) == groups_expected, made.compiled.chosen([])


def test_two_directions_and_what_prepares_the_second():
    same(
        lambda x: [ew.add(long_short(x), long_short(x, reverse=True))],
        SEQUENCE,
        groups_expected=1,
    )


def test_different_kinds_and_more_than_two():
    same(
        lambda x: [long_short(x), gated(x), gated(x, reverse=True), long_short(x, reverse=True)],
        SEQUENCE,
        groups_expected=1,
    )


def test_many_are_groups_of_eight():
    branches = [tensor(1, 1, UNITS) for _ in range(10)]
    same(lambda x: [long_short(ew.add(x, b)) for b in branches], SEQUENCE, groups_expected=2)


def test_layers_of_two_directions():
    def fn(x):
        for _ in range(3):
            x = ew.add(long_short(x), gated(x, reverse=True))
        return [x]

    same(fn, SEQUENCE, groups_expected=3)


def test_what_needs_another_waits_for_it():
    same(lambda x: [long_short(long_short(x))], SEQUENCE, groups_expected=0)
    # The third needs the first by way of something else, and the second does not.
    same(
        lambda x: [long_short(x), gated(ew.tanh(long_short(x))), gated(x)],
        SEQUENCE,
        groups_expected=1,
    )


def test_short_ones_and_those_of_many_sequences_stay_apart():
    few = tensor(1, 3, UNITS)
    same(lambda x: [long_short(x), gated(x)], few, groups_expected=0)

    x, state = tensor(32, STEPS, 4 * UNITS), tensor(32, UNITS)
    made = compiled(
        lambda x: [rnn.lstm(x, state, state, WEIGHTS[4], reverse=r)[0] for r in (False, True)], x
    )
    assert groups(made) == []


def test_those_far_apart_stay_apart():
    def fn(x):
        first, y = long_short(x), x
        for _ in range(100):
            y = matmul.matmul(y, tensor(1, UNITS, UNITS))
        return [first, gated(y)]

    made = compiled(fn, SEQUENCE)
    run(made, SEQUENCE)
    assert groups(made) == []


def test_calls_of_the_host_stay_in_order():
    called = []

    def calls(name):
        def call(x):
            called.append(name)
            return x

        return call

    def fn(x):
        spec = [(x.dims, x.dtype)]
        (a,) = host.host_call(calls("a"), [x], spec)
        first = long_short(x)
        (b,) = host.host_call(calls("b"), [first], spec)
        (c,) = host.host_call(calls("c"), [x], spec)
        return [a, b, gated(c)]

    made = compiled(fn, SEQUENCE)
    run(made, SEQUENCE)
    assert called == ["a", "b", "c"]
    assert groups(made) == []


def test_a_variable_is_read_before_it_is_written():
    slot = Slot(SEQUENCE)

    def fn(x):
        first = long_short(slot.read())
        before = slot.read()
        slot.write(ew.add(before, first))
        return [gated(before), gated(slot.read()), first]

    made = compiled(fn, SEQUENCE)
    value = SEQUENCE
    for _ in range(3):
        first = long_short(value)
        after = ew.add(value, first)
        expected = [gated(value), gated(after), first]
        for got, wanted in zip(run(made, SEQUENCE), expected, strict=True):
            np.testing.assert_array_equal(got, wanted.numpy())
        np.testing.assert_array_equal(slot.read().numpy(), after.numpy())
        value = after
    assert len(groups(made)) == 1


def test_several_threads_at_once():
    def fn(x):
        return [long_short(x), gated(x, reverse=True), ew.add(long_short(x), gated(x))]

    inputs = [tensor(1, STEPS, UNITS) for _ in range(4)]
    made = compiled(fn, SEQUENCE)
    expected = [[t.numpy() for t in fn(x)] for x in inputs]
    wrong = []

    def work(i):
        for _ in range(20):
            for got, wanted in zip(run(made, inputs[i]), expected[i], strict=True):
                if not np.array_equal(got, wanted):
                    wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


NODES = [
    lambda a, _: long_short(a),
    lambda a, _: gated(a, reverse=True),
    lambda a, _: long_short(ew.tanh(a), reverse=True),
    lambda a, b: gated(ew.add(a, b)),
    ew.add,
]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(NODES), st.integers(0, 99), st.integers(0, 99)),
        min_size=2,
        max_size=9,
    )
)
def test_any_graph(nodes):
    """Recurrent layers, sums and activations of any earlier values."""

    def fn(x):
        values = [x]
        for node, i, j in nodes:
            values.append(node(values[i % len(values)], values[j % len(values)]))
        return values[1:]

    made = compiled(fn, SEQUENCE)
    for got, wanted in zip(run(made, SEQUENCE), fn(SEQUENCE), strict=True):
        np.testing.assert_array_equal(got, wanted.numpy())
