"""Steps whose results' rows depend on the same rows alone run as one grid, with the same bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_native import _core
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul, norm, softmax
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

RNG = np.random.default_rng(0)
NARROW = _core.isa() == "avx512_bf16"
needs_instruction = pytest.mark.skipif(not NARROW, reason="no instruction for bfloat16")


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32"))


def dense(x, w, b):
    return ew.add(matmul.matmul(x, w.read()), b.read())


def layers(*widths):
    """Weights and biases of layers of these widths."""
    pairs = zip(widths, widths[1:])
    return [(Slot(tensor(k, n)), Slot(tensor(n))) for k, n in pairs]


def perceptron(weights):
    def fn(x):
        for w, b in weights[:-1]:
            x = ew.relu(dense(x, w, b))
        return dense(x, *weights[-1])

    return fn


def compiled(fn, x, passes=()):
    return CompiledFunction(lambda t: [fn(t)], [(x.dims, x.dtype)], passes=passes)


def runs(made, x, threads=(1, 2, 3, 7)):
    """The result's bytes at each number of threads, and the chains at two of them."""
    found = []
    for count in threads:
        _core.set_threads(count)
        found.append(made.run([x.array], [])[0].numpy().tobytes())
    _core.set_threads(2)
    return found, made.compiled.row_chains([])


@needs_instruction
@pytest.mark.parametrize("passes", [(), ("narrow_inference",)])
def test_a_perceptron_is_one_grid(passes):
    x = tensor(128, 96)
    made = compiled(perceptron(layers(96, 160, 80, 10)), x, passes)
    found, chains = runs(made, x)
    assert chains == [(0, 3)]
    assert len(set(found)) == 1


@needs_instruction
def test_a_feed_forward_block_of_a_transformer_is_one_grid():
    gamma, beta = Slot(tensor(96)), Slot(tensor(96))
    (up, down) = layers(96, 384, 96)

    def fn(x):
        y = norm.layer_norm(x, gamma.read(), beta.read(), axes=1, eps=1e-3)
        y = dense(ew.gelu(dense(y, *up)), *down)
        return softmax.softmax(ew.add(x, y), axis=1)

    x = tensor(200, 96)
    made = compiled(fn, x, ("narrow_inference",))
    found, chains = runs(made, x)
    assert len(chains) == 1 and chains[0][1] - chains[0][0] == len(made.compiled.chosen([]))
    assert len(set(found)) == 1


@needs_instruction
def test_a_result_that_all_rows_need_ends_a_chain():
    weights = layers(64, 64, 64)

    def fn(x):
        y = perceptron(weights)(x)
        return matmul.matmul(matmul.matmul(y, y, transpose_b=True), x)

    x = tensor(90, 64)
    made = compiled(fn, x)
    found, chains = runs(made, x)
    assert chains == [(0, 2)]
    assert len(set(found)) == 1


@needs_instruction
def test_large_values_are_not_kept_for_a_chain():
    x = tensor(12000, 96)
    made = compiled(perceptron(layers(96, 160, 80, 10)), x, ("narrow_inference",))
    found, chains = runs(made, x)
    assert chains == []
    assert len(set(found)) == 1


def test_few_rows_for_a_thread_are_not_cut():
    x = tensor(40, 64)
    made = compiled(perceptron(layers(64, 64, 8)), x)
    found, chains = runs(made, x)
    assert chains == []
    assert len(set(found)) == 1


@settings(max_examples=10, deadline=None)
@given(
    st.integers(64, 300),
    st.lists(st.integers(1, 90), min_size=2, max_size=7),
    st.booleans(),
)
def test_random_perceptrons(rows, widths, narrow):
    x = tensor(rows, widths[0])
    made = compiled(perceptron(layers(*widths)), x, ("narrow_inference",) if narrow else ())
    found, _ = runs(made, x)
    assert len(set(found)) == 1
