"""matmul, linear and einsum: the table of cases, and what a table does not say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases.matmul import linear as linear_case
from bench.cases.matmul import matmul as matmul_case
from keras_native import _core
from keras_native.engine.primitive import REGISTRY
from keras_native.engine.primitives.matmul import einsum, linear, matmul
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(harness.load_cases("matmul"))
GRADIENTS = [
    case
    for case in CASES
    if case.grad and case.inputs[0][1] == "float32" and 0 not in case.inputs[0][0]
]


def tensor(*shape, dtype="float32", seed=0):
    return from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradient(case):
    harness.check_gradient(case)


def test_every_case_has_a_kernel():
    without = [str(case) for case in CASES if harness.kernel_of(case) is None]
    assert without == ["linear[float64[9x20]_float64[20x33]_float64[33];activation=tanh]"]


size = st.integers(1, 130)


@settings(max_examples=40, deadline=None)
@given(m=size, k=st.integers(0, 600), n=size, ta=st.booleans(), tb=st.booleans())
def test_random_sizes(m, k, n, ta, tb):
    harness.check_forward(matmul_case(m, k, n, ta=ta, tb=tb), threads=(2,))


narrow = st.sampled_from([("bfloat16", "bfloat16"), ("bfloat16", "float32"), ("int8", "int32")])


@settings(max_examples=40, deadline=None)
@given(m=size, k=st.integers(0, 600), n=size, ta=st.booleans(), tb=st.booleans(), dtypes=narrow)
def test_random_sizes_of_narrow_elements(m, k, n, ta, tb, dtypes):
    dtype, out = dtypes
    case = matmul_case(m, k, n, dtype, ta=ta, tb=tb, attrs={"out_dtype": out})
    harness.check_forward(case, threads=(2,))


@settings(max_examples=15, deadline=None)
@given(m=size, k=st.integers(0, 600), n=size, tw=st.booleans(), bias=st.booleans())
def test_random_linear(m, k, n, tw, bias):
    harness.check_forward(linear_case(m, k, n, "gelu", tw=tw, bias=bias), threads=(2,))


# Paths that small sizes do not reach: split k of cut and of whole tiles, direct panels with a
# remainder, packed A, a row of C at a time.
@pytest.mark.parametrize(
    "sizes",
    [(20, 9000, 30), (40, 600, 333), (200, 600, 200), (98, 520, 530), (1, 999, 2001)]
    + [(96, 13000, 390), (150, 1, 700)],
)
@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_larger_sizes(sizes, ta, tb):
    harness.check_forward(matmul_case(*sizes, ta=ta, tb=tb))


@pytest.mark.parametrize("dtype, out", [("bfloat16", "bfloat16"), ("int8", "int32")])
@pytest.mark.parametrize("sizes", [(20, 9000, 30), (98, 520, 530), (700, 100, 600), (1100, 65, 70)])
@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_larger_sizes_of_narrow_elements(dtype, out, sizes, ta, tb):
    harness.check_forward(matmul_case(*sizes, dtype, ta=ta, tb=tb, attrs={"out_dtype": out}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_one_term_get_bias_and_activation(dtype):
    harness.check_forward(linear_case(300, 1, 700, "relu", dtype))


def test_split_sums_get_bias_and_activation():
    harness.check_forward(linear_case(20, 9000, 30, "gelu", "bfloat16"))


FEW_TO_MANY = [(1, 33, 70), (5, 33, 70), (9, 33, 70), (70, 33, 70), (70, 33, 1)]


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("sizes", FEW_TO_MANY)
@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_int8_of_the_largest_size_is_exact(isa, sizes, ta, tb):
    _core.set_isa(isa)
    m, k, n = sizes
    rng = np.random.default_rng(1)
    a = rng.choice(np.array([-128, -127, 127], "int8"), (k, m) if ta else (m, k))
    b = rng.choice(np.array([-128, -127, 127], "int8"), (n, k) if tb else (k, n))
    got = matmul(from_numpy(a), from_numpy(b), ta, tb, out_dtype="int32").numpy()
    want = (a.T if ta else a).astype("int64") @ (b.T if tb else b).astype("int64")
    np.testing.assert_array_equal(got, want)


# vdpbf16ps takes subnormal operands for zero and flushes subnormal sums: each of k terms may lose
# 2^-126 times what it is multiplied by, and each of k sums 2^-126. Rounding is as elsewhere.
@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("sizes", FEW_TO_MANY)
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("size_a, size_b", [(-70, -70), (-130, 100), (-64, -60), (-130, -3)])
def test_bfloat16_loses_no_more_than_subnormals(isa, sizes, tb, size_a, size_b):
    _core.set_isa(isa)
    m, k, n = sizes
    bfloat16 = harness._numpy_dtype("bfloat16")
    rng = np.random.default_rng(2)
    a = (rng.standard_normal((m, k)) * 2.0**size_a).astype(bfloat16)
    b = (rng.standard_normal((n, k) if tb else (k, n)) * 2.0**size_b).astype(bfloat16)
    got = matmul(from_numpy(a), from_numpy(b), transpose_b=tb, out_dtype="float32").numpy()
    wide_a, wide_b = a.astype("float64"), b.astype("float64")
    want = wide_a @ (wide_b.T if tb else wide_b)
    lost = k * 2.0**-126 * (1 + np.abs(wide_a).max() + np.abs(wide_b).max())
    rounded = 2 * np.sqrt(k) * 2.0**-23 * np.abs(want).max()
    assert np.abs(got - want).max() <= lost + rounded


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("sizes", [(1, 33, 70), (33, 70, 45), (70, 33, 1)])
@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
def test_gradients_in_bfloat16_are_rounded_once(isa, sizes, ta, tb):
    _core.set_isa(isa)
    m, k, n = sizes
    bfloat16 = harness._numpy_dtype("bfloat16")
    rng = np.random.default_rng(3)
    a = rng.standard_normal((k, m) if ta else (m, k)).astype(bfloat16)
    b = rng.standard_normal((n, k) if tb else (k, n)).astype(bfloat16)
    ct = rng.standard_normal((m, n)).astype(bfloat16)
    tensors = [from_numpy(x) for x in (a, b)]
    got = REGISTRY["matmul"].vjp(from_numpy(ct), None, *tensors, transpose_a=ta, transpose_b=tb)
    a, b, ct = (x.astype("float64") for x in (a, b, ct))
    da, db = ct @ (b if tb else b.T), (a if ta else a.T) @ ct
    for grad, want, terms in zip(got, (da.T if ta else da, db.T if tb else db), (n, m)):
        rounded = 0.5 * harness.EPS["bfloat16"] + (2 + 2 * terms**0.5) * harness.EPS["float32"]
        assert np.abs(grad.numpy().astype("float64") - want).max() <= rounded * np.abs(want).max()


@pytest.mark.parametrize("dtype, kernel", [("bfloat16", "vdpbf16ps"), ("int8", "vpdpbusd")])
def test_narrow_elements_get_the_dot_instructions(dtype, kernel):
    out = {"int8": "int32"}.get(dtype, dtype)
    case = matmul_case(20, 30, 40, dtype, attrs={"out_dtype": out})
    for isa in harness.isas():
        _core.set_isa(isa)
        assert (harness.kernel_of(case) == kernel) == (isa == "avx512_bf16")


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("sizes", [(1, 20, 40), (5, 20, 40), (70, 20, 40), (5, 20, 1)])
@pytest.mark.parametrize("tb", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nan_and_infinity_stay_in_their_row_and_column(isa, sizes, tb, dtype):
    _core.set_isa(isa)
    m, k, n = sizes
    a = np.ones((m, k), harness._numpy_dtype(dtype))
    b = np.ones((n, k) if tb else (k, n), a.dtype)
    a[m - 1, 3] = np.nan
    a[0, 2] = np.inf if m > 1 else np.nan
    got = matmul(from_numpy(a), from_numpy(b), transpose_b=tb).numpy().astype("float64")
    want = a.astype("float64") @ (b.T if tb else b).astype("float64")
    np.testing.assert_array_equal(got, want)
    got = linear(from_numpy(a), from_numpy(b), activation="relu", transpose_w=tb).numpy()
    got = got.astype("float64")
    np.testing.assert_array_equal(got, np.maximum(want, 0))


@pytest.mark.parametrize(
    "call, error, text",
    [
        (
            lambda: matmul(tensor(2, 3), tensor(4, 5)),
            ValueError,
            "matmul: inner dimensions 3 and 4",
        ),
        (lambda: matmul(tensor(3), tensor(3, 5)), ValueError, "rank 2 or more"),
        (lambda: matmul(tensor(2, 2, 3), tensor(3, 3, 5)), ValueError, "do not broadcast"),
        (lambda: matmul(tensor(2, 3), tensor(3, 5, dtype="float64")), TypeError, "one dtype"),
        (lambda: linear(tensor(2, 3), tensor(4, 5)), ValueError, "linear: inner dimensions"),
        (lambda: linear(tensor(2, 3), tensor(3, 5), tensor(4)), ValueError, "bias must have shape"),
        (lambda: linear(tensor(2, 3), tensor(3, 5), None, "elu"), ValueError, "'elu'"),
        (lambda: einsum("ij,jk", tensor(2, 3)), ValueError, "2 terms but 1 operands"),
        (lambda: einsum("ij,jk->ik", tensor(2, 3), tensor(4, 5)), ValueError, "'j'"),
        (lambda: einsum("ij->k", tensor(2, 3)), ValueError, "unknown"),
        (lambda: einsum("ijk->i", tensor(2, 3)), ValueError, "rank 2"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("ij,jk->ik", [(3, 4), (4, 5)]),
        ("ij,jk", [(3, 4), (4, 5)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("bqhd,bkhd->bhqk", [(2, 4, 3, 5), (2, 6, 3, 5)]),
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 6)]),
        ("...ij,jk", [(2, 3, 4), (4, 5)]),
        ("abc,cd,def->abef", [(2, 3, 4), (4, 5), (5, 6, 7)]),
        ("i,j->ij", [(3,), (4,)]),
        ("ij,ij->ij", [(3, 4), (3, 4)]),
        ("i,i->", [(7,), (7,)]),
        ("ii->i", [(4, 4)]),
        ("ii", [(4, 4)]),
        ("iji->j", [(4, 3, 4)]),
        ("ij->ji", [(3, 4)]),
        ("ij->", [(3, 4)]),
        ("ij,kj->i", [(3, 4), (5, 4)]),
        ("ij,jk->ik", [(3, 1), (4, 5)]),
        ("abcd,efg->", [(1, 2, 2, 1), (2, 1, 2)]),
        ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 5), (5, 6)]),
    ],
)
def test_einsum(equation, shapes):
    arrays = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes)]
    got = einsum(equation, *(from_numpy(a) for a in arrays)).numpy()
    np.testing.assert_allclose(got, np.einsum(equation, *arrays), rtol=1e-12, atol=1e-12)
