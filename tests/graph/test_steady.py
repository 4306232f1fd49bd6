"""What a step computes from variables that it does not write is computed once, and batch
normalisation with such statistics goes into the weights before it."""

import concurrent.futures

import numpy as np
import pytest

from keras_native import _core
from keras_native.engine import transforms
from keras_native.engine.primitives import conv, matmul, norm_batch, reduce, shape, shape_slice
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

RNG = np.random.default_rng(0)


def tensor(*dims, dtype="float32"):
    return from_numpy(RNG.standard_normal(dims).astype(dtype))


def slots(*dims, dtype="float32"):
    return [Slot(tensor(*d, dtype=dtype)) for d in dims]


class Compiled:
    """A function of one tensor, compiled, with its text after each stage."""

    def __init__(self, fn, x):
        self.stages = {}
        self.fn = CompiledFunction(
            lambda t: [fn(t)], [(x.dims, x.dtype)], observer=self.stages.__setitem__
        )

    def __call__(self, x):
        return self.fn.run([x.array], [])[0].numpy()

    @property
    def ops(self):
        text = list(self.stages.values())[-1]
        lines = [line for line in text.splitlines() if "(%" in line]
        return [line.split(" = ")[1].split("(")[0] for line in lines]

    @property
    def runs(self):
        return self.fn.compiled.once_runs


def batch_norm(x, statistics, eps=1e-3):
    mean, var, gamma, beta = (slot.read() for slot in statistics)
    return norm_batch.batch_norm_inference(x, mean, ew.square(var), gamma, beta, eps)


CHANNELS = 129  # depthwise weights of 4 KB and more: less is not worth keeping
# Name: (what stands before the batch norm, sizes of x, of the weights, of the bias or None).
FOLDED = {
    "conv": (
        lambda x, w: conv.conv(x, w, 1, ((1, 1), (1, 1))),
        (2, 6, 5, 32),
        (3, 3, 32, CHANNELS),
        None,
    ),
    "conv with bias": (lambda x, w: conv.conv(x, w), (2, 6, 5, 32), (1, 1, 32, CHANNELS), CHANNELS),
    "depthwise": (
        lambda x, w: conv.conv(x, w, 2, None, 1, CHANNELS),
        (2, 6, 5, CHANNELS),
        (3, 3, 1, CHANNELS),
        None,
    ),
    "dense": (lambda x, w: matmul.matmul(x, w), (7, 40), (40, CHANNELS), None),
    "dense with bias": (lambda x, w: matmul.matmul(x, w), (7, 40), (40, CHANNELS), CHANNELS),
}  # fmt: skip


@pytest.mark.parametrize("dtype, bound", [("float32", 2e-5), ("float64", 1e-13)])
@pytest.mark.parametrize("name", FOLDED)
def test_batch_norm_goes_into_the_weights(name, dtype, bound):
    product, x_dims, w_dims, bias_dim = FOLDED[name]
    (w,) = slots(w_dims, dtype=dtype)
    bias = slots((bias_dim,), dtype=dtype)[0] if bias_dim else None
    statistics = slots(*[(CHANNELS,)] * 4, dtype=dtype)

    def fn(x):
        y = product(x, w.read())
        if bias:  # as Keras spells it
            y = ew.add(y, shape.reshape(bias.read(), (1,) * (len(x_dims) - 1) + (CHANNELS,)))
        return ew.relu(batch_norm(y, statistics))

    x = tensor(*x_dims, dtype=dtype)
    compiled = Compiled(fn, x)
    plain = "conv_bias_act" if "conv" in name or name == "depthwise" else "linear"
    assert compiled.ops in ([plain], ["packed_linear"])
    for _ in range(2):
        expected = fn(x).numpy()
        np.testing.assert_allclose(
            compiled(x), expected, rtol=bound, atol=bound * abs(expected).max()
        )
        w.write(tensor(*w_dims, dtype=dtype))


def test_it_is_computed_once_for_each_value_of_the_variables():
    w, *statistics = slots((1, 1, 32, CHANNELS), *[(CHANNELS,)] * 4)
    x = tensor(2, 4, 4, 32)
    compiled = Compiled(lambda t: batch_norm(conv.conv(t, w.read()), statistics), x)
    for expected in (1, 1, 1):
        compiled(x)
        assert compiled.runs == expected
    statistics[2].write(tensor(CHANNELS))
    compiled(x)
    compiled(x)
    assert compiled.runs == 2


def test_what_is_written_or_given_is_not_steady():
    w, *statistics = slots((1, 1, 32, CHANNELS), *[(CHANNELS,)] * 4)

    def trains(x):
        y = batch_norm(conv.conv(x, w.read()), statistics)
        w.write(ew.mul(w.read(), 0.5))
        return y

    compiled = Compiled(trains, tensor(2, 4, 4, 32))
    assert "conv" in compiled.ops  # and not conv_bias_act
    given = tensor(1, 1, 32, CHANNELS)
    fn = CompiledFunction(
        lambda x, k: [batch_norm(conv.conv(x, k), statistics)],
        [((2, 4, 4, 32), "float32"), (given.dims, "float32")],
    )
    x = tensor(2, 4, 4, 32)
    expected = batch_norm(conv.conv(x, given), statistics).numpy()
    found = fn.run([x.array, given.array], [])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_narrow_weights_are_not_scaled():
    """They would be rounded twice."""
    w, *statistics = slots((1, 1, 32, CHANNELS), *[(CHANNELS,)] * 4, dtype="float16")
    x = tensor(2, 4, 4, 32, dtype="float16")
    compiled = Compiled(lambda t: batch_norm(conv.conv(t, w.read()), statistics), x)
    assert "batch_norm_inference" in compiled.ops


def test_a_product_that_is_read_twice_stays():
    w, *statistics = slots((1, 1, 32, CHANNELS), *[(CHANNELS,)] * 4)

    def fn(x):
        y = conv.conv(x, w.read())
        return ew.add(batch_norm(y, statistics), y)

    x = tensor(2, 4, 4, 32)
    compiled = Compiled(fn, x)
    assert "batch_norm_inference" not in compiled.ops
    np.testing.assert_allclose(compiled(x), fn(x).numpy(), rtol=1e-4, atol=1e-4)


def test_a_mean_far_from_zero_costs_no_digits():
    """Elsewhere than behind a product, x is centred before it is scaled."""
    x = from_numpy((1e6 + RNG.standard_normal((64, 1024))).astype("float32"))
    mean, var = (
        Slot(from_numpy(np.full(1024, 1e6, "float32"))),
        Slot(from_numpy(np.ones(1024, "float32"))),
    )
    compiled = Compiled(
        lambda t: ew.relu(
            norm_batch.batch_norm_inference(t, mean.read(), var.read(), None, None, 0.0)
        ),
        x,
    )
    expected = np.maximum(x.numpy().astype("float64") - 1e6, 0)
    np.testing.assert_allclose(compiled(x), expected, atol=1e-6)


def test_a_broadcast_is_not_kept():
    (b,) = slots((1024,))
    compiled = Compiled(
        lambda x: matmul.matmul(x, shape.broadcast_to(b.read(), (512, 1024))), tensor(2, 512)
    )
    assert compiled.runs == -1


def test_the_pass_can_be_left_out(monkeypatch):
    w, *statistics = slots((1, 1, 32, CHANNELS), *[(CHANNELS,)] * 4)
    x = tensor(2, 4, 4, 32)

    def fn(t):
        return batch_norm(conv.conv(t, w.read()), statistics)

    expected = Compiled(fn, x)(x)
    monkeypatch.setenv("NATIVE_DISABLE_PASSES", "steady")
    compiled = Compiled(fn, x)
    assert compiled.runs == -1
    np.testing.assert_array_equal(compiled(x), expected)


def test_same_bits_from_eight_threads_while_a_variable_changes():
    w, *statistics = slots((1, 1, 32, CHANNELS), *[(CHANNELS,)] * 4)
    x = tensor(2, 4, 4, 32)
    compiled = Compiled(lambda t: batch_norm(conv.conv(t, w.read()), statistics), x)
    values = [tensor(CHANNELS), tensor(CHANNELS)]
    expected = []
    for value in values:
        statistics[3].write(value)
        expected.append(compiled(x))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(compiled, x) for _ in range(200)]
        for i in range(50):
            statistics[3].write(values[i % 2])
        results = [future.result() for future in futures]
    for result in results:
        assert any((result == e).all() for e in expected)


@pytest.mark.parametrize("padding, folds", [(((0, 1), (2, 0)), True), (((-1, 0), (0, 0)), False)])
def test_zeros_around_the_input_become_padding(padding, folds):
    x, w = tensor(2, 6, 5, 3), tensor(3, 3, 3, 4)

    def fn(t):
        padded = shape_slice.pad(t, (0, 1, 1, 0), (0, 2, 0, 0), from_numpy(np.float32(0)))
        return conv.conv(padded, w, 2, padding)

    compiled = Compiled(fn, x)
    assert ("pad" not in compiled.ops) == folds
    np.testing.assert_array_equal(compiled(x), fn(x).numpy())


@pytest.mark.parametrize(
    "low, value", [((1, 0, 0, 0), 0.0), ((0, 0, 0, 1), 0.0), ((0, 1, 0, 0), 1.0)]
)
def test_other_padding_stays(low, value):
    x, w = tensor(2, 6, 5, 3 - low[3]), tensor(3, 3, 3, 4)

    def fn(t):
        return conv.conv(shape_slice.pad(t, low, (0,) * 4, from_numpy(np.float32(value))), w)

    compiled = Compiled(fn, x)
    assert "pad" in compiled.ops
    np.testing.assert_array_equal(compiled(x), fn(x).numpy())


def test_passes_have_names():
    assert {"fold_batch_norm", "fold_pad"} <= set(_core.passes())


def test_zeros_around_the_input_become_padding_of_the_gradients():
    x, w = tensor(2, 6, 5, 3), tensor(3, 3, 3, 4)

    def loss(a, b):
        padded = shape_slice.pad(a, (0, 1, 1, 0), (0, 2, 0, 0), from_numpy(np.float32(0)))
        return reduce.reduce_sum(ew.square(conv.conv(padded, b, 2)), None)

    grads = transforms.grad(loss, (0, 1))
    text = transforms.jit(grads).graph(x, w).rsplit("== ", 1)[1]
    assert "conv_input_grad(" in text and "conv_weight_grad(" in text
    assert "pad(" not in text and "slice(" not in text
    for found, expected in zip(transforms.jit(grads)(x, w), grads(x, w)):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


def test_attributes_that_depend_on_the_batch_are_computed_in_each_run():
    """A slice whose bounds are sizes of the call has a fixed shape and is not steady."""
    (table,) = slots((4096, 8))

    @transforms.jit
    def fn(x):
        start = x.dims[0]
        # Not by the public function, which fixes the bounds.
        rows = shape_slice._slice(
            table.read(), start=(start, 0), stop=(start + 1024, 8), step=(1, 1)
        )
        return ew.mul(rows, reduce.reduce_sum(x, None))

    for size in (3, 5, 7):
        x = tensor(size, 2)
        found = fn(x).numpy()
        expected = table.read().numpy()[size : size + 1024] * x.numpy().sum()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
