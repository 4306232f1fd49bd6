"""What the primitives of linear algebra share: checks, references on the host, small functions of
matrices."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.elementwise_common import INEXACT
from keras_native.engine.tensor import Tensor


def check(op: str, *matrices: Tensor, square: bool = False) -> None:
    first = matrices[0]
    if any(t.dtype != first.dtype for t in matrices):
        raise TypeError(f"{op}: dtypes differ: {signature(matrices)}")
    if first.dtype not in INEXACT:
        raise TypeError(f"{op}: expected floating point or complex, got {signature(matrices)}")
    if any(t.ndim < 2 for t in matrices):
        raise ValueError(f"{op}: expected matrices [..., m, n], got {signature(matrices)}")
    if square and not sh.same(first.dims[-1], first.dims[-2]):
        raise ValueError(f"{op}: expected square matrices, got {signature(matrices)}")


def square_shape(op: str):
    """The shape rule of a function from square matrices to matrices like them."""

    def shape(a, **attrs):
        check(op, a, square=True)
        return a.dims, a.dtype

    return shape


def solution_shape(op: str):
    """The shape rule of a function of a[..., n, n] and b[..., n, k] whose result is like b."""

    def shape(a, b, **attrs):
        check(op, a, b, square=True)
        if not sh.same(a.dims[-1], b.dims[-2]) or len(a.dims) != len(b.dims):
            raise ValueError(f"{op}: shapes do not fit: {signature([a, b])}")
        return b.dims, b.dtype

    return shape


def on_host(function):
    """A reference in a dtype that LAPACK has; float results go back to the dtype of the first."""

    def reference(*arrays, **attrs):
        narrow = arrays[0].dtype
        if dtypes.from_numpy(narrow) not in ("float16", "bfloat16"):
            return function(*arrays, **attrs)
        outs = function(*(a.astype(np.float32) for a in arrays), **attrs)
        if not isinstance(outs, tuple):
            return outs.astype(narrow)
        return tuple(o.astype(narrow) if o.dtype == np.float32 else o for o in outs)

    return reference


def of_finite(function):
    """A decomposition of the matrices that are finite, and NaN for the others: LAPACK's iterations
    need not end on these."""

    def reference(a, **attrs):
        other = ~np.isfinite(a).all((-2, -1))
        if not other.any():
            return function(a, **attrs)
        outs = function(np.where(other[..., None, None], np.zeros((), a.dtype), a), **attrs)
        for out in outs if isinstance(outs, tuple) else (outs,):
            out[other] = np.nan
        return outs

    return reference


# Small things of matrices


def transposed(x: Tensor) -> Tensor:
    """Transposed."""
    return sh.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def conj(x: Tensor) -> Tensor:
    return ew.conj(x) if x.dtype in dtypes.COMPLEX else x


def adjoint(x: Tensor) -> Tensor:
    """Transposed and conjugated."""
    return conj(transposed(x))


def hermitian(x: Tensor) -> Tensor:
    """The Hermitian part: what a cotangent of a Hermitian matrix can be told by."""
    return ew.mul(ew.add(x, adjoint(x)), 0.5)


def as_dtype_of(x: Tensor, like: Tensor) -> Tensor:
    return x if x.dtype == like.dtype else ew.cast(x, like.dtype)


def imaginary(x: Tensor) -> Tensor:
    """i times the imaginary part."""
    part = ew.imag(x)
    return ew.complex_(ew.mul(part, 0.0), part)


def column(v: Tensor) -> Tensor:
    return sh.expand_dims(v, -1)


def row(v: Tensor) -> Tensor:
    return sh.expand_dims(v, -2)


def mask(rows, columns, keep) -> Tensor:
    """Whether keep(row, column) holds."""
    return keep(column(sh.iota(rows)), sh.iota(columns))


def lower_triangle(x: Tensor, diagonal: float = 1.0) -> Tensor:
    """The lower triangle, the diagonal scaled."""
    rows, columns = x.dims[-2:]
    part = ew.cast(mask(rows, columns, ew.gt), x.dtype)
    if diagonal:
        on = ew.cast(mask(rows, columns, ew.eq), x.dtype)
        part = ew.add(part, ew.mul(on, diagonal))
    return ew.mul(x, part)


def upper_triangle(x: Tensor, diagonal: float = 1.0) -> Tensor:
    return transposed(lower_triangle(transposed(x), diagonal))


def identity(n, dtype: str) -> Tensor:
    return ew.cast(mask(n, n, ew.eq), dtype)


def on_diagonal(v: Tensor) -> Tensor:
    return ew.mul(column(v), identity(v.dims[-1], v.dtype))


def zeros_like(x: Tensor) -> Tensor:
    return sh.full(x.dims, 0, x.dtype)
