"""Control flow: in the graph as eagerly, in value and in derivatives."""

import numpy as np
import pytest

from keras_native.engine import control, transforms
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul, reduce, shape
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy


def tensor(values, dtype="float32"):
    return from_numpy(np.asarray(values, dtype))


def rows(n, width=3):
    return np.random.default_rng(n).standard_normal((n, width)).astype("float32")


def total(x):
    return reduce.reduce_sum(x, tuple(range(x.ndim)))


def stepwise(f):
    """Eager loops call their body for each step."""

    def call(*args):
        STATE.python_loops = True
        try:
            return f(*args)
        finally:
            STATE.python_loops = False

    return call


def at_once(f):
    """Eager loops are compiled, however short, and a body that cannot be traced is an error."""

    def call(*args):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(control, "_FEW", 0)
            patch.setattr(control, "_at_once", lambda traced, stepwise: traced())
            return f(*args)

    return call


each_way = pytest.mark.parametrize("wrap", [stepwise, at_once, transforms.jit])


def test_cond_assigns_in_the_branch_that_runs():
    slot, other = Slot(tensor(0.0)), Slot(tensor(0.0))

    def step(k):
        def yes():
            slot.write(ew.add(slot.read(), 1.0))
            return None

        def no():
            other.write(ew.add(other.read(), 1.0))
            return None

        control.cond(ew.gt(k, 0.0), yes, no)
        return k

    f = transforms.jit(step)
    for k in (1.0, -1.0, 1.0):
        f(tensor(k))
    assert (slot.read().numpy(), other.read().numpy()) == (2, 1)
    assert f.traces == 1


def test_cond_branches_must_agree():
    f = transforms.jit(
        lambda x: control.cond(ew.gt(x, 0.0), lambda: x, lambda: shape.reshape(x, (1,)))
    )
    with pytest.raises(ValueError, match="cond"):
        f(tensor(1.0))


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_equals_the_python_loop_in_value_and_gradient(reverse):
    w = tensor(rows(3) * 0.3)

    def loss(w, xs):
        def body(carry, x):
            carry = ew.tanh(ew.add(matmul.matmul(carry, w), x))
            return carry, ew.mul(carry, carry)

        last, ys = control.scan(body, shape.full((2, 3), 0.1, "float32"), xs, reverse=reverse)
        return ew.add(reduce.reduce_sum(last, None), reduce.reduce_sum(ys, None))

    xs = tensor(np.random.default_rng(5).standard_normal((6, 2, 3)))
    both = transforms.value_and_grad(loss, (0, 1))
    value, grads = stepwise(both)(w, xs)
    for wrap in (at_once, transforms.jit):
        compiled_value, compiled_grads = wrap(both)(w, xs)
        np.testing.assert_allclose(compiled_value.numpy(), value.numpy(), rtol=1e-6)
        for a, b in zip(grads, compiled_grads):
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6)


def test_scan_carries_assigned_variables():
    count = Slot(tensor(0.0))

    def step(xs):
        def body(carry, x):
            count.write(ew.add(count.read(), x))
            return carry, ew.add(count.read(), 0.0)

        return control.scan(body, (), xs)[1]

    out = transforms.jit(step)(tensor([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(out.numpy(), [1, 3, 6])
    assert count.read().numpy() == 6


def test_while_loop():
    def fn(n):
        one = from_numpy(np.int32(1))
        return control.while_loop(
            lambda i, a: ew.lt(i, n),
            lambda i, a: (ew.add(i, one), ew.mul(a, 2.0)),
            (from_numpy(np.int32(0)), tensor(1.0)),
        )[1]

    compiled = transforms.jit(fn)
    for n in (0, 3, 10):
        assert compiled(from_numpy(np.int32(n))).numpy() == 2**n
    assert compiled.traces == 1
    with pytest.raises(ValueError, match="no reverse-mode derivative"):
        grad = transforms.grad(
            lambda x: control.while_loop(
                lambda a: ew.lt(a, 5.0), lambda a: (ew.mul(a, x),), (ew.mul(x, 1.0),)
            )[0]
        )
        transforms.jit(grad)(tensor(2.0))


X = np.array([0.3, 0.9, 1.4])


def through_pytree(x):
    def step(carry, row):
        a, (b,) = carry["a"], carry["b"]
        return {"a": ew.mul(a, ew.add(row["u"], b)), "b": (ew.add(b, row["v"]),)}, (a, [b, None])

    carry = {"a": total(x), "b": (ew.sin(total(x)),)}
    last, (a, (b, nothing)) = control.scan(step, carry, {"u": x, "v": ew.mul(x, x)}, reverse=True)
    assert nothing is None
    return ew.add(ew.mul(last["a"], last["b"][0]), ew.add(total(a), total(ew.mul(b, x))))


def without_slices(x):
    last, ys = control.scan(lambda c, _: (ew.mul(ew.cos(c), x), c), x, length=4)
    return ew.add(total(last), total(ew.mul(ys, ys)))


def of_several_dtypes(x):
    def step(carry, row):
        i, a = carry
        return (ew.add(i, 1), ew.mul(a, row)), ew.mul(ew.cast(i, a.dtype), a)

    (count, last), ys = control.scan(step, (tensor(1, "int32"), total(x)), x)
    return ew.add(ew.mul(last, ew.cast(count, last.dtype)), total(ys))


def nested(x):
    w = ew.sin(x)

    def outer(c, row):
        inner, ys = control.scan(lambda a, b: (ew.add(ew.mul(a, b), row), ew.mul(a, a)), c, w)
        return ew.tanh(inner), total(ys)

    last, ys = control.scan(outer, total(x), x)
    return ew.add(last, total(ys))


def cond_in_scan(x):
    def step(c, row):
        taken = ew.gt(row, tensor(0.5, "float64"))
        return control.cond(taken, lambda: ew.mul(c, row), lambda: ew.add(c, ew.sin(row))), c

    last, ys = control.scan(step, total(x), x)
    return ew.add(last, total(ys))


def scan_in_cond(x):
    def loop():
        return control.scan(lambda c, row: (ew.mul(ew.mul(c, c), row), None), total(x), x)[0]

    return control.cond(ew.gt(total(x), tensor(0.0, "float64")), loop, lambda: total(x))


@pytest.mark.parametrize(
    "function",
    [through_pytree, without_slices, of_several_dtypes, nested, cond_in_scan, scan_in_cond],
)
def test_two_derivatives_in_the_graph_and_eagerly(function):
    first = transforms.grad(function)
    second = transforms.grad(lambda x: total(ew.mul(first(x), first(x))))
    x = from_numpy(X)
    for f in (function, first, second):
        expected = stepwise(f)(x).numpy()
        for wrap in (at_once, transforms.jit):
            np.testing.assert_allclose(wrap(f)(x).numpy(), expected, rtol=1e-9)
    for f, derivative in ((function, first), (lambda x: total(ew.mul(first(x), first(x))), second)):
        direction = np.array([1.0, -2.0, 0.5])
        ends = [float(f(from_numpy(X + step * direction)).numpy()) for step in (1e-6, -1e-6)]
        slope = float(np.sum(derivative(x).numpy() * direction))
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


@each_way
def test_scan_of_no_steps(wrap):
    def loop(x):
        def step(c, row):
            return ew.mul(c, c), (ew.add(c, row), shape.reshape(row, (3, 1)))

        return control.scan(step, x, shape.zeros((0, 3), "float32"))

    last, (a, b) = wrap(loop)(tensor([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(last.numpy(), [1, 2, 3])
    assert (a.dims, b.dims, a.dtype) == ((0, 3), (0, 3, 1), "float32")


@each_way
def test_loops_assign_variables_each_time_round(wrap):
    slot, count = Slot(tensor(1.0)), Slot(tensor(0.0))

    def body(c, row):
        slot.write(ew.mul(slot.read(), row))
        control.cond(ew.gt(row, 1.5), lambda: count.write(ew.add(count.read(), 1.0)), lambda: None)
        return ew.add(c, slot.read()), slot.read()

    def double(i):
        slot.write(ew.mul(slot.read(), 2.0))
        return (ew.add(i, 1),)

    def run(x):
        result = control.scan(body, total(x), x)
        control.while_loop(lambda i: ew.lt(i, 3), double, (tensor(0, "int32"),))
        return result

    last, products = wrap(run)(tensor([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(products.numpy(), [1, 2, 6])
    assert [float(t.numpy()) for t in (last, slot.read(), count.read())] == [15, 48, 2]


def test_variables_that_bodies_read_have_gradients():
    slot = Slot(tensor([1.0, 2.0, 3.0]))

    class Variable:
        value = property(lambda self: slot.read())

    def loss(_, x):
        def step(c, row):
            return ew.mul(ew.add(c, total(slot.read())), row), None

        last, _ = control.scan(step, total(x), x)
        return control.cond(
            ew.gt(last, 0.0), lambda: ew.mul(last, total(slot.read())), lambda: last
        )

    both = transforms.grad(loss, argnums=(0, 1))
    x = tensor([0.3, 0.9, 1.4])
    expected = stepwise(both)(Variable(), x)
    for wrap in (at_once, transforms.jit):
        for a, b in zip(expected, wrap(lambda x: both(Variable(), x))(x)):
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5)


def test_while_loop_stops_at_its_limit():
    def run(x):
        return control.while_loop(
            lambda i, v: ew.lt(i, 100),
            lambda i, v: (ew.add(i, 1), {"v": ew.mul(v["v"], 2.0)}),
            (tensor(0, "int32"), {"v": x}),
            maximum_iterations=5,
        )

    for f in (stepwise(run), at_once(run), run, transforms.jit(run)):
        i, v = f(tensor([1.0, 3.0]))
        assert int(i.numpy()) == 5
        np.testing.assert_array_equal(v["v"].numpy(), [32, 96])


@each_way
def test_wrong_bodies_are_named(wrap):
    def grows(x):
        return control.scan(lambda c, row: (shape.concat([c, c], 0), row), x, x)

    def restructures(x):
        return control.scan(lambda c, row: ((c, c), row), x, x)

    def uneven(x):
        return control.scan(lambda c, row: (c, None), x, [x, shape.concat([x, x], 0)])

    x = tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="scan: the carry changes"):
        wrap(grows)(x)
    with pytest.raises(ValueError, match="scan: the carry changes from"):
        wrap(restructures)(x)
    with pytest.raises(ValueError, match="scan: leading size 4 differs from length 2"):
        wrap(uneven)(x)
    with pytest.raises(ValueError, match="length must be given"):
        wrap(lambda x: control.scan(lambda c, _: (c, None), x))(x)


@each_way
def test_derivatives_by_what_a_body_closes_over(wrap):
    """Of tensors and of functions of them that the body computes; numbers are constants."""
    w, scale = tensor([0.2, 0.5, -0.3], "float64"), tensor(0.7, "float64")

    def loss(w, scale):
        def body(c, x):
            weighted = ew.mul(ew.add(ew.sin(w), 0.5), ew.mul(x, scale))
            return ew.tanh(ew.add(c, weighted)), total(weighted)

        last, ys = control.scan(body, ew.mul(w, w), tensor(np.linspace(0.1, 1, 9), "float64"))
        return ew.add(total(last), total(ew.mul(ys, ys)))

    def plain(w, scale):
        c, ys = w * w, 0.0
        for x in np.linspace(0.1, 1, 9):
            weighted = (np.sin(w) + 0.5) * x * scale
            c, ys = np.tanh(c + weighted), ys + weighted.sum() ** 2
        return c.sum() + ys

    def slope(w, scale):
        first, second = transforms.grad(loss, argnums=(0, 1))(w, scale)
        return ew.add(total(ew.mul(first, w)), second)

    found = wrap(transforms.grad(loss, argnums=(0, 1)))(w, scale)
    a, b, step = w.numpy(), scale.numpy(), 1e-6
    for i in range(3):
        move = np.eye(3)[i] * step
        expected = (plain(a + move, b) - plain(a - move, b)) / (2 * step)
        np.testing.assert_allclose(found[0].numpy()[i], expected, rtol=1e-7)
    expected = (plain(a, b + step) - plain(a, b - step)) / (2 * step)
    np.testing.assert_allclose(found[1].numpy(), expected, rtol=1e-7)

    second = wrap(transforms.grad(slope, argnums=(0, 1)))(w, scale)
    for found, expected in zip(second, stepwise(transforms.grad(slope, (0, 1)))(w, scale)):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9)


def test_a_long_eager_loop_traces_its_body_once():
    calls = []

    def body(c, x):
        calls.append(c)
        return ew.add(c, x), c

    last, ys = control.scan(body, tensor(0.0), tensor(np.arange(100.0)))
    assert (len(calls), float(last.numpy()), ys.dims) == (1, 4950, (100,))
    calls.clear()

    def double(i, x):
        calls.append(i)
        return ew.add(i, 1), ew.add(x, x)

    start = (tensor(0, "int32"), tensor(1.0))
    i, x = control.while_loop(lambda i, _: ew.lt(i, 50), double, start)
    assert (int(i.numpy()), float(x.numpy())) == (50, 2.0**50)
    assert len(calls) <= control._FEW + 1
    calls.clear()
    stepwise(control.scan)(body, tensor(0.0), tensor(np.arange(100.0)))
    assert len(calls) == 100


def test_a_body_that_cannot_be_traced_is_called_for_each_step():
    def looks(c, x):
        return (ew.add(c, x) if float(x.numpy()) > 0.5 else c), x

    xs = np.linspace(0, 1, 20)
    last, ys = control.scan(looks, tensor(0.0, "float64"), tensor(xs, "float64"))
    np.testing.assert_allclose(last.numpy(), xs[xs > 0.5].sum())
    np.testing.assert_array_equal(ys.numpy(), xs)

    def grows(x):
        return (shape.concat([x, x], 0),)

    (out,) = control.while_loop(lambda x: ew.lt(tensor(x.dims[0]), 5000), grows, (tensor([1.0]),))
    assert out.dims == (8192,)

    def fails(c, x):
        raise KeyError("of the body")

    with pytest.raises(KeyError, match="of the body"):
        control.scan(fails, tensor(0.0), tensor(xs))


def test_an_eager_derivative_by_way_of_an_assigned_variable():
    """Compiled code has none, so that the steps are taken one by one."""
    slot = Slot(tensor(1.0))

    def loss(x):
        slot.write(tensor(1.0))

        def body(c, row):
            slot.write(ew.mul(slot.read(), row))
            return c, None

        control.scan(body, (), x)
        return slot.read()

    x = np.linspace(0.5, 1.5, 9)
    found = transforms.grad(loss)(tensor(x)).numpy()
    np.testing.assert_allclose(found, np.prod(x) / x, rtol=1e-5)


def test_derivatives_of_bodies_that_read_variables_assigned_later():
    """A loop's variable, and one that is assigned what a branch returns."""

    def fn(x, *weights):
        for w in weights:
            # Variables of the loop, and what the result is assigned to, are what is tested here.
            x = control.scan(lambda c, _: (ew.tanh(ew.mul(c, w)), None), x, length=3)[0]  # noqa: B023
            x = control.cond(ew.gt(total(x), 0.0), lambda: ew.mul(x, w), lambda: ew.sin(x))  # noqa: B023
        return total(x)

    args = [tensor(row) for row in rows(4)]
    gradient = transforms.grad(fn, (0, 1, 2, 3))
    for got, wanted in zip(transforms.jit(gradient)(*args), stepwise(gradient)(*args)):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)
