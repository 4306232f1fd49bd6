"""The largest of windows of 2x2 or 2x2x2 results is taken by the convolution itself."""

import numpy as np
import pytest

from bench import harness
from keras_native import _core
from keras_native.engine import transforms
from keras_native.engine.primitives import conv, pool, reduce
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

RNG = np.random.default_rng(0)


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32"))


def ops(fn, *args):
    text = transforms.jit(fn).graph(*args).rsplit("== ", 1)[1]
    return [line.split(" = ")[1].split("(")[0] for line in text.splitlines() if " = " in line]


def pooled(x, w, b=None, clip=None, window=2, residual=None, **attrs):
    y = conv.conv(x, w, **attrs)
    y = y if b is None else ew.add(y, b)
    y = y if residual is None else ew.add(y, residual)
    return pool.max_pool(y if clip is None else clip(y), window)


# Images, input and output channels, window of the convolution, and what else it has.
LAYERS = [
    ((3, 28, 28), 1, 32, 3, {}),
    ((5, 9, 14), 3, 19, 3, {"padding": ((1, 1), (1, 1))}),
    ((2, 17, 13), 6, 70, (3, 2), {"strides": (2, 1), "padding": ((0, 1), (-1, 2))}),
    ((4, 13, 13), 32, 64, 3, {}),
    ((2, 12, 10), 40, 35, 3, {"padding": ((1, 1), (1, 1))}),
    ((1, 23, 22), 2, 130, (5, 4), {"dilation": 2}),
    ((33, 6, 6), 1, 8, 3, {}),
    ((2, 6, 8, 10), 1, 32, 3, {}),
    ((3, 5, 7, 6), 3, 19, (2, 3, 2), {"padding": ((1, 0), (1, 1), (0, 1)), "strides": (1, 1, 2)}),
    ((2, 6, 6, 8), 32, 48, 3, {"padding": ((1, 1),) * 3}),
    ((3, 5, 6, 9), 33, 35, 3, {"padding": ((0, 0), (1, 1), (0, -1))}),
]


@pytest.mark.parametrize("clip", [None, ew.relu, ew.relu6], ids=["none", "relu", "relu6"])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_values(layer, clip):
    sizes, cin, cout, kernel, attrs = layer
    kernel = (kernel,) * (len(sizes) - 1) if isinstance(kernel, int) else kernel
    args = tensor(*sizes, cin), tensor(*kernel, cin, cout), tensor(cout)

    def fn(*args):
        return pooled(*args, clip=clip, **attrs)

    found = ops(fn, *args)
    assert "conv_pool" in found and "max_pool" not in found
    double = [from_numpy(a.numpy().astype("float64")) for a in args]
    want = fn(*double).numpy()
    for isa in harness.isas():
        bits = set()
        with harness.using_isa(isa):
            for count in harness.THREADS:
                _core.set_threads(count)
                got = transforms.jit(fn)(*args).numpy()
                bits.add(got.tobytes())
        assert len(bits) == 1
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5 * abs(want).max())


def test_lines_of_taps_that_save_more_are_left_by_themselves():
    x, w = tensor(2, 14, 14, 32), tensor(5, 5, 32, 64)
    found = ops(pooled, x, w)
    assert "max_pool" in found and "conv_pool" not in found
    np.testing.assert_allclose(
        transforms.jit(pooled)(x, w).numpy(), pooled(x, w).numpy(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("cin", [4, 32])
def test_without_bias(cin):
    args = tensor(9, 12, 12, cin), tensor(3, 3, cin, 32)
    assert "conv_pool" in ops(pooled, *args)
    np.testing.assert_allclose(
        transforms.jit(pooled)(*args).numpy(), pooled(*args).numpy(), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("sizes", [(13, 13), (7, 6, 9)], ids=str)
def test_weights_are_prepared_once(sizes):
    slot, x, b = Slot(tensor(*(3,) * len(sizes), 32, 64)), tensor(4, *sizes, 32), tensor(64)

    def fn(x):
        return pooled(x, slot.read(), b, clip=ew.relu)

    made = CompiledFunction(lambda t: [fn(t)], [(x.dims, x.dtype)])
    got = made.run([x.array], [])[0].numpy()
    assert [op for op, _ in made.compiled.chosen([])] == ["winograd_conv"]
    np.testing.assert_allclose(got, fn(x).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", [(0, 0), (5, 4), (11, 11)], ids=str)
@pytest.mark.parametrize("clip", [None, ew.relu], ids=["none", "relu"])
def test_nan_reaches_the_windows_that_hold_it(place, clip):
    x = RNG.standard_normal((2, 12, 12, 3)).astype("float32")
    x[1, *place, 2] = np.nan
    args = from_numpy(x), tensor(3, 3, 3, 16), tensor(16)

    def fn(*args):
        return pooled(*args, clip=clip)

    assert "conv_pool" in ops(fn, *args)
    np.testing.assert_allclose(
        transforms.jit(fn)(*args).numpy(), fn(*args).numpy(), rtol=1e-4, atol=1e-5
    )


def test_what_stays_by_itself():
    x, w, b = tensor(2, 12, 12, 8), tensor(3, 3, 8, 16), tensor(16)
    r = tensor(2, 10, 10, 16)

    def read_twice(x, w, b):
        y = ew.add(conv.conv(x, w), b)
        return pool.max_pool(y, 2), reduce.reduce_sum(y, (1, 2))

    for fn, args in [
        (lambda *a: pooled(*a, window=3), (x, w, b)),
        (lambda *a: pooled(*a, clip=ew.tanh), (x, w, b)),
        (lambda x, w, b, r: pooled(x, w, b, residual=r), (x, w, b, r)),
        (lambda x, w: pooled(x, w), (x, tensor(1, 1, 8, 16))),
        (lambda x, w: pooled(x, w), (tensor(2, 6, 4, 8, 8), tensor(1, 3, 3, 8, 16))),
        (
            lambda x, w: pooled(x, w, window=(1, 2, 2)),
            (tensor(2, 4, 6, 8, 8), tensor(3, 3, 3, 8, 16)),
        ),
        (lambda x, w: pooled(x, w, groups=2), (x, tensor(3, 3, 4, 16))),
        (read_twice, (x, w, b)),
    ]:
        found = ops(fn, *args)
        assert "max_pool" in found and "conv_pool" not in found


def gradients(x, w, b, ct, clip, attrs):
    """The result and its gradients by all that it is made from."""

    def value(*args):
        y = pooled(*args, clip=clip, **attrs)
        return reduce.reduce_sum(ew.mul(y, ct), tuple(range(len(ct.dims)))), y

    (_, y), grads = transforms.value_and_grad(value, argnums=(0, 1, 2), has_aux=True)(x, w, b)
    return [y, *grads]


# Small integers are often the same; a NaN is the largest of its window.
def integers(rng, *dims):
    return rng.integers(-1, 2, dims).astype("float32")


def with_nan(rng, *dims):
    x = rng.standard_normal(dims).astype("float32")
    x.flat[rng.integers(x.size)] = np.nan
    return x


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("make", [integers, with_nan], ids=["ties", "nan"])
@pytest.mark.parametrize("clip", [None, ew.relu, ew.relu6], ids=["none", "relu", "relu6"])
@pytest.mark.parametrize("layer", LAYERS[1:4] + LAYERS[-4:], ids=str)
def test_gradients_go_where_they_went(monkeypatch, isa, make, clip, layer):
    sizes, cin, cout, kernel, attrs = layer
    kernel = (kernel,) * (len(sizes) - 1) if isinstance(kernel, int) else kernel
    rng = np.random.default_rng(3)
    x, w, b = (from_numpy(make(rng, *sizes, cin)), tensor(*kernel, cin, cout), tensor(cout))
    if make is integers:
        w, b = from_numpy(integers(rng, *kernel, cin, cout)), from_numpy(integers(rng, cout))
    ct = tensor(*pooled(x, w, b, **attrs).dims)

    def fn(*args):
        return gradients(*args, clip, attrs)

    with harness.using_isa(isa):
        found = ops(fn, x, w, b, ct)
        assert "conv_pool" in found and "max_pool_scatter" in found
        assert "max_pool_places" not in found and "max_pool" not in found
        got = [t.numpy() for t in transforms.jit(fn)(x, w, b, ct)]
        monkeypatch.setenv("NATIVE_DISABLE_PASSES", "pool_epilogues")
        assert "max_pool_places" in ops(fn, x, w, b, ct)
        want = [t.numpy() for t in transforms.jit(lambda *args: fn(*args))(x, w, b, ct)]
    for a, other in zip(got, want):
        np.testing.assert_array_equal(a, other)
