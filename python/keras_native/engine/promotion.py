"""Operands of one dtype: what operators and Keras's functions do before they call a primitive.

Python numbers are weak: they take the tensor's dtype where it can hold their kind. Equal dtypes
stay as they are, 64-bit ones too; everything else follows `dtypes.result_type`.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.symbolic import SymInt
from keras_native.engine.tensor import Tensor, from_numpy

_NUMBERS = (bool, int, float, complex)
_EXACT = frozenset(dtypes.INTEGERS)
_INEXACT = frozenset(dtypes.FLOATS + dtypes.COMPLEX)
# What takes a Python number of this type without changing its own dtype.
_HOLDS = {
    bool: frozenset(dtypes.NAMES),
    int: _EXACT | _INEXACT,
    float: _INEXACT,
    complex: frozenset(dtypes.COMPLEX),
}


def default_floatx() -> str:
    """The float dtype that weak floats take beside integers; the Keras face replaces it."""
    return "float32"


floatx = default_floatx


def result_type(*types) -> str:
    """`dtypes.result_type` at the current default float dtype; equal dtypes stay as they are."""
    first = types[0]
    if type(first) is str and all(t == first or _is_weaker(t, first) for t in types[1:]):
        return first
    return dtypes.result_type(*types, floatx=floatx())


def _is_weaker(kind, dtype: str) -> bool:
    return type(kind) is type and dtype in _HOLDS.get(kind, ())


def kind(x):
    """What `result_type` takes for an operand: its dtype, or the type of a Python number."""
    if isinstance(x, Tensor):
        return x.dtype
    for number in _NUMBERS:
        if isinstance(x, number):
            return number
    return int if is_symbolic_size(x) else x.dtype


def is_symbolic_size(x) -> bool:
    """Whether `x` is a size that is symbolic under trace: weak, as a Python int."""
    return type(x) is SymInt


def pair(x1, x2) -> tuple:
    """Two operands as primitives want them: of one dtype, or one of them a number that takes it.

    Args:
        x1, x2: tensors or Python numbers; at least one tensor, or both become tensors.
    """
    if isinstance(x1, Tensor):
        if isinstance(x2, Tensor):
            if x1.dtype == x2.dtype:
                return x1, x2
        elif type(x2) in _HOLDS and x1.dtype in _HOLDS[type(x2)]:
            return x1, x2
    elif isinstance(x2, Tensor) and type(x1) in _HOLDS and x2.dtype in _HOLDS[type(x1)]:
        return x1, x2
    dtype = result_type(kind(x1), kind(x2))
    return as_dtype(x1, dtype), as_dtype(x2, dtype)


def as_dtype(x, dtype: str) -> Tensor:
    """A tensor, Python number or symbolic size as a tensor of this dtype."""
    if isinstance(x, Tensor):
        return x if x.dtype == dtype else ew.cast(x, dtype)
    if is_symbolic_size(x):
        return sh.full((), x, dtype)
    return scalar(x, dtype)


def as_operand(x):
    """The other operand of a Python operator: tensors and numbers as they are, arrays converted.

    Returns NotImplemented for whatever should answer for itself (variables, symbolic tensors).
    """
    if isinstance(x, Tensor) or type(x) in _NUMBERS:
        return x
    if isinstance(x, (np.ndarray, np.generic, list, tuple)):
        array = np.asarray(x)
        if array.dtype.kind not in "OUSMm":
            return from_numpy(array)
    if is_symbolic_size(x):
        return x
    return NotImplemented
