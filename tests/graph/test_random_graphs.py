"""Random graphs: compiled, a function gives what it gives eagerly: value, gradients, assignments.

A few dozen at each run; thousands, with each pass left out in turn as well, by

    NATIVE_TEST_ALL=1 python -m pytest tests/graph/test_random_graphs.py
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_native import _core
from keras_native.engine import control, transforms
from keras_native.engine.primitives import (
    conv,
    gather,
    matmul,
    norm,
    norm_batch,
    pool,
    reduce,
    shape,
    shape_slice,
    softmax,
)
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy

ALL = bool(os.environ.get("NATIVE_TEST_ALL"))
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}
SMOOTH = (ew.tanh, ew.sigmoid, ew.sin, ew.gelu, ew.silu, ew.softplus, ew.neg, ew.square)


class Generator:
    """Draws a function of parameters and slots, one step at a time.

    A step is a function of the list of all values before it, parameters first. What jumps (relu, a
    maximum, a branch) is given noise first, so that rounding does not decide where it jumps to.
    """

    def __init__(self, draw, dtype):
        self.draw, self.dtype = draw, dtype
        self.rng = np.random.default_rng(draw(st.integers(0, 1000)))
        self.parameters, self.steps, self.slots = [], [], []
        for dims in draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=2)):
            self.parameter(dims)
        self.roots = len(self.parameters)

    def integer(self, low, high):
        return self.draw(st.integers(low, high))

    def one_of(self, items):
        return self.draw(st.sampled_from(list(items)))

    def array(self, dims, scale=1.0):
        return from_numpy((self.rng.standard_normal(dims) * scale).astype(self.dtype))

    def parameter(self, dims, scale=1.0):
        """The name of a new one: a function that finds it among the parameters."""
        index = len(self.parameters)
        self.parameters.append(self.array(dims, scale))
        return lambda env: env["parameters"][index]

    def noisy(self, value):
        noise = self.array(value.dims)
        return lambda v: ew.add(v, noise)

    def grow(self, env, steps):
        """Appends that many steps, running each one eagerly to know the sizes of its result."""
        while len(self.steps) < steps:
            choices = range(len(env["values"]))
            at = self.one_of([*choices, *choices[-3:]])  # recent ones more often
            value = env["values"][at]
            rule = self.one_of(r for r in RULES if r.__defaults__[0](value))
            work = rule(self, value, env)
            step = lambda env, at=at, work=work: work(env["values"][at], env)  # noqa: E731
            env["parameters"] = self.parameters
            env["values"].append(step(env))
            self.steps.append(step)


SHAPES = [(3, 7), (5, 33), (16, 48), (2, 5, 6), (2, 6, 6, 4), (1, 9, 8, 17), (2, 7, 7, 40), (8,)]


# Rules: how to draw a step on a value; the default says which values it takes.


def smooth(g, x, env, takes=lambda x: True):
    op, factor = g.one_of(SMOOTH), 0.5
    return lambda v, env: op(ew.mul(v, factor))


def clipped(g, x, env, takes=lambda x: True):
    op, noise = g.one_of((ew.relu, ew.relu6)), g.noisy(x)
    return lambda v, env: op(ew.mul(noise(v), 4.0))


def binary(g, x, env, takes=lambda x: True):
    op = g.one_of((ew.add, ew.sub, ew.mul, lambda a, b: ew.div(a, ew.add(ew.square(b), 1.0))))
    others = [i for i, o in enumerate(env["values"]) if o.dims in (x.dims, x.dims[-1:], ())]
    if not others or g.integer(0, 2) == 0:
        name = g.parameter(g.one_of([x.dims, x.dims[-1:], (), tuple(1 for _ in x.dims)]))
        return lambda v, env: op(v, name(env))
    other, swap = g.one_of(others), g.integer(0, 1)
    pair = lambda v, o: (o, v) if swap and o.dims == v.dims else (v, o)  # noqa: E731
    return lambda v, env: op(*pair(v, env["values"][other]))


def chosen(g, x, env, takes=lambda x: True):
    noise, compare = g.noisy(x), g.one_of((ew.gt, ew.le))
    return lambda v, env: ew.select(compare(noise(v), 0.0), ew.mul(v, 0.3), ew.sin(v))


def reduced(g, x, env, takes=lambda x: x.ndim > 1):
    op, axis = g.one_of((reduce.reduce_sum, reduce.reduce_mean)), g.integer(0, x.ndim - 1)
    keep = bool(g.integer(0, 1))
    return lambda v, env: ew.tanh(op(v, (axis,), keep))


def moved(g, x, env, takes=lambda x: x.ndim > 1):
    perm = g.draw(st.permutations(range(x.ndim)))
    return lambda v, env: shape.transpose(v, perm)


def flattened(g, x, env, takes=lambda x: x.ndim > 2):
    return lambda v, env: shape.reshape(v, (v.dims[0], int(np.prod(v.dims[1:]))))


def joined(g, x, env, takes=lambda x: x.ndim > 0):
    axis = g.integer(0, x.ndim - 1)
    return lambda v, env: shape.concat([v, ew.sin(v)], axis)


def cut(g, x, env, takes=lambda x: x.ndim > 0 and x.dims[0] > 1):
    start = g.integer(0, x.dims[0] - 1)
    return lambda v, env: shape_slice.slice(v, (start,) + (0,) * (v.ndim - 1), v.dims)


def product(g, x, env, takes=lambda x: x.ndim > 1 and x.dims[-1] < 400):
    k, n = x.dims[-1], g.one_of((1, 5, 17, 64))
    transpose = bool(g.integer(0, 1)) and x.ndim == 2
    w = g.parameter((n, k) if transpose else (k, n), k**-0.5)
    b, bias = g.parameter((n,)), g.integer(0, 1)
    activation, noise = g.one_of((None, ew.relu, ew.gelu, ew.tanh)), g.array((n,))

    def work(v, env):
        weights = shape.transpose(w(env), (1, 0)) if transpose else w(env)
        y = matmul.matmul(v, weights)
        y = ew.add(y, ew.add(b(env), noise)) if bias else y
        return y if activation is None or not bias else activation(y)

    return work


def normal(g, x, env, takes=lambda x: x.ndim > 1 and x.dims[-1] > 2):
    gamma, beta = g.parameter(x.dims[-1:]), g.parameter(x.dims[-1:])
    op = g.one_of((norm.layer_norm, lambda v, *p: norm.rms_norm(v, p[0])))
    return lambda v, env: op(v, gamma(env), beta(env))


def batch_normal(g, x, env, takes=lambda x: x.ndim > 1 and np.prod(x.dims[:-1]) > 4):
    gamma, beta = g.parameter(x.dims[-1:], 4.0), g.parameter(x.dims[-1:], 2.0)
    noise, clip = g.noisy(x), g.one_of((None, ew.relu, ew.relu6))
    shortcut, bias = g.integer(0, 1), g.integer(0, 1) and g.parameter(x.dims[-1:])
    slot = Slot(g.array(x.dims[-1:]))
    g.slots.append(slot)

    def work(v, env):
        v = noise(v)
        x = ew.add(v, bias(env)) if bias else v
        y, mean, _ = norm_batch.batch_norm_train(x, gamma(env), beta(env))
        slot.write(ew.add(ew.mul(slot.read(), 0.9), ew.mul(mean, 0.1)))
        y = ew.add(y, v) if shortcut else y
        return y if clip is None else clip(y)

    return work


def probabilities(g, x, env, takes=lambda x: x.ndim > 0 and x.dims[-1] > 1):
    op = g.one_of((softmax.softmax, softmax.log_softmax))
    return lambda v, env: op(v)


def convolved(g, x, env, takes=lambda x: x.ndim == 4 and min(x.dims[1:3]) > 3):
    size, channels, out = g.one_of((1, 3)), x.dims[-1], g.one_of((3, 16, 40))
    stride, pad, bias = g.integer(1, 2), g.integer(0, 1), g.integer(0, 1)
    w = g.parameter((size, size, channels, out), (size * size * channels) ** -0.5)
    b, clip, noise = g.parameter((out,)), g.one_of((None, ew.relu)), g.array((out,))

    def work(v, env):
        y = conv.conv(v, w(env), stride, ((pad, pad),) * 2)
        y = ew.add(y, ew.add(b(env), noise)) if bias else y
        return y if clip is None or not bias else clip(y)

    return work


def pooled(g, x, env, takes=lambda x: x.ndim == 4 and min(x.dims[1:3]) > 2):
    noise, stride = g.noisy(x), g.integer(1, 2)
    largest, clip = g.integer(0, 1), g.integer(0, 1)

    def work(v, env):
        v = ew.relu(noise(v)) if clip else noise(v)
        return pool.max_pool(v, 2, stride) if largest else pool.avg_pool(v, 2, stride)

    return work


def looked_up(g, x, env, takes=lambda x: x.ndim == 2):
    rows = from_numpy(g.rng.integers(0, x.dims[0], 6).astype("int32"))
    return lambda v, env: gather.gather(v, rows, 0)


def branched(g, x, env, takes=lambda x: True):
    threshold, op = float(g.rng.standard_normal()), g.one_of(SMOOTH)
    slot = Slot(g.array(()))
    g.slots.append(slot)

    def work(v, env):
        level = reduce.reduce_mean(v, None)

        def yes():
            slot.write(ew.add(slot.read(), level))
            return op(v)

        return control.cond(ew.gt(level, threshold), yes, lambda: ew.mul(v, 0.5))

    return work


def scanned(g, x, env, takes=lambda x: x.ndim > 1):
    scale, reverse = g.parameter(x.dims[1:], 0.5), bool(g.integer(0, 1))

    def work(v, env):
        def body(carry, row):
            carry = ew.tanh(ew.add(ew.mul(carry, scale(env)), row))
            return carry, ew.mul(carry, row)

        start = shape.full(v.dims[1:], 0.1, v.dtype)
        last, rows = control.scan(body, start, v, reverse=reverse)
        return ew.add(rows, last)

    return work


RULES = [smooth, clipped, binary, binary, chosen, reduced, moved, flattened, joined, cut, product,
         normal, batch_normal, batch_normal, probabilities, convolved, pooled, looked_up, branched,
         scanned]  # fmt: skip


def generate(draw, dtype, steps):
    """(function of the parameters, parameters, slots) with `steps` steps; the function returns a
    scalar and some of the values on the way."""
    g = Generator(draw, dtype)
    env = {"values": list(g.parameters), "parameters": g.parameters}
    g.grow(env, steps)
    count = len(env["values"])
    read = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=4)) + [count - 1]
    weights = [g.array(env["values"][i].dims) for i in read]

    def fn(*parameters):
        env = {"values": list(parameters[: g.roots]), "parameters": parameters}
        for step in g.steps:
            env["values"].append(step(env))
        results = [env["values"][i] for i in read]
        loss = shape.full((), 0.0, dtype)
        for value, weight in zip(results, weights):
            loss = ew.add(loss, reduce.reduce_mean(ew.mul(value, weight), None))
        return loss, results[:2]

    return fn, list(g.parameters), g.slots


def outcome(fn, parameters, slots, starts):
    """Loss, values, gradients and what the slots hold after two calls."""
    for slot, start in zip(slots, starts):
        slot.write(start)
    fn(*parameters)
    (loss, values), grads = fn(*parameters)
    return [t.numpy() for t in (loss, *values, *grads, *(s.read() for s in slots))]


def compare(got, want, dtype, note):
    for a, b in zip(got, want, strict=True):
        scale = max(np.abs(b).max(initial=0), 1e-2)
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=note)


QUICK = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


@settings(max_examples=2000 if ALL else 80, **QUICK)
@given(st.data(), st.sampled_from(sorted(TOLERANCE)), st.integers(3, 16))
def test_compiled_equals_eager(data, dtype, steps):
    fn, parameters, slots = generate(data.draw, dtype, steps)
    both = transforms.value_and_grad(fn, tuple(range(len(parameters))), has_aux=True)
    starts = [slot.read() for slot in slots]
    want = outcome(both, parameters, slots, starts)
    compare(outcome(transforms.jit(both), parameters, slots, starts), want, dtype, "compiled")


@pytest.mark.skipif(not ALL, reason="NATIVE_TEST_ALL is not set")
@pytest.mark.parametrize("name", _core.passes())
def test_each_pass_keeps_the_values(name, monkeypatch):
    @settings(max_examples=100, **QUICK)
    @given(st.data(), st.integers(4, 16))
    def check(data, steps):
        fn, parameters, slots = generate(data.draw, "float64", steps)
        both = transforms.value_and_grad(fn, tuple(range(len(parameters))), has_aux=True)
        starts = [slot.read() for slot in slots]
        want = outcome(transforms.jit(both), parameters, slots, starts)
        with monkeypatch.context() as patch:
            patch.setenv("NATIVE_DISABLE_PASSES", name)
            got = outcome(transforms.jit(lambda *p: both(*p)), parameters, slots, starts)
        compare(got, want, "float64", f"without {name}")

    check()
