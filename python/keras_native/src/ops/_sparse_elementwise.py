"""Elementwise functions of keras.ops on sparse tensors: the rules that `sparse.RULES` names.

A rule is called with the function for dense operands, which gives the dtypes and the elements, and
with the operands. Where it cannot keep the result sparse, it calls that function on the whole
tensors.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import promotion
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather_nd as gn
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.elementwise_common import broadcast_dims
from keras_native.engine.sparse import (
    SparseTensor,
    align,
    coalesce,
    concatenated,
    elements_at,
    entries,
    fully,
)
from keras_native.engine.tensor import Tensor
from keras_native.src.ops._numpy_common import is_inexact, result_type, tensor
from keras_native.src.ops.convert import standardize_dtype


def is_sparse(x) -> bool:
    """Whether `x` is a sparse tensor of this backend."""
    return type(x) is SparseTensor


def densely(fn, *xs):
    """`fn` of the whole tensors."""
    return fn(*(tensor(x) if is_sparse(x) else x for x in xs))


def linear(fn, x, *args, **kwargs):
    """f(a + b) = f(a) + f(b): of each entry. Of truth values the sum is none, but any."""
    x = coalesce(x) if x.dtype == "bool" else x
    return x.with_values(fn(x.values, *args, **kwargs))


def zero_preserving(fn, x, *args, **kwargs):
    """f(0) = 0: of each entry, once the entries of one position are added up."""
    return linear(fn, coalesce(x), *args, **kwargs)


def cast(fn, x, dtype):
    """Between floating-point dtypes linear, else not."""
    dtype = standardize_dtype(dtype)
    if x.dtype == dtype:
        return x
    return (linear if is_inexact(x.dtype) and is_inexact(dtype) else zero_preserving)(fn, x, dtype)


def _same_dims(x1, x2) -> bool:
    return is_sparse(x1) and is_sparse(x2) and x1.dims == x2.dims


def _promoted(x1, x2):
    return [x.with_values(v) for x, v in zip((x1, x2), promotion.pair(x1.values, x2.values))]


def sum_of_two(fn, x1, x2):
    """add, subtract: the entries of both; those of one are added into a dense operand."""
    sign = ew.neg if fn.__name__ == "subtract" else lambda values: values
    if not _same_dims(x1, x2):
        return _into_dense(fn, sign, x1, x2)
    x1, x2 = _promoted(x1, x2)
    if x1.indices is x2.indices:
        return x1.with_values(fn(x1.values, x2.values))
    if x1.n_sparse != x2.n_sparse:
        x1, x2 = fully(x1), fully(x2)
    values = sh.concat([x1.values, sign(x2.values)], 0)
    return entries(concatenated([x1.indices, x2.indices]), values, x1.dims)


def _into_dense(fn, sign, x1, x2):
    if is_sparse(x1) or not x2.n_sparse:
        return densely(fn, x1, x2)
    whole = tensor(x1)
    dtype = result_type(promotion.kind(x1) if type(x1) in (int, float) else whole.dtype, x2.dtype)
    if whole.dims != x2.dims or dtype == "bool":
        return densely(fn, x1, x2)
    values = sign(ew.cast(x2.values, dtype))
    return gn.scatter_nd_add(ew.cast(whole, dtype), x2.indices, values)


def union(fn, x1, x2):
    """f(0, 0) = 0: at the positions of both."""
    if not _same_dims(x1, x2):
        return densely(fn, x1, x2)
    x1, x2 = align(*_promoted(x1, x2))
    return x1.with_values(fn(x1.values, x2.values))


def product(fn, x1, x2):
    """multiply: at the positions of a sparse operand, the other one's elements taken there."""
    if is_sparse(x1) and is_sparse(x2):
        return union(fn, x1, x2)
    if is_sparse(x2):
        return product(lambda a, b: fn(b, a), x2, x1)
    x2 = _other(x2)
    if not _fits(x1, x2):
        return densely(fn, x1, x2)
    return x1.with_values(fn(x1.values, elements_at(x1, x2) if isinstance(x2, Tensor) else x2))


def quotient(fn, x1, x2):
    """divide: at the positions of a sparse dividend, and where 0 divided is not 0.

    Under trace these are not looked for: the result is 0 where the divisor is 0 or NaN and the
    dividend has no entry.
    """
    if is_sparse(x2) or not _fits(x1, x2 := _other(x2)):
        return densely(fn, x1, x2)
    if not isinstance(x2, Tensor) or not x2.dims:
        return x1.with_values(fn(x1.values, x2))
    if STATE.trace is None and fn.__name__ != "divide_no_nan":
        x1 = _with_zeros(x1, x2.numpy())
    return x1.with_values(fn(x1.values, elements_at(x1, x2)))


def _with_zeros(x: SparseTensor, divisor: np.ndarray) -> SparseTensor:
    """With entries, of zeros where there was none, wherever the divisor is zero or NaN."""
    undefined = (divisor == 0) | (divisor != divisor)
    if not undefined.any():
        return x
    where = np.argwhere(np.broadcast_to(undefined, x.dims))
    more = SparseTensor(where, np.zeros(len(where), bool), x.dims)
    return align(fully(x), more.with_values(ew.cast(more.values, x.dtype)))[0]


def _other(x):
    return x if type(x) in (bool, int, float) or promotion.is_symbolic_size(x) else tensor(x)


def _fits(x: SparseTensor, other) -> bool:
    """Whether the result of an operation with something dense has the sizes of x."""
    if not isinstance(other, Tensor):
        return True
    return other.ndim <= x.ndim and broadcast_dims("broadcast", [x, other]) == x.dims
