"""LSTM and GRU over time: the table of cases, gradients, decompositions, wrong input."""

import numpy as np
import pytest
import scipy.special

from bench import harness, ulp
from bench.cases import rnn as table
from keras_native.engine.primitive import REGISTRY
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import rnn
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tape import GradientTape
from keras_native.engine.tensor import from_numpy
from keras_native.engine.transforms import jit

CASES = harness.test_cases(table.CASES)
FORWARD = [c for c in CASES if not c.op.endswith("_grad")]
SMALL = [c for c in FORWARD if c.label.startswith(("float32[3x4x5]", "float32[4x5x6]"))]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize("make", [table.lstm, table.gru, table.before])
def test_extreme_inputs(make):
    """Gates that are 0, 1 or NaN, and what lies beyond the range of the exponential."""
    case = make(4, 3, 21)
    arrays = case.arrays()
    ends = [-np.inf, -1e30, -200, -89, -25, 0, 25, 89, 200, 1e30, np.inf]
    arrays[0][...] = np.random.default_rng(1).choice(ends, arrays[0].shape)
    arrays[0][1, 1, 5] = np.nan  # from there on all of that sequence
    for isa in harness.isas():
        with harness.using_isa(isa):
            results = harness.run(case, arrays)
        for got, want in zip(results, harness.expected(case, arrays), strict=True):
            assert np.isnan(want).any() and np.isfinite(want[0]).all()
            harness.compare(got, want, case, f"isa={isa}")


def test_an_infinite_state_times_a_gate_of_0_is_no_number():
    case = table.gru(1, 2, 1, bias=False, keep=False)
    arrays = [np.zeros((1, 2, 3), "f4"), np.full((1, 1), np.inf, "f4"), np.float32([[-1, 1, 1]])]
    for isa in harness.isas():
        with harness.using_isa(isa):
            results = harness.run(case, arrays)
        for got, want in zip(results, harness.expected(case, arrays), strict=True):
            assert np.isnan(want).all()
            harness.compare(got, want, case, f"isa={isa}")


@pytest.mark.parametrize("isa", harness.isas())
def test_gates_are_exact_to_a_few_units(isa):
    """A GRU's state is its update gate where it was 1 and the new value is 0, and that new value
    where the gate is 0."""
    x = np.linspace(-87, 87, 40001, dtype="f4")
    zero, shut, one = np.zeros_like(x), np.full_like(x, -1e30), np.ones((x.size, 1), "f4")
    weights = np.zeros((1, 3), "f4")
    for gates, reference in [((x, zero, zero), scipy.special.expit), ((shut, zero, x), np.tanh)]:
        with harness.using_isa(isa):
            gates = np.stack(gates, 1)[:, None]
            h = rnn.gru(from_numpy(gates), from_numpy(one), from_numpy(weights))[0].numpy()
        error = ulp.units(h.ravel().astype("f8"), reference(x.astype("f8")))
        assert error.max() <= 6, f"{reference.__name__}({x[error.argmax()]}): {error.max()} units"


def test_kernels_take_float32():
    taken = [c for c in CASES if c.inputs[0][1] == "float32" and 0 not in c.inputs[0][0]]
    assert all(harness.kernel_of(c) for c in taken)


def _weighted(case, inputs):
    """A scalar that depends on every result, by the public function's outputs alone."""
    outs = REGISTRY[case.op](*inputs, **case.attrs)[: 3 if case.op == "lstm" else 2]
    total = None
    for k, out in enumerate(outs):
        weights = np.cos(np.arange(np.prod(out.dims)) + k).reshape(out.dims)
        part = rd.reduce_sum(ew.mul(out, from_numpy(weights)), tuple(range(out.ndim)))
        total = part if total is None else ew.add(total, part)
    return total


def _float64(case):
    return [from_numpy(harness._widen(a)) for a in case.arrays()]


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_gradient(case):
    inputs = _float64(case)
    floats = [t for t in inputs if t.dtype != "bool"]
    with GradientTape() as tape:
        value = _weighted(case, inputs)
    grads = tape.gradient(value, floats)
    rng = np.random.default_rng(3)
    for k, grad in enumerate(grads):
        direction = rng.standard_normal(floats[k].dims)
        ends = []
        for step in (1e-6, -1e-6):
            moved = list(inputs)
            moved[k] = from_numpy(floats[k].numpy() + step * direction)
            ends.append(float(_weighted(case, moved).numpy()))
        numeric = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(np.sum(grad.numpy() * direction), numeric, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("case", SMALL[::5], ids=str)
def test_gradient_of_what_is_kept(case):
    harness.check_gradient(case)


@pytest.mark.parametrize("case", SMALL[::3], ids=str)
def test_decomposition_and_second_derivative(case):
    """Forward, and the derivative of the squared gradient, as through the plain scan."""
    primitive = REGISTRY[case.op]
    inputs = _float64(case)
    floats = [t for t in inputs if t.dtype != "bool"]

    def plain(*ts):
        return primitive.decompose(*ts, **case.attrs)

    for a, b in zip(plain(*inputs), primitive(*inputs, **case.attrs)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)

    def second(function):
        with GradientTape() as outer:
            with GradientTape() as inner:
                out = function(*inputs)[0]
                value = rd.reduce_sum(ew.mul(out, out), (0, 1, 2))
            (dx, dw) = inner.gradient(value, [floats[0], floats[-1]])
            total = ew.add(
                rd.reduce_sum(ew.mul(dx, dx), tuple(range(dx.ndim))),
                rd.reduce_sum(ew.mul(dw, dw), tuple(range(dw.ndim))),
            )
        return [g.numpy() for g in outer.gradient(total, floats)]

    for a, b in zip(second(plain), second(lambda *t: primitive(*t, **case.attrs))):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_what_the_backward_pass_needs_is_dropped_without_one():
    x, h, w = (from_numpy(np.ones(s, np.float32)) for s in ((2, 3, 8), (2, 2), (2, 8)))
    forward = jit(lambda x, h, w: rnn.lstm(x, h, h, w)[0]).graph(x, h, w)
    assert "keep=0" in forward.split("==")[-1]


def test_saturated_gates_stay_finite():
    z = np.array([[[1e30, -1e30, 1e30, 1e30]], [[-np.inf, 0, 0, 0]]], np.float32)
    one = from_numpy(np.ones((2, 1), np.float32))
    y, h, c = (t.numpy() for t in rnn.lstm(from_numpy(z), one, one, sh.zeros((1, 4), "float32")))
    np.testing.assert_allclose(c, [[1], [0.5]], rtol=1e-6)
    np.testing.assert_allclose(h, np.tanh(c) * [[1], [0.5]], rtol=1e-6)
    np.testing.assert_array_equal(y[:, 0], h)


def test_wrong_input_is_named():
    def zeros(*dims, dtype="float32"):
        return sh.zeros(dims, dtype)

    h = zeros(2, 3)
    with pytest.raises(ValueError, match="lstm: expected"):
        rnn.lstm(zeros(2, 5, 11), h, h, zeros(3, 12))
    with pytest.raises(ValueError, match="gru: expected"):
        rnn.gru(zeros(2, 5, 9), h, zeros(3, 9), None, zeros(2, 4, dtype="bool"))
    with pytest.raises(TypeError, match="gru: expected one floating dtype"):
        rnn.gru(zeros(2, 5, 9), zeros(2, 3, dtype="float16"), zeros(3, 9))
    with pytest.raises(TypeError, match="lstm: expected a bool mask"):
        rnn.lstm(zeros(2, 5, 12), h, h, zeros(3, 12), zeros(2, 5))
    with pytest.raises(ValueError, match="needs reset_after"):
        rnn.gru(zeros(2, 5, 9), h, zeros(3, 9), zeros(9), reset_after=False)
