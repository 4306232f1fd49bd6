"""setp, set, selp and slct, with NaN and with predicates joined to the result."""

import inputs
import numpy as np
import pytest
from ptxkernel import Elementwise

RULES = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")
FLOATS = ("f16", "bf16", "f32", "f64")
EQUALITY = ("b16", "b32", "b64")


def rule_of(test, kind):
    """The truth of a test by NumPy, where NaN makes ordered tests false and unordered ones true."""

    def rule(a, b):
        if kind in FLOATS:
            a, b = a.astype(np.float64), b.astype(np.float64)
        unordered = np.isnan(a) | np.isnan(b) if kind in FLOATS else np.zeros(a.shape, bool)
        if test in ("num", "nan"):
            return ~unordered if test == "num" else unordered
        name = UNSIGNED.get(test, test)
        if name.endswith("u") and name != "u":
            return RULES[name[:-1]](a, b) | unordered
        return RULES[name](a, b) & ~unordered

    return rule


CASES = [(t, k) for k in INTEGERS + FLOATS for t in RULES]
CASES += [(t, k) for k in INTEGERS if k[0] == "u" for t in UNSIGNED]
CASES += [(t, k) for k in FLOATS for t in [*(f"{r}u" for r in RULES), "num", "nan"]]
CASES += [(t, k) for k in EQUALITY for t in ("eq", "ne")]


@pytest.mark.parametrize("test, kind", CASES, ids=lambda v: v)
def test_setp(test, kind):
    a, b = inputs.cases([kind, kind])
    expected = rule_of(test, kind)(a, b)
    got = Elementwise(f"setp.{test}.{kind} {{d}}, {{a}}, {{b}};", "pred", (kind, kind))(a, b)
    assert (got == expected).all()
    got = Elementwise(f"setp.{test}.{kind} %q1|{{d}}, {{a}}, {{b}};", "pred", (kind, kind))(a, b)
    assert (got == ~expected).all()


@pytest.mark.parametrize("negated", ["", "!"])
@pytest.mark.parametrize("join", ["and", "or", "xor"])
@pytest.mark.parametrize("test, kind", [("lt", "s32"), ("ltu", "f32"), ("ge", "f16")])
def test_setp_joined(test, kind, join, negated):
    a, b = inputs.cases([kind, kind])
    third = np.arange(len(a), dtype=np.uint32) % 3 % 2
    other = (third != 0) ^ bool(negated)
    rule = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[join]
    holds = rule_of(test, kind)(a, b)
    start = "setp.ne.u32 %q1, {c}, 0; "
    text = f"{start}setp.{test}.{join}.{kind} %q2|%q3, {{a}}, {{b}}, {negated}%q1; "
    for destination, expected in [("%q2", rule(holds, other)), ("%q3", rule(~holds, other))]:
        got = Elementwise(f"{text}mov.pred {{d}}, {destination};", "pred", (kind, kind, "u32"))(
            a, b, third
        )
        assert (got == expected).all()


def test_setp_flushes():
    a, b = inputs.cases(["f32", "f32"])
    tiny = np.float32(2.0**-126)
    small = [np.where(np.abs(v) < tiny, np.float32(0), v) for v in (a, b)]
    got = Elementwise("setp.eq.ftz.f32 {d}, {a}, {b};", "pred", ("f32", "f32"))(a, b)
    assert (got == (small[0] == small[1])).all()


@pytest.mark.parametrize("out, yes", [("u32", 0xFFFFFFFF), ("s32", -1), ("f32", 1.0)])
@pytest.mark.parametrize("kind", ["s32", "u64", "f32", "f64", "f16"])
def test_set(kind, out, yes):
    a, b = inputs.cases([kind, kind])
    got = Elementwise(f"set.le.{out}.{kind} {{d}}, {{a}}, {{b}};", out, (kind, kind))(a, b)
    assert (got == np.where(rule_of("le", kind)(a, b), yes, 0)).all()


@pytest.mark.parametrize("negated", ["", "!"])
@pytest.mark.parametrize("kind", ["b16", "u32", "f32", "b64", "f64"])
def test_selp(kind, negated):
    a, b, c = inputs.cases([kind, kind, "u32"])
    c %= 2
    text = f"setp.ne.u32 %q1, {{c}}, 0; selp.{kind} {{d}}, {{a}}, {{b}}, {negated}%q1;"
    got = Elementwise(text, kind, (kind, kind, "u32"))(a, b, c)
    inputs.same(got, np.where((c != 0) ^ bool(negated), a, b), (a, b, c))


def test_slct():
    """By the sign of the third operand: a NaN chooses the second, and -0 the first."""
    a, b, c = inputs.cases(["b32", "b32", "s32"])
    got = Elementwise("slct.b32.s32 {d}, {a}, {b}, {c};", "b32", ("b32", "b32", "s32"))(a, b, c)
    inputs.same(got, np.where(c >= 0, a, b), (a, b, c))
    a, b, c = inputs.cases(["f64", "f64", "f32"])
    c[: len(inputs.floats("f32"))] = inputs.floats("f32")
    got = Elementwise("slct.f64.f32 {d}, {a}, {b}, {c};", "f64", ("f64", "f64", "f32"))(a, b, c)
    inputs.same(got, np.where(c >= 0, a, b), (a, b, c))
    got = Elementwise("slct.ftz.f64.f32 {d}, {a}, {b}, {c};", "f64", ("f64", "f64", "f32"))(a, b, c)
    flushed = np.where(np.abs(c) < 2.0**-126, np.float32(0), c)
    inputs.same(got, np.where(flushed >= 0, a, b), (a, b, c))


PAIRS = {"f16": 0x3C00, "bf16": 0x3F80}


@pytest.mark.parametrize("test", ["lt", "geu", "num"])
@pytest.mark.parametrize("kind", PAIRS)
def test_halves(kind, test):
    """set and setp of halves alone and in pairs: a mask or one in each half, p and q."""
    a, b = (v[: len(v) // 2 * 2] for v in inputs.cases([kind, kind]))
    holds = rule_of(test, kind)(a, b)
    packed = a.view(np.uint32), b.view(np.uint32)
    pair, both = kind + "x2", (kind + "x2",) * 2
    for out, yes in (("u32", 0xFFFF), (pair, PAIRS[kind])):
        got = Elementwise(f"set.{test}.{out}.{pair} {{d}}, {{a}}, {{b}};", out, both)(*packed)
        assert (got.view(np.uint16) == np.where(holds, yes, 0)).all()
    got = Elementwise(f"set.{test}.{kind}.{kind} {{d}}, {{a}}, {{b}};", kind, (kind, kind))(a, b)
    assert (got.view(np.uint16) == np.where(holds, PAIRS[kind], 0)).all()
    for at, destinations in enumerate(("{d}|%q1", "%q1|{d}")):
        got = Elementwise(f"setp.{test}.{pair} {destinations}, {{a}}, {{b}};", "pred", both)(
            *packed
        )
        assert (got == holds[at::2]).all()
