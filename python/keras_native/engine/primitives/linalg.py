"""Decompositions and solvers: LAPACK through NumPy on the host, with gradient rules in primitives.

All take [..., m, n] matrices of one float or complex dtype; 16-bit floats are computed in float32.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.tensor import Tensor

_REAL = {"complex64": "float32", "complex128": "float64"}
_COMPLEX = {"float64": "complex128", "complex128": "complex128"}


def _check(op: str, *matrices: Tensor, square: bool = False) -> None:
    first = matrices[0]
    if any(t.dtype != first.dtype for t in matrices):
        raise TypeError(f"{op}: dtypes differ: {signature(matrices)}")
    if first.dtype not in ew.INEXACT:
        raise TypeError(f"{op}: expected floating point or complex, got {signature(matrices)}")
    if any(t.ndim < 2 for t in matrices):
        raise ValueError(f"{op}: expected matrices [..., m, n], got {signature(matrices)}")
    if square and not sh.same(first.dims[-1], first.dims[-2]):
        raise ValueError(f"{op}: expected square matrices, got {signature(matrices)}")


def _host(function):
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


# Small things of matrices


def _t(x: Tensor) -> Tensor:
    """Transposed."""
    return sh.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _conj(x: Tensor) -> Tensor:
    return ew.conj(x) if x.dtype in dtypes.COMPLEX else x


def _h(x: Tensor) -> Tensor:
    """Transposed and conjugated."""
    return _conj(_t(x))


def _column(v: Tensor) -> Tensor:
    return sh.expand_dims(v, -1)


def _row(v: Tensor) -> Tensor:
    return sh.expand_dims(v, -2)


def _mask(rows, columns, keep, dtype: str) -> Tensor:
    """1 where keep(row, column) holds, else 0."""
    down = sh.reshape(sh.iota(rows), (rows, 1))
    return ew.cast(keep(down, sh.iota(columns)), dtype)


def _lower(x: Tensor, diagonal: float = 1.0) -> Tensor:
    """The lower triangle, the diagonal scaled."""
    rows, columns = x.dims[-2:]
    part = ew.cast(_mask(rows, columns, ew.gt, "float32"), x.dtype)
    if diagonal:
        on = ew.cast(_mask(rows, columns, ew.eq, "float32"), x.dtype)
        part = ew.add(part, ew.mul(on, diagonal))
    return ew.mul(x, part)


def _upper(x: Tensor, diagonal: float = 1.0) -> Tensor:
    return _t(_lower(_t(x), diagonal))


def _identity(n, dtype: str) -> Tensor:
    return ew.cast(_mask(n, n, ew.eq, "float32"), dtype)


def _on_diagonal(v: Tensor) -> Tensor:
    return ew.mul(_column(v), _identity(v.dims[-1], v.dtype))


def _zeros_like(x: Tensor) -> Tensor:
    return sh.full(x.dims, 0, x.dtype)


# solve, inv


def _solve_shape(a, b):
    _check("solve", a, b, square=True)
    if not sh.same(a.dims[-1], b.dims[-2]) or len(a.dims) != len(b.dims):
        raise ValueError(f"solve: shapes do not fit: {signature([a, b])}")
    return b.dims, b.dtype


def _solve_vjp(ct, x, a, b):
    db = solve(_t(a), ct)
    return ew.neg(matmul(db, x, transpose_b=True)), db


_solve = Primitive(
    "solve",
    shape=_solve_shape,
    reference=_host(np.linalg.solve),
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


def _inv_shape(a):
    _check("inv", a, square=True)
    return a.dims, a.dtype


_inv = Primitive(
    "inv",
    shape=_inv_shape,
    reference=_host(np.linalg.inv),
    batch=batch.shifted,
    vjp=_inv_vjp,
)


def inv(a: Tensor) -> Tensor:
    """The inverse of a[..., n, n]. A singular matrix raises `LinAlgError` (a ValueError)."""
    return _inv(a)


# triangular_solve


def _triangular_solve_shape(a, b, *, lower, transpose):
    _check("triangular_solve", a, b, square=True)
    if not sh.same(a.dims[-1], b.dims[-2]) or len(a.dims) != len(b.dims):
        raise ValueError(f"triangular_solve: shapes do not fit: {signature([a, b])}")
    return b.dims, b.dtype


def _triangular_solve_reference(a, b, *, lower, transpose):
    a = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(np.swapaxes(a, -1, -2) if transpose else a, b)


def _triangular_solve_vjp(ct, x, a, b, *, lower, transpose):
    db = triangular_solve(a, ct, lower, not transpose)
    da = matmul(x, db, transpose_b=True) if transpose else matmul(db, x, transpose_b=True)
    return ew.neg(_lower(da) if lower else _upper(da)), db


_triangular_solve = Primitive(
    "triangular_solve",
    shape=_triangular_solve_shape,
    reference=_host(_triangular_solve_reference),
    batch=batch.shifted,
    vjp=_triangular_solve_vjp,
)


def triangular_solve(a: Tensor, b: Tensor, lower: bool = False, transpose: bool = False) -> Tensor:
    """x with t x = b, t being the lower or upper triangle of a[..., n, n] (`transpose`d)."""
    return _triangular_solve(a, b, lower=bool(lower), transpose=bool(transpose))


# cholesky


def _cholesky_shape(a):
    _check("cholesky", a, square=True)
    return a.dims, a.dtype


def _cholesky_vjp(ct, low, a):
    # With P taking the lower triangle and half of the diagonal: L^-T P(L^T ct) L^-1, symmetric.
    inner = _lower(matmul(_conj(low), ct, transpose_a=True), 0.5)
    if a.dtype in dtypes.COMPLEX:
        raise UnsupportedError("cholesky: no gradient for complex matrices")
    left = triangular_solve(low, inner, True, True)
    whole = _t(triangular_solve(low, _t(left), True, True))
    return (ew.mul(ew.add(whole, _t(whole)), 0.5),)


_cholesky = Primitive(
    "cholesky",
    shape=_cholesky_shape,
    reference=_host(np.linalg.cholesky),
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
    _check("det", a, square=True)
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
    reference=_host(_cofactor_reference),
    vjp=lambda ct, out, a: vjp_through(
        lambda m: ew.mul(_column(_column(det(m))), _t(inv(m))), ct, (a,)
    ),
)
_det = Primitive(
    "det",
    shape=_det_shape,
    reference=_host(np.linalg.det),
    vjp=lambda ct, out, a: (ew.mul(_column(_column(ct)), _cofactor(a)),),
)


def det(a: Tensor) -> Tensor:
    """The determinant of a[..., n, n]."""
    return _det(a)


def _slogdet_shape(a):
    _check("slogdet", a, square=True)
    return [(a.dims[:-2], a.dtype), (a.dims[:-2], _REAL.get(a.dtype, a.dtype))]


def _slogdet_vjp(ct, out, a):
    if ct[1] is None:
        return (None,)
    if a.dtype in dtypes.COMPLEX:
        raise UnsupportedError("slogdet: no gradient for complex matrices")
    return (ew.mul(_column(_column(ct[1])), _t(inv(a))),)


_slogdet = Primitive(
    "slogdet",
    shape=_slogdet_shape,
    reference=_host(lambda a: tuple(np.linalg.slogdet(a))),
    vjp=_slogdet_vjp,
)


def slogdet(a: Tensor) -> tuple[Tensor, Tensor]:
    """The determinant's sign (0 if singular) and the logarithm of its modulus."""
    return _slogdet(a)


# eigh


def _eigh_shape(a):
    _check("eigh", a, square=True)
    return [(a.dims[:-1], _REAL.get(a.dtype, a.dtype)), (a.dims, a.dtype)]


def _gaps(w: Tensor) -> Tensor:
    """1 / (w_j - w_i), 0 on the diagonal."""
    difference = ew.sub(_row(w), _column(w))
    same = ew.eq(_identity(w.dims[-1], "float32"), 1)
    safe = ew.select(same, ew.scalar(1, w.dtype), difference)
    return ew.select(same, ew.scalar(0, w.dtype), ew.reciprocal(safe))


def _eigh_vjp(ct, out, a):
    ct_w, ct_v = ct
    w, v = out
    if a.dtype in dtypes.COMPLEX:
        raise UnsupportedError("eigh: no gradient for complex matrices")
    inner = _on_diagonal(_zeros_like(w) if ct_w is None else ct_w)
    if ct_v is not None:
        inner = ew.add(inner, ew.mul(_gaps(w), matmul(v, ct_v, transpose_a=True)))
    whole = matmul(matmul(v, inner), v, transpose_b=True)
    return (ew.mul(ew.add(whole, _t(whole)), 0.5),)


_eigh = Primitive(
    "eigh",
    shape=_eigh_shape,
    reference=_host(lambda a: tuple(np.linalg.eigh(a))),
    vjp=_eigh_vjp,
)


def eigh(a: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues[..., n] ascending and eigenvectors (columns) of Hermitian a[..., n, n]."""
    return _eigh(a)


# eig


def _eig_shape(a):
    _check("eig", a, square=True)
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
    inner = _zeros_like(v)
    if ct_v is not None:
        vh = _h(v)
        along = matmul(vh, ct_v)
        on = _identity(w.dims[-1], v.dtype)
        phase = ew.cast(ew.real(ew.mul(along, on)), v.dtype)
        along = ew.sub(along, matmul(matmul(vh, v), phase))
        inner = ew.mul(along, ew.conj(_gaps(w)))
    if ct_w is not None:
        inner = ew.add(inner, _on_diagonal(ct_w))
    # V^-H inner V^H, and from the complex cotangent back to this engine's unconjugated ones.
    whole = ew.conj(matmul(solve(_h(v), inner), _h(v)))
    return (whole if a.dtype in dtypes.COMPLEX else ew.cast(ew.real(whole), a.dtype),)


_eig = Primitive("eig", shape=_eig_shape, reference=_host(_eig_reference), vjp=_eig_vjp)


def eig(a: Tensor) -> tuple[Tensor, Tensor]:
    """Complex eigenvalues[..., n] and eigenvectors (columns) of a[..., n, n]."""
    return _eig(a)


# svd


def _svd_shape(a, *, full_matrices):
    _check("svd", a)
    *lead, m, n = a.dims
    k = min(m, n)
    rows, columns = (m, n) if full_matrices else (k, k)
    return [
        ((*lead, m, rows), a.dtype),
        ((*lead, k), _REAL.get(a.dtype, a.dtype)),
        ((*lead, columns, n), a.dtype),
    ]


def _svd_vjp(ct, out, a, *, full_matrices):
    ct_u, ct_s, ct_vh = ct
    u, s, vh = out
    if a.dtype in dtypes.COMPLEX:
        raise UnsupportedError("svd: no gradient for complex matrices")
    m, n = a.dims[-2:]
    if full_matrices and m != n:
        if ct_u is not None or ct_vh is not None:
            raise UnsupportedError("svd: no gradient of the vectors with full_matrices=True")
        k = min(m, n)
        u = sh.slice(u, [None] * u.ndim, [None] * (u.ndim - 1) + [k])
        vh = sh.slice(vh, [None] * vh.ndim, [None] * (vh.ndim - 2) + [k, None])
    v = _t(vh)
    inner = _on_diagonal(_zeros_like(s) if ct_s is None else ct_s)
    if ct_u is None and ct_vh is None:
        return (matmul(matmul(u, inner), vh),)
    # F_ij = 1 / (s_j^2 - s_i^2) couples what rotates within the singular vectors.
    f = _gaps(ew.square(s))
    whole_u = whole_v = None
    if ct_u is not None:
        j = ew.mul(f, matmul(u, ct_u, transpose_a=True))
        inner = ew.add(inner, ew.mul(ew.add(j, _t(j)), _row(s)))
        whole_u = _outside(u, ct_u, s)
    if ct_vh is not None:
        ct_v = _t(ct_vh)
        k = ew.mul(f, matmul(v, ct_v, transpose_a=True))
        inner = ew.add(inner, ew.mul(_column(s), ew.add(k, _t(k))))
        whole_v = _outside(v, ct_v, s)
    da = matmul(matmul(u, inner), vh)
    if whole_u is not None and m > s.dims[-1]:
        da = ew.add(da, matmul(whole_u, vh))
    if whole_v is not None and n > s.dims[-1]:
        da = ew.add(da, matmul(u, whole_v, transpose_b=True))
    return (da,)


def _outside(basis: Tensor, ct: Tensor, s: Tensor) -> Tensor:
    """The part of a cotangent outside the span of the basis, over the singular values."""
    inside = matmul(basis, matmul(basis, ct, transpose_a=True))
    return ew.div(ew.sub(ct, inside), _row(s))


_svd = Primitive(
    "svd",
    shape=_svd_shape,
    reference=_host(
        lambda a, *, full_matrices: tuple(np.linalg.svd(a, full_matrices=full_matrices))
    ),
    vjp=_svd_vjp,
)


def svd(a: Tensor, full_matrices: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """u, singular values descending, v^H with a = u s v^H; `full_matrices`: u and v are square."""
    return _svd(a, full_matrices=bool(full_matrices))


# qr


def _qr_shape(a, *, complete):
    _check("qr", a)
    *lead, m, n = a.dims
    k = m if complete else min(m, n)
    return [((*lead, m, k), a.dtype), ((*lead, k, n), a.dtype)]


def _qr_vjp(ct, out, a, *, complete):
    q, r = out
    m, n = a.dims[-2:]
    if a.dtype in dtypes.COMPLEX:
        raise UnsupportedError("qr: no gradient for complex matrices")
    if complete and m > n:
        raise UnsupportedError("qr: no gradient with mode='complete' for more rows than columns")
    ct_q, ct_r = (_zeros_like(o) if c is None else c for c, o in zip(ct, out))
    if m >= n:
        return (_qr_tall(q, r, ct_q, ct_r),)
    # A wide matrix is [X | Y] with X = Q U, Y = Q V.
    whole = [None] * (a.ndim - 1)
    ct_u, ct_v = (
        sh.slice(ct_r, [*whole, 0], [*whole, m]),
        sh.slice(ct_r, [*whole, m], [*whole, n]),
    )
    u = sh.slice(r, [*whole, 0], [*whole, m])
    y = sh.slice(a, [*whole, m], [*whole, n])
    ct_q = ew.add(ct_q, matmul(y, ct_v, transpose_b=True))
    return (sh.concat([_qr_tall(q, u, ct_q, ct_u), matmul(q, ct_v)], a.ndim - 1),)


def _qr_tall(q, r, ct_q, ct_r):
    """(ct_q + q copy(M)) r^-T with M = r ct_r^T - ct_q^T q, its lower triangle copied up."""
    m = ew.sub(matmul(r, ct_r, transpose_b=True), matmul(ct_q, q, transpose_a=True))
    low = _lower(m, 0.5)
    inner = ew.add(ct_q, matmul(q, ew.add(low, _t(low))))
    return _t(triangular_solve(r, _t(inner), False, False))


_qr = Primitive(
    "qr",
    shape=_qr_shape,
    reference=_host(
        lambda a, *, complete: tuple(np.linalg.qr(a, "complete" if complete else "reduced"))
    ),
    vjp=_qr_vjp,
)


def qr(a: Tensor, complete: bool = False) -> tuple[Tensor, Tensor]:
    """Orthonormal q and upper triangular r with a = q r; `complete`: q is square."""
    return _qr(a, complete=bool(complete))


# lu


def _lu_shape(a):
    _check("lu", a)
    *lead, m, n = a.dims
    return [(a.dims, a.dtype), ((*lead, min(m, n)), "int32")]


def _lu_reference(a):
    """Row by row with partial pivoting, all matrices of the batch at once (NumPy has no LU)."""
    lu = np.array(a).reshape(-1, *a.shape[-2:])
    batch, m, n = lu.shape
    pivots = np.zeros((batch, min(m, n)), np.int32)
    every = np.arange(batch)
    for k in range(min(m, n)):
        pivot = k + np.argmax(np.abs(lu[:, k:, k]), axis=1)
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
    flat = pivots.reshape(-1, pivots.shape[-1])
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
    if a.dtype in dtypes.COMPLEX or a.dims[-2] != n:
        raise UnsupportedError("lu: a gradient only for square real matrices")
    if ct[0] is None:
        return (None,)
    low = ew.add(_lower(lu, 0.0), _identity(n, lu.dtype))
    inner = ew.add(
        _lower(matmul(low, _lower(ct[0], 0.0), transpose_a=True), 0.0),
        _upper(matmul(_upper(ct[0]), _upper(lu), transpose_b=True)),
    )
    left = triangular_solve(low, inner, True, True)
    whole = _t(triangular_solve(lu, _t(left), False, False))
    rows = _permutation(pivots, size=n)
    places = ew.cast(ew.eq(_column(sh.iota(n)), _row(rows)), whole.dtype)
    return (matmul(places, whole),)


_lu = Primitive("lu", shape=_lu_shape, reference=_host(_lu_reference), vjp=_lu_vjp)


def lu(a: Tensor) -> tuple[Tensor, Tensor]:
    """L (unit diagonal, below) and U (on and above the diagonal) in one matrix, and the row
    exchanges k <-> pivots[k] (int32, counted from 0) that were made."""
    return _lu(a)


# Composed of the above


def pinv(a: Tensor, rcond: Tensor) -> Tensor:
    """The pseudo-inverse; singular values not above rcond times the largest count as 0."""
    u, s, vh = svd(a, False)
    return matmul(ew.mul(_h(vh), ew.cast(_row(_inverted(s, rcond)), a.dtype)), _h(u))


def lstsq(a: Tensor, b: Tensor, rcond: Tensor) -> Tensor:
    """x[..., n, k] of least norm among those that minimise |a x - b|."""
    u, s, vh = svd(a, False)
    coordinates = ew.mul(ew.cast(_column(_inverted(s, rcond)), a.dtype), matmul(_h(u), b))
    return matmul(_h(vh), coordinates)


def _inverted(s: Tensor, rcond) -> Tensor:
    cutoff = ew.mul(rd.reduce_max(s, -1, True), rcond)
    keep = ew.gt(s, cutoff)
    safe = ew.select(keep, s, ew.scalar(1, s.dtype))
    return ew.select(keep, ew.reciprocal(safe), ew.scalar(0, s.dtype))
