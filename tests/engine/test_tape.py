"""The tape and the transforms: derivatives of any order, eager and compiled, against finite
differences."""

import numpy as np
import pytest

import keras_native
from keras_native.engine import transforms
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul, reduce, shape
from keras_native.engine.tape import GradientTape
from keras_native.engine.tensor import from_numpy


def tensor(values, dtype="float64"):
    return from_numpy(np.asarray(values, dtype))


def total(t):
    return reduce.reduce_sum(t, None)


def numeric(fn, x, eps=1e-6):
    """Central differences of a scalar function of one float64 array."""
    grad = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = eps
        high, low = fn(tensor(x + step)).numpy(), fn(tensor(x - step)).numpy()
        grad[index] = (high - low) / (2 * eps)
    return grad


W = np.random.default_rng(0).standard_normal((4, 3))
FUNCTIONS = {
    "polynomial": lambda x: total(ew.mul(x, ew.mul(x, x))),
    "network": lambda x: total(ew.square(ew.tanh(matmul.matmul(x, tensor(W))))),
    "shared": lambda x: total(ew.mul(ew.exp(x), ew.add(x, ew.exp(x)))),
    "unused": lambda x: total(ew.mul(tensor(W[:1, :1]), shape.stop_gradient(x))),
    "broadcast": lambda x: total(ew.mul(ew.sin(x), reduce.reduce_sum(x, (0,), True))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_order(name):
    x = np.random.default_rng(1).standard_normal((2, 4))
    grad = transforms.grad(FUNCTIONS[name])
    expected = np.zeros_like(x) if name == "unused" else numeric(FUNCTIONS[name], x)
    np.testing.assert_allclose(grad(tensor(x)).numpy(), expected, rtol=1e-6, atol=1e-7)
    compiled = transforms.jit(grad)(tensor(x)).numpy()
    np.testing.assert_allclose(compiled, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "unused"])
def test_second_and_third_order(name):
    x = np.random.default_rng(2).standard_normal((2, 4)) * 0.5

    def squared(fn):
        return lambda t: total(ew.square(transforms.grad(fn)(t)))

    second = squared(FUNCTIONS[name])
    got = transforms.jit(transforms.grad(second))(tensor(x)).numpy()
    np.testing.assert_allclose(got, numeric(second, x), rtol=1e-5, atol=1e-5)
    third = squared(second)
    got = transforms.grad(third)(tensor(x)).numpy()
    np.testing.assert_allclose(got, numeric(third, x), rtol=1e-3, atol=1e-2)


def test_gradient_tape_structures_and_reuse():
    a, b = tensor([1.0, 2.0]), tensor([3.0, 4.0])
    with GradientTape() as tape:
        y = total(ew.mul(a, ew.mul(a, b)))
    grads = tape.gradient(y, {"a": a, "rest": [b, tensor([0.0])]})
    np.testing.assert_allclose(grads["a"].numpy(), [6, 16])
    np.testing.assert_allclose(grads["rest"][0].numpy(), [1, 4])
    assert grads["rest"][1] is None
    with pytest.raises(RuntimeError, match="persistent"):
        tape.gradient(y, a)


def test_nested_tapes():
    x = tensor(3.0)
    with GradientTape() as outer:
        with GradientTape() as inner:
            y = ew.mul(x, ew.mul(x, x))
        first = inner.gradient(y, x)
    assert first.numpy() == 27
    assert outer.gradient(first, x).numpy() == 18


def test_custom_gradient_takes_the_place_of_the_rule():
    @transforms.custom_gradient
    def clipped(x):
        return ew.mul(x, 2.0), lambda upstream: ew.mul(upstream, 10.0)

    grad = transforms.grad(lambda x: total(clipped(x)))
    np.testing.assert_allclose(grad(tensor([1.0, 2.0])).numpy(), [10, 10])
    np.testing.assert_allclose(transforms.jit(grad)(tensor([1.0, 2.0])).numpy(), [10, 10])


@pytest.mark.parametrize("wrap", [lambda f: f, transforms.jit])
def test_checkpoint_has_the_same_gradient(wrap):
    w = tensor(W)

    def block(x):
        return ew.tanh(matmul.matmul(ew.exp(x), w))

    x = tensor(np.random.default_rng(3).standard_normal((2, 4)) * 0.1)
    plain = transforms.grad(lambda x: total(block(x)))(x).numpy()
    saved = wrap(transforms.grad(lambda x: total(transforms.checkpoint(block)(x))))(x).numpy()
    np.testing.assert_allclose(saved, plain, rtol=1e-12)


def test_value_and_grad_refuses_what_is_not_scalar():
    with pytest.raises(ValueError, match="scalar"):
        transforms.value_and_grad(lambda x: x)(tensor([1.0, 2.0]))


def test_public_names():
    for name in [
        "GradientTape",
        "grad",
        "value_and_grad",
        "jit",
        "custom_gradient",
        "stop_gradient",
        "checkpoint",
    ]:
        assert callable(getattr(keras_native, name))


def test_a_tensor_given_twice_is_differentiated_by_once():
    x = tensor([1.5, -2.0, 0.25])

    def by_first(a, b):
        return total(ew.mul(ew.square(a), b))

    for transform in (lambda f: f, transforms.jit):
        np.testing.assert_allclose(
            transform(transforms.grad(by_first))(x, x).numpy(), 2 * x.numpy() ** 2
        )
        first, second = transform(transforms.grad(by_first, (0, 1)))(x, x)
        np.testing.assert_allclose(first.numpy(), 2 * x.numpy() ** 2)
        np.testing.assert_allclose(second.numpy(), x.numpy() ** 2)
        # What a function reads from around it is a constant.
        np.testing.assert_allclose(
            transform(lambda t: transforms.grad(lambda a: by_first(a, t))(t))(x).numpy(),
            2 * x.numpy() ** 2,
        )
    # The outer derivative goes by both.
    outer = transforms.grad(lambda t: total(transforms.grad(by_first)(t, t)))
    np.testing.assert_allclose(outer(x).numpy(), 4 * x.numpy())


def test_what_comes_of_one_tensor_by_two_names():
    """The same nodes of a trace, and yet other tensors."""
    x = tensor([2.0, 3.0])
    cube = 2 * x.numpy() ** 3

    def product(a, b):
        return total(ew.mul(ew.square(a), ew.square(b)))

    def around(t):
        constant = ew.square(t)
        return transforms.grad(lambda a: total(ew.mul(ew.square(a), constant)))(t)

    for transform in (lambda f: f, transforms.jit):
        one = transform(lambda t: transforms.grad(product)(t, t))(x)
        np.testing.assert_allclose(one.numpy(), cube)
        for part in transform(lambda t: transforms.grad(product, (0, 1))(t, t))(x):
            np.testing.assert_allclose(part.numpy(), cube)
        np.testing.assert_allclose(transform(around)(x).numpy(), cube)
        second = transform(transforms.grad(lambda t: total(around(t))))(x)
        np.testing.assert_allclose(second.numpy(), 6 * x.numpy() ** 2)


def test_a_tensor_given_twice_to_what_is_computed_again():
    x = tensor([0.3, 0.7])

    def loss(t):
        s = ew.sin(t)
        again = keras_native.checkpoint(lambda a, b: ew.mul(ew.sin(a), ew.mul(b, b)))
        return total(again(s, s))

    s, c = np.sin(x.numpy()), np.cos(x.numpy())
    expected = (np.cos(s) * s * s + np.sin(s) * 2 * s) * c
    for f in (transforms.grad(loss), transforms.jit(transforms.grad(loss))):
        np.testing.assert_allclose(f(x).numpy(), expected, rtol=1e-12)
