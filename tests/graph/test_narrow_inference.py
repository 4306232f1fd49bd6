"""Predictions in bfloat16: asked for, products take rounded operands and nothing else changes."""

import ml_dtypes
import numpy as np
import pytest

from keras_native import _core
from keras_native.engine.primitives import attention, conv, matmul, shape
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

RNG = np.random.default_rng(0)
NARROW = _core.isa() == "avx512_bf16"
needs_instruction = pytest.mark.skipif(not NARROW, reason="no instruction for bfloat16")
SAME = ((1, 1), (1, 1))


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32"))


def compiled(fn, x, passes=("narrow_inference",)):
    """The function of one tensor compiled, and the lines of the graph that runs each time."""
    stages = {}
    made = CompiledFunction(
        lambda t: [fn(t)], [(x.dims, x.dtype)], observer=stages.__setitem__, passes=passes
    )
    text = list(stages.values())[-1]
    return made, [line for line in text.splitlines() if " = " in line and "(%" in line]


def run(made, x):
    return made.run([x.array], [])[0].numpy()


@needs_instruction
def test_a_chain_of_dense_layers_stays_narrow_between_them():
    w, v, b = Slot(tensor(48, 96)), Slot(tensor(96, 7)), Slot(tensor(96))

    def fn(x):
        y = ew.relu(ew.add(matmul.matmul(x, w.read()), b.read()))
        return matmul.matmul(shape.reshape(y, (10, 96)), v.read())

    x = tensor(2, 5, 48)
    made, lines = compiled(fn, x)
    kinds = [line.split(" = ")[1].split("(")[0] for line in lines]
    assert kinds == ["packed_linear", "reshape", "matmul"]  # which rounds x
    assert "bfloat16[2, 5, 96]" in lines[0] and "float32[10, 7]" in lines[2]
    _, before = compiled(fn, x, passes=())
    assert not any("bfloat16" in line for line in before)

    want = run(compiled(fn, x, passes=())[0], x)
    got = run(made, x)
    assert got.dtype == np.float32 and np.any(got != want)
    # Three operands rounded by half a unit of 2^-8 each, in sums of 48 and 96 independent terms.
    np.testing.assert_allclose(got, want, atol=3 * 2**-9 * 3 * want.std())


@needs_instruction
def test_a_result_that_others_read_keeps_its_digits():
    w = Slot(tensor(64, 32))
    x = tensor(9, 64)
    made, lines = compiled(lambda t: ew.exp(ew.mul(matmul.matmul(t, w.read()), 0.01)), x)
    product = next(line for line in lines if "packed_linear" in line)
    assert product.endswith("float32[9, 32]")
    a, b = (m.astype(ml_dtypes.bfloat16).astype("float64") for m in (x.numpy(), w.read().numpy()))
    np.testing.assert_allclose(run(made, x), np.exp(0.01 * (a @ b)), rtol=2e-6)


@needs_instruction
def test_few_columns_of_a_wide_operand_stay_wide():
    w = Slot(tensor(64, 10))
    _, lines = compiled(lambda t: matmul.matmul(t, w.read()), tensor(9, 64))
    assert not any("bfloat16" in line for line in lines)


@needs_instruction
def test_weights_are_rounded_once_for_each_value():
    w = Slot(tensor(256, 256))
    x = tensor(4, 256)
    made, lines = compiled(lambda t: matmul.matmul(t, w.read()), x)
    assert not any("cast" in line for line in lines)
    first = run(made, x)
    assert made.compiled.once_runs == 1
    run(made, x)
    assert made.compiled.once_runs == 1
    w.write(ew.mul(w.read(), 2.0))
    np.testing.assert_array_equal(run(made, x), 2 * first)
    assert made.compiled.once_runs == 2


@needs_instruction
def test_convolutions_between_narrow_ones_are_narrow():
    shapes = ((1, 1, 64, 32), (3, 3, 32, 32), (1, 1, 32, 64))
    weights = [(Slot(tensor(*dims)), Slot(tensor(dims[-1]))) for dims in shapes]

    def fn(x):
        y = x
        for w, b in weights:
            y = ew.relu(
                ew.add(conv.conv(y, w.read(), 1, SAME if w.dims[0] == 3 else None), b.read())
            )
        return y

    x = tensor(2, 9, 8, 64)
    made, lines = compiled(fn, x)
    convolutions = [line for line in lines if "conv" in line]
    assert [line.split(" = ")[1].split("(")[0] for line in convolutions] == [
        "conv_bias_act", "winograd_conv", "conv_bias_act",
    ]  # fmt: skip
    assert all("bfloat16" in line for line in convolutions)
    want = run(compiled(fn, x, passes=())[0], x)
    np.testing.assert_allclose(run(made, x), want, atol=0.02 * want.std() * 3)


@needs_instruction
def test_first_layers_and_groups_stay_wide():
    w, d = Slot(tensor(3, 3, 3, 32)), Slot(tensor(3, 3, 1, 32))

    def fn(x):
        return conv.conv(conv.conv(x, w.read(), 2, None), d.read(), 1, SAME, groups=32)

    x = tensor(2, 9, 9, 3)
    _, lines = compiled(fn, x)
    assert not any("bfloat16" in line for line in lines)


@needs_instruction
@pytest.mark.parametrize("biased", [False, True])
def test_attention_is_narrow_unless_it_has_a_bias(biased):
    # Queries and keys of unit variance: scores, which stand in an exponent, of about 1.
    weights = [Slot(ew.mul(tensor(32, 32), 32**-0.5)) for _ in range(4)]
    bias = Slot(tensor(1, 4, 6, 6))

    def fn(x):
        q, k, v = (shape.reshape(matmul.matmul(x, w.read()), (2, 6, 4, 8)) for w in weights[:3])
        z = attention.attention(q, k, v, bias=bias.read() if biased else None)
        return matmul.matmul(shape.reshape(z, (12, 32)), weights[3].read())

    x = tensor(2, 6, 32)
    made, lines = compiled(fn, x)
    (line,) = [line for line in lines if "attention" in line]
    assert ("bfloat16[2, 6, 4, 8]" in line) != biased
    want = run(compiled(fn, x, passes=())[0], x)
    np.testing.assert_allclose(run(made, x), want, atol=0.03 * want.std())
