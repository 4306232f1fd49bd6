"""Elementwise primitives: the table of cases, special values, tile programs, wrong input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import elementwise as table
from keras_native import _core
from keras_native.engine.primitives import elementwise, special
from keras_native.engine.primitives.fused_elementwise import fused_elementwise
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)


@pytest.mark.parametrize("isa", harness.isas())
def test_forward(isa):
    for case in CASES:
        harness.check_forward(case, isa, threads=(1, 3))


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.grad and c.inputs[-1][1] == "float32"], ids=str
)
def test_gradient(case):
    harness.check_gradient(case)


def test_kernels_take_every_case():
    assert not [str(c) for c in CASES if harness.kernel_of(c) is None]


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize(
    "op", ["gelu_tanh", *sorted(set(table.UNARY) - {"erfinv", "lgamma", "digamma", "gelu_slope"})]
)
def test_special_values_and_dense_sample(op, isa):
    """Within 2 units in the last place over all float32, infinities, NaN and denormals included."""
    _core.set_isa(isa)
    bits = np.arange(0, 1 << 32, 200_003, dtype=np.uint64).astype(np.uint32)
    special_bits = np.array(
        [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x3F800000]
    )
    x = np.concatenate([bits, special_bits, special_bits | 0x80000000]).astype(np.uint32)
    x = x.view(np.float32)
    prim = harness.primitive(op.removesuffix("_tanh"))
    attrs = {"approximate": True} if op == "gelu_tanh" else table.ATTRS.get(op, {})
    y = prim(from_numpy(x), **attrs).numpy()
    with np.errstate(all="ignore"):
        want = prim.reference(x.astype(np.float64), **attrs)
        rounded = want.astype(y.dtype)
    if y.dtype == bool:
        np.testing.assert_array_equal(y, rounded)
        return
    finite = np.isfinite(rounded) & np.isfinite(y)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(rounded))
    units = np.abs(y[finite].astype(np.float64) - want[finite])
    spacing = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    units /= np.maximum(spacing, 1e-45)
    # In a chain of roundings the last may step over the end of the range.
    edge = np.isinf(y) != np.isinf(rounded)
    assert np.all(np.abs(want[edge]) > 3.4e38)
    worst = x[finite][np.argmax(units)]
    assert units.max() <= 2, f"{op}: {units.max()} units at {worst!r}"


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="nothing wider than float64 here")
@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("dtype, units", [("float32", 2), ("float64", 4)])
def test_gelu_slope(dtype, units, isa):
    """Within that many units of what it adds up, which cancels at -0.75; right in the tails."""
    scipy = pytest.importorskip("scipy.special")
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-12, 12, 50_000), rng.standard_normal(50_000), [0.0, -0.0]])
    x = np.concatenate([x, [40, -40, 1e30, -1e30, np.inf, -np.inf]]).astype(dtype)
    wide = x.astype(np.longdouble)
    bounded = np.clip(wide, -1e9, 1e9)
    density = np.exp(-bounded * bounded / 2) / np.sqrt(8 * np.arctan(np.longdouble(1)))
    parts = np.stack([scipy.ndtr(wide.astype(np.float64)).astype(np.longdouble), bounded * density])
    got, want = elementwise.gelu_slope(from_numpy(x)).numpy(), parts.sum(0)
    allowed = units * np.finfo(dtype).eps * np.abs(parts).max(0) + np.finfo(dtype).tiny
    worst = np.argmax(np.abs(got - want) / allowed)
    assert abs(got[worst] - want[worst]) <= allowed[worst], (x[worst], got[worst], want[worst])
    assert np.isnan(elementwise.gelu_slope(from_numpy(np.full(3, np.nan, dtype))).numpy()).all()


# Functions of float64 and the same in wider numbers.
WIDER = {
    **{name: getattr(np, name) for name in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p",
                                            "sin", "cos", "sinh", "cosh", "tanh")},
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "silu": elementwise._logistic_weighted,
}  # fmt: skip


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="nothing wider than float64 here")
@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("op", WIDER)
def test_float64_functions(op, isa):
    """Within 2 units in the last place over all magnitudes, special values included."""
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 64, 40_000, dtype=np.uint64).view(np.float64)
    special = [0.0, -0.0, 5e-324, -5e-324, 1.0, -1.0, np.inf, -np.inf, np.nan, 709.7, -745.1]
    x = np.concatenate([bits, rng.uniform(-30, 30, 20_000), rng.uniform(-2, 2, 20_000), special])
    y = harness.primitive(op)(from_numpy(x)).numpy()
    with np.errstate(all="ignore"):
        want = WIDER[op](x.astype(np.longdouble))
        rounded = want.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(rounded))
    finite = np.isfinite(rounded) & np.isfinite(y)
    edge = np.isinf(y) != np.isinf(rounded)
    assert np.all(np.abs(want[edge]) > 1.79e308)
    units = np.abs(y[finite] - want[finite]) / np.maximum(
        np.spacing(np.abs(rounded[finite])), 5e-324
    )
    worst = x[finite][np.argmax(units)]
    assert units.max() <= 2, f"{op}: {units.max()} units at {worst!r}"


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="nothing wider than float64 here")
@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pow(dtype, isa):
    """Within 2 units in the last place, and IEEE 754's special cases."""
    _core.set_isa(isa)
    rng = np.random.default_rng(0)
    special = [0, 0.5, 1, 1.5, 2, 3, 1e10, 2.0**24, 2.0**53, 4503599627370497.0, np.inf, np.nan]
    special = np.array([*special, np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal])
    grid = np.array(np.meshgrid(*[np.concatenate([special, -special])] * 2)).reshape(2, -1)
    n = 20_000
    x = [np.exp(rng.uniform(-80, 80, n)), rng.uniform(0.5, 2, n), rng.uniform(-5, 5, n)]
    y = [rng.uniform(-2, 2, n), rng.uniform(-1000, 1000, n), rng.integers(-20, 20, n)]
    x, y = (np.concatenate([g, *parts]).astype(dtype) for g, parts in zip(grid, (x, y)))
    got = elementwise.pow(from_numpy(x), from_numpy(y)).numpy()
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
        rounded = want.astype(dtype)
    extreme = ~np.isfinite(rounded) | (want == 0)
    np.testing.assert_array_equal(got[extreme], rounded[extreme])
    signed = extreme & ~np.isnan(rounded)
    np.testing.assert_array_equal(np.signbit(got[signed]), np.signbit(rounded[signed]))
    spacing = np.maximum(np.spacing(np.abs(rounded[~extreme])), np.finfo(dtype).smallest_subnormal)
    units = np.abs(got[~extreme] - want[~extreme]) / spacing
    assert units.max() <= 2, f"{units.max()} units at {x[~extreme][units.argmax()]!r}"


shapes = st.lists(st.integers(0, 9), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    shapes,
    st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=3, max_size=3),
    st.sampled_from(["float32", "float16", "int8", "float64"]),
)
def test_random_broadcasts(dims, ones, dtype):
    rng = np.random.default_rng(len(dims))
    operands = []
    for flags in ones:
        shape = [1 if one else d for d, one in zip(dims, flags)]
        operands.append(rng.integers(-3, 4, shape).astype(dtype))
    got = elementwise.fma(*map(from_numpy, operands)).numpy()
    a, b, c = operands
    np.testing.assert_array_equal(got, a * b + c)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8", "uint16"])
@pytest.mark.parametrize("size", [1, 15, 513, 5000])
def test_program_has_the_bits_of_its_operations(dtype, size):
    text = (
        "r2:T=mul r0 r1; r3:T=add r2 r0; r4:T=square r3; r5:T=sub r4 r1; r6:bool=gt r5 r0; "
        "r7:T=select r6 r5 r3; r8:T=maximum r7 r2; r9:T=const[3]; r10:T=sub r8 r9; out r10 r6 r2"
    ).replace("T", dtype)
    rng = np.random.default_rng(size)
    x, y = (
        from_numpy(rng.integers(0, 50, n).astype(elementwise.dtypes.NUMPY[dtype]))
        for n in (size, 1)
    )
    r2 = elementwise.mul(x, y)
    r3 = elementwise.add(r2, x)
    r5 = elementwise.sub(elementwise.square(r3), y)
    r6 = elementwise.gt(r5, x)
    r8 = elementwise.maximum(elementwise.select(r6, r5, r3), r2)
    want = elementwise.sub(r8, 3), r6, r2
    for got, expected in zip(fused_elementwise(x, y, program=text), want):
        assert got.numpy().tobytes() == expected.numpy().tobytes()


# What programs are drawn from; floor and exp are in no chain.
UNARY = ("neg", "abs", "square", "reciprocal", "sqrt", "rsqrt", "relu", "relu6", "softsign",
         "hard_sigmoid", "hard_silu", "leaky_relu", "floor", "exp")  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
TERNARY = ("fma", "clip")


def _random_program(draw, operands):
    """The statements of a program on these operands, and what is computed, one operation by one."""
    bools, text = [], []

    def record(op, *sources, immediate=None, dtype=operands[0].dtype):
        attrs = {} if immediate is None else {"slope": immediate}
        result = harness.primitive(op)(*(t for _, t in sources), **attrs)
        name = len(operands) + len(text)
        bracket = "" if immediate is None else f"[{immediate}]"
        names = " ".join(f"r{r}" for r, _ in sources)
        text.append(f"r{name}:{dtype}={op}{bracket} {names}")
        return name, result

    pool = list(enumerate(operands))

    def pick():
        return draw(st.sampled_from(pool[-6:] + pool[: len(operands)]))

    for _ in range(draw(st.integers(1, 14))):
        kind = draw(st.integers(0, 5))
        if kind == 0:
            op = draw(st.sampled_from(UNARY))
            immediate = 0.25 if op == "leaky_relu" else None
            pool.append(record(op, pick(), immediate=immediate))
        elif kind == 1:
            bools.append(record(draw(st.sampled_from(COMPARISONS)), pick(), pick(), dtype="bool"))
        elif kind == 2 and bools:
            pool.append(record("select", draw(st.sampled_from(bools)), pick(), pick()))
        elif kind == 3 and bools:
            pair = (draw(st.sampled_from(bools)), draw(st.sampled_from(bools)))
            op = draw(st.sampled_from(["logical_and", "logical_or", "logical_xor"]))
            bools.append(record(op, *pair, dtype="bool"))
        elif kind == 4:
            pool.append(record(draw(st.sampled_from(TERNARY)), pick(), pick(), pick()))
        else:
            pool.append(record(draw(st.sampled_from(BINARY)), pick(), pick()))
    computed = [c for c in pool[len(operands) :] + bools if c[1].dims == operands[0].dims]
    return text, computed


@settings(max_examples=250, deadline=None)
@given(
    st.data(),
    st.sampled_from([1, 16, 63, 64, 65, 500, 513, 1100]),
    st.sampled_from(["float32", "float32", "bfloat16", "float16", "float64"]),
)
def test_random_programs_have_the_bits_of_their_operations(data, size, dtype):
    rng = np.random.default_rng(size)
    _core.set_isa(data.draw(st.sampled_from(harness.isas())))
    shapes = [(3, size), (3, size), (size,), (), (3, 1)]
    kind = elementwise.dtypes.NUMPY[dtype]
    operands = [from_numpy(rng.standard_normal(s).astype(kind)) for s in shapes]
    text, computed = _random_program(data.draw, operands)
    if not computed:
        return
    outputs = data.draw(st.lists(st.sampled_from(computed), min_size=1, max_size=4, unique_by=id))
    program = "; ".join([*text, "out " + " ".join(f"r{r}" for r, _ in outputs)])
    got = fused_elementwise(*operands, program=program)
    for g, (_, want) in zip(got, outputs, strict=True):
        g, want = (t.numpy().astype("float64") for t in (g, want))
        np.testing.assert_array_equal(g, want, err_msg=program)  # a NaN's own bits are free
        np.testing.assert_array_equal(np.signbit(g) & (g == 0), np.signbit(want) & (want == 0))


def test_program_of_many_dtypes():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype("float32") for s in ((100, 70), (70,), (100, 1))]
    for isa in harness.isas():
        _core.set_isa(isa)
        got = fused_elementwise(*map(from_numpy, arrays), program=table.MIXED)
        for g, want in zip(got, fused_elementwise.reference(*arrays, program=table.MIXED)):
            np.testing.assert_array_equal(g.numpy(), want)


def test_integer_division_by_zero_and_overflow():
    for dtype in ("int8", "int32", "int64", "uint16"):
        info = np.iinfo(dtype)
        a = np.array([5, info.min, info.max, 0], dtype)
        for b in (0, -1):
            if b < 0 and info.min == 0:
                continue
            operand = np.full(4, b, dtype)
            for op in ("floor_divide", "mod", "fmod"):
                prim = harness.primitive(op)
                got = prim(from_numpy(a), from_numpy(operand)).numpy()
                np.testing.assert_array_equal(
                    got, prim.reference(a, operand), err_msg=f"{op} {dtype}"
                )


def test_narrow_floats_round_once():
    x = np.arange(1 << 16, dtype=np.uint16)
    for dtype in ("float16", "bfloat16"):
        values = x.view(elementwise.dtypes.NUMPY[dtype])
        for isa in harness.isas():
            _core.set_isa(isa)
            wide = elementwise.cast(from_numpy(values), "float32")
            np.testing.assert_array_equal(wide.numpy(), values.astype(np.float32))
            back = elementwise.cast(wide, dtype).numpy()
            np.testing.assert_array_equal(back.astype(np.float32), values.astype(np.float32))
    x = np.random.default_rng(0).standard_normal(20_000) * 10.0 ** np.random.default_rng(
        1
    ).integers(-9, 6, 20_000)
    for isa in harness.isas():
        _core.set_isa(isa)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(
                elementwise.cast(from_numpy(x), "float16").numpy(), x.astype(np.float16)
            )


def test_references_of_special_functions():
    scipy = pytest.importorskip("scipy.special")
    x = np.concatenate([np.linspace(-0.999, 0.999, 501), [1 - 1e-12, 1e-300]])
    np.testing.assert_allclose(special.erfinv(x), scipy.erfinv(x), rtol=1e-14)
    x = np.concatenate([np.linspace(-7.3, 9, 500), np.logspace(1, 20, 50)])
    np.testing.assert_allclose(special.digamma(x), scipy.digamma(x), rtol=2e-12, atol=1e-14)
    np.testing.assert_allclose(special.lgamma(x), scipy.gammaln(x), rtol=1e-13, atol=1e-14)
    x = np.logspace(-3, 6, 100)
    for n in (1, 2, 3):
        np.testing.assert_allclose(special.polygamma(x, n), scipy.polygamma(n, x), rtol=1e-13)


def test_special_functions():
    scipy = pytest.importorskip("scipy.special")
    x = np.concatenate([np.linspace(-0.9999, 0.9999, 501), [1, -1, 2, np.nan, 0]]).astype("float32")
    wide = x.astype("float64")
    np.testing.assert_allclose(
        elementwise.erfinv(from_numpy(x)).numpy(), scipy.erfinv(wide), rtol=2e-7
    )
    x = np.concatenate([np.linspace(-7.3, 60, 500), [0.5, 1e30, np.inf, np.nan]]).astype("float32")
    wide = x.astype("float64")
    got = elementwise.digamma(from_numpy(x)).numpy()
    np.testing.assert_allclose(got, scipy.digamma(wide), rtol=2e-7, atol=1e-12)
    got = elementwise.lgamma(from_numpy(x)).numpy()
    np.testing.assert_allclose(got, scipy.gammaln(wide), rtol=2e-7, atol=1e-12)


def test_wrong_operands():
    f = from_numpy(np.zeros((2, 3), "float32"))
    with pytest.raises(TypeError, match=r"add: dtypes differ: float32\(2, 3\), int32\(3,\)"):
        elementwise.add(f, from_numpy(np.zeros(3, "int32")))
    with pytest.raises(
        ValueError, match=r"add: shapes do not broadcast: float32\(2, 3\), float32\(4,\)"
    ):
        elementwise.add(f, from_numpy(np.zeros(4, "float32")))
    with pytest.raises(TypeError, match="exp: not defined for dtype int32"):
        elementwise.exp(from_numpy(np.zeros(3, "int32")))
    with pytest.raises(TypeError, match="select: expected a bool condition"):
        elementwise.select(f, f, f)
    with pytest.raises(TypeError, match="add"):
        elementwise.add(from_numpy(np.zeros(3, "int32")), 0.5)
    with pytest.raises(TypeError, match="cast: unknown dtype"):
        elementwise.cast(f, "float31")


@pytest.mark.parametrize(
    "program",
    ["", "out", "r1:float32=exp r0", "r1:float32=exp r0; out r2", "r1:float32=nope r0; out r1",
     "r1:float32=exp[ r0; out r1", "r1:float32=exp r5; out r1", "r1:float99=exp r0; out r1",
     "r1:float32=add r0; out r1", "r1=exp r0; out r1"],
)  # fmt: skip
def test_malformed_programs(program):
    with pytest.raises((ValueError, TypeError)):
        fused_elementwise(from_numpy(np.zeros(3, "float32")), program=program)
