"""Floating arithmetic against fractions rounded once: every type, rounding mode, flush and
saturation."""

import exactly
import inputs
import ml_dtypes
import numpy as np
import pytest
from ptxkernel import Elementwise

OPERANDS = {"add": 2, "sub": 2, "mul": 2, "div": 2, "fma": 3, "sqrt": 1, "rcp": 1}
LETTERS = "{d}, {a}, {b}, {c}"


def text(name, kind, count):
    return f"{name}.{kind} {', '.join(LETTERS.split(', ')[: count + 1])};"


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("name", OPERANDS)
def test_rounding(name, kind, mode):
    count = OPERANDS[name]
    arrays = inputs.cases([kind] * count, count=100)
    got = Elementwise(text(f"{name}.{mode}", kind, count), kind, (kind,) * count)(*arrays)
    f = exactly.F32 if kind == "f32" else exactly.F64
    inputs.same(got, exactly.arithmetic(name, f, mode[1])(*arrays), arrays)


@pytest.mark.parametrize("suffix", ["ftz", "sat", "ftz.sat"])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "fma"])
def test_flush_and_saturation(name, suffix):
    count = OPERANDS[name]
    arrays = inputs.cases(["f32"] * count, count=100)
    got = Elementwise(text(f"{name}.rn.{suffix}", "f32", count), "f32", ("f32",) * count)(*arrays)
    rule = exactly.arithmetic(name, exactly.F32, ftz="ftz" in suffix, sat="sat" in suffix)
    inputs.same(got, rule(*arrays), arrays)


@pytest.mark.parametrize("name", ["div", "sqrt", "rcp"])
def test_flush_of_quotients(name):
    count = OPERANDS[name]
    arrays = inputs.cases(["f32"] * count, count=100)
    got = Elementwise(text(f"{name}.rn.ftz", "f32", count), "f32", ("f32",) * count)(*arrays)
    inputs.same(got, exactly.arithmetic(name, exactly.F32, ftz=True)(*arrays), arrays)


def pick(kind, take, nan):
    """min or max: a NaN loses, or wins with .NaN; -0 is below +0."""

    def one(a, b):
        if np.isnan(a) or np.isnan(b):
            return np.nan if nan or (np.isnan(a) and np.isnan(b)) else (b if np.isnan(a) else a)
        return take(((float(a), not np.signbit(a)), (float(b), not np.signbit(b))))

    def many(*arrays):
        values = [one(*v) for v in zip(*arrays)]
        values = [
            (v[0] if v[0] else (0.0 if v[1] else -0.0)) if isinstance(v, tuple) else v
            for v in values
        ]
        return np.array(values, np.float64).astype(inputs.FLOATS[kind])

    return many


@pytest.mark.parametrize(
    "kind, nan", [(k, n) for k in ("f16", "bf16", "f32", "f64") for n in (False, True)][:-1]
)
@pytest.mark.parametrize("name, take", [("min", min), ("max", max)])
def test_min_and_max(name, take, nan, kind):
    arrays = inputs.cases([kind] * 2)
    got = Elementwise(text(name + ".NaN" * nan, kind, 2), kind, (kind, kind))(*arrays)
    inputs.same(got, pick(kind, take, nan)(*arrays), arrays)


@pytest.mark.parametrize("kind", ["f16", "bf16", "f32", "f64"])
def test_signs(kind):
    """abs and neg touch the sign alone; copysign a, b has the sign of a."""
    (a,) = inputs.cases([kind])
    unsigned = inputs.BITS[kind]
    top = unsigned(1) << unsigned(8 * np.dtype(unsigned).itemsize - 1)
    bits = a.view(unsigned)
    inputs.same(
        Elementwise(text("abs", kind, 1), kind, (kind,))(a), (bits & ~top).view(a.dtype), (a,)
    )
    inputs.same(
        Elementwise(text("neg", kind, 1), kind, (kind,))(a), (bits ^ top).view(a.dtype), (a,)
    )
    if kind in ("f32", "f64"):
        arrays = inputs.cases([kind, kind])
        sign, value = (v.view(unsigned) for v in arrays)
        got = Elementwise(text("copysign", kind, 2), kind, (kind, kind))(*arrays)
        inputs.same(got, ((sign & top) | (value & ~top)).view(a.dtype), arrays)


@pytest.mark.parametrize("kind", ["f16", "f32"])
@pytest.mark.parametrize("name", ["abs", "neg"])
def test_signs_flush(kind, name):
    (a,) = inputs.cases([kind])
    f = exactly.F32 if kind == "f32" else exactly.F16
    flushed = np.array([exactly.flush(float(v), f) for v in a], np.float64)
    expected = (np.abs(flushed) if name == "abs" else -flushed).astype(a.dtype)
    inputs.same(Elementwise(text(f"{name}.ftz", kind, 1), kind, (kind,))(a), expected, (a,))


HALVES = {"f16": exactly.F16, "bf16": exactly.BF16}


@pytest.mark.parametrize(
    "kind, suffix", [*(("f16", s) for s in ("", ".ftz", ".sat", ".ftz.sat")), ("bf16", "")]
)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "fma"])
def test_halves(name, kind, suffix):
    count = OPERANDS[name]
    arrays = inputs.cases([kind] * count)
    mode = ".rn" if name == "fma" or not suffix else ""
    got = Elementwise(text(f"{name}{mode}{suffix}", kind, count), kind, (kind,) * count)(*arrays)
    rule = exactly.arithmetic(name, HALVES[kind], ftz="ftz" in suffix, sat="sat" in suffix)
    inputs.same(got, rule(*arrays), arrays)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_fma_relu(kind):
    arrays = inputs.cases([kind] * 3)
    got = Elementwise(text("fma.rn.relu", kind, 3), kind, (kind,) * 3)(*arrays)
    plain = exactly.arithmetic("fma", HALVES[kind])(*arrays)
    zero = np.zeros_like(plain)
    inputs.same(got, np.where((plain < 0) | (plain == 0), zero, plain), arrays)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "fma", "min", "max", "abs", "neg"])
def test_pairs_of_halves(kind, name):
    """Each half of a register by itself."""
    count = OPERANDS.get(name, 1 if name in ("abs", "neg") else 2)
    arrays = [a[: len(a) // 2 * 2] for a in inputs.cases([kind] * count)]
    rounding = ".rn" if name == "fma" else ""
    packed = [a.view(np.uint32) for a in arrays]
    pair = Elementwise(
        text(name + rounding, kind + "x2", count), kind + "x2", (kind + "x2",) * count
    )
    single = Elementwise(text(name + rounding, kind, count), kind, (kind,) * count)
    inputs.same(pair(*packed).view(arrays[0].dtype), single(*arrays), arrays)


# Bounds of the manual, in units in the last place of the result or as absolute errors; lg2's,
# beyond 2, is 2^-22 relative, up to 4 units.
APPROXIMATE = {
    "rcp.approx": (lambda x: 1 / x, 1, 0),
    "sqrt.approx": (np.sqrt, 1, 0),
    "rsqrt.approx": (lambda x: 1 / np.sqrt(x), 2, 0),
    "ex2.approx": (np.exp2, 2, 0),
    "lg2.approx": (np.log2, 4, 2**-22),
    "sin.approx": (np.sin, 1, 2**-20.5),
    "cos.approx": (np.cos, 1, 2**-20.5),
    "tanh.approx": (np.tanh, 2**13, 0),
}


@pytest.mark.parametrize("name", APPROXIMATE)
def test_approximations(name):
    function, ulps, absolute = APPROXIMATE[name]
    (a,) = inputs.cases(["f32"], count=500)
    if name[:3] in ("sin", "cos"):
        a = a[~(np.abs(a) > 3.14)]
    got = Elementwise(text(name, "f32", 1), "f32", ("f32",))(a).astype(np.float64)
    with np.errstate(all="ignore"):
        expected = function(a.astype(np.float64))
        rounded = expected.astype(np.float32)
    special = ~np.isfinite(rounded) | (rounded == 0)
    nan = np.isnan(expected)
    assert np.isnan(got[nan]).all()
    assert (got[special & ~nan] == rounded[special & ~nan]).all()
    error = np.abs(got - expected)[~special]
    bound = np.maximum(ulps * np.spacing(np.abs(rounded[~special])).astype(np.float64), absolute)
    assert (error <= bound).all()


def test_testp():
    for kind in ("f32", "f64"):
        (a,) = inputs.cases([kind])
        least = ml_dtypes.finfo(a.dtype).smallest_normal
        normal = np.isfinite(a) & (np.abs(a) >= least)
        expected = {
            "finite": np.isfinite(a),
            "infinite": np.isinf(a),
            "number": ~np.isnan(a),
            "notanumber": np.isnan(a),
            "normal": normal | (a == 0),
            "subnormal": (a != 0) & np.isfinite(a) & ~normal,
        }
        for name, rule in expected.items():
            got = Elementwise(f"testp.{name}.{kind} {{d}}, {{a}};", "pred", (kind,))(a)
            assert (got == rule).all(), (name, kind)


def test_literals():
    """Floats in hexadecimal, and decimal numbers, which are doubles first."""
    (a,) = inputs.cases(["f32"])
    for literal, value in {
        "0f3FC00000": 1.5,
        "1.5": 1.5,
        "-0f3FC00000": -1.5,
        "-2.5": -2.5,
        "0.1": 0.1,
    }.items():
        got = Elementwise(f"add.f32 {{d}}, {{a}}, {literal};", "f32", ("f32",))(a)
        with np.errstate(all="ignore"):
            inputs.same(got, a + np.float32(value), (a,))
    (a,) = inputs.cases(["f64"])
    for literal, value in {"0d3FF8000000000000": 1.5, "0.1": 0.1, "-1.5": -1.5}.items():
        got = Elementwise(f"add.f64 {{d}}, {{a}}, {literal};", "f64", ("f64",))(a)
        with np.errstate(all="ignore"):
            inputs.same(got, a + np.float64(value), (a,))
