"""What elementwise primitives are made of: sets of dtypes, broadcasting, numbers as operands."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import STATE, Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.primitives.reduce import reduce_sum
from keras_native.engine.primitives.shape import full, reshape
from keras_native.engine.tensor import Tensor, from_numpy

BOOL = frozenset({"bool"})
INTEGERS = frozenset(dtypes.INTEGERS)
BITS = INTEGERS | BOOL
FLOATS = frozenset(dtypes.FLOATS)
REAL = INTEGERS | FLOATS
INEXACT = FLOATS | frozenset(dtypes.COMPLEX)
NUMERIC = REAL | INEXACT
ORDERED = REAL | BOOL
ANY = NUMERIC | BOOL

# NumPy has no fast or no exact arithmetic in these: references compute in float32 and round once.
_NARROW = frozenset({"float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"})


def broadcast_dims(op: str, inputs) -> tuple:
    """The common shape of the inputs; ValueError naming `op` and the operands if there is none.

    Sizes known to be one are settled before anything symbolic is compared, to record few guards.
    """
    dims = inputs[0].dims
    for t in inputs[1:]:
        other = t.dims
        if other is dims or not other:
            continue
        if len(other) > len(dims):
            dims, other = other, dims
        lead = len(dims) - len(other)
        merged = list(dims[:lead])
        for a, b in zip(dims[lead:], other):
            if a is b or (type(b) is int and b == 1):
                merged.append(a)
            elif type(a) is int and a == 1:
                merged.append(b)
            elif a == b or b == 1:
                merged.append(a)
            elif a == 1:
                merged.append(b)
            else:
                raise ValueError(f"{op}: shapes do not broadcast: {signature(inputs)}")
        dims = tuple(merged)
    return dims


def unbroadcast(ct: Tensor, dims: tuple) -> Tensor:
    """Sums a cotangent over the axes along which an operand of shape `dims` was broadcast."""
    if ct.dims is dims or (not dims and not ct.dims):
        return ct
    lead = len(ct.dims) - len(dims)
    axes = list(range(lead))
    for i, (have, want) in enumerate(zip(ct.dims[lead:], dims), start=lead):
        if have is want or (type(have) is int and have == 1):
            continue
        if (type(want) is int and want == 1) or have != want:
            axes.append(i)
    if not axes:
        return ct
    return reshape(reduce_sum(ct, tuple(axes)), dims)


@lru_cache(maxsize=4096)
def _eager_scalar(value, dtype: str, negative_zero: bool) -> Tensor:
    # A key of its own: -0.0 is equal to 0.0.
    if type(value) is int and dtype in dtypes.INTEGERS:
        value = dtypes.wrapped(value, dtype)
    return from_numpy(np.asarray(value, dtypes.NUMPY[dtype]))


def scalar(value, dtype: str) -> Tensor:
    """A tensor of shape () from a Python number; recorded as a constant under trace."""
    if STATE.trace is None:
        negative = type(value) is float and value == 0 and math.copysign(1, value) < 0
        return _eager_scalar(value, dtype, negative)
    return full((), value, dtype)


class Elementwise(Primitive):
    """A primitive that works element by element on operands of equal dtype.

    Args:
        name: as for Primitive.
        accepts: dtypes of the operands.
        reference: on NumPy arrays; called with float32 for narrower floats unless `exact`.
        gradient: `gradient(g, y, *inputs, **attrs)`, as the head of `elementwise` says.
        result: dtype of the result, or a function of the operands' dtype; by default the same.
        exact: the reference is given narrow floats as they are.
    """

    def __init__(
        self,
        name: str,
        accepts: frozenset[str],
        reference: Callable,
        gradient: Callable | None = None,
        *,
        result: str | Callable[[str], str] | None = None,
        exact: bool = False,
    ):
        self.accepts = accepts
        self.result = result if callable(result) else (lambda dtype: result or dtype)
        self.gradient = gradient
        self.exact = exact
        self.numpy_reference = reference
        vjp = None if gradient is None else self._vjp
        super().__init__(
            name, shape=self._shape, reference=self._reference, batch=batch.aligned, vjp=vjp
        )

    def __call__(self, *operands, **attrs) -> Tensor:
        """Tensors of equal dtype (Python numbers take it), shapes that broadcast.

        Raises:
            TypeError: dtypes differ or the operation is not defined for them.
            ValueError: the shapes do not broadcast.
        """
        for operand in operands:
            if not isinstance(operand, Tensor):
                operands = self._lift(operands)
                break
        return super().__call__(*operands, **attrs)

    def _lift(self, operands) -> tuple:
        like = next((t.dtype for t in reversed(operands) if isinstance(t, Tensor)), None)
        lifted = []
        for x in operands:
            if not isinstance(x, Tensor):
                if like is None or not isinstance(x, (bool, int, float, complex)):
                    raise TypeError(f"{self.name}: expected tensors, got {type(x).__name__}")
                if isinstance(x, float) and like not in INEXACT:
                    raise TypeError(f"{self.name}: {x} beside a tensor of dtype {like}")
                x = scalar(x, like)
            lifted.append(x)
        return tuple(lifted)

    def _check_dtypes(self, inputs) -> str:
        dtype = inputs[0].dtype
        for t in inputs:
            if t.dtype != dtype:
                raise TypeError(f"{self.name}: dtypes differ: {signature(inputs)}")
        if dtype not in self.accepts:
            raise TypeError(f"{self.name}: not defined for dtype {dtype}: {signature(inputs)}")
        return self.result(dtype)

    def _shape(self, *inputs, **attrs):
        return broadcast_dims(self.name, inputs), self._check_dtypes(inputs)

    def _reference(self, *arrays, **attrs):
        with np.errstate(all="ignore"):
            if not self.exact and dtypes.from_numpy(arrays[0].dtype) in _NARROW:
                wide = self.numpy_reference(*(a.astype(np.float32) for a in arrays), **attrs)
                result = self.result(dtypes.from_numpy(arrays[0].dtype))
                return np.asarray(wide).astype(dtypes.NUMPY[result])
            return self.numpy_reference(*arrays, **attrs)

    def _vjp(self, g, y, *inputs, **attrs) -> tuple:
        cts = self.gradient(g, y, *inputs, **attrs)
        if not isinstance(cts, tuple):
            cts = (cts,)
        return tuple(None if ct is None else unbroadcast(ct, t.dims) for ct, t in zip(cts, inputs))
