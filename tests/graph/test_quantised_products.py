"""Dense layers quantised to int8 become one pass over the activation and one product."""

import numpy as np
import pytest
import scipy.special

from keras_native import _core
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul, reduce, shape
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.skipif(
    _core.isa() != "avx512_bf16", reason="no dot instructions for narrow elements"
)
EPS = 2.0**-23
LEAST = 1e-7


def compiled(fn, x, disabled=""):
    """The function of one tensor compiled, and the names of what it runs each time."""
    stages = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NATIVE_DISABLE_PASSES", disabled)
        made = CompiledFunction(lambda t: [fn(t)], [(x.dims, x.dtype)], observer=stages.__setitem__)
    text = list(stages.values())[-1]
    ops = [line.split(" = ")[1].split("(")[0] for line in text.splitlines() if "(%" in line]
    return made, [op for op in ops if op != "reshape"]


def quantised(x, axes):
    """As Keras writes it: int8 and the scale."""
    scale = ew.div(127.0, ew.add(reduce.reduce_max(ew.abs(x), axes, keepdims=True), LEAST))
    return ew.cast(ew.clip(ew.round(ew.mul(x, scale)), -127.0, 127.0), "int8"), scale


def wanted(x, w, scales, bias, activation):
    """The same in float64, by what float32 quantises to."""
    scale = np.float32(127) / (abs(x).max(-1, keepdims=True) + np.float32(LEAST))
    whole = np.clip(np.round(x * scale), -127, 127).astype("float64")
    y = whole @ w.astype("float64") / (scale.astype("float64") * scales)
    y = y if bias is None else y + bias
    size = abs(y).max()
    if activation == "gelu":
        y = y * scipy.special.ndtr(y)
    return (np.maximum(y, 0) if activation == "relu" else y), size


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    "rows, k, n",
    [((1,), 256, 64), ((5, 7), 131, 77), ((2, 150), 1030, 130), ((3,), 9000, 33), ((700,), 64, 70)],
)
def test_a_dense_layer(rows, k, n, biased, activation):
    w, bias = RNG.integers(-127, 128, (k, n), "int8"), RNG.standard_normal(n).astype("float32")
    scales = RNG.uniform(50, 500, n).astype("float32")
    x = from_numpy(RNG.standard_normal((*rows, k)).astype("float32"))
    slots = [Slot(from_numpy(a)) for a in (w, scales, bias)]

    def fn(t):
        whole, scale = quantised(t, (t.ndim - 1,))
        y = ew.cast(matmul.matmul(whole, slots[0].read(), out_dtype="int32"), "float32")
        y = ew.div(y, ew.mul(slots[1].read(), scale))
        y = ew.add(y, slots[2].read()) if biased else y
        return y if activation == "none" else getattr(ew, activation)(y)

    made, ops = compiled(fn, x)
    assert ops == ["quantise_rows", "quantised_linear"]
    want, size = wanted(x.numpy(), w, scales, bias if biased else None, activation)
    bits, before = set(), _core.threads()
    for threads in (1, 2, 3):
        _core.set_threads(threads)
        try:
            got = made.run([x.array], [])[0].numpy()
        finally:
            _core.set_threads(before)
        bits.add(got.tobytes())
        # Sums are exact up to 2^24; then four roundings, and those of the activation.
        np.testing.assert_allclose(got, want, rtol=0, atol=16 * EPS * size)
    assert len(bits) == 1


def test_heads_are_columns():
    w = Slot(from_numpy(RNG.integers(-127, 128, (96, 3, 32), "int8")))
    scales = Slot(from_numpy(RNG.uniform(50, 500, (1, 1, 3, 32)).astype("float32")))
    bias = Slot(from_numpy(RNG.standard_normal((3, 32)).astype("float32")))
    x = from_numpy(RNG.standard_normal((2, 7, 3, 32)).astype("float32"))

    def fn(t):
        whole, scale = quantised(t, (2, 3))
        y = matmul.matmul(
            shape.reshape(whole, (14, 96)), shape.reshape(w.read(), (96, 96)), out_dtype="int32"
        )
        y = ew.cast(shape.reshape(y, (2, 7, 3, 32)), "float32")
        return ew.add(ew.div(y, ew.mul(scale, scales.read())), bias.read())

    made, ops = compiled(fn, x)
    assert ops == ["quantise_rows", "quantised_linear"]
    before, plain = compiled(fn, x, disabled="quantised_products")
    assert "quantised_linear" not in plain
    want = before.run([x.array], [])[0].numpy()
    np.testing.assert_allclose(
        made.run([x.array], [])[0].numpy(), want, rtol=0, atol=8 * EPS * abs(want).max()
    )


def test_what_others_read_stays():
    """A sum that something else reads takes no bias, and other ranges than +-top are no scale."""
    w = Slot(from_numpy(RNG.integers(-127, 128, (96, 64), "int8")))
    scales = Slot(from_numpy(RNG.uniform(50, 500, 64).astype("float32")))
    bias = Slot(from_numpy(RNG.standard_normal(64).astype("float32")))
    x = from_numpy(RNG.standard_normal((9, 96)).astype("float32"))

    def twice(t):
        whole, scale = quantised(t, (1,))
        y = ew.cast(matmul.matmul(whole, w.read(), out_dtype="int32"), "float32")
        y = ew.div(y, ew.mul(scales.read(), scale))
        return ew.mul(ew.relu(ew.add(y, bias.read())), y)

    def asymmetric(t):
        scale = ew.div(127.0, ew.add(reduce.reduce_max(ew.abs(t), (1,), keepdims=True), LEAST))
        return ew.cast(ew.clip(ew.round(ew.mul(t, scale)), -128.0, 127.0), "int8")

    for fn in (twice, asymmetric):
        made, ops = compiled(fn, x)
        assert ("quantised_linear" in ops) == (fn is twice) and "linear" not in ops
        before, _ = compiled(fn, x, disabled="quantised_products")
        want = before.run([x.array], [])[0].numpy()
        got = made.run([x.array], [])[0].numpy()
        np.testing.assert_allclose(got, want, rtol=0, atol=8 * EPS * abs(want).max())


def test_rows_with_nan_stay_nan_and_others_do_not_change():
    w = Slot(from_numpy(RNG.integers(-127, 128, (96, 64), "int8")))
    scales = Slot(from_numpy(RNG.uniform(50, 500, 64).astype("float32")))
    x = RNG.standard_normal((9, 96)).astype("float32")

    def fn(t):
        whole, scale = quantised(t, (1,))
        y = ew.cast(matmul.matmul(whole, w.read(), out_dtype="int32"), "float32")
        return ew.div(y, ew.mul(scales.read(), scale))

    made, _ = compiled(fn, from_numpy(x))
    plain = made.run([from_numpy(x).array], [])[0].numpy()
    x[4, 20] = np.nan
    got = made.run([from_numpy(x).array], [])[0].numpy()
    assert np.isnan(got[4]).all()
    np.testing.assert_array_equal(np.delete(got, 4, 0), np.delete(plain, 4, 0))
