"""Batch normalisation in training and inference, with its fused gradient.

Optional gamma and beta are left out of the inputs; the attributes has_gamma and has_beta say so.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import norm_common as common
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.primitives.softmax import wide
from keras_native.engine.tensor import Tensor


def _batch_shape(x, *inputs, eps, has_gamma, has_beta, activation="none", residual=False):
    if x.ndim < 2:
        raise ValueError(f"batch_norm_train needs x[..., channels], got {signature([x])}")
    parameters = inputs[: has_gamma + has_beta]
    common.check_scale("batch_norm_train", x.dims[-1:], x, *parameters)
    statistic = (x.dims[-1:], x.dtype)
    return [(x.dims, x.dtype), statistic, statistic]


# A pass sets, after differentiation, `residual` (one more input, added to y) and `activation`
# ("relu" or "relu6" of that).
_CLIPS = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}


def _batch_reference(x, *inputs, eps, has_gamma, has_beta, activation="none", residual=False):
    x, axes = wide(x), tuple(range(x.ndim - 1))
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    normal = (x - mean) / np.sqrt(var + eps)
    y = common.affine_array(normal, *common.optional(inputs, has_gamma, has_beta))
    y = y + wide(inputs[-1]) if residual else y
    return np.clip(y, *_CLIPS[activation]), mean, var


def _statistics(x):
    axes = tuple(range(x.ndim - 1))
    mean = rd.reduce_mean(x, axes)
    return mean, rd.reduce_mean(ew.square(ew.sub(x, mean)), axes)


def _batch_decompose(x, *parameters, eps, has_gamma, has_beta):
    mean, var = _statistics(x)
    normal = ew.mul(ew.sub(x, mean), ew.rsqrt(common.add_epsilon(var, eps)))
    return common.affine(normal, *common.optional(parameters, has_gamma, has_beta)), mean, var


def _batch_vjp(ct, out, x, *parameters, eps, has_gamma, has_beta):
    ct_y, ct_mean, ct_var = ct
    _, mean, var = out
    gamma, beta = common.optional(parameters, has_gamma, has_beta)
    dx, rest = None, [None] * len(parameters)
    if ct_y is not None:
        dx, *rest = _batch_grad(
            ct_y,
            x,
            mean,
            var,
            *common.given(gamma),
            eps=eps,
            has_gamma=has_gamma,
            has_beta=has_beta,
        )
    if ct_mean is not None or ct_var is not None:
        (extra,) = vjp_through(_statistics, (ct_mean, ct_var), (x,))
        dx = extra if dx is None else ew.add(dx, extra)
    return (dx, *rest)


_batch = Primitive(
    "batch_norm_train",
    shape=_batch_shape,
    reference=_batch_reference,
    vjp=_batch_vjp,
    decompose=_batch_decompose,
)


def batch_norm_train(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, eps: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalises x[..., channels] by its own statistics over all axes but the last.

    Args:
        gamma, beta: [channels] of the dtype of x, or None.

    Returns:
        (y, mean, variance); the variance is the biased one (divided by the count).

    Raises:
        TypeError, ValueError: wrong dtypes or shapes.
    """
    flags = {"has_gamma": gamma is not None, "has_beta": beta is not None}
    return _batch(x, *common.given(gamma, beta), eps=float(eps), **flags)


def _batch_grad_shape(ct, x, mean, var, *rest, eps, has_gamma, has_beta, activation="none"):
    common.check_scale("batch_norm_train_grad", x.dims[-1:], x, mean, var, *rest)
    return [(x.dims, x.dtype)] + [(x.dims[-1:], x.dtype)] * (int(has_gamma) + int(has_beta))


# A pass sets `activation` here too: ct is then that of the clipped result, and beta, if there is
# one, an input.
def _batch_grad_reference(ct, x, mean, var, *rest, eps, has_gamma, has_beta, activation="none"):
    axes = tuple(range(x.ndim - 1))
    gamma, beta = common.optional(rest, has_gamma, has_beta and activation != "none")
    rstd = 1 / np.sqrt(wide(var) + eps)
    normal = (wide(x) - wide(mean)) * rstd
    low, high = _CLIPS[activation]
    y = common.affine_array(normal, gamma, beta)
    ct = ct if activation == "none" else np.where((y > low) & (y < high), ct, 0)
    return common.gradient_arrays(ct, normal, rstd, gamma, axes, axes, has_beta)


def _batch_grad_decompose(ct, x, mean, var, *gamma, eps, has_gamma, has_beta):
    # mean and var count as inputs: batch_norm_train passes their cotangents on.
    axes = tuple(range(x.ndim - 1))
    rstd = ew.rsqrt(common.add_epsilon(var, eps))
    normal = ew.mul(ew.sub(x, mean), rstd)
    return common.gradients(ct, normal, rstd, *(gamma or [None]), axes, axes, has_beta)


_batch_grad = Primitive(
    "batch_norm_train_grad",
    shape=_batch_grad_shape,
    reference=_batch_grad_reference,
    vjp=lambda ct, out, *inputs, **attrs: vjp_through(
        lambda *a: _batch_grad_decompose(*a, **attrs), ct, inputs
    ),
    decompose=_batch_grad_decompose,
)


def _inference_shape(x, mean, var, *parameters, eps, has_gamma, has_beta):
    if x.ndim < 1:
        raise ValueError(f"batch_norm_inference needs x[..., channels], got {signature([x])}")
    common.check_scale("batch_norm_inference", x.dims[-1:], x, mean, var, *parameters)
    return x.dims, x.dtype


def _inference_reference(x, mean, var, *parameters, eps, has_gamma, has_beta):
    normal = (wide(x) - wide(mean)) / np.sqrt(wide(var) + eps)
    return common.affine_array(normal, *common.optional(parameters, has_gamma, has_beta))


def _inference_decompose(x, mean, var, *parameters, eps, has_gamma, has_beta):
    normal = ew.mul(ew.sub(x, mean), ew.rsqrt(common.add_epsilon(var, eps)))
    return common.affine(normal, *common.optional(parameters, has_gamma, has_beta))


_inference = Primitive(
    "batch_norm_inference",
    shape=_inference_shape,
    reference=_inference_reference,
    vjp=lambda ct, y, *inputs, **attrs: vjp_through(
        lambda *a: _inference_decompose(*a, **attrs), ct, inputs
    ),
    decompose=_inference_decompose,
)


def batch_norm_inference(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    eps: float = 1e-3,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * gamma + beta for x[..., channels] and given statistics.

    Args:
        mean, var, gamma, beta: [channels] of the dtype of x; gamma and beta may be None.

    Raises:
        TypeError, ValueError: wrong dtypes or shapes.
    """
    flags = {"has_gamma": gamma is not None, "has_beta": beta is not None}
    return _inference(x, mean, var, *common.given(gamma, beta), eps=float(eps), **flags)
