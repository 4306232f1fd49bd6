"""What a pooling leaves out is not computed by the convolution in front of it, nor its gradient."""

import re

import numpy as np
import pytest

from keras_native.engine import transforms
from keras_native.engine.primitives import conv, pool, reduce
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.tensor import from_numpy

RNG = np.random.default_rng(0)


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32"))


def lines(fn, args, op):
    text = transforms.jit(fn).graph(*args).split("== crop_to_pool\n")[1].split("== ")[0]
    return [line for line in text.splitlines() if re.search(rf"= {op}\(", line)]


def pooled(x, w, b, pooling=pool.max_pool, strides=1, padding=None, window=2, **more):
    y = ew.relu(ew.add(conv.conv(x, w, strides, padding), b))
    return pooling(y, window, **more)


ARGS = tensor(3, 13, 12, 8), tensor(3, 3, 8, 16), tensor(16)
# By the convolution's and the pooling's attributes: spatial sizes of what is computed.
CASES = [
    ({}, "10, 10"),
    ({"pooling": pool.avg_pool}, "10, 10"),
    ({"padding": ((1, 1), (1, 1))}, "12, 12"),
    ({"strides": 2, "padding": ((1, 1), (2, 1))}, "6, 6"),
    ({"window": 3}, "9, 9"),
    ({"window": 2, "strides": 1, "padding": ((0, 0), (0, 1))}, "10, 10"),
]


def name_of(value):
    """A case's name without the addresses of functions, which differ from process to process."""
    if isinstance(value, dict):
        return ",".join(f"{k}={getattr(v, '__name__', v)}" for k, v in value.items())
    return str(value)


@pytest.mark.parametrize("more, sizes", CASES, ids=name_of)
def test_forward(more, sizes):
    def fn(*args):
        return pooled(*args, **more)

    (line,) = lines(fn, ARGS, "conv_bias_act")
    assert f"float32[3, {sizes}, 16]" in line
    np.testing.assert_allclose(
        transforms.jit(fn)(*ARGS).numpy(), fn(*ARGS).numpy(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("more, sizes", [c for c in CASES if "pooling" not in c[0]], ids=name_of)
def test_gradients(more, sizes):
    def loss(*args):
        return reduce.reduce_sum(ew.square(pooled(*args, **more)), None)

    grad = transforms.grad(loss, (0, 1, 2))
    for op in ("conv_bias_act", "max_pool_scatter"):
        (line,) = lines(grad, ARGS, op)
        assert f"float32[3, {sizes}, 16]" in line
    for got, want in zip(transforms.jit(grad)(*ARGS), grad(*ARGS)):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-4)


def test_what_else_is_read_stays_whole():
    def fn(*args):
        y = conv.conv(args[0], args[1])
        return pool.max_pool(y, 2), reduce.reduce_sum(y, (1, 2))

    (line,) = lines(fn, ARGS[:2], "conv")
    assert "float32[3, 11, 10, 16]" in line


def test_windows_that_reach_differently_far():
    def fn(x, w):
        y = conv.conv(x, w)
        return pool.max_pool(y, 3), pool.avg_pool(y, 2)

    (line,) = lines(fn, ARGS[:2], "conv")
    assert "float32[3, 10, 10, 16]" in line
    for got, want in zip(transforms.jit(fn)(*ARGS[:2]), fn(*ARGS[:2])):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5, atol=1e-5)


def test_a_product_of_all_pixels_stays_one():
    w = tensor(1, 1, 8, 16)
    (line,) = lines(lambda x, w: pool.max_pool(conv.conv(x, w), 2), (ARGS[0], w), "conv")
    assert "float32[3, 13, 12, 16]" in line
