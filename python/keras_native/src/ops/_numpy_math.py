"""Elementwise functions of keras.ops: arithmetic, transcendental functions, bits, complex parts."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine import promotion
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import host_elementwise
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor
from keras_native.src.ops._numpy_common import (
    as_float,
    floatx,
    is_inexact,
    operands,
    operators,
    result_type,
    tensor,
    tensors,
    wide,
)

# Arithmetic


def add(x1, x2):
    """x1 + x2; the logical or of booleans."""
    return ew.add(*operands(x1, x2))


def subtract(x1, x2):
    """x1 - x2."""
    return ew.sub(*operators.arithmetic_pair(*operands(x1, x2)))


def multiply(x1, x2):
    """x1 * x2; the logical and of booleans."""
    return ew.mul(*operands(x1, x2))


def divide(x1, x2):
    """x1 / x2; integers as floatx."""
    return ew.div(*operands(x1, x2, operators.inexact_pair))


true_divide = divide


def divide_no_nan(x1, x2):
    """x1 / x2, and 0 where x2 is 0."""
    x1, x2 = tensors(*operands(x1, x2, operators.inexact_pair))
    zero = ew.eq(x2, 0)
    # The divisor is replaced first: what select leaves out would give NaN as its gradient.
    quotient = ew.div(x1, ew.select(zero, scalar(1, x2.dtype), x2))
    return ew.select(zero, scalar(0, x2.dtype), quotient)


def floor_divide(x1, x2):
    """floor(x1 / x2)."""
    return ew.floor_divide(*operators.arithmetic_pair(*operands(x1, x2)))


def mod(x1, x2):
    """The remainder with the sign of x2; booleans as int32."""
    return ew.mod(*operators.arithmetic_pair(*operands(x1, x2)))


def fmod(x1, x2):
    """The remainder with the sign of x1; booleans as int32."""
    return ew.fmod(*operators.arithmetic_pair(*operands(x1, x2)))


def power(x1, x2):
    """x1 ** x2; booleans as int32."""
    return operators.power(*operators.arithmetic_pair(*operands(x1, x2)))


def float_power(x1, x2):
    """x1 ** x2, integers as floatx."""
    return operators.power(*operands(x1, x2, operators.inexact_pair))


def negative(x):
    """-x."""
    return operators.negative(tensor(x))


def absolute(x):
    """|x|; of complex numbers the modulus, a float."""
    return ew.abs(tensor(x))


def abs(x):
    """|x|."""
    return absolute(x)


def fabs(x):
    """|x| as a float."""
    return ew.abs(as_float(x))


def square(x):
    """x * x; booleans as int32."""
    x = tensor(x)
    return ew.square(ew.cast(x, "int32") if x.dtype == "bool" else x)


def sign(x):
    """-1, 0 or 1; booleans as int32."""
    x = tensor(x)
    return ew.sign(ew.cast(x, "int32") if x.dtype == "bool" else x)


def signbit(x):
    """Whether the sign bit is set: True for -0.0."""
    x = tensor(x)
    if x.dtype in dtypes.FLOATS:
        return ew.lt(ew.copysign(scalar(1, x.dtype), x), 0)
    if x.dtype in dtypes.SIGNED:
        return ew.lt(x, 0)
    return ew.ne(x, x)


def maximum(x1, x2):
    """The larger of x1 and x2; NaN if either is."""
    return ew.maximum(*operands(x1, x2))


def minimum(x1, x2):
    """The smaller of x1 and x2; NaN if either is."""
    return ew.minimum(*operands(x1, x2))


def fmax(x1, x2):
    """The larger of x1 and x2; the other one where one is NaN."""
    return _ignoring_nan(ew.maximum, x1, x2)


def fmin(x1, x2):
    """The smaller of x1 and x2; the other one where one is NaN."""
    return _ignoring_nan(ew.minimum, x1, x2)


def _ignoring_nan(pick, x1, x2):
    x1, x2 = tensors(x1, x2)
    if not is_inexact(x1.dtype):
        return pick(x1, x2)
    return ew.select(ew.isnan(x1), x2, ew.select(ew.isnan(x2), x1, pick(x1, x2)))


def clip(x, x_min, x_max):
    """x limited to [x_min, x_max] (None: no limit); booleans as int32."""
    x = tensor(x)
    if x.dtype == "bool":
        x = ew.cast(x, "int32")
    if x_min is None or x_max is None:
        if x_min is not None:
            return maximum(x, x_min)
        return x if x_max is None else minimum(x, x_max)
    x, low, high = tensors(x, x_min, x_max)
    return ew.clip(x, low, high)


def heaviside(x1, x2):
    """0 below zero, x2 at zero, 1 above; NaN for NaN. Integers as floatx."""
    x1, x2 = tensors(*operands(x1, x2, operators.inexact_pair))
    step = ew.cast(ew.gt(x1, 0), x1.dtype)
    step = ew.select(ew.eq(x1, 0), x2, step)
    return ew.select(ew.isnan(x1), x1, step)


def hypot(x1, x2):
    """sqrt(x1**2 + x2**2) without overflow."""
    return ew.hypot(*operands(x1, x2, operators.inexact_pair))


def arctan2(x1, x2):
    """The angle of the point (x2, x1)."""
    return ew.atan2(*operands(x1, x2, operators.inexact_pair))


def copysign(x1, x2):
    """|x1| with the sign of x2, -0.0 being negative."""
    return ew.copysign(*operands(x1, x2, operators.inexact_pair))


def nextafter(x1, x2):
    """The next floating point number after x1 towards x2."""
    return ew.nextafter(*operands(x1, x2, operators.inexact_pair))


def logaddexp(x1, x2):
    """log(exp(x1) + exp(x2))."""
    return ew.logaddexp(*operands(x1, x2, operators.inexact_pair))


def logaddexp2(x1, x2):
    """log2(2**x1 + 2**x2)."""
    x1, x2 = tensors(*operands(x1, x2, operators.inexact_pair))
    scaled = ew.logaddexp(ew.mul(x1, math.log(2)), ew.mul(x2, math.log(2)))
    return ew.mul(scaled, 1 / math.log(2))


def ldexp(x1, x2):
    """x1 * 2**x2.

    Raises:
        TypeError: x2 is not an integer tensor.
    """
    x1, x2 = tensor(x1), tensor(x2)
    if x2.dtype not in dtypes.INTEGERS:
        raise TypeError(f"ldexp exponent must be an integer type. Received: x2 dtype={x2.dtype}")
    dtype = result_type(x1.dtype, x2.dtype, float)
    x1 = ew.cast(x1, dtype)
    # In two halves: 2**x2 alone may be out of range where the product is not.
    half = ew.shift_right(x2, 1)
    x1 = ew.mul(x1, ew.exp2(ew.cast(half, dtype)))
    return ew.mul(x1, ew.exp2(ew.cast(ew.sub(x2, half), dtype)))


def gcd(x1, x2):
    """The greatest common divisor of integers."""
    return host_elementwise.gcd(*tensors(x1, x2))


def lcm(x1, x2):
    """The least common multiple of integers."""
    return host_elementwise.lcm(*tensors(x1, x2))


# Of floats: integers and booleans come as floatx


def _of_float(name: str, primitive, doc: str):
    def function(x):
        if type(x) is not Tensor or not is_inexact(x.dtype):
            x = as_float(x)
        return primitive(x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{doc}; integers as floatx."
    return function


exp = _of_float("exp", ew.exp, "e**x")
exp2 = _of_float("exp2", ew.exp2, "2**x")
expm1 = _of_float("expm1", ew.expm1, "e**x - 1, exact near zero")
log = _of_float("log", ew.log, "The natural logarithm")
log10 = _of_float("log10", ew.log10, "The logarithm to base 10")
log1p = _of_float("log1p", ew.log1p, "log(1 + x), exact near zero")
log2 = _of_float("log2", ew.log2, "The logarithm to base 2")
sqrt = _of_float("sqrt", ew.sqrt, "The square root")
cbrt = _of_float("cbrt", ew.cbrt, "The real cube root")
reciprocal = _of_float("reciprocal", ew.reciprocal, "1 / x")
sin = _of_float("sin", ew.sin, "The sine")
cos = _of_float("cos", ew.cos, "The cosine")
tan = _of_float("tan", ew.tan, "The tangent")
arcsin = _of_float("arcsin", ew.asin, "The angle whose sine is x")
arccos = _of_float("arccos", ew.acos, "The angle whose cosine is x")
arctan = _of_float("arctan", ew.atan, "The angle whose tangent is x")
sinh = _of_float("sinh", ew.sinh, "The hyperbolic sine")
cosh = _of_float("cosh", ew.cosh, "The hyperbolic cosine")
tanh = _of_float("tanh", ew.tanh, "The hyperbolic tangent")
arcsinh = _of_float("arcsinh", ew.asinh, "The inverse of sinh")
arccosh = _of_float("arccosh", ew.acosh, "The inverse of cosh")
arctanh = _of_float("arctanh", ew.atanh, "The inverse of tanh")
ceil = _of_float("ceil", ew.ceil, "The smallest integer not below x")
floor = _of_float("floor", ew.floor, "The largest integer not above x")
i0 = _of_float("i0", host_elementwise.i0, "The modified Bessel function of order 0")


def deg2rad(x):
    """Degrees as radians; integers as floatx."""
    return ew.mul(as_float(x), math.pi / 180)


def rad2deg(x):
    """Radians as degrees; integers as floatx."""
    return ew.mul(as_float(x), 180 / math.pi)


def sinc(x):
    """sin(pi x) / (pi x), and 1 at zero; integers as floatx."""
    x = as_float(x)
    zero = ew.eq(x, 0)
    one = scalar(1, x.dtype)
    scaled = ew.mul(ew.select(zero, one, x), math.pi)
    return ew.select(zero, one, ew.div(ew.sin(scaled), scaled))


def trunc(x):
    """x without its fraction; integers and booleans as they are."""
    x = tensor(x)
    return ew.trunc(x) if is_inexact(x.dtype) else x


def round(x, decimals=0):
    """x to so many decimals, halves to even; integers stay integers, booleans become floatx."""
    x = tensor(x)
    if x.dtype in dtypes.INTEGERS:
        if decimals >= 0:
            return x
        return ew.cast(round(ew.cast(x, floatx()), decimals), x.dtype)
    if x.dtype == "bool":
        x = ew.cast(x, floatx())
    if decimals == 0:
        return _round(x)
    narrow, x = x.dtype, wide(x)
    factor = 10.0 ** math.fabs(decimals)
    if decimals > 0:
        rounded = ew.div(_round(ew.mul(x, factor)), factor)
    else:
        rounded = ew.mul(_round(ew.div(x, factor)), factor)
    return ew.cast(rounded, narrow)


def _round(x):
    if x.dtype in dtypes.COMPLEX:
        return ew.complex_(ew.round(ew.real(x)), ew.round(ew.imag(x)))
    return ew.round(x)


def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    """x with NaN and infinities replaced; None stands for the dtype's largest numbers."""
    x = tensor(x)
    if x.dtype not in dtypes.FLOATS:
        return x
    limits = _limits(x.dtype)
    posinf = limits[1] if posinf is None else posinf
    neginf = limits[0] if neginf is None else neginf
    x = ew.select(ew.isnan(x), promotion.as_dtype(_number(nan), x.dtype), x)
    x = ew.select(isposinf(x), promotion.as_dtype(_number(posinf), x.dtype), x)
    return ew.select(isneginf(x), promotion.as_dtype(_number(neginf), x.dtype), x)


def _number(x):
    return x if isinstance(x, (int, float)) else tensor(x)


def _limits(dtype: str) -> tuple[float, float]:
    """The smallest and the largest finite number of a real dtype."""
    if dtype in dtypes.INTEGERS:
        info = np.iinfo(dtypes.NUMPY[dtype])
        return int(info.min), int(info.max)
    info = ml_dtypes.finfo(dtypes.NUMPY[dtype])
    return float(info.min), float(info.max)


# Bits


def _bitwise(name: str, primitive, doc: str):
    def function(x, y):
        return primitive(*operands(x, y))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


bitwise_and = _bitwise("bitwise_and", ew.bitwise_and, "Bits set in both.")
bitwise_or = _bitwise("bitwise_or", ew.bitwise_or, "Bits set in either.")
bitwise_xor = _bitwise("bitwise_xor", ew.bitwise_xor, "Bits set in one of both.")


def bitwise_left_shift(x, y):
    """x shifted left by y bits; booleans as int32."""
    return ew.shift_left(*operators.arithmetic_pair(*operands(x, y)))


def bitwise_right_shift(x, y):
    """x shifted right by y bits; booleans as int32."""
    return ew.shift_right(*operators.arithmetic_pair(*operands(x, y)))


left_shift = bitwise_left_shift
right_shift = bitwise_right_shift


def bitwise_invert(x):
    """All bits flipped; the logical not of booleans."""
    return ew.bitwise_not(tensor(x))


bitwise_not = bitwise_invert


# Complex numbers


def conjugate(x):
    """The complex conjugate; x itself if real."""
    x = tensor(x)
    return ew.conj(x) if x.dtype in dtypes.COMPLEX else x


conj = conjugate


def real(x):
    """The real part."""
    x = tensor(x)
    return ew.real(x) if x.dtype in dtypes.COMPLEX else x


def imag(x):
    """The imaginary part; zeros if real."""
    x = tensor(x)
    if x.dtype in dtypes.COMPLEX:
        return ew.imag(x)
    return sh.full(x.dims, 0, x.dtype)


def angle(x):
    """The angle in the complex plane; integers as floatx."""
    return ew.angle(as_float(x))


# Tests


def isnan(x):
    """Whether each element is NaN."""
    return ew.isnan(tensor(x))


def isinf(x):
    """Whether each element is infinite."""
    return ew.isinf(tensor(x))


def isfinite(x):
    """Whether each element is neither infinite nor NaN."""
    return ew.isfinite(tensor(x))


def isposinf(x):
    """Whether each element is positive infinity."""
    x = tensor(x)
    return ew.eq(x, math.inf) if is_inexact(x.dtype) else ew.isinf(x)


def isneginf(x):
    """Whether each element is negative infinity."""
    x = tensor(x)
    return ew.eq(x, -math.inf) if is_inexact(x.dtype) else ew.isinf(x)


def isreal(x):
    """Whether each element has no imaginary part."""
    x = tensor(x)
    if x.dtype in dtypes.COMPLEX:
        return ew.eq(ew.imag(x), 0)
    return sh.full(x.dims, True, "bool")
