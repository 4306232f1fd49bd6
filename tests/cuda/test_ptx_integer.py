"""Integer arithmetic: Python's integers, cut to the width that the instruction has."""

import inputs
import numpy as np
import pytest
from ptxkernel import DTYPES, Elementwise

TYPES = ("u16", "s16", "u32", "s32", "u64", "s64")
WIDER = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}


def bits(kind):
    return 8 * np.dtype(DTYPES[kind][0]).itemsize


def cut(value, kind):
    """The low bits of an integer, as the type reads them."""
    n = bits(kind)
    value &= (1 << n) - 1
    return value - (1 << n) if kind[0] == "s" and value >> (n - 1) else value


def clamp(value, kind):
    info = np.iinfo(DTYPES[kind][0])
    return min(max(value, info.min), info.max)


def quotient(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


# Instruction -> (types, number of operands, what it computes with unlimited integers).
PLAIN = {
    "add": (TYPES, 2, lambda a, b: a + b),
    "sub": (TYPES, 2, lambda a, b: a - b),
    "mul.lo": (TYPES, 2, lambda a, b: a * b),
    "mad.lo": (TYPES, 3, lambda a, b, c: a * b + c),
    "min": (TYPES, 2, min),
    "max": (TYPES, 2, max),
    "abs": (("s16", "s32", "s64"), 1, abs),
    "neg": (("s16", "s32", "s64"), 1, lambda a: -a),
    "sad": (TYPES, 3, lambda a, b, c: c + abs(a - b)),
}
CASES = [
    pytest.param(f"{name}.{t}", t, t, count, rule, id=f"{name}.{t}")
    for name, (types, count, rule) in PLAIN.items()
    for t in types
]
for t in TYPES:
    n = bits(t)
    high, mad = (lambda a, b, n=n: a * b >> n), (lambda a, b, c, n=n: (a * b >> n) + c)
    CASES.append(pytest.param(f"mul.hi.{t}", t, t, 2, high, id=f"mul.hi.{t}"))
    CASES.append(pytest.param(f"mad.hi.{t}", t, t, 3, mad, id=f"mad.hi.{t}"))
for t, wide in WIDER.items():
    CASES.append(pytest.param(f"mul.wide.{t}", t, wide, 2, lambda a, b: a * b, id=f"mul.wide.{t}"))


@pytest.mark.parametrize("text, kind, out, count, rule", CASES)
def test_arithmetic(text, kind, out, count, rule):
    arrays = inputs.cases([kind] * count)
    operands = ", ".join(["{d}", "{a}", "{b}", "{c}"][: count + 1])
    got = Elementwise(f"{text} {operands};", out, (kind,) * count)(*arrays)
    expected = [cut(rule(*map(int, v)), out) for v in zip(*arrays)]
    inputs.same(got, np.array(expected, DTYPES[out][0]), arrays)


@pytest.mark.parametrize("kind", WIDER)
def test_mad_wide(kind):
    wide = WIDER[kind]
    arrays = inputs.cases([kind, kind, wide])
    got = Elementwise(f"mad.wide.{kind} {{d}}, {{a}}, {{b}}, {{c}};", wide, (kind, kind, wide))(
        *arrays
    )
    expected = [cut(int(a) * int(b) + int(c), wide) for a, b, c in zip(*arrays)]
    inputs.same(got, np.array(expected, DTYPES[wide][0]), arrays)


@pytest.mark.parametrize("name, rule", [("add", lambda a, b: a + b), ("sub", lambda a, b: a - b)])
def test_saturation(name, rule):
    arrays = inputs.cases(["s32", "s32"])
    got = Elementwise(f"{name}.sat.s32 {{d}}, {{a}}, {{b}};", "s32", ("s32", "s32"))(*arrays)
    expected = [clamp(rule(int(a), int(b)), "s32") for a, b in zip(*arrays)]
    inputs.same(got, np.array(expected, np.int32), arrays)


@pytest.mark.parametrize("kind", TYPES)
def test_division(kind):
    """Towards zero;
    the remainder has the dividend's sign. Division by zero has no defined result."""
    a, b = inputs.cases([kind, kind])
    a, b = a[b != 0], b[b != 0]
    quotients = [quotient(int(x), int(y)) for x, y in zip(a, b)]
    got = Elementwise(f"div.{kind} {{d}}, {{a}}, {{b}};", kind, (kind, kind))(a, b)
    inputs.same(got, np.array([cut(q, kind) for q in quotients], DTYPES[kind][0]), (a, b))
    rests = [cut(int(x) - q * int(y), kind) for x, y, q in zip(a, b, quotients)]
    got = Elementwise(f"rem.{kind} {{d}}, {{a}}, {{b}};", kind, (kind, kind))(a, b)
    inputs.same(got, np.array(rests, DTYPES[kind][0]), (a, b))


def test_division_by_zero_ends():
    """Whatever comes out, the process lives."""
    for kind in TYPES:
        for name in ("div", "rem"):
            a = inputs.integers(DTYPES[kind][0])
            Elementwise(f"{name}.{kind} {{d}}, {{a}}, {{b}};", kind, (kind, kind))(a, a * 0)


@pytest.mark.parametrize("a_kind", ["u32", "s32"])
@pytest.mark.parametrize("b_kind", ["u32", "s32"])
def test_dp4a(a_kind, b_kind):
    a, b, c = inputs.cases([a_kind, b_kind, "s32"])
    bytes_of = {"u32": np.uint8, "s32": np.int8}
    lanes = a.view(bytes_of[a_kind]).reshape(-1, 4).astype(np.int64)
    others = b.view(bytes_of[b_kind]).reshape(-1, 4).astype(np.int64)
    got = Elementwise(
        f"dp4a.{a_kind}.{b_kind} {{d}}, {{a}}, {{b}}, {{c}};", "s32", (a_kind, b_kind, "s32")
    )(a, b, c)
    inputs.same(got, ((lanes * others).sum(1) + c).astype(np.int32), (a, b, c))


def test_immediates():
    """Constants of every spelling, cut to the type."""
    (a,) = inputs.cases(["s32"])
    for text, value in {"-8": -8, "0x7fffffff": 2**31 - 1, "0b101": 5, "12U": 12}.items():
        got = Elementwise(f"add.s32 {{d}}, {{a}}, {text};", "s32", ("s32",))(a)
        inputs.same(got, (a.astype(np.int64) + value).astype(np.int32), (a,))
