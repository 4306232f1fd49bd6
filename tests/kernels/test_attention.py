"""Attention: the table of cases, random sizes, special values, second derivatives, wrong input."""

# ruff: noqa: C408 (dict(...) as it will be passed, by keyword)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import attention as table
from keras_native.engine.primitives import attention as at
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
