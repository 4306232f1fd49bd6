"""Eigenvalues, singular values, QR, and what is composed of them: as `linalg`.

Cotangents are not conjugated (as in JAX), so that in the rules for complex matrices the
conjugated vectors stand where textbooks have the vectors.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitive import Primitive
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.primitives.linalg import solve, triangular_solve
from keras_native.engine.primitives.linalg_common import (
    adjoint,
    as_dtype_of,
    check,
    column,
    conj,
    hermitian,
    identity,
    imaginary,
    lower_triangle,
    mask,
    of_finite,
    on_diagonal,
    on_host,
    row,
    transposed,
    zeros_like,
)
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.tensor import Tensor

_COMPLEX = {"float64": "complex128", "complex128": "complex128"}


# eigh


def _eigh_shape(a):
    check("eigh", a, square=True)
    return [(a.dims[:-1], dtypes.part(a.dtype)), (a.dims, a.dtype)]


def _gaps(w: Tensor) -> Tensor:
    """1 / (w_j - w_i), 0 on the diagonal."""
    difference = ew.sub(row(w), column(w))
    same = mask(w.dims[-1], w.dims[-1], ew.eq)
    safe = ew.select(same, scalar(1, w.dtype), difference)
    return ew.select(same, scalar(0, w.dtype), ew.reciprocal(safe))


def _eigh_vjp(ct, out, a):
    ct_w, ct_v = ct
    w, v = out
    inner = as_dtype_of(on_diagonal(zeros_like(w) if ct_w is None else ct_w), v)
    if ct_v is not None:
        gaps = as_dtype_of(_gaps(w), v)
        inner = ew.add(inner, ew.mul(gaps, matmul(v, ct_v, transpose_a=True)))
    return (hermitian(matmul(matmul(conj(v), inner), v, transpose_b=True)),)


_eigh = Primitive(
    "eigh",
    shape=_eigh_shape,
    reference=on_host(of_finite(lambda a: tuple(np.linalg.eigh(a)))),
    vjp=_eigh_vjp,
)


def eigh(a: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues[..., n] ascending and eigenvectors (columns) of Hermitian a[..., n, n]."""
    return _eigh(a)


# eig


def _eig_shape(a):
    check("eig", a, square=True)
    dtype = _COMPLEX.get(a.dtype, "complex64")
    return [(a.dims[:-1], dtype), (a.dims, dtype)]


def _eig_reference(a):
    w, v = np.linalg.eig(a)
    dtype = np.complex128 if a.dtype in (np.float64, np.complex128) else np.complex64
    return w.astype(dtype), v.astype(dtype)


def _eig_vjp(ct, out, a):
    """For eigenvectors of unit length, whose phase carries no derivative."""
    ct_w, ct_v = (None if c is None else ew.conj(c) for c in ct)
    w, v = out
    inner = zeros_like(v)
    if ct_v is not None:
        vh = adjoint(v)
        along = matmul(vh, ct_v)
        on = identity(w.dims[-1], v.dtype)
        phase = ew.cast(ew.real(ew.mul(along, on)), v.dtype)
        along = ew.sub(along, matmul(matmul(vh, v), phase))
        inner = ew.mul(along, ew.conj(_gaps(w)))
    if ct_w is not None:
        inner = ew.add(inner, on_diagonal(ct_w))
    # V^-H inner V^H, and from the complex cotangent back to this engine's unconjugated ones.
    whole = ew.conj(matmul(solve(adjoint(v), inner), adjoint(v)))
    return (whole if a.dtype in dtypes.COMPLEX else ew.cast(ew.real(whole), a.dtype),)


_eig = Primitive(
    "eig", shape=_eig_shape, reference=on_host(of_finite(_eig_reference)), vjp=_eig_vjp
)


def eig(a: Tensor) -> tuple[Tensor, Tensor]:
    """Complex eigenvalues[..., n] and eigenvectors (columns) of a[..., n, n]."""
    return _eig(a)


# svd


def _svd_shape(a, *, full_matrices):
    check("svd", a)
    *lead, m, n = a.dims
    k = min(m, n)
    rows, columns = (m, n) if full_matrices else (k, k)
    return [
        ((*lead, m, rows), a.dtype),
        ((*lead, k), dtypes.part(a.dtype)),
        ((*lead, columns, n), a.dtype),
    ]


def _svd_vjp(ct, out, a, *, full_matrices):
    ct_u, ct_s, ct_vh = ct
    u, s, vh = out
    m, n = a.dims[-2:]
    if full_matrices and m != n:
        if ct_u is not None or ct_vh is not None:
            raise UnsupportedError("svd: no gradient of the vectors with full_matrices=True")
        k = min(m, n)
        u = ss.slice(u, [None] * u.ndim, [None] * (u.ndim - 1) + [k])
        vh = ss.slice(vh, [None] * vh.ndim, [None] * (vh.ndim - 2) + [k, None])
    u, vt = conj(u), conj(vh)
    inner = as_dtype_of(on_diagonal(zeros_like(s) if ct_s is None else ct_s), a)
    if ct_u is None and ct_vh is None:
        return (matmul(matmul(u, inner), vt),)
    # F_ij = 1 / (s_j^2 - s_i^2) couples what rotates within the singular vectors.
    f = as_dtype_of(_gaps(ew.square(s)), a)
    s = as_dtype_of(s, a)
    whole_u = whole_v = None
    if ct_u is not None:
        turned = matmul(adjoint(u), ct_u)
        j = ew.mul(f, turned)
        inner = ew.add(inner, ew.mul(ew.add(j, adjoint(j)), row(s)))
        if a.dtype in dtypes.COMPLEX:
            phase = ew.mul(imaginary(turned), identity(s.dims[-1], a.dtype))
            inner = ew.add(inner, ew.div(phase, row(s)))
        whole_u = _outside(u, ct_u, s)
    if ct_vh is not None:
        v, ct_v = adjoint(vt), adjoint(ct_vh)
        k = ew.mul(f, matmul(vt, ct_v))
        inner = ew.add(inner, ew.mul(column(s), ew.add(k, adjoint(k))))
        whole_v = _outside(v, ct_v, s)
    da = matmul(matmul(u, inner), vt)
    if whole_u is not None and m > s.dims[-1]:
        da = ew.add(da, matmul(whole_u, vt))
    if whole_v is not None and n > s.dims[-1]:
        da = ew.add(da, matmul(u, adjoint(whole_v)))
    return (da,)


def _outside(basis: Tensor, ct: Tensor, s: Tensor) -> Tensor:
    """The part of a cotangent outside the span of the basis, over the singular values."""
    inside = matmul(basis, matmul(adjoint(basis), ct))
    return ew.div(ew.sub(ct, inside), row(s))


_svd = Primitive(
    "svd",
    shape=_svd_shape,
    reference=on_host(
        of_finite(lambda a, *, full_matrices: tuple(np.linalg.svd(a, full_matrices=full_matrices)))
    ),
    vjp=_svd_vjp,
)


def svd(a: Tensor, full_matrices: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """u, singular values descending, v^H with a = u s v^H; `full_matrices`: u and v are square."""
    return _svd(a, full_matrices=bool(full_matrices))


# qr


def _qr_shape(a, *, complete):
    check("qr", a)
    *lead, m, n = a.dims
    k = m if complete else min(m, n)
    return [((*lead, m, k), a.dtype), ((*lead, k, n), a.dtype)]


def _qr_vjp(ct, out, a, *, complete):
    q, r = out
    m, n = a.dims[-2:]
    if complete and m > n:
        raise UnsupportedError("qr: no gradient with mode='complete' for more rows than columns")
    ct_q, ct_r = (zeros_like(o) if c is None else c for c, o in zip(ct, out))
    if m >= n:
        return (_qr_tall(q, r, ct_q, ct_r),)
    # A wide matrix is [X | Y] with X = Q U, Y = Q V.
    whole = [None] * (a.ndim - 1)
    ct_u, ct_v = (
        ss.slice(ct_r, [*whole, 0], [*whole, m]),
        ss.slice(ct_r, [*whole, m], [*whole, n]),
    )
    u = ss.slice(r, [*whole, 0], [*whole, m])
    y = ss.slice(a, [*whole, m], [*whole, n])
    ct_q = ew.add(ct_q, matmul(conj(y), adjoint(ct_v)))
    return (sh.concat([_qr_tall(q, u, ct_q, ct_u), matmul(conj(q), ct_v)], a.ndim - 1),)


def _qr_tall(q, r, ct_q, ct_r):
    """(ct_q + q* copy(M)) r^-T with M = r* ct_r^H - ct_q^H q*, its lower triangle copied up."""
    conjugated = conj(q)
    m = ew.sub(matmul(conj(r), adjoint(ct_r)), matmul(adjoint(ct_q), conjugated))
    low = lower_triangle(m, 0.5)
    inner = ew.add(ct_q, matmul(conjugated, ew.add(low, adjoint(low))))
    return transposed(triangular_solve(r, transposed(inner), False, False))


_qr = Primitive(
    "qr",
    shape=_qr_shape,
    reference=on_host(
        lambda a, *, complete: tuple(np.linalg.qr(a, "complete" if complete else "reduced"))
    ),
    vjp=_qr_vjp,
)


def qr(a: Tensor, complete: bool = False) -> tuple[Tensor, Tensor]:
    """Orthonormal q and upper triangular r with a = q r; `complete`: q is square."""
    return _qr(a, complete=bool(complete))


# Composed of the above


def pinv(a: Tensor, rcond: Tensor) -> Tensor:
    """The pseudo-inverse; singular values not above rcond times the largest count as 0."""
    u, s, vh = svd(a, False)
    return matmul(ew.mul(adjoint(vh), ew.cast(row(_inverted(s, rcond)), a.dtype)), adjoint(u))


def lstsq(a: Tensor, b: Tensor, rcond: Tensor) -> Tensor:
    """x[..., n, k] of least norm among those that minimise |a x - b|."""
    u, s, vh = svd(a, False)
    coordinates = ew.mul(ew.cast(column(_inverted(s, rcond)), a.dtype), matmul(adjoint(u), b))
    return matmul(adjoint(vh), coordinates)


def _inverted(s: Tensor, rcond) -> Tensor:
    cutoff = ew.mul(rd.reduce_max(s, -1, True), rcond)
    keep = ew.gt(s, cutoff)
    safe = ew.select(keep, s, scalar(1, s.dtype))
    return ew.select(keep, ew.reciprocal(safe), scalar(0, s.dtype))
