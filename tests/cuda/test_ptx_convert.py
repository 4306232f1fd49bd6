"""cvt between every pair of types, in every rounding mode that exists for it, on exact
arithmetic."""

import math
from fractions import Fraction

import exactly
import inputs
import numpy as np
import pytest
from ptxkernel import DTYPES, Elementwise

INTEGERS = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")
FORMATS = {"f16": exactly.F16, "bf16": exactly.BF16, "f32": exactly.F32, "f64": exactly.F64}


def width(kind):
    return 8 * np.dtype(DTYPES[kind][0]).itemsize


def bounds(kind):
    info = np.iinfo(DTYPES[kind][0])
    return info.min, info.max


def convert(text, out, source, array):
    return Elementwise(f"{text} {{d}}, {{a}};", out, (source,))(array)


def narrowed(value, kind):
    """The number as the format's own, exactly: it has been rounded before."""
    return np.array(value, np.float64).astype(FORMATS[kind].dtype)


@pytest.mark.parametrize("sat", ["", ".sat"])
@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("out", INTEGERS)
def test_integers(out, source, sat):
    (a,) = inputs.cases([source])
    low, high = bounds(out)
    n = width(out)
    expected = []
    for v in map(int, a):
        v = min(max(v, low), high) if sat else v & ((1 << n) - 1)
        expected.append(v - (1 << n) if v > high else v)
    got = convert(f"cvt{sat}.{out}.{source}", out, source, a)
    inputs.same(got, np.array(expected, DTYPES[out][0]), (a,))


def test_extension():
    """A result narrower than its register is extended: by its sign if it has one."""
    (a,) = inputs.cases(["s32"])
    got = Elementwise("cvt.s8.s32 {d}, {a};", "s32", ("s32",))(a)
    inputs.same(got, a.astype(np.int8).astype(np.int32), (a,))
    got = Elementwise("cvt.u8.s32 {d}, {a};", "u32", ("s32",))(a)
    inputs.same(got, a.astype(np.uint8).astype(np.uint32), (a,))
    got = Elementwise("cvt.s64.s32 {d}, {a};", "s64", ("s32",))(a)
    inputs.same(got, a.astype(np.int64), (a,))


@pytest.mark.parametrize("mode", ["rni", "rzi", "rmi", "rpi"])
@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("out", INTEGERS)
def test_float_to_integer(out, source, mode):
    """Rounded, then clamped. NaN is 0, or the top bit alone where 64 bits take part."""
    (a,) = inputs.cases([source], count=400)
    low, high = bounds(out)
    nan = 0
    if source == "f64" or width(out) == 64:
        nan = low if out[0] == "s" else 1 << (width(out) - 1)

    def rule(v):
        if math.isnan(v):
            return nan
        if math.isinf(v):
            return high if v > 0 else low
        return min(max(exactly.whole(Fraction(v), mode[1]), low), high)

    expected = np.array([rule(float(v)) for v in a], DTYPES[out][0])
    inputs.same(convert(f"cvt.{mode}.{out}.{source}", out, source, a), expected, (a,))


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("out", FORMATS)
def test_integer_to_float(out, source, mode):
    (a,) = inputs.cases([source], count=400)
    expected = [exactly.rounded(Fraction(int(v)), FORMATS[out], mode[1]) for v in a]
    inputs.same(
        convert(f"cvt.{mode}.{out}.{source}", out, source, a), narrowed(expected, out), (a,)
    )


@pytest.mark.parametrize("out", ["f16", "f32", "f64"])
def test_integer_to_float_saturates(out):
    (a,) = inputs.cases(["s32"])
    got = convert(f"cvt.rn.sat.{out}.s32", out, "s32", a)
    inputs.same(got, narrowed(np.clip(a, 0, 1), out), (a,))


NARROWING = [
    (out, source, mode)
    for out, source, modes in [
        ("f32", "f64", ("rn", "rz", "rm", "rp")),
        ("f16", "f64", ("rn", "rz", "rm", "rp")),
        ("f16", "f32", ("rn", "rz", "rm", "rp")),
        ("bf16", "f32", ("rn", "rz", "rm", "rp")),
    ]
    for mode in modes
]


def to_format(a, f, mode):
    def one(v):
        if not math.isfinite(v):
            return v
        return exactly.rounded(Fraction(v), f, mode, zero=v)

    return [one(float(v)) for v in a]


@pytest.mark.parametrize("out, source, mode", NARROWING)
def test_float_to_narrower(out, source, mode):
    (a,) = inputs.cases([source], count=1000)
    rng = np.random.default_rng(5)
    # Ties and their neighbours: halfway between two numbers of the narrow format.
    f = FORMATS[out]
    grid = np.ldexp(rng.integers(-(2 ** (f.fraction + 2)), 2 ** (f.fraction + 2), 500) + 0.5, -8)
    subnormal = np.ldexp(rng.integers(-64, 64, 100) + 0.5, f.least - f.fraction)
    ties = np.concatenate([grid, subnormal]).astype(a.dtype)
    a = np.concatenate(
        [a, ties, np.nextafter(ties, a.dtype.type(9)), np.nextafter(ties, a.dtype.type(-9))]
    )
    expected = narrowed(to_format(a, f, mode[1]), out)
    inputs.same(convert(f"cvt.{mode}.{out}.{source}", out, source, a), expected, (a,))


@pytest.mark.parametrize(
    "out, source", [("f32", "f16"), ("f64", "f16"), ("f32", "bf16"), ("f64", "f32")]
)
def test_float_to_wider(out, source):
    (a,) = inputs.cases([source], count=2000)
    inputs.same(
        convert(f"cvt.{out}.{source}", out, source, a), narrowed(a.astype(np.float64), out), (a,)
    )


@pytest.mark.parametrize("mode", ["rni", "rzi", "rmi", "rpi"])
@pytest.mark.parametrize("kind", ["f16", "f32", "f64"])
def test_whole_floats(kind, mode):
    """A float rounded to a whole number keeps its sign where that is zero."""
    (a,) = inputs.cases([kind], count=400)

    def rule(v):
        if not math.isfinite(v):
            return v
        return math.copysign(float(exactly.whole(Fraction(v), mode[1])), v)

    expected = np.array([rule(float(v)) for v in a]).astype(a.dtype)
    inputs.same(convert(f"cvt.{mode}.{kind}.{kind}", kind, kind, a), expected, (a,))


def test_saturation_and_flush():
    (a,) = inputs.cases(["f32"])
    wide = a.astype(np.float64)
    clipped = np.where(np.isnan(wide), 0, np.clip(wide, 0, 1)) + 0.0
    inputs.same(convert("cvt.sat.f32.f32", "f32", "f32", a), clipped.astype(np.float32), (a,))
    halves = narrowed(to_format(clipped, exactly.F16, "n"), "f16")
    inputs.same(convert("cvt.rn.sat.f16.f32", "f16", "f32", a), halves, (a,))
    flushed = np.array([exactly.flush(float(v), exactly.F32) for v in a], np.float32)
    inputs.same(convert("cvt.ftz.f64.f32", "f64", "f32", a), flushed.astype(np.float64), (a,))
    up = [math.ceil(v) if math.isfinite(v) else 0 for v in map(float, flushed)]
    got = convert("cvt.rpi.ftz.s32.f32", "s32", "f32", a)
    finite = np.isfinite(a)
    inputs.same(
        got[finite], np.clip(up, -(2**31), 2**31 - 1).astype(np.int32)[finite], (a[finite],)
    )
    (d,) = inputs.cases(["f64"], count=2000)
    narrow = [exactly.flush(v, exactly.F32) for v in to_format(d, exactly.F32, "n")]
    inputs.same(convert("cvt.rn.ftz.f32.f64", "f32", "f64", d), narrowed(narrow, "f32"), (d,))


@pytest.mark.parametrize("mode", ["rna", "rn", "rz"])
def test_tf32(mode):
    (a,) = inputs.cases(["f32"], count=2000)
    ties = (a.view(np.uint32) & 0xFFFFE000 | 0x1000).view(np.float32)
    a = np.concatenate([a, ties[np.isfinite(ties)]])
    got = convert(f"cvt.{mode}.tf32.f32", "tf32", "f32", a)
    letter = "a" if mode == "rna" else mode[1]
    expected = np.array(to_format(a, exactly.TF32, letter)).astype(np.float32)
    inputs.same(got, expected, (a,))


@pytest.mark.parametrize("relu", ["", ".relu"])
@pytest.mark.parametrize("mode", ["rn", "rz"])
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_pairs(kind, mode, relu):
    """The first operand becomes the upper half."""
    a, b = inputs.cases(["f32", "f32"])
    text = f"cvt.{mode}{relu}.{kind}x2.f32 {{d}}, {{a}}, {{b}};"
    got = Elementwise(text, kind + "x2", ("f32", "f32"))(a, b).view(FORMATS[kind].dtype)

    def half(v):
        r = narrowed(to_format(v, FORMATS[kind], mode[1]), kind)
        return np.where(r.astype(np.float64) <= 0, np.zeros_like(r), r) if relu else r

    inputs.same(
        got, np.stack([half(b), half(a)], 1).reshape(-1), (np.repeat(a, 2), np.repeat(b, 2))
    )


def test_canonical_nan():
    """What makes a NaN makes the canonical one."""
    nan = np.full(4, np.nan, np.float32)
    assert (convert("cvt.rn.f16.f32", "f16", "f32", nan).view(np.uint16) == 0x7FFF).all()
    assert (convert("cvt.rn.bf16.f32", "bf16", "f32", nan).view(np.uint16) == 0x7FFF).all()
    assert (convert("cvt.rn.tf32.f32", "tf32", "f32", nan).view(np.uint32) == 0x7FFFE000).all()
    got = Elementwise("add.f32 {d}, {a}, {a};", "f32", ("f32",))(nan)
    assert (got.view(np.uint32) == 0x7FFFFFFF).all()
