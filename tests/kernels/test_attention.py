"""Attention: the table of cases, random sizes, special values, second derivatives, wrong input."""

# ruff: noqa: C408 (dict(...) as it will be passed, by keyword)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import attention as table
from keras_native import GradientTape, _core
from keras_native.engine.primitives import attention as at
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives.random import random_bernoulli_scale
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)
RNG = np.random.default_rng(0)


def normal(*dims):
    return RNG.standard_normal(dims).astype(np.float32)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize("case", [c for c in CASES if c.inputs[0][1] == "float32"], ids=str)
def test_gradient(case):
    """For the gradient primitives these are second derivatives."""
    if any(f"Sq{queries}" in str(case) for queries in (129, 130, 150, 200)):
        pytest.skip("large for differences; the same code as the small ones")
    harness.check_gradient(case)


def test_kernels_take_every_case():
    assert not [c for c in CASES if harness.kernel_of(c) is None]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 70), st.booleans(), st.booleans())
def test_random_sizes(queries, keys, size, causal, grad):
    case = table.attention(1, queries, 2, size, keys=keys, causal=causal, grad=grad)
    harness.check_forward(case, threads=(2,))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", harness.isas())
def test_causal_gradients_read_nothing_of_earlier_calls(isa, dtype):
    """Beyond the diagonal a block holds what was there, whatever tiles its keys end with."""
    before = _core.isa(), _core.threads()
    full = table.attention(1, 210, 1, 8, grad=True, dtype=dtype)
    not_numbers = [np.full_like(a, np.nan) for a in full.arrays()]
    try:
        _core.set_isa(isa)
        _core.set_threads(1)
        for length in range(10, 110):
            harness.run(full, not_numbers)
            case = table.attention(1, length, 1, 8, causal=True, grad=True, dtype=dtype)
            arrays = case.arrays()
            for got, want in zip(harness.run(case, arrays), harness.expected(case, arrays)):
                assert np.isfinite(got).all(), length
                np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)
    finally:
        _core.set_isa(before[0])
        _core.set_threads(before[1])


NARROW = (
    dict(queries=7, heads=2, size=5),
    dict(queries=130, heads=4, size=33, key_heads=2, keys=300, value_size=70),
    dict(queries=200, heads=2, size=64, causal=True),
    dict(queries=1, heads=8, size=64, keys=777),
    dict(queries=300, heads=1, size=8, keys=129, causal=True),
    dict(queries=70, heads=2, size=128, keys=90, value_size=9, mask=(1, 1, 70, 90)),
    dict(queries=50, heads=2, size=16, mask=(2, 1, 1, 50), causal=True),
    dict(queries=50, heads=2, size=16, bias=(1, 2, 50, 50)),
    dict(queries=40, heads=2, size=16, dropout=0.3, causal=True),
    dict(queries=200, heads=2, size=16, keys=410, mask=(200, 410), kind="window"),
)


@pytest.mark.parametrize("sizes", NARROW, ids=str)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_elements(sizes, dtype):
    harness.check_forward(table.attention(2, dtype=dtype, **sizes))


def test_a_query_without_keys_attends_to_all_alike():
    q, k, v = normal(1, 4, 1, 8), normal(1, 6, 1, 8), normal(1, 6, 1, 8)
    mask = np.ones((4, 6), bool)
    mask[2] = False
    out = at.attention(*map(from_numpy, (q, k, v)), mask=from_numpy(mask)).numpy()
    np.testing.assert_allclose(out[0, 2, 0], v[0, :, 0].mean(0), rtol=1e-5, atol=1e-6)


def test_dropout_is_that_of_random_bernoulli_scale():
    key = from_numpy(np.array([5, 9], np.uint32))
    q, k = np.zeros((1, 7, 2, 4), np.float32), np.zeros((1, 9, 2, 4), np.float32)
    v = np.broadcast_to(np.eye(9, dtype=np.float32)[None, :, None], (1, 9, 2, 9))
    out = at.attention(*map(from_numpy, (q, k, v)), dropout=0.4, key=key).numpy()
    want = random_bernoulli_scale(from_numpy(np.full((1, 2, 7, 9), 1 / 9, np.float32)), key, 0.4)
    np.testing.assert_allclose(out.transpose(0, 2, 1, 3), want.numpy(), rtol=1e-6)


def test_nan_and_infinity_stay_in_their_query():
    q, k, v = normal(1, 40, 1, 8), normal(1, 30, 1, 8), normal(1, 30, 1, 8)
    q[0, 3, 0, 2], q[0, 9, 0, 1] = np.nan, np.inf
    out = at.attention(*map(from_numpy, (q, k, v))).numpy()[0, :, 0]
    assert np.isnan(out[[3, 9]]).all()
    assert np.isfinite(np.delete(out, [3, 9], 0)).all()


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("slope", [0.05, 0.4, 3.0, 40.0, -0.05, -3.0])
def test_scores_that_leave_those_of_the_first_keys(slope, causal, isa):
    """The weights are relative to the first keys' scores until those of others are much larger."""
    case = table.attention(1, 300, 1, 8, causal=causal, scale=1.0)
    q, k, v = case.arrays()
    q[:], k[:] = 0, 0
    q[..., 0], k[..., 0] = slope, np.arange(300).reshape(1, 300, 1)
    with harness.using_isa(isa):
        for got, want in zip(harness.run(case, [q, k, v]), harness.expected(case, [q, k, v])):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("isa", harness.isas())
def test_large_values_under_large_scores_stay_finite(isa):
    case = table.attention(1, 8, 1, 1, keys=220, scale=1.0)
    q, k, v = case.arrays()
    q[:], k[:], v[:] = 1, 0, 1e34
    k[0, 140:] = 12
    with harness.using_isa(isa):
        np.testing.assert_allclose(harness.run(case, [q, k, v])[0], v[:, :8], rtol=1e-5)


@pytest.mark.parametrize("isa", harness.isas())
def test_a_query_of_one_key_returns_its_value(isa):
    case = table.attention(1, 40, 1, 8, causal=True)
    q, k, v = case.arrays()
    with harness.using_isa(isa):
        np.testing.assert_array_equal(harness.run(case, [q, k, v])[0][:, 0], v[:, 0])


def test_large_scores_do_not_overflow():
    q, k, v = 100 * normal(1, 20, 1, 16), 100 * normal(1, 20, 1, 16), normal(1, 20, 1, 16)
    out = at.attention(*map(from_numpy, (q, k, v))).numpy()
    want = at._attention.reference(
        *(a.astype(np.float64) for a in (q, k, v)),
        scale=0.25, causal=False, dropout=0.0, has_bias=False, has_mask=False,
    )[0]  # fmt: skip
    np.testing.assert_allclose(out, want, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"q": normal(2, 3, 4)}, ValueError, "4 axes"),
        ({"k": normal(1, 5, 2, 7)}, ValueError, "head size"),
        ({"k": normal(1, 5, 3, 8), "v": normal(1, 5, 3, 8)}, ValueError, "divide"),
        ({"v": normal(1, 4, 2, 8)}, ValueError, "one length"),
        ({"q": np.zeros((1, 3, 2, 8), np.int32)}, TypeError, "int32"),
        ({"mask": np.ones((3, 4), bool)}, ValueError, "mask"),
        ({"mask": np.ones((3, 5), np.float32)}, TypeError, "bool"),
        ({"bias": np.ones((3, 5))}, TypeError, "bias"),
        ({"dropout": 0.5}, ValueError, "key"),
    ],
)
def test_wrong_input(change, error, words):
    given = {"q": normal(1, 3, 2, 8), "k": normal(1, 5, 2, 8), "v": normal(1, 5, 2, 8), **change}
    given = {n: from_numpy(a) if isinstance(a, np.ndarray) else a for n, a in given.items()}
    with pytest.raises(error, match=words):
        at.attention(**given)


LEAST = {"float32": -3.4028235e38, "bfloat16": -3.3895314e38}


def exact(q, k, v, ct, bias, allowed):
    """The output and the gradients in float64, with the largest bias of each query taken away:
    in any precision it hides the scores beside it."""
    q, k, v, ct = (a.astype(np.float64).transpose(0, 2, 1, 3) for a in (q, k, v, ct))
    group = q.shape[1] // k.shape[1]
    k, v = (np.repeat(a, group, axis=1) for a in (k, v))
    scale = q.shape[-1] ** -0.5
    some = allowed.any(-1, keepdims=True)
    bias = np.where(allowed, bias.astype(np.float64), -np.inf)
    with np.errstate(invalid="ignore"):
        bias = np.where(some, bias - bias.max(-1, keepdims=True), 0)
        s = scale * (q @ k.swapaxes(-1, -2)) * some + bias
        e = np.exp(s - s.max(-1, keepdims=True))
        p = e / e.sum(-1, keepdims=True)
        out = p @ v
        ds = p * (ct @ v.swapaxes(-1, -2) - (ct * out).sum(-1, keepdims=True)) * some

    def per_key(x):
        return x.reshape(len(x), -1, group, *x.shape[2:]).sum(2)

    found = out, scale * ds @ k, scale * per_key(ds.swapaxes(-1, -2) @ q)
    found = (*found, per_key(p.swapaxes(-1, -2) @ ct))
    return [x.transpose(0, 2, 1, 3) for x in found], ds


def with_gradients(q, k, v, ct, bias, mask, causal, dtype):
    tensors = [ew.cast(from_numpy(x), dtype) for x in (q, k, v)]
    bias = None if bias is None else ew.cast(from_numpy(bias), dtype)
    mask = None if mask is None else from_numpy(mask)
    with GradientTape() as tape:
        out = at.attention(*tensors, bias, mask, causal=causal)
    sources = tensors if bias is None else [*tensors, bias]
    grads = tape.gradient(out, sources, ew.cast(from_numpy(ct), dtype))
    return [ew.cast(t, "float32").numpy() for t in (out, *grads)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", ["mask", -1e5, -1e9, -1e30, -2.4e38, "least"])
@pytest.mark.parametrize("shape", [(2, 4, 40, 40), (2, 1, 1, 40), (40, 40)], ids=str)
def test_queries_all_of_whose_keys_are_masked(dtype, causal, masked, shape):
    """By a mask, or by a bias beside which float32 has no place for scores and sums."""
    rng = np.random.default_rng(3)
    rounded = lambda *dims: (rng.integers(-8, 9, dims) / 8).astype(np.float32)  # noqa: E731
    q, ct = rounded(2, 40, 4, 8), rounded(2, 40, 4, 8)
    k, v = rounded(2, 40, 2, 8), rounded(2, 40, 2, 8)
    seen = rng.random(shape) < 0.6
    if shape[-2] == 1:
        seen[0] = False  # of the first batch entry all, of the other the queries before a few
        seen[1, ..., :5], seen[1, ..., 5:] = False, True
    else:
        seen[..., 3, :], seen[..., 17, :], seen[..., 39, :] = False, False, True
    lower = np.tri(40, dtype=bool) if causal else np.ones((40, 40), bool)
    allowed = np.broadcast_to(lower, (2, 4, 40, 40))
    if masked == "mask":
        bias, mask = np.zeros(shape, np.float32), seen
        allowed = allowed & seen
    else:
        # One number for all of a query's keys, in bfloat16 as well.
        masked = LEAST[dtype] if masked == "least" else masked
        bias, mask = np.where(seen, np.float32(0), np.float32(masked)), None
        bias = ew.cast(ew.cast(from_numpy(bias), dtype), "float32").numpy()
    want, ds = exact(q, k, v, ct, bias, allowed)
    got = with_gradients(q, k, v, ct, None if mask is not None else bias, mask, causal, dtype)
    if mask is None:
        axes = tuple(i for i, d in enumerate((1,) * (4 - len(shape)) + shape) if d == 1)
        want.append(ds.sum(axes).reshape(shape))
    tolerance = 3e-5 if dtype == "float32" else 5e-2
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()))


def test_a_bias_of_minus_infinity():
    """For some keys it is a mask; a query that has nothing else has no answer, and keeps it."""
    q, k, v, ct = (normal(1, 20, 2, 8) for _ in range(4))
    bias = np.where(RNG.random((20, 20)) < 0.5, 0, -np.inf).astype(np.float32)
    bias[:, 4], bias[7] = 0, -np.inf
    got = with_gradients(q, k, v, ct, bias, None, False, "float32")
    assert np.isnan(got[0][0, 7]).all()
    rest = np.delete(np.arange(20), 7)
    want, _ = exact(q[:, rest], k, v, ct[:, rest], bias[rest], np.ones((1, 2, 19, 20), bool))
    np.testing.assert_allclose(got[0][:, rest], want[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got[1][:, rest], want[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [-1e30, -1e36, "least"])
def test_a_mask_beside_a_large_bias(causal, masked):
    """Keys that a mask hides stay hidden where those that are left have the lower bias."""
    masked = LEAST["float32"] if masked == "least" else masked
    q, k, v, ct = (normal(1, 20, 2, 8) for _ in range(4))
    mask = RNG.random((20, 20)) < 0.5
    mask[:, 0] = True
    bias = np.zeros((20, 20), np.float32)
    bias[3], bias[7, :12] = masked, masked
    lower = np.tri(20, dtype=bool) if causal else np.ones((20, 20), bool)
    want, _ = exact(q, k, v, ct, bias, np.broadcast_to(mask & lower, (1, 2, 20, 20)))
    tensors = [from_numpy(t) for t in (q, k, v)]
    with GradientTape() as tape:
        out = at.attention(*tensors, from_numpy(bias), from_numpy(mask), causal=causal)
    got = [out, *tape.gradient(out, tensors, from_numpy(ct))]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=3e-5, atol=3e-5)
