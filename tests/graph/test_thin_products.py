"""Products of a product by thin matrices do without it."""

import numpy as np
import pytest

from keras_native.engine import transforms
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy

RNG = np.random.default_rng(5)
WIDE = "float32[80, 96]", "float32[96, 80]"


def tensor(*dims, dtype="float32"):
    return from_numpy(RNG.standard_normal(dims).astype(dtype))


def final(fn, *args) -> str:
    return transforms.jit(fn).graph(*args).split("== ")[-1]


def operand(rows, columns, transposed):
    return tensor(*((columns, rows) if transposed else (rows, columns)))


@pytest.mark.parametrize("scale", [None, 1.0, 0.5])
@pytest.mark.parametrize("thin_flags", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("left", [True, False])
def test_the_large_product_is_not_made(left, flags, thin_flags, scale):
    x, y = operand(80, 30, flags[0]), operand(30, 96, flags[1])
    # Of the second product, whether its left and its right operand are transposed.
    inner = (96, 80)[thin_flags[0]] if left else (80, 96)[thin_flags[1]]
    s = operand(inner, 3, thin_flags[1]) if left else operand(3, inner, thin_flags[0])

    def fn(x, y, s):
        wide = matmul(x, y, *flags)
        wide = wide if scale is None else ew.mul(wide, scale)
        return matmul(*((wide, s) if left else (s, wide)), *thin_flags)

    text = final(fn, x, y, s)
    assert not any(f": {dims}" in text for dims in WIDE)
    assert text.count("matmul(") == 2 and ("const[0.5]" in text) == (scale == 0.5)
    np.testing.assert_allclose(
        transforms.jit(fn)(x, y, s).numpy(), fn(x, y, s).numpy(), rtol=1e-4, atol=1e-4
    )


def kept(x, y, s, t):
    wide = matmul(x, y)
    return matmul(wide, s), wide


def read_by_another(x, y, s, t):
    wide = matmul(x, y)
    return matmul(wide, s), ew.tanh(wide)


def not_thin(x, y, s, t):
    return matmul(matmul(x, y), t)


def by_itself(x, y, s, t):
    wide = matmul(x, y)
    return matmul(wide, wide, transpose_b=True)


@pytest.mark.parametrize("fn", [kept, read_by_another, not_thin, by_itself])
def test_the_large_product_stays_where_it_is_wanted(fn):
    given = tensor(80, 30), tensor(30, 96), tensor(96, 3), tensor(96, 40)
    assert any(f": {dims}" in final(fn, *given) for dims in WIDE)
    compiled = transforms.jit(fn)(*given)
    for found, expected in zip(_as_tuple(compiled), _as_tuple(fn(*given))):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def _as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


def test_a_large_product_of_weights_is_made_once():
    a, b = Slot(tensor(80, 60)), Slot(tensor(60, 96))

    def fn(x):
        return matmul(x, matmul(a.read(), b.read()))

    x = tensor(2, 80)
    text = transforms.jit(fn).graph(x).split("== steady, each run\n")[1].split("== ")[0]
    assert text.count("matmul(") + text.count("packed_linear(") == 1
    np.testing.assert_allclose(transforms.jit(fn)(x).numpy(), fn(x).numpy(), rtol=1e-4, atol=1e-4)


def test_half_precision_is_rounded_as_it_is_written():
    x, y, s = (ew.cast(t, "bfloat16") for t in (tensor(80, 30), tensor(30, 96), tensor(96, 3)))
    text = final(lambda x, y, s: matmul(matmul(x, y), s), x, y, s)
    assert "bfloat16[80, 96]" in text


def test_gradients_of_an_update_of_low_rank():
    x, w, a, b = tensor(4, 5, 80), tensor(80, 96), tensor(80, 3), tensor(3, 96)

    def loss(x, w, a, b):
        y = matmul(x, ew.add(w, ew.mul(matmul(a, b), 2.0)))
        return reduce.reduce_sum(ew.square(y), None)

    gradient = transforms.grad(loss, (2, 3))
    compiled = transforms.jit(gradient)
    # The weights with their update are all that is as large.
    made = [
        line for line in compiled.graph(x, w, a, b).split("== ")[-1].splitlines() if " = " in line
    ]
    large = [line for line in made if ": float32[80, 96]" in line]
    assert len(large) == 2 and "matmul" in large[0] and "elementwise" in large[1]
    for found, expected in zip(compiled(x, w, a, b), gradient(x, w, a, b)):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-3)
