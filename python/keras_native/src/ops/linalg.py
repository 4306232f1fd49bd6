"""The linear algebra of keras.ops; signatures are Keras's, to the letter."""

from __future__ import annotations

import math
import operator

import numpy as np
from keras.src import tree

from keras_native.engine import dtype as dtypes
from keras_native.engine import transforms
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import linalg as la
from keras_native.engine.primitives import linalg_spectral as ls
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.elementwise_common import broadcast_dims
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.tensor import Tensor
from keras_native.src.ops._numpy_common import as_float, axes_of, constant, tensor, tensors

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "det",
    "eig",
    "eigh",
    "inv",
    "jvp",
    "lstsq",
    "lu_factor",
    "matrix_power",
    "matrix_rank",
    "norm",
    "pinv",
    "qr",
    "solve",
    "solve_triangular",
    "svd",
]


def _adjoint(x: Tensor) -> Tensor:
    """Transposed and conjugated."""
    x = sh.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))
    return ew.conj(x) if x.dtype in dtypes.COMPLEX else x


def cholesky(a, upper=False):
    """L with L L^H = a, or U with U^H U = a.

    Raises:
        ValueError: a matrix is not positive definite.
    """
    low = la.cholesky(as_float(a))
    return _adjoint(low) if upper else low


def cholesky_inverse(a, upper=False):
    """The inverse of the matrix whose Cholesky factor is `a`."""
    a = as_float(a)
    n = a.dims[-1]
    identity = sh.broadcast_to(constant(np.eye(n), a.dtype), a.dims)
    inverse = la.triangular_solve(a, identity, not upper)
    adjoint = _adjoint(inverse)
    return matmul(inverse, adjoint) if upper else matmul(adjoint, inverse)


def det(a):
    """The determinant of the matrices in the last two axes."""
    return la.det(as_float(a))


def eig(x):
    """Complex eigenvalues and eigenvectors (columns)."""
    return ls.eig(as_float(x))


def eigh(x):
    """Eigenvalues in ascending order and eigenvectors (columns) of Hermitian matrices."""
    return ls.eigh(as_float(x))


def inv(a):
    """The inverse of the matrices in the last two axes."""
    return la.inv(as_float(a))


def lu_factor(x):
    """L and U in one matrix, and the row exchanges made (int32)."""
    return la.lu(as_float(x))


def matrix_power(a, n):
    """The product of `n` matrices `a`, or of -n inverses, by repeated squaring.

    Raises:
        ValueError: matrices are not square.
        TypeError: `n` is no integer.
    """
    a, n = as_float(a), operator.index(n)
    if a.ndim < 2 or a.dims[-1] != a.dims[-2]:
        raise ValueError(f"matrix_power: `a` must hold square matrices, got shape {a.shape}")
    if n < 0:
        a, n = la.inv(a), -n
    result = None
    while n:
        if n & 1:
            result = a if result is None else matmul(result, a)
        n >>= 1
        if n:
            a = matmul(a, a)
    if result is None:
        return sh.broadcast_to(constant(np.eye(a.dims[-1]), a.dtype), a.dims)
    return result


def qr(x, mode="reduced"):
    """q and r of the QR decomposition.

    Raises:
        ValueError: unknown mode.
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(
            "`mode` argument value not supported. Expected one of {'reduced', 'complete'}. "
            f"Received: mode={mode}"
        )
    return ls.qr(as_float(x), mode == "complete")


def svd(x, full_matrices=True, compute_uv=True):
    """u, s, v^H of the singular value decomposition, or s alone."""
    x = as_float(x)
    if compute_uv:
        return ls.svd(x, full_matrices)
    return ls.svd(x, False)[1]


def _batched(op: str, a, b) -> tuple[Tensor, Tensor, bool]:
    """Operands of one dtype and equal batch sizes, b a matrix; and whether it was a vector."""
    a, b = tensors(as_float(a), as_float(b))
    if a.ndim < 2 or not b.ndim:
        raise ValueError(f"{op}: expected matrices, got shapes {a.shape} and {b.shape}")
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.dims[-1] == a.dims[-1])
    if vector:
        b = sh.expand_dims(b, -1)
    lead = [sh.full(t.dims[:-2], 0, "float32") for t in (a, b)]
    batch = broadcast_dims(op, lead) if lead[0].ndim or lead[1].ndim else ()
    return (
        sh.broadcast_to(a, (*batch, *a.dims[-2:])),
        sh.broadcast_to(b, (*batch, *b.dims[-2:])),
        vector,
    )


def solve(a, b):
    """x with a x = b; b holds vectors or matrices."""
    a, b, vector = _batched("solve", a, b)
    x = la.solve(a, b)
    return sh.squeeze(x, -1) if vector else x


def solve_triangular(a, b, lower=False):
    """x with a x = b, reading only the upper (lower) triangle of a."""
    a, b, vector = _batched("solve_triangular", a, b)
    x = la.triangular_solve(a, b, lower)
    return sh.squeeze(x, -1) if vector else x


def _epsilon(dtype: str) -> float:
    return float(np.finfo(np.float64 if dtype in ("float64", "complex128") else np.float32).eps)


def lstsq(a, b, rcond=None):
    """The least squares solution of a x = b, of least norm."""
    a, b, vector = _batched("lstsq", a, b)
    if rcond is None:
        rcond = _epsilon(a.dtype) * max(a.dims[-2:])
    x = ls.lstsq(a, b, float(rcond))
    return sh.squeeze(x, -1) if vector else x


def _check_matrix(x: Tensor) -> None:
    if x.ndim < 2:
        raise ValueError(f"Expected input to have rank >= 2. Received input with shape {x.shape}.")


def pinv(x, rcond=None):
    """The pseudo-inverse; singular values not above rcond times the largest count as 0.

    Raises:
        ValueError: fewer than 2 axes.
    """
    x = as_float(x)
    _check_matrix(x)
    if rcond is None:
        rcond = 10 * max(x.dims[-2:]) * _epsilon(x.dtype)
    elif not isinstance(rcond, (int, float)):
        rcond = sh.expand_dims(tensors(rcond, dtype=x.dtype)[0], -1)
    return ls.pinv(x, rcond)


def matrix_rank(x, tol=None):
    """How many singular values lie above `tol`, as int32.

    Raises:
        ValueError: fewer than 2 axes.
    """
    x = as_float(x)
    _check_matrix(x)
    s = ls.svd(x, False)[1]
    if tol is None:
        bound = ew.mul(rd.reduce_max(s, -1, True), max(x.dims[-2:]) * _epsilon(x.dtype))
    else:
        bound = tensors(tol, dtype=s.dtype)[0]
        bound = sh.expand_dims(bound, -1) if bound.ndim else bound
    return rd.reduce_sum(ew.cast(ew.gt(s, bound), "int32"), -1)


# Norms


def norm(x, ord=None, axis=None, keepdims=False):
    """The norm of vectors (one axis) or matrices (two axes); of all elements by default.

    Args:
        ord: of vectors 0, 1, 2, inf, -inf or another power; of matrices "fro", "nuc", 1, 2, inf
            and their negatives; None is the root of the sum of squares.

    Raises:
        ValueError: an order that is not defined for so many axes.
    """
    x = as_float(x)
    if axis is None and ord is None:
        return _frobenius(x, None, keepdims)
    axes = axes_of(axis, x.ndim)
    if len(axes) == 1:
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) != 2:
        raise ValueError(f"norm: expected one or two axes with ord={ord!r}. Received: axis={axis}")
    if isinstance(axis, (tuple, list)):
        # The order of the axes tells rows from columns.
        axes = tuple(a % x.ndim for a in axis)
    return _matrix_norm(x, ord, axes, keepdims)


def _frobenius(x: Tensor, axes, keepdims) -> Tensor:
    modulus = ew.abs(x) if x.dtype in dtypes.COMPLEX else x
    return ew.sqrt(rd.reduce_sum(ew.square(modulus), axes, keepdims))


def _vector_norm(x: Tensor, ord, axes, keepdims) -> Tensor:
    if ord is None or ord == 2:
        return _frobenius(x, axes, keepdims)
    if isinstance(ord, str):
        raise ValueError(f"norm: invalid order {ord!r} for vectors")
    modulus = ew.abs(x)
    if ord == math.inf:
        return rd.reduce_max(modulus, axes, keepdims)
    if ord == -math.inf:
        return rd.reduce_min(modulus, axes, keepdims)
    if ord == 0:
        return rd.reduce_sum(ew.cast(ew.ne(modulus, 0), modulus.dtype), axes, keepdims)
    if ord == 1:
        return rd.reduce_sum(modulus, axes, keepdims)
    total = rd.reduce_sum(ew.pow(modulus, float(ord)), axes, keepdims)
    return ew.pow(total, 1.0 / ord)


def _matrix_norm(x: Tensor, ord, axes, keepdims) -> Tensor:
    rows, columns = axes
    if ord is None or ord == "fro":
        return _frobenius(x, axes, keepdims)
    if ord in (1, -1, math.inf, -math.inf):
        summed, over = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = rd.reduce_sum(ew.abs(x), summed, True)
        extreme = rd.reduce_max if ord > 0 else rd.reduce_min
        out = extreme(sums, over, True)
    elif ord in (2, -2, "nuc"):
        rest = [a for a in range(x.ndim) if a not in axes]
        s = ls.svd(sh.transpose(x, [*rest, rows, columns]), False)[1]
        reduce = {2: rd.reduce_max, -2: rd.reduce_min, "nuc": rd.reduce_sum}[ord]
        dims = [1 if a in axes else d for a, d in enumerate(x.dims)]
        out = sh.reshape(reduce(s, -1), dims)
    else:
        raise ValueError(f"norm: invalid order {ord!r} for matrices")
    return out if keepdims else sh.squeeze(out, axes)


def jvp(fun, primals, tangents, has_aux=False):
    """`fun(*primals)` and its derivative in the direction of the tangents.

    Args:
        fun: of tensors, differentiable twice: the transposed derivative is transposed once more.
        primals, tangents: tuples of tensors (or nested structures of them) of equal shapes.
        has_aux: `fun` returns (outputs, anything); the latter is returned as a third result.

    Returns:
        (outputs, tangents of the outputs[, auxiliary]).
    """
    xs = [tensor(x) for x in tree.flatten(primals)]
    ts = [ew.cast(tensor(t), x.dtype) for x, t in zip(xs, tree.flatten(tangents), strict=True)]

    def outputs(*leaves):
        out = fun(*tree.pack_sequence_as(primals, list(leaves)))
        out, aux = out if has_aux else (out, None)
        return out, aux

    out, aux = outputs(*xs)
    leaves = [tensor(leaf) for leaf in tree.flatten(out)]
    seeds = [sh.full(leaf.dims, 0, leaf.dtype) for leaf in leaves]

    def pulled_back(*us):
        def paired(*ys):
            return _dot(tree.flatten(outputs(*ys)[0]), us)

        return _dot(transforms.grad(paired, tuple(range(len(xs))))(*xs), ts)

    pushed = transforms.grad(pulled_back, tuple(range(len(seeds))))(*seeds)
    pushed = [s if p is None else p for p, s in zip(pushed, seeds)]
    result = (out, tree.pack_sequence_as(out, pushed))
    return (*result, aux) if has_aux else result


def _dot(xs, ys) -> Tensor:
    """The sum of products of tensors, pair by pair; None counts as zeros."""
    products = [
        rd.reduce_sum(ew.mul(tensor(x), y)) for x, y in zip(xs, ys, strict=True) if x is not None
    ]
    total = products[0]
    for p in products[1:]:
        total = ew.add(total, p)
    return total
