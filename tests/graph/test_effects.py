"""Calls that somebody sees run as often and in the order in which they were recorded."""

import random

import numpy as np
import pytest

from keras_native.engine import control
from keras_native.engine.host import host_call
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

X = from_numpy(np.linspace(-2, 2, 40, dtype="float32").reshape(5, 8))


def calls_and_results(fn):
    """The names of calls, in order, and results, of `fn(x, call)` compiled; the step runs twice."""
    names = []

    def call(name, x):
        def seen(array):
            names.append(name)
            return array * np.float32(0.5)

        return host_call(seen, [x], [(x.dims, x.dtype)], pure=False)[0]

    step = CompiledFunction(lambda x: fn(x, call), [(X.dims, X.dtype)])
    step.run([X.array], [])
    once = list(names)
    results = [a.numpy() for a in step.run([X.array], [])]
    assert names == once + once
    return once, results


def test_a_chain_that_one_call_reads_does_not_wait_for_a_later_call():
    """Both sums would be one program, which needs the second call and is needed by the first."""

    def step(x, call):
        t = ew.add(x, reduce.reduce_sum(x, (0,), True))
        first = call("first", t)
        return [first, ew.add(t, call("second", x))]

    names, (first, second) = calls_and_results(step)
    assert names == ["first", "second"]
    t = X.numpy() + X.numpy().astype("float64").sum(axis=0, keepdims=True)
    np.testing.assert_allclose(first, t / 2, atol=1e-5)
    np.testing.assert_allclose(second, t + X.numpy() / 2, atol=1e-5)


def test_a_loop_whose_body_calls_runs_though_nobody_reads_it():
    def step(x, call):
        control.scan(lambda carry, _: (call("turn", carry), None), x, None, length=3)
        call("after", x)
        return [ew.tanh(x)]

    assert calls_and_results(step)[0] == ["turn"] * 3 + ["after"]


def test_loops_and_branches_in_loops_run_their_calls():
    """What a call inside of them reads is carried, though no result depends on it."""

    def step(x, call):
        def turn(carry, _):
            first, second = carry
            above = ew.gt(reduce.reduce_sum(first, (0, 1)), -1e9)
            control.scan(lambda c, _: (call("inner", c), None), first, None, length=2)
            control.cond(above, lambda: call("branch", second), lambda: second)
            return (ew.tanh(first), ew.tanh(second)), None

        control.scan(turn, (x, ew.neg(x)), None, length=3)
        return [ew.tanh(x)]

    assert calls_and_results(step)[0] == ["inner", "inner", "branch"] * 3


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_keep_the_order_of_calls(seed):
    choose = random.Random(seed)
    kinds = [choose.choice(["call", "tanh", "add", "add", "sum"]) for _ in range(14)]
    places = [(choose.random(), choose.random()) for _ in kinds]
    outputs = [k for k in range(len(kinds)) if choose.random() < 0.4] or [len(kinds) - 1]

    def values(x, call):
        made = [x]
        for k, (kind, (a, b)) in enumerate(zip(kinds, places, strict=True)):
            a, b = (made[int(p * len(made))] for p in (a, b))
            match kind:
                case "call":
                    made.append(call(k, a))
                case "tanh":
                    made.append(ew.tanh(a))
                case "add":
                    made.append(ew.add(a, b))
                case "sum":
                    made.append(ew.add(a, reduce.reduce_sum(b, (0,), True)))
        return [made[k + 1] for k in outputs]

    names, got = calls_and_results(values)
    assert names == [k for k, kind in enumerate(kinds) if kind == "call"]
    eager = values(X, lambda _, x: ew.mul(x, 0.5))
    for a, b in zip(got, eager, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-5)
