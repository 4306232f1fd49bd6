"""Solvers, factors and determinants: LAPACK through NumPy on the host, with gradient rules in
primitives. Spectral decompositions are in `linalg_spectral`.

All take [..., m, n] matrices of one float or complex dtype; 16-bit floats are computed in float32.
"""

from __future__ import annotations

import math

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitive import Primitive
from keras_native.engine.primitives import batch
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.primitives.linalg_common import (
    as_dtype_of,
    check,
    column,
    conj,
    hermitian,
    identity,
    imaginary,
    lower_triangle,
    of_finite,
    on_host,
    row,
    solution_shape,
    square_shape,
    transposed,
    upper_triangle,
)
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.tensor import Tensor

# solve, inv


def _solve_vjp(ct, x, a, b):
    db = solve(transposed(a), ct)
    return ew.neg(matmul(db, x, transpose_b=True)), db


_solve = Primitive(
    "solve",
    shape=solution_shape("solve"),
    reference=on_host(np.linalg.solve),
    batch=batch.shifted,
    vjp=_solve_vjp,
)


def solve(a: Tensor, b: Tensor) -> Tensor:
    """x with a x = b for a[..., n, n] and b[..., n, k] of equal batch sizes.

    Raises:
        ValueError: sizes that do not fit; a singular matrix (`LinAlgError`).
    """
    return _solve(a, b)


def _inv_vjp(ct, y, a):
    return (ew.neg(matmul(matmul(y, ct, transpose_a=True), y, transpose_b=True)),)


_inv = Primitive(
    "inv",
    shape=square_shape("inv"),
    reference=on_host(np.linalg.inv),
    batch=batch.shifted,
    vjp=_inv_vjp,
)


def inv(a: Tensor) -> Tensor:
    """The inverse of a[..., n, n]. A singular matrix raises `LinAlgError` (a ValueError)."""
    return _inv(a)


# triangular_solve


def _triangular_solve_reference(a, b, *, lower, transpose):
    a = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(np.swapaxes(a, -1, -2) if transpose else a, b)


def _triangular_solve_vjp(ct, x, a, b, *, lower, transpose):
    db = triangular_solve(a, ct, lower, not transpose)
    da = matmul(x, db, transpose_b=True) if transpose else matmul(db, x, transpose_b=True)
    return ew.neg(lower_triangle(da) if lower else upper_triangle(da)), db


_triangular_solve = Primitive(
    "triangular_solve",
    shape=solution_shape("triangular_solve"),
    reference=on_host(_triangular_solve_reference),
    batch=batch.shifted,
    vjp=_triangular_solve_vjp,
)


def triangular_solve(a: Tensor, b: Tensor, lower: bool = False, transpose: bool = False) -> Tensor:
    """x with t x = b, t being the lower or upper triangle of a[..., n, n] (`transpose`d)."""
    return _triangular_solve(a, b, lower=bool(lower), transpose=bool(transpose))


# cholesky


def _cholesky_vjp(ct, low, a):
    # With P taking the lower triangle and half of the diagonal: L^-T P(L^T ct) L*^-1, Hermitian.
    inner = lower_triangle(matmul(low, ct, transpose_a=True), 0.5)
    left = triangular_solve(low, inner, True, True)
    return (hermitian(transposed(triangular_solve(conj(low), transposed(left), True, True))),)


_cholesky = Primitive(
    "cholesky",
    shape=square_shape("cholesky"),
    reference=on_host(np.linalg.cholesky),
    batch=batch.shifted,
    vjp=_cholesky_vjp,
)


def cholesky(a: Tensor) -> Tensor:
    """The lower triangular L with L L^H = a; only a's lower triangle is read.

    Raises:
        ValueError: a matrix is not positive definite (`LinAlgError`).
    """
    return _cholesky(a)


# det, slogdet


def _det_shape(a):
    check("det", a, square=True)
    return a.dims[:-2], a.dtype


def _cofactor_reference(a):
    """det(a) inv(a)^T by singular values: right for singular matrices, too."""
    u, s, vh = np.linalg.svd(a)
    n = s.shape[-1]
    others = np.repeat(s[..., None, :], n, axis=-2)
    others[..., np.arange(n), np.arange(n)] = 1
    sign = np.linalg.det(u) * np.linalg.det(vh)
    scaled = u * others.prod(-1)[..., None, :]
    return (sign[..., None, None] * (scaled @ vh).conj() * 1).astype(a.dtype)


_cofactor = Primitive(
    "cofactor",
    shape=lambda a: (a.dims, a.dtype),
    reference=on_host(of_finite(_cofactor_reference)),
    vjp=lambda ct, out, a: vjp_through(
        lambda m: ew.mul(column(column(det(m))), transposed(inv(m))), ct, (a,)
    ),
)
_det = Primitive(
    "det",
    shape=_det_shape,
    reference=on_host(np.linalg.det),
    vjp=lambda ct, out, a: (ew.mul(column(column(ct)), _cofactor(a)),),
)


def det(a: Tensor) -> Tensor:
    """The determinant of a[..., n, n]."""
    return _det(a)


def _slogdet_shape(a):
    check("slogdet", a, square=True)
    return [(a.dims[:-2], a.dtype), (a.dims[:-2], dtypes.part(a.dtype))]


def _slogdet_vjp(ct, out, a):
    """The modulus turns with the real part of tr(a^-1 da), a complex sign with the imaginary."""
    turned = None if ct[1] is None else as_dtype_of(ct[1], a)
    if ct[0] is not None and a.dtype in dtypes.COMPLEX:
        phase = imaginary(ew.mul(ct[0], out[0]))
        turned = phase if turned is None else ew.add(turned, phase)
    return (None if turned is None else ew.mul(column(column(turned)), transposed(inv(a))),)


_slogdet = Primitive(
    "slogdet",
    shape=_slogdet_shape,
    reference=on_host(lambda a: tuple(np.linalg.slogdet(a))),
    vjp=_slogdet_vjp,
)


def slogdet(a: Tensor) -> tuple[Tensor, Tensor]:
    """The determinant's sign (0 if singular) and the logarithm of its modulus."""
    return _slogdet(a)


# lu


def _lu_shape(a):
    check("lu", a)
    *lead, m, n = a.dims
    return [(a.dims, a.dtype), ((*lead, min(m, n)), "int32")]


def _lu_reference(a):
    """Row by row with partial pivoting, all matrices of the batch at once (NumPy has no LU)."""
    lu = np.array(a).reshape(math.prod(a.shape[:-2]), *a.shape[-2:])
    batch, m, n = lu.shape
    pivots = np.zeros((batch, min(m, n)), np.int32)
    every = np.arange(batch)
    for k in range(min(m, n)):
        below = lu[:, k:, k]
        # By what LAPACK calls the largest: the sum of the moduli of the parts.
        pivot = k + np.argmax(np.abs(below.real) + np.abs(below.imag), axis=1)
        pivots[:, k] = pivot
        top = lu[every, k].copy()
        lu[every, k] = lu[every, pivot]
        lu[every, pivot] = top
        head = lu[:, k, k, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = np.where(head == 0, 0, lu[:, k + 1 :, k] / np.where(head == 0, 1, head))
        lu[:, k + 1 :, k] = factors
        lu[:, k + 1 :, k + 1 :] -= factors[:, :, None] * lu[:, k, None, k + 1 :]
    return lu.reshape(a.shape), pivots.reshape(*a.shape[:-2], min(m, n))


def _permutation_reference(pivots, *, size):
    """The permutation[..., size] that row exchanges k <-> pivots[k] make."""
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    rows = np.tile(np.arange(size, dtype=np.int32), (flat.shape[0], 1))
    every = np.arange(flat.shape[0])
    for k in range(flat.shape[1]):
        kept = rows[:, k].copy()
        rows[:, k] = rows[every, flat[:, k]]
        rows[every, flat[:, k]] = kept
    return rows.reshape(*pivots.shape[:-1], size)


_permutation = Primitive(
    "lu_permutation",
    shape=lambda pivots, *, size: ((*pivots.dims[:-1], size), "int32"),
    reference=_permutation_reference,
)


def _lu_vjp(ct, out, a):
    """P L^-T (tril(L^T ct_L, -1) + triu(ct_U U^T)) U^-T for square matrices."""
    lu, pivots = out
    n = a.dims[-1]
    if a.dims[-2] != n:
        raise UnsupportedError("lu: a gradient only for square matrices")
    if ct[0] is None:
        return (None,)
    low = ew.add(lower_triangle(lu, 0.0), identity(n, lu.dtype))
    inner = ew.add(
        lower_triangle(matmul(low, lower_triangle(ct[0], 0.0), transpose_a=True), 0.0),
        upper_triangle(matmul(upper_triangle(ct[0]), upper_triangle(lu), transpose_b=True)),
    )
    left = triangular_solve(low, inner, True, True)
    whole = transposed(triangular_solve(lu, transposed(left), False, False))
    rows = _permutation(pivots, size=n)
    places = ew.cast(ew.eq(column(sh.iota(n)), row(rows)), whole.dtype)
    return (matmul(places, whole),)


_lu = Primitive("lu", shape=_lu_shape, reference=on_host(_lu_reference), vjp=_lu_vjp)


def lu(a: Tensor) -> tuple[Tensor, Tensor]:
    """L (unit diagonal, below) and U (on and above the diagonal) in one matrix, and the row
    exchanges k <-> pivots[k] (int32, counted from 0) that were made."""
    return _lu(a)
