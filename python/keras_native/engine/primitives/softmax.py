"""Softmax, log-softmax and the cross-entropies, each with its fused gradient."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.tensor import Tensor


def wide(array: np.ndarray) -> np.ndarray:
    """The array in the type that references accumulate in: float32 or float64."""
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array


def require_floats(op: str, *inputs: Tensor) -> None:
    """Raises TypeError unless all inputs have the same real floating dtype."""
    dtype = inputs[0].dtype
    if not dtypes.is_float(dtype) or any(t.dtype != dtype for t in inputs):
        raise TypeError(f"{op} needs floating tensors of one dtype, got {signature(inputs)}")


def _axis(op: str, x: Tensor, axis: int) -> int:
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{op}: axis {axis} is out of range for {signature([x])}")
    return axis % x.ndim


def _sum(x: Tensor, axis: int) -> Tensor:
    return rd.reduce_sum(x, (axis,), keepdims=True)


# softmax ---------------------------------------------------------------------------------------


def _softmax_shape(x, *, axis):
    require_floats("softmax", x)
    return x.dims, x.dtype


def _shifted(x, axis):
    """x minus its maximum (0 where there is nothing to take the maximum of)."""
    return x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)


def softmax_array(x: np.ndarray, axis: int) -> np.ndarray:
    """Softmax of a NumPy array, accumulated in float32 or wider."""
    with np.errstate(invalid="ignore", over="ignore"):
        e = np.exp(_shifted(wide(x), axis))
        return e / e.sum(axis=axis, keepdims=True)


def log_softmax_array(x: np.ndarray, axis: int) -> np.ndarray:
    """Log-softmax of a NumPy array, accumulated in float32 or wider."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        z = _shifted(wide(x), axis)
        return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))


def _softmax_decompose(x, *, axis):
    peak = sh.stop_gradient(rd.reduce_max(x, (axis,), keepdims=True))
    e = ew.exp(ew.sub(x, peak))
    return ew.div(e, _sum(e, axis))


_softmax = Primitive(
    "softmax",
    shape=_softmax_shape,
    reference=lambda x, *, axis: softmax_array(x, axis),
    batch=batch.shifted,
    vjp=lambda ct, y, x, *, axis: (_softmax_grad(ct, y, axis=axis),),
    decompose=_softmax_decompose,
)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along one axis; same shape and dtype.

    Raises:
        TypeError: x is not floating. ValueError: axis out of range.
    """
    return _softmax(x, axis=_axis("softmax", x, axis))


def _grad_shape(name):
    def shape(ct, y, *, axis):
        require_floats(name, ct, y)
        if ct.dims != y.dims:
            raise ValueError(f"{name}: shapes differ: {signature([ct, y])}")
        return y.dims, y.dtype

    return shape


def _softmax_grad_reference(ct, y, *, axis):
    ct, y = wide(ct), wide(y)
    return y * (ct - (ct * y).sum(axis=axis, keepdims=True))


def _softmax_grad_decompose(ct, y, *, axis):
    return ew.mul(y, ew.sub(ct, _sum(ew.mul(ct, y), axis)))


def _softmax_grad_vjp(ct, _, g, y, *, axis):
    # With s = sum(g y): d/dg is the same symmetric map; d/dy is (g - s) ct - g sum(ct y).
    s = _sum(ew.mul(g, y), axis)
    t = _sum(ew.mul(ct, y), axis)
    return (
        _softmax_grad(ct, y, axis=axis),
        ew.sub(ew.mul(ct, ew.sub(g, s)), ew.mul(g, t)),
    )


_softmax_grad = Primitive(
    "softmax_grad",
    shape=_grad_shape("softmax_grad"),
    reference=_softmax_grad_reference,
    batch=batch.shifted,
    vjp=_softmax_grad_vjp,
    decompose=_softmax_grad_decompose,
)


# log-softmax -----------------------------------------------------------------------------------


def _log_softmax_shape(x, *, axis):
    require_floats("log_softmax", x)
    return x.dims, x.dtype


def _log_softmax_decompose(x, *, axis):
    z = ew.sub(x, sh.stop_gradient(rd.reduce_max(x, (axis,), keepdims=True)))
    return ew.sub(z, ew.log(_sum(ew.exp(z), axis)))


_log_softmax = Primitive(
    "log_softmax",
    shape=_log_softmax_shape,
    reference=lambda x, *, axis: log_softmax_array(x, axis),
    batch=batch.shifted,
    vjp=lambda ct, y, x, *, axis: (_log_softmax_grad(ct, y, axis=axis),),
    decompose=_log_softmax_decompose,
)


def log_softmax(x: Tensor, axis: int = -1) -> Tensor:
    """x - log(sum(exp(x))) along one axis; same shape and dtype.

    Raises:
        TypeError: x is not floating. ValueError: axis out of range.
    """
    return _log_softmax(x, axis=_axis("log_softmax", x, axis))


def _log_softmax_grad_reference(ct, y, *, axis):
    ct, y = wide(ct), wide(y)
    return ct - np.exp(y) * ct.sum(axis=axis, keepdims=True)


def _log_softmax_grad_decompose(ct, y, *, axis):
    return ew.sub(ct, ew.mul(ew.exp(y), _sum(ct, axis)))


def _log_softmax_grad_vjp(ct, _, g, y, *, axis):
    p = ew.exp(y)
    return (
        ew.sub(ct, _sum(ew.mul(ct, p), axis)),
        ew.neg(ew.mul(ew.mul(ct, p), _sum(g, axis))),
    )


_log_softmax_grad = Primitive(
    "log_softmax_grad",
    shape=_grad_shape("log_softmax_grad"),
    reference=_log_softmax_grad_reference,
    batch=batch.shifted,
    vjp=_log_softmax_grad_vjp,
    decompose=_log_softmax_grad_decompose,
)


# cross-entropy with integer labels -------------------------------------------------------------


def _check_labels(name, logits, labels):
    require_floats(name, logits)
    if labels.dtype not in dtypes.INTEGERS:
        raise TypeError(f"{name}: labels must be integers, got {signature([logits, labels])}")
    if logits.ndim == 0 or logits.dims[:-1] != labels.dims:
        raise ValueError(
            f"{name}: logits [..., classes] need labels [...], got {signature([logits, labels])}"
        )


def _sparse_shape(logits, labels):
    _check_labels("sparse_softmax_cross_entropy", logits, labels)
    return labels.dims, logits.dtype


def _one_hot(labels, depth, dtype):
    return (labels[..., None] == np.arange(depth)).astype(dtype)


def _sparse_reference(logits, labels):
    y = log_softmax_array(logits, -1)
    hot = _one_hot(labels, y.shape[-1], bool)
    return -np.where(hot, y, 0).sum(axis=-1, dtype=y.dtype)


def _hot(labels, logits):
    """One-hot rows of the logits' dtype; a label outside of the classes gives a row of zeros."""
    classes = logits.dims[-1]
    columns = ew.cast(sh.iota(classes, "int32"), labels.dtype)
    return ew.cast(ew.eq(sh.expand_dims(labels, -1), columns), logits.dtype)


def _sparse_decompose(logits, labels):
    y = log_softmax(logits, -1)
    return ew.neg(rd.reduce_sum(ew.mul(_hot(labels, logits), y), (logits.ndim - 1,)))


_sparse = Primitive(
    "sparse_softmax_cross_entropy",
    shape=_sparse_shape,
    reference=_sparse_reference,
    vjp=lambda ct, loss, logits, labels: (_sparse_grad(ct, logits, labels), None),
    decompose=_sparse_decompose,
)


def sparse_softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log_softmax(logits)[label] for logits [..., classes] and integer labels [...].

    A label outside of [0, classes) costs 0 and sends back no gradient.

    Raises:
        TypeError, ValueError: wrong dtypes or shapes.
    """
    return _sparse(logits, labels)


def _sparse_grad_shape(ct, logits, labels):
    _check_labels("sparse_softmax_cross_entropy_grad", logits, labels)
    return logits.dims, logits.dtype


def _sparse_grad_reference(ct, logits, labels):
    p = softmax_array(logits, -1)
    hot = _one_hot(labels, p.shape[-1], p.dtype)
    inside = (labels >= 0) & (labels < p.shape[-1])
    return np.where(inside[..., None], wide(ct)[..., None] * (p - hot), 0)


def _sparse_grad_decompose(ct, logits, labels):
    hot = _hot(labels, logits)
    inside = _sum(hot, logits.ndim - 1)
    p = ew.mul(softmax(logits, -1), inside)
    return ew.mul(sh.expand_dims(ct, -1), ew.sub(p, hot))


_sparse_grad = Primitive(
    "sparse_softmax_cross_entropy_grad",
    shape=_sparse_grad_shape,
    reference=_sparse_grad_reference,
    vjp=lambda ct, out, g, logits, labels: vjp_through(
        _sparse_grad_decompose, ct, (g, logits, labels)
    ),
    decompose=_sparse_grad_decompose,
)


# cross-entropy with target probabilities -------------------------------------------------------


def _dense_shape(logits, targets):
    require_floats("softmax_cross_entropy", logits, targets)
    if logits.ndim == 0 or logits.dims != targets.dims:
        raise ValueError(
            "softmax_cross_entropy: logits and targets [..., classes] need equal shapes, got "
            f"{signature([logits, targets])}"
        )
    return logits.dims[:-1], logits.dtype


def _dense_reference(logits, targets):
    y = log_softmax_array(logits, -1)
    return -(wide(targets) * y).sum(axis=-1)


def _dense_decompose(logits, targets):
    return ew.neg(rd.reduce_sum(ew.mul(targets, log_softmax(logits, -1)), (logits.ndim - 1,)))


_dense = Primitive(
    "softmax_cross_entropy",
    shape=_dense_shape,
    reference=_dense_reference,
    vjp=lambda ct, loss, logits, targets: (
        _dense_grad(ct, logits, targets),
        ew.mul(ew.neg(sh.expand_dims(ct, -1)), log_softmax(logits, -1)),
    ),
    decompose=_dense_decompose,
)


def softmax_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum(targets * log_softmax(logits)) over the last axis; targets need not sum to one.

    Raises:
        TypeError, ValueError: dtypes or shapes differ.
    """
    return _dense(logits, targets)


def _dense_grad_shape(ct, logits, targets):
    require_floats("softmax_cross_entropy_grad", ct, logits, targets)
    return logits.dims, logits.dtype


def _dense_grad_reference(ct, logits, targets):
    targets = wide(targets)
    mass = targets.sum(axis=-1, keepdims=True)
    return wide(ct)[..., None] * (softmax_array(logits, -1) * mass - targets)


def _dense_grad_decompose(ct, logits, targets):
    mass = _sum(targets, targets.ndim - 1)
    return ew.mul(sh.expand_dims(ct, -1), ew.sub(ew.mul(softmax(logits, -1), mass), targets))


_dense_grad = Primitive(
    "softmax_cross_entropy_grad",
    shape=_dense_grad_shape,
    reference=_dense_grad_reference,
    vjp=lambda ct, out, *inputs: vjp_through(_dense_grad_decompose, ct, inputs),
    decompose=_dense_grad_decompose,
)


# binary cross-entropy --------------------------------------------------------------------------


def _sigmoid_shape(logits, targets):
    require_floats("sigmoid_cross_entropy", logits, targets)
    if logits.dims != targets.dims:
        raise ValueError(
            "sigmoid_cross_entropy: logits and targets need equal shapes, got "
            f"{signature([logits, targets])}"
        )
    return logits.dims, logits.dtype


def _sigmoid_reference(logits, targets):
    x, t = wide(logits), wide(targets)
    return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))


def _sigmoid_decompose(logits, targets):
    return ew.sub(ew.softplus(logits), ew.mul(logits, targets))


_sigmoid = Primitive(
    "sigmoid_cross_entropy",
    shape=_sigmoid_shape,
    reference=_sigmoid_reference,
    vjp=lambda ct, loss, logits, targets: (
        ew.mul(ct, ew.sub(ew.sigmoid(logits), targets)),
        ew.neg(ew.mul(ct, logits)),
    ),
    decompose=_sigmoid_decompose,
)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)), elementwise, without overflow.

    Raises:
        TypeError, ValueError: dtypes or shapes differ.
    """
    return _sigmoid(logits, targets)
