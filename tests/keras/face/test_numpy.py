"""The NumPy namespace of the face: a table of calls compared with NumPy, eagerly and compiled with
a size that stays symbolic; dtypes and messages beside it."""

from __future__ import annotations

import operator

import ml_dtypes
import numpy as np
import pytest

from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import TraceError
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.engine.transforms import grad, jit
from keras_native.src.ops import numpy as knp

ROWS = 5


def matrix(rows=ROWS):
    """Numbers in (0, 1), all different."""
    return np.random.default_rng(3).permutation(np.linspace(0.05, 0.95, rows * 4)).reshape(rows, 4)


# Calls f(x, *arguments) with x float64[rows, 4]; an entry is a name and its arguments.
UNARY = [
    "absolute",
    "abs",
    "fabs",
    "arccos",
    "arcsin",
    "arctan",
    "arcsinh",
    "arctanh",
    "cbrt",
    "ceil",
    "conj",
    "conjugate",
    "copy",
    "cos",
    "cosh",
    "deg2rad",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "i0",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isreal",
    "log",
    "log10",
    "log1p",
    "log2",
    "logical_not",
    "negative",
    "rad2deg",
    "ravel",
    "real",
    "reciprocal",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "transpose",
    "trunc",
    "all",
    "any",
    "argmax",
    "argmin",
    "max",
    "min",
    "mean",
    "prod",
    "ptp",
    "std",
    "sum",
    "var",
    "median",
    "nanmax",
    "nanmin",
    "nansum",
    "nanprod",
    "nanmean",
    "nanvar",
    "nanstd",
    "nanargmax",
    "nanargmin",
    "nanmedian",
    "cumsum",
    "cumprod",
    "nancumsum",
    "nancumprod",
    "count_nonzero",
    "sort",
    "flip",
    "fliplr",
    "flipud",
    "rot90",
    "diff",
    "zeros_like",
    "ones_like",
    "triu",
    "tril",
    "trace",
    "diagonal",
    "average",
]
CALLS = [
    *((name,) for name in UNARY),
    *((name, 1) for name in ("max", "mean", "sum", "var", "argmax", "cumsum", "median", "sort")),
    *((name, 0) for name in ("max", "mean", "sum", "std", "argmin", "cumprod", "flip", "sort")),
    ("sum", (0, 1), None, None, True),
    ("clip", 0.2, 0.6),
    ("clip", None, 0.6),
    ("reshape", (-1,)),
    ("reshape", (4, -1)),
    ("expand_dims", 1),
    ("expand_dims", (0, 2)),
    ("moveaxis", 0, 1),
    ("swapaxes", 0, -1),
    ("broadcast_to", (2, ROWS, 4)),
    ("repeat", 3),
    ("repeat", 2, 0),
    ("repeat", [1, 0, 2, 1], 1),
    ("tile", (2, 3)),
    ("roll", 2),
    ("roll", 1, 0),
    ("roll", -3, 1),
    ("roll", (1, 2), (0, 1)),
    ("roll", 2, (0, 1)),
    ("roll", (1, 3), 1),
    ("roll", [4], (0, 1)),
    ("roll", (1, 3)),
    ("pad", ((1, 2), (0, 1))),
    ("pad", ((0, 0), (2, 1)), "reflect"),
    ("pad", ((0, 0), (2, 1)), "symmetric"),
    ("pad", ((0, 0), (2, 1)), "edge"),
    ("take", [0, -1, 2], 1),
    ("take", 1, 0),
    ("rot90", 3),
    ("rot90", 2, (1, 0)),
    ("triu", 1),
    ("tril", -1),
    ("trace", 1),
    ("diagonal", -1),
    ("diff", 2, 1),
    ("diff", 1, 0),
    ("quantile", 0.3),
    ("quantile", [0.1, 0.9], 1),
    ("quantile", 0.4, 0),
    ("percentile", 35.0, 1),
    ("nanquantile", [0.1, 0.9], 1),
    ("nanpercentile", 35.0, 0),
    ("round", 1),
    ("nan_to_num",),
    ("digitize", [0.2, 0.5, 0.8]),
    ("digitize", [0.8, 0.5, 0.2]),
    ("isin", [0.05, 0.95]),
    ("full_like", 3.0),
    ("argsort", 1),
    ("trapezoid",),
    ("corrcoef",),
    ("cov",),
]


def label(call):
    return " ".join(map(str, call))


def run(call, module, x):
    name, *arguments = call
    if name == "sum" and len(arguments) == 4:
        return module.sum(x, axis=arguments[0], keepdims=arguments[3])
    if name == "broadcast_to":
        arguments = [(2, *x.shape)] if module is np else [(2, *x.dims)]
    return getattr(module, name)(x, *arguments)


def assert_same(got, expected):
    if isinstance(got, (tuple, list)):
        assert len(got) == len(expected)
        for g, e in zip(got, expected):
            assert_same(g, e)
        return
    assert isinstance(got, Tensor)
    got, expected = got.numpy(), np.asarray(expected)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("call", CALLS, ids=label)
def test_call(call):
    assert_same(run(call, knp, from_numpy(matrix())), run(call, np, matrix()))


@pytest.mark.parametrize("call", CALLS, ids=label)
def test_compiled_call_serves_many_sizes(call):
    compiled = jit(lambda x: run(call, knp, x))
    for rows in (ROWS, 7, 9, 8):
        assert_same(compiled(from_numpy(matrix(rows))), run(call, np, matrix(rows)))
    # Once for the first size, once more with the size left open.
    assert compiled.traces <= 2


# Calls f(x, y) with positive float64[rows, 4] and float64[4].
BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
    "floor_divide",
    "mod",
    "fmod",
    "power",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "arctan2",
    "hypot",
    "copysign",
    "heaviside",
    "logaddexp",
    "logaddexp2",
    "nextafter",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "isclose",
    "float_power",
    "matmul",
    "dot",
    "inner",
    "outer",
    "kron",
    "append",
]


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    x, y = matrix(), np.linspace(0.1, 0.9, 4)
    expected = getattr(np, name)(x, y)
    assert_same(getattr(knp, name)(from_numpy(x), from_numpy(y)), expected)
    assert_same(jit(getattr(knp, name))(from_numpy(x), from_numpy(y)), expected)


@pytest.mark.parametrize(
    "name", ["bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift", "gcd", "lcm"]
)
def test_integer_binary(name):
    x, y = np.arange(12, dtype=np.int32).reshape(3, 4), np.array([1, 2, 3, 4], np.int32)
    assert_same(getattr(knp, name)(from_numpy(x), from_numpy(y)), getattr(np, name)(x, y))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("sizes", [(7, 3), (3, 7), (4, 4), (5, 2)])
def test_correlate(mode, sizes):
    x, y = (np.random.default_rng(0).standard_normal(n).astype(np.float32) for n in sizes)
    got = knp.correlate(from_numpy(x), from_numpy(y), mode).numpy()
    np.testing.assert_allclose(got, np.correlate(x, y, mode), atol=1e-5)


@pytest.mark.parametrize("sizes", [(3, 3), (2, 2), (2, 3), (3, 2)])
def test_cross(sizes):
    x, y = (np.random.default_rng(1).standard_normal((4, n)) for n in sizes)
    padded = [np.pad(v, ((0, 0), (0, 3 - v.shape[1]))) for v in (x, y)]
    expected = np.cross(*padded)
    expected = expected[:, 2] if sizes == (2, 2) else expected
    assert_same(knp.cross(from_numpy(x), from_numpy(y)), expected)


KEYS = [
    0,
    -1,
    (0, 1),
    (slice(None), 1),
    (..., 2),
    (None, 0),
    (slice(0, 2), None, slice(1, None, 2)),
    slice(None, None, -1),
    (..., slice(3, 0, -2)),
    slice(5, 9),
    slice(2, 1),
    np.array([0, 1, 1]),
    (slice(None), np.array([[0, 2], [1, 1]])),
    (np.array([0, 1]), np.array([1, 2])),
    (0, slice(None), np.array([1, 2])),
    (np.array([0, 1]), slice(None), np.array([1, 2])),
    (slice(None), np.array([0, 1]), np.array([1, -2])),
    (slice(None), np.array([0, 1]), None, np.array([1, 2])),
    (slice(None), 1, [0, 1]),
    (slice(None), [True, False, True]),
    np.arange(24).reshape(2, 3, 4) % 5 == 0,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing(key):
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    got = from_numpy(a)[key]
    assert got.dims == a[key].shape
    np.testing.assert_array_equal(got.numpy(), a[key])
    if isinstance(key, np.ndarray) and key.dtype == bool:
        return
    np.testing.assert_array_equal(jit(lambda t: t[key])(from_numpy(a)).numpy(), a[key])


@pytest.mark.parametrize("key", [5, (0, 0, 0, 0), 1.5, "a", (..., ...)], ids=str)
def test_bad_index(key):
    with pytest.raises(IndexError):
        from_numpy(np.zeros((2, 3, 4)))[key]


OPERATORS = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
]


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_promote(name):
    compute = getattr(operator, name)
    ints, floats = np.array([1, 2, 3], np.int32), np.array([0.5, 2.0, 4.0], np.float32)
    for x, y in [(ints, 2), (2, ints), (ints, 2.5), (2.5, ints), (floats, 2), (floats, ints)]:
        t, u = (from_numpy(v) if isinstance(v, np.ndarray) else v for v in (x, y))
        got = compute(t, u)
        np.testing.assert_allclose(got.numpy(), compute(x, y), rtol=1e-6)
        assert got.dtype in ("bool", "int32", "float32")


WEAK = [("int8", 2, "int8"), ("uint8", 2, "uint8"), ("bfloat16", 2.0, "bfloat16")] + [
    ("float16", 2, "float16"),
    ("float64", 2.0, "float64"),
    ("int64", 2, "int64"),
    ("int32", 2.0, "float32"),
    ("bool", 2, "int32"),
    ("bool", 2.0, "float32"),
]


@pytest.mark.parametrize("dtype, number, expected", WEAK)
def test_python_numbers_are_weak(dtype, number, expected):
    x = knp.ones((2,), dtype)
    assert knp.multiply(x, number).dtype == expected
    assert (x * number).dtype == expected
    assert (number * x).dtype == expected
    assert knp.where(from_numpy(np.array([True, False])), x, number).dtype == expected


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_dtypes_of_sums(dtype):
    x = knp.ones((2, 3), dtype)
    unsigned = dtype.startswith("u")
    assert knp.sum(x).dtype == knp.prod(x).dtype == ("uint32" if unsigned else "int32")
    assert knp.mean(x).dtype == knp.exp(x).dtype == knp.std(x).dtype == "float32"


def test_negative_zero_is_less_than_zero():
    x = from_numpy(np.array([0.0, -0.0], np.float32))
    assert int(knp.argmin(x)) == 1
    assert int(knp.argmax(knp.flip(x))) == 1
    assert knp.signbit(x).numpy().tolist() == [False, True]
    assert knp.signbit(knp.copysign(1.0, x)).numpy().tolist() == [False, True]
    assert knp.copysign(x, 0.0).numpy().tolist() == [0.0, 0.0]
    assert knp.signbit(knp.copysign(x, -0.0)).numpy().tolist() == [True, True]


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
def test_quantile_methods(method):
    x = np.random.default_rng(5).standard_normal((6, 5, 3))
    x[0, 1, 2] = np.nan
    q = np.array([[0.0, 0.25], [0.6, 1.0]])
    for axis in (None, 1, (0, 2)):
        for keepdims in (False, True):
            options = {"axis": axis, "method": method, "keepdims": keepdims}
            with np.errstate(invalid="ignore"):
                expected = np.quantile(x, q, **options)
            assert_same(knp.quantile(from_numpy(x), q, **options), expected)
            expected = np.nanquantile(x, q[0], **options)
            assert_same(knp.nanquantile(from_numpy(x), q[0], **options), expected)


@pytest.mark.parametrize("name", ["linspace", "logspace", "geomspace"])
@pytest.mark.parametrize("axis", [0, -1])
def test_spaces_of_tensors(name, axis):
    start, stop = np.array([1.0, 2.0]), np.array([5.0, 0.5])
    for endpoint in (True, False):
        expected = getattr(np, name)(start, stop, 7, endpoint=endpoint, axis=axis)

        def f(a, b, endpoint=endpoint):
            return getattr(knp, name)(a, b, 7, endpoint=endpoint, axis=axis, dtype="float64")

        assert_same(f(from_numpy(start), from_numpy(stop)), expected)
        assert_same(jit(f)(from_numpy(start), from_numpy(stop)), expected)


def test_gradients_pass_through():
    x = from_numpy(matrix())
    for f in (
        lambda t: knp.sum(knp.median(t, axis=1)),
        lambda t: knp.sum(t[1:, [0, 2]]),
        lambda t: knp.sum(knp.diag(t[0])),
        lambda t: knp.sum(knp.linspace(t[0], t[1], 5)),
        lambda t: knp.sum(knp.pad(t, ((0, 0), (1, 1)), "reflect")),
        lambda t: knp.sum(knp.std(t, axis=0)),
        lambda t: knp.sum(knp.i0(t)),
        lambda t: knp.sum(knp.vander(t[0])),
    ):
        g = grad(f)(x).numpy()
        expected = np.empty_like(g)
        for at in np.ndindex(*g.shape):
            up, down = matrix(), matrix()
            up[at] += 1e-6
            down[at] -= 1e-6
            expected[at] = (float(f(from_numpy(up))) - float(f(from_numpy(down)))) / 2e-6
        np.testing.assert_allclose(g, expected, rtol=1e-5, atol=1e-6)


def test_divide_no_nan_has_a_finite_gradient():
    x, y = (from_numpy(np.array(v)) for v in ([1.0, 2.0], [0.0, 4.0]))
    gx, gy = grad(lambda a, b: knp.sum(knp.divide_no_nan(a, b)), (0, 1))(x, y)
    np.testing.assert_allclose(gx.numpy(), [0.0, 0.25])
    np.testing.assert_allclose(gy.numpy(), [0.0, -0.125])


def test_results_of_unknown_shape_are_eager_only():
    x = from_numpy(np.array([1, 0, 2, 1], np.int32))
    assert knp.unique(x).numpy().tolist() == [0, 1, 2]
    assert knp.bincount(x).numpy().tolist() == [1, 2, 1]
    assert [i.numpy().tolist() for i in knp.nonzero(x)] == [[0, 2, 3]]
    for f in (knp.unique, knp.bincount, knp.nonzero):
        with pytest.raises(TraceError):
            jit(f)(x)


def test_protocols():
    x = from_numpy(np.array([1.5, 2.5], np.float32))
    assert [float(v) for v in x] == [1.5, 2.5]
    assert np.asarray(x).tolist() == np.from_dlpack(x).tolist() == [1.5, 2.5]
    assert (x == None) is False and (x != None) is True  # noqa: E711
    assert len({x, x}) == 1 and f"{x[0]:.1f}" == "1.5"
    assert (np.ones(2, np.float32) + x).dtype == "float32"
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)
    with pytest.raises(TypeError):
        x + "a"
    with pytest.raises(TypeError):
        range(5)[x[0]]


def test_limits_of_half_precision():
    for dtype in ("float16", "bfloat16"):
        info = ml_dtypes.finfo(dtypes.NUMPY[dtype])
        x = knp.array([np.inf, -np.inf, np.nan], dtype)
        assert knp.nan_to_num(x).numpy().astype(np.float64).tolist() == [info.max, info.min, 0.0]
        # The mean and variance of numbers whose squares and sum leave the range.
        big = knp.full((4000,), 300.0, dtype)
        assert float(knp.mean(big)) == 300.0 and float(knp.std(big)) == 0.0


def test_shifts_and_axes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"roll: 3 shifts \(1, 2, 3\) do not fit 2 axes"):
        knp.roll(np.ones((2, 3)), (1, 2, 3), (0, 1))


def test_the_spread_of_complex_numbers_is_real():
    found = knp.nanvar(np.array([1 + 2j, 3 - 1j, 2j], "complex64"))
    assert found.dtype == knp.nanstd(1j).dtype == "float32"
