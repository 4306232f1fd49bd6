"""Random numbers: equal bits everywhere, known answers, distributions."""

import math

import numpy as np
import pytest

from bench import harness
from bench.cases import random as table
from keras_native.engine.primitives import random as ops
from keras_native.engine.primitives import random_rejection as rejection
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)
KEY = from_numpy(np.array([12, 34], np.uint32))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_bits_on_every_instruction_set(case):
    arrays, first = case.arrays(), None
    for isa in harness.isas():
        with harness.using_isa(isa):
            bits = [r.tobytes() for r in harness.run(case, arrays)]
        first = first or bits
        assert bits == first, isa


def test_gradient_of_dropout():
    for case in CASES:
        if case.op == "random_bernoulli_scale" and case.inputs[0][1] == "float32":
            harness.check_gradient(case)


def test_kernels_take_every_case():
    assert not [c for c in CASES if harness.kernel_of(c) is None]


def test_known_answers():
    """The vectors published with Philox4x32-10 whose upper counters are 0."""
    zero = ops.philox(np.zeros(2, np.uint32), np.arange(1))[0]
    assert [hex(w) for w in zero] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
    bits = ops.random_bits(from_numpy(np.zeros(2, np.uint32)), (64,)).numpy()
    assert bits[::16].tolist() == zero.tolist()


N = 1 << 18


def _moments(x):
    x = x.astype(np.float64)
    return x.mean(), x.var(), (x**4).mean()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_distributions(dtype):
    u = ops.random_uniform(KEY, (N,), dtype).numpy().astype(np.float64)
    # A coarse grid in [0, 1) has its mean half a step below one half.
    step = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(dtype, 0)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5 + step / 2) < 5 * 0.2887 / N**0.5
    mean, var, fourth = _moments(ops.random_normal(KEY, (N,), dtype).numpy())
    assert abs(mean) < 5 / N**0.5 and abs(var - 1) < 5 * (2 / N) ** 0.5
    assert abs(fourth - 3) < 5 * (96 / N) ** 0.5
    x = ops.random_truncated_normal(KEY, (N,), dtype).numpy()
    mean, var, _ = _moments(x)
    assert abs(x.astype(np.float32)).max() <= 2
    assert abs(mean) < 5 / N**0.5 and abs(var - 0.7737413) < 5 / N**0.5


def test_dropout_keeps_the_mean_and_the_dropped():
    x = from_numpy(np.ones(N, np.float32))
    y = ops.random_bernoulli_scale(x, KEY, 0.25).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(y.mean() - 1) < 5 * (0.25 / 0.75 / N) ** 0.5
    assert (ops.random_bernoulli_scale(x, KEY, 0.25).numpy() == y).all()


def test_randint_covers_its_range():
    low, high = (from_numpy(np.int32(v)) for v in (-3, 4))
    values, counts = np.unique(ops.randint(KEY, (N,), low, high).numpy(), return_counts=True)
    assert values.tolist() == list(range(-3, 4))
    assert abs(counts - N / 7).max() < 5 * (N / 7) ** 0.5


@pytest.mark.parametrize("alpha", [0.1, 0.9, 1.0, 2.5, 300.0])
def test_gamma_has_its_moments(alpha):
    x = rejection.random_gamma(KEY, from_numpy(np.full(N, alpha))).numpy()
    assert x.min() >= 0
    assert abs(x.mean() - alpha) < 5 * (alpha / N) ** 0.5
    # The fourth central moment is 3 alpha (alpha + 2).
    assert abs(x.var() - alpha) < 5 * ((2 * alpha * alpha + 6 * alpha) / N) ** 0.5
    other = rejection.random_gamma(KEY, from_numpy(np.full(N, alpha)), stream=1).numpy()
    assert abs(np.corrcoef(x, other)[0, 1]) < 5 / N**0.5
    neighbours = np.corrcoef(x[:-1], x[1:])[0, 1]
    assert abs(neighbours) < 5 / N**0.5


def test_rejected_neighbours_move_no_bits():
    """An element draws the same whoever is drawn with it, and so however many trials those take."""
    rng = np.random.default_rng(5)
    own = rng.random(1000) < 0.5
    alphas = np.where(own, 1.5, np.exp(rng.uniform(-5, 5, (2, 1000))))
    x, y = (rejection.random_gamma(KEY, from_numpy(a)).numpy() for a in alphas)
    assert (x[own] == y[own]).all() and (x[~own] != y[~own]).all()
    counts = np.where(own, 50, rng.integers(200, 10**6, (2, 1000))).astype(np.float64)
    p = from_numpy(np.full(1000, 0.3))
    x, y = (rejection.random_binomial(KEY, from_numpy(c), p).numpy() for c in counts)
    assert (x[own] == y[own]).all() and (x[~own] != y[~own]).mean() > 0.9


@pytest.mark.parametrize("n, p", [(7, 0.3), (1000, 0.002), (40, 0.5), (10**6, 0.31), (60, 0.93)])
def test_binomial_has_its_probabilities(n, p):
    parameters = [from_numpy(np.full(N, float(v))) for v in (n, p)]
    x = rejection.random_binomial(KEY, *parameters).numpy()
    assert x.min() >= 0 and x.max() <= n and (x == np.floor(x)).all()
    assert abs(x.mean() - n * p) < 5 * (n * p * (1 - p) / N) ** 0.5
    middle = int(n * p)
    for k in (middle - 2, middle, middle + 1, middle + 3):
        log = [math.lgamma(v + 1) for v in (n, k, n - k)] if 0 <= k <= n else None
        expected = log and math.exp(
            log[0] - log[1] - log[2] + k * math.log(p) + (n - k) * math.log1p(-p)
        )
        found = (x == k).mean()
        assert abs(found - (expected or 0)) < 5 * ((expected or 0) / N) ** 0.5 + 1e-12


@pytest.mark.parametrize("n", [1e12, 1e15, 1e17, 9e18])
def test_binomial_of_many_trials_is_as_wide_as_it_should_be(n):
    x = rejection.random_binomial(KEY, *(from_numpy(np.full(N, v)) for v in (n, 0.3))).numpy()
    deviation = (n * 0.3 * 0.7) ** 0.5
    mean, var, fourth = _moments((x - n * 0.3) / deviation)
    assert abs(mean) < 5 / N**0.5 and abs(var - 1) < 5 * (2 / N) ** 0.5
    assert abs(fourth - 3) < 5 * (96 / N) ** 0.5


def test_parameters_at_the_edges_of_distributions():
    alphas = np.array([0, -1, np.nan, np.inf, 1e-30, 1e30])
    x = rejection.random_gamma(KEY, from_numpy(alphas)).numpy()
    np.testing.assert_array_equal(x[:5], [0, np.nan, np.nan, np.inf, 0])
    np.testing.assert_allclose(x[5], 1e30)
    counts = from_numpy(np.array([5.0, 5, 5, 5, -1, np.nan, 0, 2.9]))
    probabilities = from_numpy(np.array([0, 1, -0.1, np.nan, 0.5, 0.5, 0.5, 1]))
    x = rejection.random_binomial(KEY, counts, probabilities).numpy()
    np.testing.assert_array_equal(x, [0, 5, np.nan, np.nan, np.nan, np.nan, 0, 2])


BAD = from_numpy(np.zeros(3, np.uint32))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: ops.random_bits(BAD, (2,)), ValueError, r"random_bits.*uint32\(3,\)"),
        (lambda: ops.random_normal(KEY, (2,), "int32"), TypeError, "random_normal.*int32"),
        (lambda: ops.random_bernoulli_scale(KEY, KEY, 0.5), TypeError, "bernoulli.*uint32"),
        (
            lambda: ops.random_bernoulli_scale(from_numpy(np.zeros(2)), KEY, 1.5),
            ValueError,
            "rate must be in",
        ),
        (lambda: ops.randint(KEY, (2,), KEY, KEY), TypeError, "randint"),
    ],
)
def test_wrong_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
