"""Matrix products: matmul, the fused linear layer, and einsum composed of them.

Half-precision operands accumulate in float32 and round once; integers are exact modulo their width.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import REGISTRY, Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.tensor import Tensor

ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")


def _same_dtype(op: str, *tensors: Tensor) -> str:
    dtype = tensors[0].dtype
    if any(t.dtype != dtype for t in tensors):
        raise TypeError(f"{op} needs operands of one dtype, got {signature(tensors)}")
    return dtype


def _broadcast_batch(op: str, a: Tensor, b: Tensor) -> tuple:
    """The broadcast of all dimensions but the last two."""
    x, y = a.dims[:-2], b.dims[:-2]
    rank = max(len(x), len(y))
    x = (1,) * (rank - len(x)) + tuple(x)
    y = (1,) * (rank - len(y)) + tuple(y)
    dims = []
    for d, e in zip(x, y):
        # Sizes known to be 1 first: no comparison, hence no guard on a symbolic size.
        if type(d) is int and d == 1:
            dims.append(e)
        elif (type(e) is int and e == 1) or d == e or e == 1:
            dims.append(d)
        elif d == 1:
            dims.append(e)
        else:
            raise ValueError(f"{op}: batch dimensions do not broadcast: {signature((a, b))}")
    return tuple(dims)


def _accumulate(x: np.ndarray, out_dtype: np.dtype | None = None) -> np.ndarray:
    """The operand in the type that the reference computes in."""
    if x.dtype.itemsize == 2 and dtypes.is_float(dtypes.from_numpy(x.dtype)):
        return x.astype(np.float32)
    if x.dtype.kind in "iu" and out_dtype is not None:
        return x.astype(out_dtype)
    return x


# matmul


def _matmul_shape(a, b, *, transpose_a=False, transpose_b=False, out_dtype=None):
    dtype = _same_dtype("matmul", a, b)
    if len(a.dims) < 2 or len(b.dims) < 2:
        raise ValueError(f"matmul needs operands of rank 2 or more, got {signature((a, b))}")
    m, ka = a.dims[-2:][::-1] if transpose_a else a.dims[-2:]
    kb, n = b.dims[-2:][::-1] if transpose_b else b.dims[-2:]
    if ka != kb:
        raise ValueError(
            f"matmul: inner dimensions {ka} and {kb} differ: {signature((a, b))}, "
            f"transpose_a={bool(transpose_a)}, transpose_b={bool(transpose_b)}"
        )
    return (*_broadcast_batch("matmul", a, b), m, n), out_dtype or dtype


def _matmul_reference(a, b, *, transpose_a=False, transpose_b=False, out_dtype=None):
    out = dtypes.NUMPY[out_dtype] if out_dtype else a.dtype
    x, y = _accumulate(a, out), _accumulate(b, out)
    x = x.swapaxes(-1, -2) if transpose_a else x
    y = y.swapaxes(-1, -2) if transpose_b else y
    return np.matmul(x, y).astype(out)


def _matmul_vjp(ct, out, a, b, *, transpose_a=False, transpose_b=False, out_dtype=None):
    if not dtypes.is_differentiable(a.dtype):
        return None, None
    if ct.dtype != a.dtype:
        from keras_native.engine.primitives.elementwise import cast

        ct = cast(ct, a.dtype)
    if len(b.dims) == 2 and len(a.dims) > 2 and not transpose_a:
        # One weight for all of a's rows: its gradient is one product, not a batch to be summed.
        from keras_native.engine.primitives.shape import reshape

        da = matmul(ct, b, transpose_b=not transpose_b)
        rows = 1
        for d in a.dims[:-1]:
            rows = rows * d
        a2 = reshape(a, (rows, a.dims[-1]))
        ct2 = reshape(ct, (rows, ct.dims[-1]))
        x, y = (ct2, a2) if transpose_b else (a2, ct2)
        return da, matmul(x, y, transpose_a=True)
    from keras_native.engine.primitives.elementwise_common import unbroadcast

    da = matmul(b, ct, transpose_b, True) if transpose_a else matmul(ct, b, False, not transpose_b)
    db = matmul(ct, a, True, transpose_a) if transpose_b else matmul(a, ct, not transpose_a, False)
    return unbroadcast(da, a.dims), unbroadcast(db, b.dims)


_matmul = Primitive(
    "matmul",
    shape=_matmul_shape,
    reference=_matmul_reference,
    batch=batch.aligned,
    vjp=_matmul_vjp,
)


def matmul(
    a: Tensor,
    b: Tensor,
    transpose_a: bool = False,
    transpose_b: bool = False,
    out_dtype: str | None = None,
) -> Tensor:
    """Product of matrices in the last two dimensions; the others broadcast.

    Args:
        a: [..., m, k], or [..., k, m] if `transpose_a`.
        b: [..., k, n], or [..., n, k] if `transpose_b`; the dtype of `a`.
        out_dtype: dtype of the result, that of the operands if None. "int32" for int8 operands
            accumulates in int32.

    Returns:
        [..., m, n].

    Raises:
        TypeError: dtypes differ.
        ValueError: a rank below 2, inner sizes differ, or batch sizes do not broadcast.
    """
    attrs = {"transpose_a": bool(transpose_a), "transpose_b": bool(transpose_b)}
    if out_dtype is not None and out_dtype != a.dtype:
        attrs["out_dtype"] = out_dtype
    return _matmul(a, b, **attrs)


# linear


def _linear_shape(x, w, bias=None, *, activation="none", transpose_w=False):
    operands = (x, w) if bias is None else (x, w, bias)
    dtype = _same_dtype("linear", *operands)
    if activation not in ACTIVATIONS:
        raise ValueError(f"linear: unknown activation '{activation}', known: {ACTIVATIONS}")
    if not dtypes.is_float(dtype):
        raise TypeError(f"linear needs floating point, got {signature(operands)}")
    if len(x.dims) < 1 or len(w.dims) != 2:
        raise ValueError(f"linear needs x[..., k] and w[k, n], got {signature(operands)}")
    k, n = w.dims[::-1] if transpose_w else w.dims
    if x.dims[-1] != k:
        raise ValueError(
            f"linear: inner dimensions {x.dims[-1]} and {k} differ: {signature(operands)}"
        )
    if bias is not None and (len(bias.dims) != 1 or bias.dims[0] != n):
        raise ValueError(f"linear: bias must have shape ({n},): {signature(operands)}")
    return (*x.dims[:-1], n), dtype


def _erf(x: np.ndarray) -> np.ndarray:
    from math import erf

    return np.vectorize(erf, otypes=[np.float64])(x).astype(x.dtype)


def _sigmoid(x):
    # exp of a non-positive number only: no overflow on either side.
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


_ACTIVATE = {
    "none": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2).astype(x.dtype))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * (x + 0.044715 * x**3)))
    ),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
}


def _linear_reference(x, w, bias=None, *, activation="none", transpose_w=False):
    y = np.matmul(_accumulate(x), _accumulate(w.T if transpose_w else w))
    if bias is not None:
        y = y + _accumulate(bias)
    return _ACTIVATE[activation](y).astype(x.dtype)


def _activation(z: Tensor, activation: str) -> Tensor:
    from keras_native.engine.primitives import elementwise

    if activation == "none":
        return z
    if activation in ("gelu", "gelu_tanh"):
        return elementwise.gelu(z, activation == "gelu_tanh")
    return getattr(elementwise, activation)(z)


def _activation_vjp(ct, out, z, activation):
    """Cotangent before the activation. `z()` recomputes its input, for those that need it."""
    if activation == "none":
        return ct
    if activation in ("gelu", "gelu_tanh"):
        return REGISTRY["gelu"].vjp(ct, out, z(), approximate=activation == "gelu_tanh")[0]
    if activation == "silu":
        return REGISTRY["silu"].vjp(ct, out, z())[0]
    # These derivatives follow from the output: sigmoid's and tanh's rules read it alone, and relu's
    # mask is the same for input and output.
    return REGISTRY[activation].vjp(ct, out, out)[0]


def _linear_vjp(ct, out, x, w, bias=None, *, activation="none", transpose_w=False):
    dz = _activation_vjp(ct, out, lambda: linear(x, w, bias, transpose_w=transpose_w), activation)
    if len(x.dims) == 1:
        from keras_native.engine.primitives.shape import reshape

        x2 = reshape(x, (1, x.dims[0]))
        dx, dw = _matmul_vjp(reshape(dz, (1, dz.dims[0])), None, x2, w, transpose_b=transpose_w)
        dx = reshape(dx, x.dims)
    else:
        dx, dw = _matmul_vjp(dz, None, x, w, transpose_b=transpose_w)
    if bias is None:
        return dx, dw
    from keras_native.engine.primitives.elementwise_common import unbroadcast

    return dx, dw, unbroadcast(dz, bias.dims)


def _linear_batch(primitive, size, inputs, batched, **attrs):
    # With one weight for all they are more rows; otherwise the decomposition does it.
    return None if any(batched[1:]) else primitive(*inputs, **attrs)


def _linear_decompose(x, w, bias=None, *, activation="none", transpose_w=False):
    if len(x.dims) == 1:
        from keras_native.engine.primitives.shape import reshape

        n = w.dims[0] if transpose_w else w.dims[1]
        y = reshape(matmul(reshape(x, (1, x.dims[0])), w, transpose_b=transpose_w), (n,))
    else:
        y = matmul(x, w, transpose_b=transpose_w)
    if bias is not None:
        from keras_native.engine.primitives.elementwise import add

        y = add(y, bias)
    return _activation(y, activation)


_linear = Primitive(
    "linear",
    shape=_linear_shape,
    reference=_linear_reference,
    batch=_linear_batch,
    vjp=_linear_vjp,
    decompose=_linear_decompose,
)


def linear(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    activation: str = "none",
    transpose_w: bool = False,
) -> Tensor:
    """activation(x @ w + bias) in one pass over the result.

    The gradient of gelu and silu needs the value before the activation and computes it again; where
    a step is traced, fusing into this primitive comes after differentiation and nothing is lost.

    Args:
        x: [..., k], floating point.
        w: [k, n], or [n, k] if `transpose_w`.
        bias: [n], or None.
        activation: one of `ACTIVATIONS`.

    Returns:
        [..., n].

    Raises:
        TypeError: dtypes differ or are not floating point.
        ValueError: shapes do not fit, or the activation is unknown.
    """
    operands = (x, w) if bias is None else (x, w, bias)
    return _linear(*operands, activation=activation, transpose_w=bool(transpose_w))


from keras_native.engine.primitives.einsum import einsum  # noqa: E402  (it is built on matmul)

__all__ = ["ACTIVATIONS", "einsum", "linear", "matmul"]
