"""Elementwise primitives: NumPy broadcasting, one row each with dtypes, reference and gradient.

A row is `name = Elementwise("name", dtypes, reference, gradient)`. A gradient takes the cotangent
`g`, the output `y` and the inputs, and gives a cotangent for each input (alone for one input);
rows without one are not differentiable. Cotangents are summed over broadcast axes afterwards.
Python numbers may stand among the operands: they take the tensors' dtype.
"""

from __future__ import annotations

import math

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitive import signature
from keras_native.engine.primitives import special
from keras_native.engine.primitives.elementwise_common import (
    ANY,
    BITS,
    BOOL,
    FLOATS,
    INEXACT,
    INTEGERS,
    NUMERIC,
    ORDERED,
    REAL,
    Elementwise,
    scalar,
)
from keras_native.engine.tensor import Tensor

# Small things that gradients need.


def _where(condition, a, b):
    """select in which one branch may be a number."""
    like = a if isinstance(a, Tensor) else b
    a, b = (x if isinstance(x, Tensor) else scalar(x, like.dtype) for x in (a, b))
    return select(condition, a, b)


def _between(x, low, high):
    return logical_and(gt(x, low), lt(x, high))


def _abs_gradient(g, y, x):
    if x.dtype in dtypes.COMPLEX:
        unit = div(conj(x), cast(_where(eq(y, 0.0), 1.0, y), x.dtype))
        return mul(cast(g, x.dtype), unit)
    return mul(g, sign(x))


def _pow_gradient(g, y, a, b):
    if a.dtype not in INEXACT:
        return None, None
    da = _where(eq(b, 0.0), 0.0, mul(b, pow(a, sub(b, 1.0))))
    db = mul(y, log(_where(eq(a, 0.0), 1.0, a)))
    return mul(g, da), mul(g, db)


def _pick_gradient(g, a, b, wins):
    """Of maximum and minimum: equal operands share the cotangent."""
    shared = mul(g, select(eq(a, b), scalar(0.5, a.dtype), scalar(0.0, a.dtype)))
    return select(wins(a, b), g, shared), select(wins(b, a), g, shared)


def _gelu_gradient(g, y, x, *, approximate):
    if approximate:
        inner = mul(math.sqrt(2 / math.pi), add(x, mul(0.044715, mul(x, square(x)))))
        t = tanh(inner)
        slope = mul(math.sqrt(2 / math.pi), add(1.0, mul(3 * 0.044715, square(x))))
        left = mul(0.5, add(1.0, t))
        right = mul(mul(mul(0.5, x), sub(1.0, square(t))), slope)
        return mul(g, add(left, right))
    return mul(g, gelu_slope(x))


def _density(x):
    """Of the standard normal distribution."""
    return mul(1 / math.sqrt(2 * math.pi), exp(mul(-0.5, square(x))))


# References of more than a line.


def _logistic_weighted(x, argument=lambda wide: wide):
    """x / (1 + exp(-z)) of z = argument(x), which is 0.5 x (1 + tanh(z / 2)). Wider than x, since
    exp magnifies what rounding does to z."""
    wide = np.asarray(x, np.longdouble)
    return np.where(x == -np.inf, np.nan, wide / (1 + np.exp(-argument(wide)))).astype(x.dtype)


def _gelu_slope(x):
    wide = np.asarray(x, np.float64)
    below = special.erfc(-wide * math.sqrt(0.5)) / 2
    with np.errstate(invalid="ignore"):
        weighted = wide * np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    return (below + np.where(np.isinf(wide), 0, weighted)).astype(x.dtype)


def _gelu(x, *, approximate):
    if approximate:
        slope = np.sqrt(8 / np.longdouble("3.14159265358979323846"))
        cubic = np.longdouble("0.044715")
        return _logistic_weighted(x, lambda wide: slope * (wide + cubic * wide * wide * wide))
    # To first order what rounding takes from the argument, which erfc magnifies.
    exact = -np.asarray(x, np.longdouble) * np.sqrt(np.longdouble(0.5))
    z = exact.astype(np.float64)
    lost = np.where(np.isinf(z), 0, exact - z).astype(np.float64)
    tail = special.erfc(z) - lost * np.exp(-z * z) * (2 / math.sqrt(math.pi))
    return np.where(x == -np.inf, np.nan, 0.5 * x * tail).astype(x.dtype)


def _expm1_scaled(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))).astype(x.dtype)


def _integer_pow(a, b):
    """NumPy refuses negative exponents of integers: here the result is the truncated quotient."""
    if a.dtype.kind not in "iu" or not np.any(b < 0):
        return np.power(a, b)
    inverse = np.where(a == 1, 1, np.where(a == -1, 1 - 2 * (b & 1), 0))
    return np.where(b < 0, inverse, np.power(a, np.maximum(b, 0))).astype(a.dtype)


def _fma(a, b, c):
    wide = {np.dtype(np.float32): np.float64}.get(a.dtype, a.dtype)
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946
_LN2, _LN10 = math.log(2), math.log(10)

E = Elementwise

# One operand: name, dtypes, reference, gradient.
neg = E("neg", NUMERIC, np.negative, lambda g, y, x: neg(g))
abs = E("abs", ANY, np.abs, _abs_gradient, result=dtypes.part)
sign = E("sign", NUMERIC, np.sign)
square = E("square", NUMERIC, np.square, lambda g, y, x: mul(g, mul(2, x)))
reciprocal = E("reciprocal", INEXACT, lambda x: 1 / x, lambda g, y, x: mul(neg(g), square(y)))
sqrt = E("sqrt", INEXACT, np.sqrt, lambda g, y, x: div(mul(0.5, g), y))
rsqrt = E("rsqrt", INEXACT, lambda x: 1 / np.sqrt(x), lambda g, y, x: mul(mul(-0.5, g), div(y, x)))
cbrt = E("cbrt", FLOATS, np.cbrt, lambda g, y, x: div(g, mul(3.0, square(y))))
exp = E("exp", INEXACT, np.exp, lambda g, y, x: mul(g, y))
exp2 = E("exp2", FLOATS, np.exp2, lambda g, y, x: mul(g, mul(_LN2, y)))
expm1 = E("expm1", INEXACT, np.expm1, lambda g, y, x: mul(g, add(y, 1.0)))
log = E("log", INEXACT, np.log, lambda g, y, x: div(g, x))
log1p = E("log1p", INEXACT, np.log1p, lambda g, y, x: div(g, add(x, 1.0)))
log2 = E("log2", INEXACT, np.log2, lambda g, y, x: div(g, mul(_LN2, x)))
log10 = E("log10", INEXACT, np.log10, lambda g, y, x: div(g, mul(_LN10, x)))
sin = E("sin", INEXACT, np.sin, lambda g, y, x: mul(g, cos(x)))
cos = E("cos", INEXACT, np.cos, lambda g, y, x: mul(neg(g), sin(x)))
tan = E("tan", INEXACT, np.tan, lambda g, y, x: mul(g, add(1.0, square(y))))
asin = E("asin", INEXACT, np.arcsin, lambda g, y, x: mul(g, rsqrt(sub(1.0, square(x)))))
acos = E("acos", INEXACT, np.arccos, lambda g, y, x: mul(neg(g), rsqrt(sub(1.0, square(x)))))
atan = E("atan", INEXACT, np.arctan, lambda g, y, x: div(g, add(1.0, square(x))))
sinh = E("sinh", INEXACT, np.sinh, lambda g, y, x: mul(g, cosh(x)))
cosh = E("cosh", INEXACT, np.cosh, lambda g, y, x: mul(g, sinh(x)))
tanh = E("tanh", INEXACT, np.tanh, lambda g, y, x: mul(g, sub(1.0, square(y))))
asinh = E("asinh", INEXACT, np.arcsinh, lambda g, y, x: mul(g, rsqrt(add(square(x), 1.0))))
acosh = E(
    "acosh", INEXACT, np.arccosh, lambda g, y, x: mul(g, rsqrt(mul(sub(x, 1.0), add(x, 1.0))))
)
atanh = E("atanh", INEXACT, np.arctanh, lambda g, y, x: div(g, mul(sub(1.0, x), add(1.0, x))))
erf = E(
    "erf", FLOATS, special.erf,
    lambda g, y, x: mul(g, mul(2 / math.sqrt(math.pi), exp(neg(square(x))))),
)  # fmt: skip
erfc = E(
    "erfc", FLOATS, special.erfc,
    lambda g, y, x: mul(g, mul(-2 / math.sqrt(math.pi), exp(neg(square(x))))),
)  # fmt: skip
erfinv = E(
    "erfinv", FLOATS, special.erfinv,
    lambda g, y, x: mul(g, mul(math.sqrt(math.pi) / 2, exp(square(y)))),
)  # fmt: skip
lgamma = E("lgamma", FLOATS, special.lgamma, lambda g, y, x: mul(g, digamma(x)))
digamma = E("digamma", FLOATS, special.digamma, lambda g, y, x: mul(g, polygamma(x, 1)))
sigmoid = E(
    "sigmoid", FLOATS, lambda x: 1 / (1 + np.exp(-x)),
    lambda g, y, x: mul(g, mul(y, sub(1.0, y))),
)  # fmt: skip
log_sigmoid = E(
    "log_sigmoid", FLOATS, lambda x: -np.logaddexp(-x, np.zeros_like(x)),
    lambda g, y, x: mul(g, sigmoid(neg(x))),
)  # fmt: skip
softplus = E(
    "softplus", FLOATS, lambda x: np.logaddexp(x, np.zeros_like(x)),
    lambda g, y, x: mul(g, sigmoid(x)),
)  # fmt: skip
relu = E("relu", REAL, lambda x: np.maximum(x, 0), lambda g, y, x: _where(gt(y, 0), g, 0))
relu6 = E(
    "relu6", REAL, lambda x: np.clip(x, 0, 6), lambda g, y, x: _where(_between(y, 0, 6), g, 0)
)


def _silu_gradient(g, y, x):
    s = sigmoid(x)
    return mul(g, mul(s, add(1.0, mul(x, sub(1.0, s)))))


silu = E("silu", FLOATS, _logistic_weighted, _silu_gradient)
selu = E(
    "selu", FLOATS, lambda x: _SELU_SCALE * _expm1_scaled(x, _SELU_ALPHA),
    lambda g, y, x: mul(g, _where(gt(x, 0.0), _SELU_SCALE, add(y, _SELU_SCALE * _SELU_ALPHA))),
)  # fmt: skip
softsign = E(
    "softsign", FLOATS, lambda x: x / (1 + np.abs(x)),
    lambda g, y, x: div(g, square(add(1.0, abs(x)))),
)  # fmt: skip
hard_sigmoid = E(
    "hard_sigmoid", FLOATS, lambda x: np.clip(x + 3, 0, 6) / 6,
    lambda g, y, x: _where(_between(x, -3.0, 3.0), mul(1 / 6, g), 0.0),
)  # fmt: skip


def _hard_silu_gradient(g, y, x):
    middle = add(mul(1 / 3, x), 0.5)
    slope = _where(_between(x, -3.0, 3.0), middle, cast(ge(x, 3.0), x.dtype))
    return mul(g, slope)


hard_silu = E("hard_silu", FLOATS, lambda x: x * np.clip(x + 3, 0, 6) / 6, _hard_silu_gradient)
floor = E("floor", FLOATS, np.floor)
ceil = E("ceil", FLOATS, np.ceil)
round = E("round", FLOATS, np.rint)
trunc = E("trunc", FLOATS, np.trunc)
isnan = E("isnan", ANY, np.isnan, result="bool")
isinf = E("isinf", ANY, np.isinf, result="bool")
isfinite = E("isfinite", ANY, np.isfinite, result="bool")
logical_not = E("logical_not", BOOL, np.logical_not)
bitwise_not = E("bitwise_not", BITS, np.invert)
conj = E("conj", INEXACT, np.conj, lambda g, y, x: conj(g))


real = E(
    "real", INEXACT, np.real,
    lambda g, y, x: complex_(g, mul(g, 0.0)) if x.dtype in dtypes.COMPLEX else g,
    result=dtypes.part,
)  # fmt: skip
imag = E(
    "imag", INEXACT, np.imag,
    lambda g, y, x: complex_(mul(g, 0.0), neg(g)) if x.dtype in dtypes.COMPLEX else None,
    result=dtypes.part,
)  # fmt: skip


def _angle_gradient(g, y, x):
    if x.dtype not in dtypes.COMPLEX:
        return None
    re, im = real(x), imag(x)
    norm = add(square(re), square(im))
    return complex_(neg(div(mul(g, im), norm)), neg(div(mul(g, re), norm)))


angle = E("angle", INEXACT, np.angle, _angle_gradient, result=dtypes.part)

# The derivative of gelu without `approximate`.
gelu_slope = E(
    "gelu_slope", FLOATS, _gelu_slope,
    lambda g, y, x: mul(g, mul(_density(x), sub(2.0, square(x)))),
)  # fmt: skip

# One operand and attributes: the primitive, then the public function.
_gelu_p = E("gelu", FLOATS, _gelu, _gelu_gradient)
_elu_p = E(
    "elu", FLOATS, lambda x, *, alpha: _expm1_scaled(x, alpha),
    lambda g, y, x, *, alpha: mul(g, _where(gt(x, 0.0), 1.0, add(y, alpha))),
)  # fmt: skip
_leaky_relu_p = E(
    "leaky_relu", FLOATS,
    lambda x, *, slope: np.where(x >= 0, x, x * np.asarray(slope, x.dtype)),
    lambda g, y, x, *, slope: _where(ge(x, 0.0), g, mul(slope, g)),
)  # fmt: skip
_polygamma_p = E(
    "polygamma", FLOATS, lambda x, *, n: special.polygamma(x, n),
    lambda g, y, x, *, n: mul(g, polygamma(x, n + 1)),
)  # fmt: skip


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """x times the normal distribution function of x; `approximate` takes the form with tanh."""
    return _gelu_p(x, approximate=bool(approximate))


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha * (exp(x) - 1) below."""
    return _elu_p(x, alpha=float(alpha))


def leaky_relu(x: Tensor, slope: float = 0.2) -> Tensor:
    """x above 0, slope * x below."""
    return _leaky_relu_p(x, slope=float(slope))


def polygamma(x: Tensor, n: int) -> Tensor:
    """The n-th derivative of digamma, n >= 1, for positive x."""
    return _polygamma_p(x, n=int(n))


# Two operands of equal dtype.
add = E("add", ANY, np.add, lambda g, y, a, b: (g, g))
sub = E("sub", NUMERIC, np.subtract, lambda g, y, a, b: (g, neg(g)))
mul = E("mul", ANY, np.multiply, lambda g, y, a, b: (mul(g, b), mul(g, a)))
div = E("div", INEXACT, np.divide, lambda g, y, a, b: (div(g, b), neg(div(mul(g, y), b))))
floor_divide = E("floor_divide", REAL, np.floor_divide)
mod = E("mod", REAL, np.mod, lambda g, y, a, b: (g, neg(mul(g, floor_divide(a, b)))))
fmod = E("fmod", REAL, np.fmod, lambda g, y, a, b: (g, neg(mul(g, trunc(div(a, b))))))
pow = E("pow", NUMERIC, _integer_pow, _pow_gradient)
maximum = E("maximum", ORDERED, np.maximum, lambda g, y, a, b: _pick_gradient(g, a, b, gt))
minimum = E("minimum", ORDERED, np.minimum, lambda g, y, a, b: _pick_gradient(g, a, b, lt))


def _atan2_gradient(g, y, a, b):
    norm = add(square(a), square(b))
    return mul(g, div(b, norm)), neg(mul(g, div(a, norm)))


atan2 = E("atan2", FLOATS, np.arctan2, _atan2_gradient)
hypot = E("hypot", FLOATS, np.hypot, lambda g, y, a, b: (mul(g, div(a, y)), mul(g, div(b, y))))
copysign = E(
    "copysign", FLOATS, np.copysign,
    lambda g, y, a, b: (_where(eq(sign(a), sign(y)), g, neg(g)), None),
)  # fmt: skip
nextafter = E("nextafter", FLOATS, np.nextafter, exact=True)
logaddexp = E(
    "logaddexp", FLOATS, np.logaddexp,
    lambda g, y, a, b: (mul(g, sigmoid(sub(a, b))), mul(g, sigmoid(sub(b, a)))),
)  # fmt: skip


def _gammainc_gradient(g, y, a, x):
    density = exp(sub(sub(mul(sub(a, 1.0), log(x)), x), lgamma(a)))
    return mul(g, gammainc_by_a(a, x)), mul(g, density)


def _no_second_gradient(g, y, a, x):
    raise UnsupportedError("gammainc: no second derivative by the first argument")


gammainc = E("gammainc", FLOATS, special.gammainc, _gammainc_gradient)
gammainc_by_a = E("gammainc_by_a", FLOATS, special.gammainc_by_a, _no_second_gradient)
eq = E("eq", ANY, np.equal, result="bool")
ne = E("ne", ANY, np.not_equal, result="bool")
lt = E("lt", ANY, np.less, result="bool")
le = E("le", ANY, np.less_equal, result="bool")
gt = E("gt", ANY, np.greater, result="bool")
ge = E("ge", ANY, np.greater_equal, result="bool")
bitwise_and = E("bitwise_and", BITS, np.bitwise_and)
bitwise_or = E("bitwise_or", BITS, np.bitwise_or)
bitwise_xor = E("bitwise_xor", BITS, np.bitwise_xor)
shift_left = E("shift_left", INTEGERS, np.left_shift)
shift_right = E("shift_right", INTEGERS, np.right_shift)
logical_and = E("logical_and", BOOL, np.logical_and)
logical_or = E("logical_or", BOOL, np.logical_or)
logical_xor = E("logical_xor", BOOL, np.logical_xor)
complex_ = E(
    "complex", frozenset({"float32", "float64"}), lambda re, im: re + 1j * im,
    lambda g, y, re, im: (real(g), neg(imag(g))),
    result={part: whole for whole, part in dtypes.PARTS.items()}.get,
)  # fmt: skip

# Three operands.
fma = E("fma", NUMERIC, _fma, lambda g, y, a, b, c: (mul(g, b), mul(g, a), g))


def _clip_gradient(g, y, x, lo, hi):
    raised = maximum(x, lo)
    g, for_hi = _pick_gradient(g, raised, hi, lt)
    return *_pick_gradient(g, x, lo, gt), for_hi


clip = E(
    "clip", ORDERED, lambda x, lo, hi: np.minimum(np.maximum(x, lo), hi),
    _clip_gradient,
)  # fmt: skip


class _Select(Elementwise):
    """The condition is bool, the branches share a dtype."""

    def _check_dtypes(self, inputs):
        condition, a, b = inputs
        if condition.dtype != "bool" or a.dtype != b.dtype:
            raise TypeError(
                f"select: expected a bool condition and two branches of one dtype, got "
                f"{signature(inputs)}"
            )
        return a.dtype


select = _Select(
    "select", ANY, np.where,
    lambda g, y, c, a, b: (None, _where(c, g, 0), _where(c, 0, g)) if g.dtype in INEXACT else None,
    exact=True,
)  # fmt: skip


class _Cast(Elementwise):
    def _shape(self, x, *, dtype):
        if dtype not in dtypes.NUMPY:
            raise TypeError(f"cast: unknown dtype {dtype!r}")
        return x.dims, dtype


def _cast_reference(x, *, dtype):
    if x.dtype.kind == "c" and dtype not in dtypes.COMPLEX and dtype != "bool":
        x = x.real
    return x.astype(dtypes.NUMPY[dtype])


def _cast_gradient(g, y, x, *, dtype):
    if dtype not in INEXACT or x.dtype not in INEXACT:
        return None
    return cast(g, x.dtype)


_cast_p = _Cast("cast", ANY, _cast_reference, _cast_gradient, exact=True)


def cast(x: Tensor, dtype: str) -> Tensor:
    """The same numbers in another dtype, as NumPy's astype; `x` itself if it has that dtype.

    Floats out of an integer's range give an unspecified integer.
    """
    return x if x.dtype == dtype else _cast_p(x, dtype=dtype)
