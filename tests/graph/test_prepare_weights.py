"""3x3 convolutions by weights that a step does not write read what was transformed once."""

import numpy as np
import pytest

from keras_native import _core
from keras_native.engine.primitives import conv
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

RNG = np.random.default_rng(0)
SAME = ((1, 1), (1, 1))


def tensor(*dims, dtype="float32"):
    return from_numpy(RNG.standard_normal(dims).astype(dtype))


def compiled(fn, x):
    """The function of one tensor compiled, and the names of what it runs each time."""
    stages = {}
    made = CompiledFunction(lambda t: [fn(t)], [(x.dims, x.dtype)], observer=stages.__setitem__)
    text = list(stages.values())[-1]
    ops = [line.split(" = ")[1].split("(")[0] for line in text.splitlines() if "(%" in line]
    return made, ops


def run(made, x):
    return made.run([x.array], [])[0].numpy()


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * abs(expected).max())


TAILS = {
    "plain": lambda y, b, r: y,
    "bias": lambda y, b, r: ew.add(y, b),
    "relu": lambda y, b, r: ew.relu(ew.add(y, b)),
    "silu": lambda y, b, r: ew.silu(ew.add(y, b)),
    "residual": lambda y, b, r: ew.relu(ew.add(ew.add(y, b), r)),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    "cin, cout, sizes", [(32, 48, (7, 6)), (33, 160, (5, 9)), (64, 64, (1, 2))]
)
def test_the_weights_are_transformed_once_for_each_value(tail, cin, cout, sizes):
    w, b = Slot(tensor(3, 3, cin, cout)), Slot(tensor(cout))
    x, r = tensor(2, *sizes, cin), tensor(2, *sizes, cout)

    def fn(t):
        return TAILS[tail](conv.conv(t, w.read(), 1, SAME), b.read(), r)

    made, ops = compiled(fn, x)
    assert ops == ["winograd_conv"]
    for runs in (1, 2):
        for _ in range(2):
            close(run(made, x), fn(x).numpy())
        assert made.compiled.once_runs == runs
        w.write(tensor(3, 3, cin, cout))


def test_larger_squares_where_they_are_asked_for(monkeypatch):
    monkeypatch.setenv("NATIVE_WINOGRAD", "4")
    w, b = Slot(tensor(3, 3, 32, 48)), Slot(tensor(48))
    x = tensor(2, 7, 6, 32)

    def fn(t):
        return ew.relu(ew.add(conv.conv(t, w.read(), 1, SAME), b.read()))

    made, ops = compiled(fn, x)
    assert ops == ["winograd_conv"]
    # 36 positions instead of 16, and their sums' order.
    monkeypatch.delenv("NATIVE_WINOGRAD")
    other, _ = compiled(fn, x)
    assert run(made, x).tobytes() != run(other, x).tobytes()
    close(run(made, x), fn(x).numpy())


def test_batches_of_every_size():
    w = Slot(tensor(3, 3, 64, 160))
    for batch in (0, 1, 5):
        x = tensor(batch, 9, 9, 64)
        made, _ = compiled(lambda t: conv.conv(t, w.read(), 1, SAME), x)
        expected = conv.conv(x, w.read(), 1, SAME).numpy()
        np.testing.assert_allclose(run(made, x), expected, rtol=2e-5, atol=1e-4)


def test_same_bits_at_every_number_of_threads():
    w = Slot(tensor(3, 3, 64, 160))
    x = tensor(1, 7, 7, 64)
    made, _ = compiled(lambda t: conv.conv(t, w.read(), 1, SAME), x)
    before, found = _core.threads(), []
    try:
        for count in (1, 2, 7):
            _core.set_threads(count)
            found.append(run(made, x).tobytes())
    finally:
        _core.set_threads(before)
    assert found[0] == found[1] == found[2]


def test_layers_that_share_weights_share_what_is_made_of_them():
    w = Slot(tensor(3, 3, 32, 32))
    x = tensor(1, 6, 6, 32)

    def fn(t):
        return conv.conv(conv.conv(t, w.read(), 1, SAME), w.read(), 1, SAME)

    made, ops = compiled(fn, x)
    assert ops == ["winograd_conv"] * 2
    close(run(made, x), fn(x).numpy())


@pytest.mark.parametrize(
    "dims, arguments, dtype",
    [
        ((3, 3, 16, 64), (1, SAME), "float32"),
        ((3, 3, 32, 40), (1, SAME), "float32"),
        ((3, 3, 32, 64), (2, SAME), "float32"),
        ((3, 3, 32, 64), (1, SAME, 2), "float32"),
        ((3, 3, 32, 64), (1, SAME, 1, 2), "float32"),
        ((1, 3, 32, 64), (1, SAME), "float32"),
        ((3, 3, 32, 64), (1, SAME), "float64"),
        ((3, 3, 32, 64), (1, SAME), "float16"),
    ],
)
def test_others_stay(dims, arguments, dtype):
    groups = arguments[3] if len(arguments) > 3 else 1
    w, x = Slot(tensor(*dims, dtype="float32")), tensor(1, 8, 8, dims[2] * groups)
    w, x = (ew.cast(t, dtype) for t in (w.read(), x))
    slot = Slot(w)
    _, ops = compiled(lambda t: conv.conv(t, slot.read(), *arguments), x)
    assert ops == ["conv"]


def test_weights_that_the_step_writes_or_is_given_stay():
    w = Slot(tensor(3, 3, 32, 32))
    x = tensor(1, 6, 6, 32)

    def trains(t):
        y = conv.conv(t, w.read(), 1, SAME)
        w.write(ew.mul(w.read(), 0.5))
        return y

    _, ops = compiled(trains, x)
    assert "conv" in ops and "winograd_conv" not in ops
    _, ops = compiled(
        lambda t: conv.conv(t, conv.conv(t, w.read(), 1, SAME), 1, SAME), tensor(3, 3, 32, 32)
    )
    assert ops == ["winograd_conv", "conv"]


def test_the_pass_can_be_left_out(monkeypatch):
    w = Slot(tensor(3, 3, 32, 32))
    x = tensor(1, 6, 6, 32)
    monkeypatch.setenv("NATIVE_DISABLE_PASSES", "prepare_weights")
    _, ops = compiled(lambda t: conv.conv(t, w.read(), 1, SAME), x)
    assert ops == ["conv"]
