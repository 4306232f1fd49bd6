"""`keras.ops`, NumPy's part: pointwise operations."""

from opcases.drawing import (
    ALL,
    ANY_ORDER,
    COMPLEX,
    DISCRETE,
    FLOAT,
    INEXACT,
    INTEGER,
    NUMBER,
    REAL,
    Op,
    binary,
    call,
    elementwise,
    first_of,
)

_KERAS = "Keras's symbolic rule differs from its backends"
_NUMBERS = "Python numbers are not weak there"
_BY_ZERO = "integers divided by zero are what the processor makes of them"
_UINT64 = "it leaves uint64 as it is"
_HALF = "it computes 8-bit integers in float16"

_SLOPE_AT_ZERO = "JAX has 1 at zero, where TensorFlow and PyTorch have 0"
_FIRST_WINS = "JAX gives one operand all where both are equal; maximum shares, here and there"


def _smooth(low=-4.0, high=4.0, dtypes=ALL, **options):
    return Op(elementwise(low, high), dtypes, ANY_ORDER, **options)


def _modulus():
    rule = {"symbolic": _KERAS, "unsymbolic": first_of(*COMPLEX)}
    return _smooth(dtypes=ALL, jax_ties=_SLOPE_AT_ZERO, **rule)


def _real(low=-4.0, high=4.0, dtypes=ALL, **options):
    """A function of real numbers: what large integers round to is far from them."""

    def make(d):
        return call(d.array(low=low, high=high, special=d.special and d.dtype in FLOAT))

    return Op(make, dtypes, ANY_ORDER, **options)


def _flat(dtypes=REAL, **options):
    return Op(elementwise(), dtypes, **options)


def _pair(low=-4.0, high=4.0, dtypes=REAL, scalars=True, **options):
    return Op(binary(low, high, scalars=scalars), dtypes, **options)


def _remainder():
    """Peers compute uint64 with a number in floats, where zero is no divisor either."""

    def make(d):
        return call(*d.operands(scalars=d.dtype != "uint64"))

    return Op(make, NUMBER, level=1, numpy_dtype=_NUMBERS, jax=_BY_ZERO)


def _bits(shift=False):
    def make(d):
        x, y = d.operands(2, scalars=False)
        if shift:
            y = d.array(y.shape, low=0, high=7, special=False)
        return call(x, y)

    return Op(make, INTEGER if shift else DISCRETE, symbolic=_KERAS)


def _spread(d):
    """Values and bounds that broadcast, the lower one below."""
    x = d.array()
    if d.dtype.startswith("u"):
        low = d.pick(0, 1)
    else:
        low = d.pick(-2, -1.5 if d.dtype in FLOAT else -2, d.array((), low=-3, high=-1))
    return call(x, low, d.pick(2, d.array((), low=1, high=3, special=False)))


def _where(d):
    shape = d.shape()
    condition = d.array(shape, "bool")
    return call(condition, d.array(shape), d.array(d.pick(shape, ()), d.other_dtype()))


def _select(d):
    shape = d.shape(empty=False)
    count = d.between(1, 3)
    conditions = [d.array(shape, "bool") for _ in range(count)]
    return call(conditions, [d.array(shape) for _ in range(count)], d.pick(0, 1))


def _power(d):
    if d.dtype in INTEGER:
        x, y = d.operands(2, low=0, high=3, scalars=False)
        return call(x, d.array(y.shape, low=0, high=3, special=False))
    if d.flip() and not d.smooth:
        return call(d.array(), d.pick(0, 1, 2, 3, 0.5, -1))
    return call(*d.operands(2, low=0.5, high=3))


OPS = {
    "abs": _modulus(),
    "absolute": _modulus(),
    "add": _pair(dtypes=ALL, gradient=ANY_ORDER),
    "angle": _smooth(symbolic=_KERAS, unsymbolic=first_of(*COMPLEX)),
    "arccos": _real(-0.9, 0.9),
    "arccosh": _real(1.1, 5),
    "arcsin": _real(-0.9, 0.9),
    "arcsinh": _real(),
    "arctan": _real(),
    "arctan2": _pair(numpy_dtype=_NUMBERS, symbolic=_KERAS, gradient=ANY_ORDER),
    "arctanh": _real(-0.9, 0.9),
    "bitwise_and": _bits(),
    "bitwise_invert": _flat(DISCRETE),
    "bitwise_left_shift": _bits(shift=True),
    "bitwise_not": _flat(DISCRETE),
    "bitwise_or": _bits(),
    "bitwise_right_shift": _bits(shift=True),
    "bitwise_xor": _bits(),
    "cbrt": _real(
        0.5, 4, dtypes=REAL, numpy=_UINT64, symbolic=_UINT64, unsymbolic=first_of("uint64")
    ),
    "ceil": _flat(),
    "clip": Op(_spread, NUMBER, ANY_ORDER),
    "conj": _smooth(dtypes=NUMBER + COMPLEX),
    "conjugate": _smooth(dtypes=NUMBER + COMPLEX),
    "copy": _smooth(),
    "cos": _real(),
    "cosh": _real(),
    "deg2rad": _real(dtypes=NUMBER, numpy=_HALF),
    "divide": _pair(0.5, 4, dtypes=ALL, gradient=ANY_ORDER),
    "divide_no_nan": _pair(0.5, 4, gradient=ANY_ORDER),
    "equal": _pair(dtypes=ALL),
    "exp": _real(),
    "exp2": _real(dtypes=REAL),
    "expm1": _real(dtypes=REAL),
    "fabs": _smooth(dtypes=REAL, jax_ties=_SLOPE_AT_ZERO),
    "floor": _flat(),
    "floor_divide": _pair(dtypes=NUMBER, jax=_BY_ZERO),
    "fmax": _pair(gradient=ANY_ORDER, jax_ties=_FIRST_WINS),
    "fmin": _pair(gradient=ANY_ORDER, jax_ties=_FIRST_WINS),
    "fmod": _remainder(),
    "gcd": _pair(dtypes=INTEGER, symbolic=_KERAS, numpy_dtype=_NUMBERS),
    "greater": _pair(),
    "greater_equal": _pair(),
    "heaviside": _pair(dtypes=NUMBER, numpy_dtype=_NUMBERS, symbolic=_KERAS),
    "hypot": _pair(dtypes=FLOAT, gradient=ANY_ORDER, numpy_dtype=_NUMBERS, symbolic=_KERAS),
    "i0": _real(dtypes=REAL, numpy_dtype="it gives float64"),
    "imag": _smooth(symbolic=_KERAS, unsymbolic=first_of(*COMPLEX)),
    "isclose": _pair(dtypes=ALL),
    "isfinite": _flat(ALL),
    "isinf": _flat(ALL),
    "isnan": _flat(ALL),
    "isneginf": _flat(),
    "isposinf": _flat(),
    "isreal": _flat(ALL),
    "lcm": _pair(dtypes=INTEGER, symbolic=_KERAS, numpy_dtype=_NUMBERS),
    "ldexp": Op(
        lambda d: call(d.array(s := d.shape()), d.array(s, "int32", special=False)),
        REAL,
        ANY_ORDER,
        jax_ties="JAX has 1 at zero, whatever the power of two",
    ),
    "left_shift": _bits(shift=True),
    "less": _pair(),
    "less_equal": _pair(),
    "log": _real(0.2, 4),
    "log10": _real(0.2, 4),
    "log1p": _real(-0.5, 4, dtypes=REAL),
    "log2": _real(0.2, 4),
    "logaddexp": _pair(scalars=False, gradient=ANY_ORDER, level=1),
    "logaddexp2": _pair(dtypes=FLOAT, scalars=False, gradient=ANY_ORDER, level=1),
    "logical_and": _pair(),
    "logical_not": _flat(),
    "logical_or": _pair(),
    "logical_xor": _pair(),
    "maximum": _pair(gradient=ANY_ORDER),
    "minimum": _pair(gradient=ANY_ORDER),
    "mod": _remainder(),
    "multiply": _pair(dtypes=ALL, gradient=ANY_ORDER),
    "nan_to_num": Op(
        lambda d: call(d.array(), d.pick(0.0, 1.0), d.pick(None, 5.0), d.pick(None, -5.0)),
        ALL,
        ANY_ORDER,
        oracle=False,
    ),
    "negative": _smooth(dtypes=NUMBER),
    "nextafter": _pair(dtypes=FLOAT, oracle=False, numpy_dtype=_NUMBERS, symbolic=_KERAS),
    "not_equal": _pair(dtypes=ALL),
    "power": Op(_power, NUMBER, ANY_ORDER, bound=32),
    "rad2deg": _real(dtypes=NUMBER, numpy=_HALF),
    "real": _smooth(symbolic=_KERAS, unsymbolic=first_of(*COMPLEX)),
    "reciprocal": _real(0.5, 4, dtypes=INEXACT, symbolic=_KERAS),
    "right_shift": _bits(shift=True),
    "round": Op(
        lambda d: call(d.array(), d.pick(0, 1, 2, -1)),
        NUMBER,
        bound=16,
        level=0,
    ),
    "select": Op(_select, ALL, ANY_ORDER, numpy_dtype=_NUMBERS, symbolic=_KERAS),
    "sign": _flat(symbolic=_KERAS),
    "signbit": _flat(),
    "sin": _real(),
    "sinc": _real(0.1, 3, dtypes=REAL, level=1),
    "sinh": _real(),
    "sqrt": _real(0.5, 4),
    "square": _smooth(),
    "subtract": _pair(dtypes=NUMBER + ("complex64",), gradient=ANY_ORDER),
    "tan": _real(-1, 1),
    "tanh": _real(),
    "true_divide": _pair(0.5, 4, dtypes=ALL, gradient=ANY_ORDER),
    "trunc": _flat(),
    "where": Op(_where, ALL, ANY_ORDER),
    "erf": _smooth(dtypes=FLOAT),
    "erfc": _smooth(dtypes=FLOAT, level=0.01),
    "erfinv": _smooth(-0.9, 0.9, dtypes=FLOAT),
    "rsqrt": _smooth(0.5, 4, dtypes=INEXACT),
}
