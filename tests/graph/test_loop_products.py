"""What a scan's body computes in each step though it could be computed once leaves the loop."""

import re

import numpy as np
import pytest

from keras_native.engine import control, transforms
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import conv, reduce, shape
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul as mm
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import from_numpy

RNG = np.random.default_rng(0)
STEPS, BATCH, WIDTH, UNITS = 7, 5, 6, 4


def tensor(*dims):
    return from_numpy((0.5 * RNG.standard_normal(dims)).astype("float32"))


def bodies(fn, args, stage="loop_products"):
    """The texts of the loops' bodies after a pass."""
    text = transforms.jit(fn).graph(*args).split(f"== {stage}\n")[1].split("== ")[0]
    return re.findall(r"\{\n(.*?)\}\n", text, re.S)


def count(text, op):
    return len(re.findall(rf" = {op}\(", text))


def stepwise(fn, *args):
    STATE.python_loops = True
    try:
        return fn(*args)
    finally:
        STATE.python_loops = False


def pieces(x, parts):
    width = x.dims[-1] // parts
    return [ss.slice(x, (0, i * width), (None, (i + 1) * width)) for i in range(parts)]


def recurrence(xs, w, r, b, mask, reverse=False):
    """Gates cut out of one product of the slice and one of the state, with a mask on the slice."""

    def step(h, x):
        z = ew.add(mm.matmul(ew.mul(x, mask), w), mm.matmul(h, r))
        keep, new = pieces(ew.add(z, b), 2)
        keep = ew.sigmoid(keep)
        h = ew.add(ew.mul(keep, h), ew.mul(ew.sub(1.0, keep), ew.tanh(new)))
        return h, h

    return control.scan(step, shape.full((BATCH, UNITS), 0.1, "float32"), xs, reverse=reverse)


ARGS = (
    tensor(STEPS, BATCH, WIDTH),
    tensor(WIDTH, 2 * UNITS),
    tensor(UNITS, 2 * UNITS),
    tensor(2 * UNITS),
    tensor(BATCH, WIDTH),
)


def loss(*args, **more):
    last, hs = recurrence(*args, **more)
    return ew.add(reduce.reduce_sum(ew.square(hs), None), reduce.reduce_sum(last, None))


def test_products_of_slices_are_one_in_front():
    def fn(*args):
        return recurrence(*args)[1]

    (body,) = bodies(fn, ARGS)
    assert count(body, "matmul") == 1  # by the state
    np.testing.assert_allclose(
        transforms.jit(fn)(*ARGS).numpy(), stepwise(fn, *ARGS).numpy(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_by_weights_are_one_product_behind(reverse):
    def fn(*args):
        return transforms.grad(lambda *a: loss(*a, reverse=reverse), (0, 1, 2, 3))(*args)

    forward, backward = bodies(fn, ARGS)
    assert count(forward, "matmul") == 1
    assert count(backward, "matmul") == 1  # the gradient by the state
    assert count(backward, "reduce_sum") == 0  # nor are biases' gradients summed in the loop
    for got, wanted in zip(transforms.jit(fn)(*ARGS), stepwise(fn, *ARGS), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_what_is_the_same_in_each_step_is_computed_once():
    def fn(xs, w):
        def step(h, x):
            scaled = ew.exp(reduce.reduce_sum(w, (0,)))
            return ew.tanh(ew.add(ew.mul(h, scaled), x)), ew.mul(x, scaled)

        return control.scan(step, shape.full((BATCH, WIDTH), 0.1, "float32"), xs)[1]

    args = ARGS[0], tensor(3, WIDTH)
    (body,) = bodies(fn, args)
    assert count(body, "exp") == count(body, "reduce_sum") == 0
    np.testing.assert_allclose(
        transforms.jit(fn)(*args).numpy(), stepwise(fn, *args).numpy(), rtol=1e-6
    )


def test_a_sum_that_is_read_in_the_loop_stays_there():
    def fn(xs, start):
        def step(carry, x):
            total = ew.add(carry, mm.matmul(x, x, transpose_a=True))
            return total, reduce.reduce_sum(total, None)

        return control.scan(step, start, xs)

    args = ARGS[0], tensor(WIDTH, WIDTH)
    (body,) = bodies(fn, args)
    assert count(body, "matmul") == 1
    for got, wanted in zip(transforms.jit(fn)(*args), stepwise(fn, *args), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-5)


def test_sums_begin_with_what_was_carried_in():
    def fn(xs, ys, start):
        def step(carry, pair):
            x, y = pair
            return ew.add(carry, mm.matmul(x, ew.tanh(y), transpose_a=True)), ()

        return control.scan(step, start, (xs, ys))[0]

    args = ARGS[0], tensor(STEPS, BATCH, UNITS), tensor(WIDTH, UNITS)
    assert not bodies(fn, args)  # nothing is left to do in a loop
    np.testing.assert_allclose(
        transforms.jit(fn)(*args).numpy(), stepwise(fn, *args).numpy(), rtol=1e-5, atol=1e-6
    )


def test_gradients_of_pieces_stand_side_by_side():
    def fn(x, y):
        def total(x):
            a, b, c = pieces(x, 3)
            return reduce.reduce_sum(ew.mul(ew.mul(ew.exp(a), ew.sin(b)), ew.mul(c, y)), None)

        return transforms.grad(total)(x)

    args = tensor(5, 12), tensor(5, 4)
    text = transforms.jit(fn).graph(*args).split("== join_pads\n")[1].split("== ")[0]
    assert count(text, "concat") == 1 and count(text, "pad") == 0
    np.testing.assert_allclose(
        transforms.jit(fn)(*args).numpy(), fn(*args).numpy(), rtol=1e-5, atol=1e-6
    )


def test_pieces_that_overlap_are_added_up():
    def fn(x):
        def total(x):
            a, b = ss.slice(x, (0, 0), (None, 6)), ss.slice(x, (0, 4), (None, 10))
            return reduce.reduce_sum(ew.mul(ew.exp(a), ew.sin(b)), None)

        return transforms.grad(total)(x)

    x = tensor(3, 10)
    np.testing.assert_allclose(transforms.jit(fn)(x).numpy(), fn(x).numpy(), rtol=1e-5, atol=1e-6)


def test_convolutions_of_the_steps_are_not_made_again():
    w = tensor(3, 3, 4, 4)

    def total(xs, w):
        def step(h, x):
            h = ew.tanh(ew.add(conv.conv(h, w, 1, ((1, 1), (1, 1))), x))
            return h, h

        return reduce.reduce_sum(
            control.scan(step, shape.full((2, 6, 5, 4), 0.1, "float32"), xs)[1]
        )

    def fn(*args):
        return transforms.grad(total, (0, 1))(*args)

    args = tensor(STEPS, 2, 6, 5, 4), w
    forward, backward = bodies(fn, args)
    assert count(forward, "conv") == 1 and count(backward, "conv") == 0
    for got, wanted in zip(transforms.jit(fn)(*args), stepwise(fn, *args), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_a_product_by_all_of_a_stack_is_not_that_of_its_slices():
    def fn(h, ws):
        def first(h, w):
            h = ew.tanh(h)
            return h, (h, mm.matmul(h, w))

        _, (hs, products) = control.scan(first, h, ws)

        def second(total, h):
            return ew.add(total, reduce.reduce_sum(mm.matmul(h, ws), (0,))), ()

        return products, control.scan(second, ew.mul(h, 0.0), hs)[0]

    # As many steps as rows, so that either product has the dims of the other.
    args = tensor(UNITS, UNITS), tensor(UNITS, UNITS, UNITS)
    for got, wanted in zip(transforms.jit(fn)(*args), stepwise(fn, *args), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)
