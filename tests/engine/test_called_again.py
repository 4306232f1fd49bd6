"""Functions called again for a derivative find everything as it was at their first call."""

import functools

import numpy as np
import pytest

import keras_native
from keras_native import GradientTape, checkpoint
from keras_native.engine import batching, control, transforms
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import random as rn
from keras_native.engine.primitives import reduce
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy

X = np.array([0.3, 0.7, -1.1])


def tensor(values, dtype="float64"):
    return from_numpy(np.asarray(values, dtype))


def total(x):
    return reduce.reduce_sum(x, tuple(range(x.ndim)))


each_way = pytest.mark.parametrize("wrap", [lambda f: f, transforms.jit])


def gradient(loss, wrap, x=X):
    return wrap(transforms.grad(loss))(tensor(x)).numpy()


@each_way
def test_variables_are_as_they_were(wrap):
    """What is read, assigned, and assigned once more afterwards."""
    weight = Slot(tensor([2.0, 3.0, 4.0]))
    start = weight.read()

    def block(x):
        y = ew.mul(ew.sin(x), weight.read())
        weight.write(ew.add(weight.read(), 1.0))
        return y

    def loss(x):
        weight.write(start)
        y = checkpoint(block)(x)
        weight.write(ew.mul(weight.read(), 10.0))
        return total(ew.square(y))

    expected = 2 * np.sin(X) * np.cos(X) * start.numpy() ** 2
    np.testing.assert_allclose(gradient(loss, wrap), expected, rtol=1e-12)
    # Assigned once by the block and once after it, not again by the recomputation.
    np.testing.assert_array_equal(weight.read().numpy(), [30, 40, 50])


def test_a_gradient_by_a_variable_that_was_assigned_since():
    weight = Slot(tensor(X))
    before = weight.read()
    with GradientTape() as tape:
        y = checkpoint(lambda: ew.square(weight.read()))()
        weight.write(tensor(np.zeros(3)))
    np.testing.assert_allclose(tape.gradient(y, before).numpy(), 2 * X)
    np.testing.assert_array_equal(weight.read().numpy(), 0)


@each_way
def test_assigned_variables_are_results(wrap):
    held = Slot(tensor(0.0))

    def block(x):
        held.write(total(ew.sin(x)))
        return ew.mul(x, 2.0)

    def loss(x):
        y = checkpoint(block)(x)
        return ew.add(total(y), ew.square(held.read()))

    expected = 2 + 2 * np.sin(X).sum() * np.cos(X)
    np.testing.assert_allclose(gradient(loss, wrap), expected, rtol=1e-12)


@each_way
def test_random_numbers_are_the_same(wrap):
    seed = Slot(from_numpy(np.array([7, 0], "uint32")))

    def dropped(x):
        key = seed.read()
        seed.write(ew.add(key, from_numpy(np.array([0, 1], "uint32"))))
        return rn.random_bernoulli_scale(ew.square(x), key, 0.5)

    x = np.linspace(0.1, 2, 64)

    def both(wrapped):
        def loss(x):
            y = wrapped(dropped)(x)
            return total(ew.mul(y, wrapped(dropped)(y)))

        seed.store(from_numpy(np.array([7, 0], "uint32")))
        grad = gradient(loss, wrap, x)
        return grad, seed.read().numpy()

    (plain, counted), (again, counted_again) = both(lambda f: f), both(checkpoint)
    np.testing.assert_allclose(again, plain, rtol=1e-12)
    np.testing.assert_array_equal(counted, [7, 2])
    np.testing.assert_array_equal(counted_again, [7, 2])


@each_way
def test_checkpoints_in_checkpoints(wrap):
    count = Slot(tensor(1.0))

    def step(x):
        y = ew.mul(ew.sin(x), count.read())
        count.write(ew.add(count.read(), 1.0))
        return y

    def stack(wrapped):
        def pair(x):
            return wrapped(step)(wrapped(step)(x))

        def loss(x):
            count.write(tensor(1.0))
            return total(ew.square(wrapped(pair)(wrapped(pair)(x))))

        return gradient(loss, wrap), count.read().numpy()

    (plain, steps), (nested, steps_again) = stack(lambda f: f), stack(checkpoint)
    np.testing.assert_allclose(nested, plain, rtol=1e-12)
    assert (steps, steps_again) == (5, 5)


@each_way
def test_what_a_function_closes_over_is_as_it_was(wrap):
    def loss(x):
        for factor in (2.0, 3.0):  # noqa: B007
            x = checkpoint(lambda x: ew.mul(ew.sin(x), factor))(x)  # noqa: B023
        return total(x)

    inner = 2 * np.sin(X)
    np.testing.assert_allclose(gradient(loss, wrap), 3 * np.cos(inner) * 2 * np.cos(X), rtol=1e-12)


@each_way
def test_a_second_derivative(wrap):
    scale = Slot(tensor(3.0))

    def cube(x):
        y = ew.mul(scale.read(), ew.mul(x, ew.square(x)))
        scale.write(ew.add(scale.read(), 1.0))
        return y

    def first(x):
        scale.write(tensor(3.0))
        return total(transforms.grad(lambda x: total(checkpoint(cube)(x)))(x))

    np.testing.assert_allclose(gradient(first, wrap), 18 * X, rtol=1e-12)


@each_way
def test_what_is_given_through_counts_once(wrap):
    def loss(x):
        same, y, nothing, number = checkpoint(lambda x: (x, ew.square(x), None, 2.0))(x)
        assert nothing is None
        return total(ew.mul(ew.add(same, y), number))

    np.testing.assert_allclose(gradient(loss, wrap), 2 + 4 * X, rtol=1e-12)


def test_a_checkpoint_in_a_scan_and_in_a_batch():
    count = Slot(tensor(1.0))

    def loss(x):
        def body(carry, row):
            def inner(carry):
                y = ew.mul(ew.sin(ew.mul(carry, row)), count.read())
                count.write(ew.add(count.read(), 0.5))
                return y

            return checkpoint(inner)(carry), None

        count.write(tensor(1.0))
        return total(control.scan(body, x, tensor(np.linspace(0.5, 1.0, 9)))[0])

    np.testing.assert_allclose(
        gradient(loss, transforms.jit), gradient(loss, lambda f: f), rtol=1e-9
    )
    each = transforms.grad(lambda x: total(checkpoint(lambda x: ew.mul(x, count.read()))(x)))
    rows = batching.over_batch(each, tensor(np.ones((4, 3))))
    np.testing.assert_allclose(rows.numpy(), np.full((4, 3), count.read().numpy()))


def test_a_gradient_taken_inside_a_branch():
    """Elsewhere than where the function was called first: in a region, after an assignment."""
    weight = Slot(tensor(2.0))

    def step(x):
        weight.write(tensor(2.0))
        with GradientTape() as tape:
            y = checkpoint(lambda x: ew.mul(ew.square(x), weight.read()))(x)
        weight.write(tensor(50.0))
        return control.cond(ew.gt(total(x), -1e3), lambda: tape.gradient(y, x), lambda: x)

    for wrap in (lambda f: f, transforms.jit):
        np.testing.assert_allclose(wrap(step)(tensor(X)).numpy(), 4 * X, rtol=1e-12)


@pytest.mark.parametrize("steps", [3, 12])
def test_a_scan_reads_its_variables_as_they_were_at_each_step(steps):
    factor = Slot(tensor(1.0))

    def loss(x):
        def body(carry, row):
            y = ew.mul(ew.sin(ew.mul(carry, factor.read())), row)
            factor.write(ew.add(factor.read(), 0.25))
            return y, None

        factor.write(tensor(1.0))
        return total(control.scan(body, x, tensor(np.linspace(0.5, 1.5, steps)))[0])

    plain = gradient(loss, lambda f: f)
    assert factor.read().numpy() == 1 + steps / 4
    np.testing.assert_allclose(gradient(loss, transforms.jit), plain, rtol=1e-9)
    assert factor.read().numpy() == 1 + steps / 4


@each_way
def test_derivatives_by_way_of_what_loops_and_branches_assign(wrap):
    held = Slot(tensor(np.zeros(3)))

    def by_scan(x):
        def body(carry, row):
            held.write(ew.add(ew.mul(held.read(), row), ew.sin(carry)))
            return carry, None

        held.write(x)
        control.scan(body, x, tensor(np.full(9, 0.5)))
        return total(held.read())

    powers = 0.5 ** np.arange(9)
    expected = powers.sum() * np.cos(X) + 0.5**9
    np.testing.assert_allclose(gradient(by_scan, wrap), expected, rtol=1e-12)

    def by_cond(x):
        held.write(ew.mul(x, 3.0))
        control.cond(
            ew.gt(total(x), 0.0),
            lambda: held.write(ew.square(held.read())),
            lambda: None,
        )
        return total(held.read())

    np.testing.assert_allclose(gradient(by_cond, wrap, np.abs(X)), 18 * np.abs(X), rtol=1e-12)
    np.testing.assert_allclose(gradient(by_cond, wrap, -np.abs(X)), [3, 3, 3], rtol=1e-12)


def test_no_derivative_by_way_of_what_a_while_loop_assigns():
    held = Slot(tensor(0.0))

    def loss(x):
        def body(k):
            held.write(ew.add(held.read(), total(x)))
            return (ew.add(k, 1.0),)

        held.write(tensor(0.0))
        control.while_loop(lambda k: ew.lt(k, 3.0), body, (tensor(0.0),))
        return held.read()

    np.testing.assert_allclose(gradient(loss, lambda f: f), [3, 3, 3])
    with pytest.raises(ValueError, match="no reverse-mode derivative"):
        gradient(loss, transforms.jit)


def test_compiled_functions_under_a_tape():
    square = keras_native.jit(lambda x: total(ew.square(x)))
    np.testing.assert_allclose(gradient(square, lambda f: f), 2 * X)
    x = tensor(X)
    with GradientTape() as tape:
        y = square(x)
    np.testing.assert_allclose(tape.gradient(y, x).numpy(), 2 * X)


@each_way
def test_what_is_handed_on_from_elsewhere_keeps_its_derivative(wrap):
    """A result, or the value of a variable, that was computed before the function was called."""
    held = Slot(tensor(np.zeros(3)))

    def loss(x):
        z = ew.sin(x)

        def block(x):
            held.write(z)
            return ew.mul(x, 2.0), z

        y, same = checkpoint(block)(x)
        return total(ew.add(ew.add(y, same), held.read()))

    np.testing.assert_allclose(gradient(loss, wrap), 2 + 2 * np.cos(X), rtol=1e-12)


@each_way
def test_a_derivative_asked_for_twice(wrap):
    def both(x):
        count = 0

        def block(x):
            nonlocal count
            count += 1
            return ew.mul(ew.sin(x), float(count))

        with GradientTape(persistent=True) as tape:
            y = checkpoint(functools.partial(block))(x)
        return tape.gradient(y, x), tape.gradient(y, x)

    for found in wrap(both)(tensor(X)):
        np.testing.assert_allclose(found.numpy(), np.cos(X), rtol=1e-12)


@each_way
def test_a_scan_assigns_each_variable_once(wrap):
    count, held = Slot(tensor(0, "int32")), Slot(tensor(np.zeros(3)))

    def loss(x):
        def body(carry, row):
            count.write(ew.add(count.read(), tensor(1, "int32")))
            held.write(ew.add(held.read(), carry))
            return ew.mul(carry, row), None

        return total(control.scan(body, x, tensor(np.ones(9)))[0])

    np.testing.assert_allclose(gradient(loss, wrap), np.ones(3))
    assert count.read().numpy() == 9
    np.testing.assert_allclose(held.read().numpy(), 9 * X)
