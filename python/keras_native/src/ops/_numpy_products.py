"""Products of keras.ops: matrices, contractions, correlations."""

from __future__ import annotations

import math

from keras_native.engine import promotion
from keras_native.engine.primitives import conv as cv
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.einsum import einsum as contract
from keras_native.engine.primitives.matmul import matmul as matrix_product
from keras_native.engine.tensor import Tensor
from keras_native.src.ops._numpy_common import (
    as_float,
    axis_of,
    operators,
    result_type,
    tensor,
    tensors,
)
from keras_native.src.ops._numpy_math import conjugate, multiply
from keras_native.src.ops._numpy_reduce import sum as _sum
from keras_native.src.ops._numpy_shape import diagonal, moveaxis, ravel


def matmul(x1, x2):
    """NumPy's matmul; int8 by int8 accumulates to int32."""
    x1, x2 = tensor(x1), tensor(x2)
    if x1.dtype == x2.dtype != "bool":
        return operators.matmul(x1, x2)
    x1, x2 = tensors(x1, x2)
    if x1.dtype == "bool":
        return ew.cast(operators.matmul(ew.cast(x1, "int32"), ew.cast(x2, "int32")), "bool")
    return operators.matmul(x1, x2, x1.dtype)


def einsum(subscripts, *operands, **kwargs):
    """Einstein summation; int8 operands accumulate to int32. Further options are ignored."""
    given = [tensor(x) for x in operands]
    xs = tensors(*given)
    dtype = xs[0].dtype
    if dtype == "bool":
        return ew.cast(contract(subscripts, *(ew.cast(x, "int32") for x in xs)), "bool")
    wider = all(x.dtype == "int8" for x in given)
    return contract(subscripts, *xs, out_dtype="int32" if wider else None)


def _pair(x1, x2) -> list[Tensor]:
    return tensors(tensor(x1), tensor(x2))


def _contract_pair(a: Tensor, b: Tensor, axes_a, axes_b) -> Tensor:
    """The sum over pairs of axes: those left of a, then those left of b."""
    if a.dtype == "bool":
        a, b = ew.cast(a, "int32"), ew.cast(b, "int32")
        return ew.cast(_contract_pair(a, b, axes_a, axes_b), "bool")
    free_a = [i for i in range(a.ndim) if i not in axes_a]
    free_b = [i for i in range(b.ndim) if i not in axes_b]
    dims = [a.dims[i] for i in free_a] + [b.dims[i] for i in free_b]
    inner = math.prod(a.dims[i] for i in axes_a)
    a = sh.transpose(a, [*free_a, *axes_a])
    b = sh.transpose(b, [*axes_b, *free_b])
    a = sh.reshape(a, (math.prod(a.dims[: len(free_a)]), inner))
    b = sh.reshape(b, (inner, math.prod(b.dims[len(axes_b) :])))
    return sh.reshape(matrix_product(a, b), dims)


def tensordot(x1, x2, axes=2):
    """The sum of products over axes: the last of x1 with the first of x2 (so many), or the pairs
    of axes given.

    Raises:
        ValueError: axes that do not pair up.
    """
    a, b = _pair(x1, x2)
    if isinstance(axes, int):
        axes_a, axes_b = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        axes_a, axes_b = ([v] if isinstance(v, int) else list(v) for v in axes)
    axes_a = [axis_of(i, a.ndim) for i in axes_a]
    axes_b = [axis_of(i, b.ndim) for i in axes_b]
    if len(axes_a) != len(axes_b) or any(
        a.dims[i] is not b.dims[j] and a.dims[i] != b.dims[j] for i, j in zip(axes_a, axes_b)
    ):
        raise ValueError(
            f"tensordot: axes {axes} do not pair up the sizes of shapes {a.shape} and {b.shape}"
        )
    return _contract_pair(a, b, axes_a, axes_b)


def dot(x1, x2):
    """NumPy's dot: over the last axis of x1 and the last but one of x2; with a scalar a product."""
    a, b = _pair(x1, x2)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    if a.ndim == b.ndim == 2 and a.dtype != "bool":
        return matrix_product(a, b)
    return tensordot(a, b, ([a.ndim - 1], [max(b.ndim - 2, 0)]))


def inner(x1, x2):
    """The sum of products over the last axes; with a scalar a product."""
    a, b = _pair(x1, x2)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    return tensordot(a, b, ([a.ndim - 1], [b.ndim - 1]))


def vdot(x1, x2):
    """The scalar product of flattened tensors, the first one conjugated."""
    a, b = _pair(x1, x2)
    return tensordot(ravel(conjugate(a)), ravel(b), 1)


def outer(x1, x2):
    """All products of elements of x1 and x2, flattened: a matrix."""
    a, b = _pair(x1, x2)
    return multiply(sh.reshape(a, (a.size, 1)), ravel(b))


def kron(x1, x2):
    """The Kronecker product: blocks of x2 scaled by the elements of x1."""
    a, b = _pair(x1, x2)
    rank = max(a.ndim, b.ndim)
    left = (1,) * (rank - a.ndim) + tuple(a.dims)
    right = (1,) * (rank - b.ndim) + tuple(b.dims)
    a = sh.reshape(a, [v for d in left for v in (d, 1)])
    b = sh.reshape(b, [v for d in right for v in (1, d)])
    return sh.reshape(multiply(a, b), [p * q for p, q in zip(left, right)])


def cross(x1, x2, axisa=-1, axisb=-1, axisc=-1, axis=None):
    """The cross product of vectors of 2 or 3 elements; of two of 2 elements its third component.

    Raises:
        ValueError: vectors of other lengths.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = _pair(x1, x2)
    a, b = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if a.dims[-1] not in (2, 3) or b.dims[-1] not in (2, 3):
        raise ValueError(
            "cross: both vectors must have 2 or 3 elements. "
            f"Received: x1.shape={a.shape}, x2.shape={b.shape}"
        )
    ax, ay, *az = (a[..., i] for i in range(a.dims[-1]))
    bx, by, *bz = (b[..., i] for i in range(b.dims[-1]))
    z = ew.sub(ew.mul(ax, by), ew.mul(ay, bx))
    if not az and not bz:
        return z
    x = _difference(ay, bz, az, by)
    y = _difference(az, bx, ax, bz)
    dims = z.dims
    return moveaxis(sh.stack([sh.broadcast_to(v, dims) for v in (x, y, z)], -1), -1, axisc)


def _difference(a, b, c, d):
    """a b - c d, where a third component that is missing (an empty list) is 0."""
    a, b, c, d = (v[0] if isinstance(v, list) and v else v for v in (a, b, c, d))
    first = None if isinstance(a, list) or isinstance(b, list) else ew.mul(a, b)
    second = None if isinstance(c, list) or isinstance(d, list) else ew.mul(c, d)
    if second is None:
        return first
    return ew.neg(second) if first is None else ew.sub(first, second)


def trace(x, offset=0, axis1=0, axis2=1):
    """The sum of a diagonal."""
    return _sum(diagonal(x, offset, axis1, axis2), -1)


def correlate(x1, x2, mode="valid"):
    """The cross-correlation of two vectors; integers as float32.

    Raises:
        ValueError: not vectors, or an unknown mode.
    """
    x1, x2 = tensor(x1), tensor(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"correlate: expected vectors, got shapes {x1.shape} and {x2.shape}")
    x1, x2 = tensors(x1, x2, dtype=result_type(x1.dtype, x2.dtype, float))
    n, m = x1.dims[0], x2.dims[0]
    if m > n:
        # With the roles exchanged the result comes out backwards.
        return sh.flip(correlate(conjugate(x2), conjugate(x1), mode), (0,))
    x2 = conjugate(x2)
    if mode == "valid":
        borders = (0, 0)
    elif mode == "full":
        borders = (m - 1, m - 1)
    elif mode == "same":
        borders = (m // 2, m - 1 - m // 2)
    else:
        raise ValueError(f"`mode` must be 'valid', 'same' or 'full'. Received: mode={mode}")
    signal, kernel = sh.reshape(x1, (1, n, 1)), sh.reshape(x2, (m, 1, 1))
    out = cv.conv(signal, kernel, strides=(1,), padding=(borders,), dilation=(1,))
    return sh.reshape(out, (-1,))


def cov(x):
    """The covariance matrix of the rows of x, over observations - 1.

    Raises:
        ValueError: more than 2 axes.
    """
    x = as_float(x)
    if x.ndim > 2:
        raise ValueError(
            f"Input tensor must have at most 2 dimensions. Received: x.shape={x.shape}"
        )
    rows = x if x.ndim == 2 else sh.reshape(x, (1, x.size))
    away = ew.sub(rows, rd.reduce_mean(rows, 1, True))
    out = matrix_product(away, conjugate(away), transpose_b=True)
    out = ew.div(out, promotion.as_dtype(rows.dims[1] - 1, out.dtype))
    return sh.reshape(out, ()) if x.ndim < 2 else out


def corrcoef(x):
    """The correlation coefficients of the rows of x."""
    x = as_float(x)
    if x.ndim < 2:
        variance = cov(x)
        return ew.div(variance, variance)
    c = cov(x)
    deviation = ew.sqrt(diagonal(c))
    count = c.dims[0]
    c = ew.div(c, sh.reshape(deviation, (count, 1)))
    return ew.div(c, deviation)
