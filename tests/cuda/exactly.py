"""References in exact arithmetic: numbers are fractions and are rounded once, as the PTX manual
and IEEE 754
say. Slow, and independent of any floating-point unit."""

import dataclasses
import math
from fractions import Fraction

import ml_dtypes
import numpy as np


@dataclasses.dataclass(frozen=True)
class Format:
    """A binary floating format: bits of the fraction, exponents of normal numbers."""

    dtype: type
    fraction: int
    least: int
    most: int


F16 = Format(np.float16, 10, -14, 15)
BF16 = Format(ml_dtypes.bfloat16, 7, -126, 127)
TF32 = Format(np.float32, 10, -126, 127)
F32 = Format(np.float32, 23, -126, 127)
F64 = Format(np.float64, 52, -1022, 1023)


def whole(x: Fraction, mode: str) -> int:
    """`x` to an integer: n nearest even, z towards zero, m down, p up, a nearest away from zero."""
    low = math.floor(x)
    rest = x - low
    if mode == "z":
        return low + (x < 0 and rest != 0)
    if mode == "m":
        return low
    if mode == "p":
        return low + (rest != 0)
    half = Fraction(1, 2)
    if rest == half:
        return low + (x > 0 if mode == "a" else low % 2)
    return low + (rest > half)


def floor_log2(x: Fraction) -> int:
    """The exponent of a positive number."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if x >= Fraction(2) ** e else e - 1


def rounded(x: Fraction, f: Format, mode: str = "n", zero: float = 0.0) -> float:
    """`x` to a number of the format; `zero` has the sign of an exact zero."""
    if x == 0:
        return zero
    exponent = max(floor_log2(abs(x)), f.least) - f.fraction
    n = whole(x / Fraction(2) ** exponent, mode)
    largest = (Fraction(2) - Fraction(1, 2**f.fraction)) * Fraction(2) ** f.most
    value = n * Fraction(2) ** exponent
    if abs(value) > largest:
        up = mode in "na" or (mode == "p" and x > 0) or (mode == "m" and x < 0)
        value = math.inf if up else largest
    return math.copysign(float(abs(value)), 1 if x > 0 else -1)


def arithmetic(operation, f: Format, mode: str = "n", *, ftz: bool = False, sat: bool = False):
    """A function over arrays: `operation` of fractions, rounded once;
    infinities, NaN and signs of zeros
        by IEEE 754. `operation` is one of add, sub, mul, div, fma, sqrt, rcp."""

    def one(*values):
        x = [flush(float(v), f) if ftz else float(v) for v in values]
        if ftz:  # by the exponent that the result would have without subnormals
            r = flush(RULES[operation](x, dataclasses.replace(f, least=f.least - 300), mode), f)
        else:
            r = RULES[operation](x, f, mode)
        if sat:
            r = 0.0 if math.isnan(r) or r <= 0 else min(r, 1.0)
        return r

    def many(*arrays):
        return np.array([one(*v) for v in zip(*arrays)], np.float64).astype(f.dtype)

    return many


def flush(x: float, f: Format) -> float:
    """A subnormal number becomes zero of its sign."""
    return math.copysign(0.0, x) if abs(x) < 2.0**f.least else x


def product(a: float, b: float):
    """NaN, an infinity, a signed zero, or a fraction."""
    if math.isnan(a) or math.isnan(b) or {abs(a), abs(b)} == {0.0, math.inf}:
        return math.nan
    if math.isinf(a) or math.isinf(b) or a == 0 or b == 0:
        sign = math.copysign(1, a) * math.copysign(1, b)
        return math.copysign(0.0 if a == 0 or b == 0 else math.inf, sign)
    return Fraction(a) * Fraction(b)


def total(a, b, f: Format, mode: str) -> float:
    """The sum of two results of `product`, rounded."""
    special = [v for v in (a, b) if isinstance(v, float) and not math.isfinite(v)]
    if special:
        return special[0] if len(set(map(str, special))) == 1 else math.nan
    exact = Fraction(a) + Fraction(b)
    if exact == 0:
        signs = {math.copysign(1, v) for v in (a, b)}
        negative = signs == {-1.0} if len(signs) == 1 else mode == "m"
        return -0.0 if negative else 0.0
    return rounded(exact, f, mode)


def rounded_product(p, f: Format, mode: str) -> float:
    """A result of `product`, rounded."""
    return p if isinstance(p, float) else rounded(p, f, mode)


def quotient(x, f: Format, mode: str) -> float:
    """a / b."""
    a, b = x
    if math.isnan(a) or math.isnan(b) or (a == 0 and b == 0) or (math.isinf(a) and math.isinf(b)):
        return math.nan
    sign = math.copysign(1, a) * math.copysign(1, b)
    if b == 0 or math.isinf(a):
        return math.copysign(math.inf, sign)
    if a == 0 or math.isinf(b):
        return math.copysign(0.0, sign)
    return rounded(Fraction(a) / Fraction(b), f, mode)


def square_root(x, f: Format, mode: str) -> float:
    """The root, by integers: 200 bits of it and one that says whether it goes on."""
    (a,) = x
    if math.isnan(a) or a < 0:
        return math.nan
    if a == 0 or math.isinf(a):
        return a
    scaled = Fraction(a) * 4**1400
    root = math.isqrt(scaled.numerator // scaled.denominator)
    exact = Fraction(root, 2**1400)
    if exact * exact != Fraction(a):
        exact += Fraction(1, 2**1401)
    return rounded(exact, f, mode)


RULES = {
    "add": lambda x, f, m: total(x[0], x[1], f, m),
    "sub": lambda x, f, m: total(x[0], -x[1], f, m),
    "mul": lambda x, f, m: rounded_product(product(*x), f, m),
    "div": quotient,
    "fma": lambda x, f, m: total(product(x[0], x[1]), x[2], f, m),
    "sqrt": square_root,
    "rcp": lambda x, f, m: quotient((1.0, x[0]), f, m),
}
