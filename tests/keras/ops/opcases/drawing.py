"""Random arguments for operations: shapes, dtypes, values and static arguments.

Everything is drawn from a `random.Random`, so that hypothesis can drive (and shrink) the draws and
a plain seed can repeat them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import ml_dtypes
import numpy as np

BOOL = ("bool",)
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
FLOAT = ("float16", "bfloat16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
INTEGER = SIGNED + UNSIGNED
DISCRETE = BOOL + INTEGER
NUMBER = INTEGER + FLOAT
REAL = BOOL + NUMBER
ALL = REAL + COMPLEX
INEXACT = FLOAT + COMPLEX
EVERY = ALL + FLOAT8

ANY_ORDER = "any order"
FIRST = "first"
NONE = "none"

SIZES = (1, 2, 3, 3, 5)


def numpy_dtype(name: str) -> np.dtype:
    """NumPy's dtype of Keras's name."""
    return np.dtype(getattr(ml_dtypes, name, name))


def kind(dtype: str) -> str:
    """'b', 'i', 'u', 'f' or 'c'; the small floats are floats."""
    return "f" if dtype in FLOAT + FLOAT8 else numpy_dtype(dtype).kind


@dataclass(frozen=True)
class Op:
    """How to call one operation of `keras.ops`, and what to expect.

    Attributes:
        make: `make(draw)` gives (args, kwargs); arrays in them are tensors, all else is static.
        dtypes: of the first operand, in comparisons.
        gradient: ANY_ORDER, FIRST or NONE: by the floating-point arrays among the arguments.
        bound: the error allowed, in units of the result dtype's epsilon.
        level: the error is relative to each result plus `level` times the largest result or
            input: 0 for pointwise functions, 1 where sums may cancel.
        special: whether NaN, infinities and extreme integers are drawn.
        compiled: whether jit traces it and KerasTensors are taken.
        symbolic: a reason for not comparing what Keras infers for KerasTensors; "" compares.
        unsymbolic: `unsymbolic(*args)`, whether it holds for a call; None: for all calls.
        numpy, jax: a reason for not comparing with this peer; "" compares.
        jax_gradient: a reason for not comparing gradients with JAX's; "" compares.
        jax_ties: a reason for not comparing them at zeros and ties.
        numpy_dtype: a reason for not comparing dtypes with the NumPy backend's.
        values: False compares dtypes and shapes alone (signs, phases or order are free).
        oracle: values are compared with those that the NumPy backend computes in 64 bits (its own
            rounding is no excuse), not with those of its own dtypes.
        narrow: Keras itself computes float64 in float32.
        result: of several results, the one whose gradient is checked.
        via: `via(array)` before the operation where gradients are checked: a projection onto what
            it takes, symmetric matrices for instance.
        reason: a note for the table of operations.
    """

    make: Callable
    dtypes: tuple = REAL
    gradient: str = NONE
    bound: float = 8
    level: float = 0
    special: bool = True
    compiled: bool = True
    symbolic: str = ""
    unsymbolic: Callable | None = None
    numpy: str = ""
    numpy_dtype: str = ""
    jax: str = ""
    jax_gradient: str = ""
    jax_ties: str = ""
    values: bool = True
    oracle: bool = True
    narrow: bool = False
    result: int | None = None
    via: Callable | None = None
    reason: str = ""


@dataclass
class Draw:
    """One call's draws.

    Attributes:
        dtype: of the first operand; the others mostly have it, too.
        dtypes: for the others.
        special: draw NaN, infinities, extreme integers.
        smooth: draw for derivatives: in 64 bits, no special values, nothing empty.
        plain: draw one dtype only, and nothing empty.
        mixed: let 64-bit integers meet other dtypes. The NumPy and JAX backends narrow them before
            they promote, where this backend does as `keras.backend.result_type` says.
    """

    random: Random
    dtype: str
    dtypes: tuple = REAL
    special: bool = False
    smooth: bool = False
    plain: bool = False
    mixed: bool = False
    values: np.random.Generator = field(init=False)

    def __post_init__(self):
        self.values = np.random.default_rng(self.random.getrandbits(32))

    def pick(self, *options):
        return options[self.random.randrange(len(options))]

    def flip(self, one_in: int = 2) -> bool:
        return self.random.randrange(one_in) == 0

    def between(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def shape(self, low: int = 0, high: int = 3, empty: bool = True) -> tuple[int, ...]:
        sizes = [self.pick(*SIZES) for _ in range(self.between(low, high))]
        if sizes and empty and self.flip(12) and not (self.smooth or self.plain):
            sizes[self.between(0, len(sizes) - 1)] = 0
        return tuple(sizes)

    def array(self, shape=None, dtype=None, low=-4.0, high=4.0, special=None) -> np.ndarray:
        """Values in [low, high], and beside them (if special) NaN, infinities and extremes."""
        dtype = dtype or self.dtype
        shape = self.shape() if shape is None else shape
        if self.smooth and dtype in INEXACT:
            dtype = "float64" if dtype in FLOAT else "complex128"
        wanted = numpy_dtype(dtype)
        special = (self.special if special is None else special) and not self.smooth
        if dtype == "bool":
            return np.asarray(self.values.random(shape) < 0.5)
        if kind(dtype) in "iu":
            return self._integers(shape, wanted, low, high, special)
        out = self.values.uniform(low, high, shape)
        if kind(dtype) == "c":
            return np.asarray(out + 1j * self.values.uniform(low, high, shape)).astype(wanted)
        out = np.asarray(out).astype(wanted)
        if special and self.flip(3):
            self._sprinkle(out, [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0])
        return out

    def _integers(self, shape, dtype, low, high, special):
        info = np.iinfo(dtype)
        bottom, top = max(int(np.ceil(low)), info.min), max(0, min(int(high), info.max))
        bottom = min(bottom, top)
        out = np.asarray(self.values.integers(bottom, top + 1, shape)).astype(dtype)
        if special and self.flip(3):
            self._sprinkle(out, [info.min, info.max, 0, 1, info.max - 1])
        return out

    def _sprinkle(self, out, values):
        at = self.values.random(out.shape) < 0.3
        picks = self.values.integers(0, len(values), out.shape)
        out[at] = np.array(values).astype(out.dtype)[picks[at]]

    def other_dtype(self) -> str:
        """Of a second operand: mostly the first's."""
        if not self.flip(4) or self.smooth or self.plain:
            return self.dtype
        other = self.pick(*self.dtypes)
        # With a signed integer uint64 becomes a float, which not every operation takes.
        floats = self.mixed and any(dtype in FLOAT for dtype in self.dtypes)
        return self.dtype if "int64" in other + self.dtype and not floats else other

    def operands(self, count: int = 2, low=-4.0, high=4.0, scalars=True) -> list:
        """Operands that broadcast, of dtypes that promote, the last one sometimes a number."""
        shape = self.shape()
        out = []
        for i in range(count):
            own = tuple(1 if self.flip(5) else n for n in shape[self.pick(0, 0, len(shape)) :])
            dtype = self.other_dtype() if i else self.dtype
            # The extremes of one dtype may be out of range in the other.
            special = None if dtype == self.dtype else False
            out.append(self.array(own, dtype, low, high, special))
        if scalars and count > 1 and kind(self.dtype) != "b" and self.flip(8) and not self.smooth:
            whole = kind(self.dtype) in "iu"
            out[-1] = self.between(max(0, int(low)), int(high)) if whole else (low + high) / 2
        return out

    def axis(self, ndim: int) -> int:
        """One axis, of either sign."""
        return self.between(-ndim, ndim - 1)

    def axes(self, ndim: int):
        """None, an axis or a tuple of axes."""
        if ndim == 0 or self.flip(3):
            return None
        if self.flip():
            return self.axis(ndim)
        chosen = self.random.sample(range(ndim), self.between(1, ndim))
        return tuple(a - ndim if self.flip() else a for a in chosen)

    def axis_or_none(self, ndim: int):
        return None if ndim == 0 or self.flip(4) else self.axis(ndim)

    def matrix(self, rows=None, columns=None, batch=True, dtype=None, **range_) -> np.ndarray:
        """A (batch of) matrices without empty sizes."""
        lead = self.shape(0, 1, empty=False) if batch else ()
        rows = rows or self.pick(1, 2, 3, 4)
        return self.array((*lead, rows, columns or rows), dtype, special=False, **range_)

    def invertible(self, n=None) -> np.ndarray:
        """Square matrices far from singular."""
        a = self.matrix(n)
        return (a + 8 * np.eye(a.shape[-1])).astype(a.dtype)

    def positive(self, n=None) -> np.ndarray:
        """Hermitian positive definite matrices."""
        a = self.matrix(n)
        wide = a.astype("complex128" if a.dtype.kind == "c" else "float64")
        wide = wide @ wide.conj().swapaxes(-1, -2) + 4 * np.eye(a.shape[-1])
        return wide.astype(a.dtype)


def call(*args, **kwargs):
    """Arguments of a call."""
    return args, kwargs


def first_of(*dtypes):
    """Whether the first operand is of one of these dtypes, as a function of the arguments."""
    return lambda x, *_: x.dtype.name in dtypes


# Arguments by class of operation. Each gives a function of a Draw.


def elementwise(low=-4.0, high=4.0, **static):
    """One operand of any shape; static arguments are drawn from their options."""

    def make(d):
        return call(d.array(low=low, high=high), **{k: d.pick(*v) for k, v in static.items()})

    return make


def binary(low=-4.0, high=4.0, count=2, scalars=True):
    """Operands that broadcast."""
    return lambda d: call(*d.operands(count, low, high, scalars))


def reduction(low=-4.0, high=4.0, keepdims=True, one_axis=False, empty=True, **static):
    """One operand, axes of either sign or None, keepdims."""

    def make(d):
        x = d.array(d.shape(empty=empty), low=low, high=high)
        kwargs = {"axis": d.axis_or_none(x.ndim) if one_axis else d.axes(x.ndim)}
        if keepdims:
            kwargs["keepdims"] = d.flip() and x.ndim > 0
        return call(x, **kwargs, **{k: d.pick(*v) for k, v in static.items()})

    return make


def along(low=-4.0, high=4.0, empty=True, none=True, **static):
    """One operand of at least one axis, and an axis."""

    def make(d):
        x = d.array(d.shape(1, empty=empty), low=low, high=high)
        axis = d.axis_or_none(x.ndim) if none else d.axis(x.ndim)
        return call(x, axis=axis, **{k: d.pick(*v) for k, v in static.items()})

    return make


def pieces(low_rank=1, axis=True):
    """A list of operands that agree but for one axis."""

    def make(d):
        shape = d.shape(low_rank)
        at = d.axis(len(shape)) if shape and axis else 0
        parts = []
        for _ in range(d.between(1, 3)):
            own = list(shape)
            if axis and shape:
                own[at] = d.pick(1, 2, 3)
            parts.append(d.array(tuple(own), d.other_dtype()))
        return call(parts, axis=at) if axis else call(parts)

    return make


def layout(d, x, *others):
    """Arrays [batch, ..., channels] in either layout, and its name."""
    if d.flip():
        return x, *others, "channels_last"
    return *(np.ascontiguousarray(np.moveaxis(a, -1, 1)) for a in (x, *others)), "channels_first"


def images(*extra, channels=(1, 2, 3), high=4.0, low=-4.0, **static):
    """A batch of small images in either layout, and whatever `extra` draws from it."""

    def make(d):
        shape = (d.pick(1, 2), d.pick(4, 5, 6), d.pick(4, 5, 7), d.pick(*channels))
        x = d.array(shape, low=low, high=high, special=False)
        more = [e(d, x) for e in extra]
        options = {k: d.pick(*v) for k, v in static.items()}
        x, data_format = layout(d, x)
        return call(x, *more, **options, data_format=data_format)

    return make
