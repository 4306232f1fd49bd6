"""Gathers, scatters and sorts: the table of cases, random sizes, repeated places, wrong input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import gather as table
from keras_native.engine.primitives import gather, gather_nd, gather_sort
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in CASES
        if c.grad
        and harness.primitive(c.op).vjp
        and any(d == "float32" for _, d in c.inputs)
        and c.bytes < 1e6
    ],
    ids=str,
)
def test_gradient(case):
    harness.check_gradient(case)


def test_kernels_take_every_case():
    assert not [c for c in CASES if harness.kernel_of(c) is None]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 500), st.integers(1, 70))
def test_random_sizes(size, count, inner):
    harness.check_forward(table.gather((size, inner), (count,), 0), threads=(2,))
    harness.check_forward(table.gather_grad(size, (count,), (inner,)), threads=(2,))
    harness.check_forward(table.scatter_add((inner, size), (count,), 1), threads=(2,))
    update = table.fused_gather_grad(size, (count,), (inner,), tol=60)
    harness.check_forward(update, threads=(2,))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 600), st.sampled_from(["float32", "int16", "float64"]))
def test_random_sorts(rows, size, dtype):
    for op, attrs in (
        ("sort", {"axis": 1}),
        ("argsort", {"axis": 1, "stable": True}),
        ("top_k", {"k": max(1, size // 9)}),
    ):
        harness.check_forward(table.ordered(op, (rows, size), dtype, ties=True, **attrs), "avx2")


def test_a_row_with_most_updates_has_the_same_bits_at_any_thread_count():
    case = table.gather_grad(5000, (3000,), (600,))
    arrays = case.arrays()
    arrays[0][100:] = 7
    hot = table.Case(case.op, case.inputs, case.attrs, make=lambda rng: arrays, tol=60)
    harness.check_forward(hot)


def test_the_last_of_repeated_places_stays():
    x = from_numpy(np.zeros((3, 2), np.float32))
    i = from_numpy(np.array([[1], [1], [-1]], np.int32))
    u = from_numpy(np.arange(6, dtype=np.float32).reshape(3, 2))
    assert gather_nd.scatter_nd_set(x, i, u).numpy().tolist() == [[0, 0], [2, 3], [4, 5]]


def test_outside_is_clipped():
    x = from_numpy(np.arange(4, dtype=np.float32))
    i = from_numpy(np.array([-9, -1, 3, 2**31 - 1], np.int32))
    assert gather.gather(x, i, 0).numpy().tolist() == [0, 3, 3, 3]
    assert gather.scatter_add(x, i, x, 0).numpy().tolist() == [0, 1, 2, 9]


def test_wide_take_along_axis_broadcasts():
    x = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    i = np.array([[1, -1, 0]])
    got = gather.take_along_axis(from_numpy(x), from_numpy(i), 1).numpy()
    np.testing.assert_array_equal(got, np.take_along_axis(x, np.broadcast_to(i, (4, 3)), 1))


X = from_numpy(np.zeros((2, 3), np.float32))
I = from_numpy(np.zeros((2,), np.int32))
E = from_numpy(np.zeros((0, 3), np.float32))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: gather.gather(X, X, 0), TypeError, "gather: indices must be int32 or int64"),
        (lambda: gather.gather(E, I, 0), ValueError, "gather.*empty"),
        (lambda: gather.gather(X, I, 2), ValueError, "gather: axis 2"),
        (lambda: gather.scatter_add(X, I, X, 1), ValueError, r"scatter_add.*\(2, 2\)"),
        (lambda: gather.take_along_axis(X, I, 0), ValueError, "take_along_axis: ranks"),
        (
            lambda: gather_nd.gather_nd(X, from_numpy(np.zeros((2, 4), np.int32))),
            ValueError,
            "gather_nd",
        ),
        (lambda: gather_sort.top_k(X, 4), ValueError, "top_k: k = 4"),
        (lambda: gather.one_hot(X, 3), TypeError, "one_hot"),
        (lambda: gather_sort.searchsorted(X, X), ValueError, "searchsorted"),
    ],
)
def test_wrong_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
