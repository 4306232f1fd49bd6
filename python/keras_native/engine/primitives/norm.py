"""Layer, RMS, batch and group normalisation, each with its fused gradient.

Every gradient is that of y = x^ * gamma + beta with x^ = (x - mean) * rstd:
    dgamma = sum(ct x^), dbeta = sum(ct), g = ct gamma,
    dx = rstd (g - mean(g) - x^ mean(g x^))    (RMS: without the mean(g) term)
Optional gamma and beta are left out of the inputs; the attributes has_gamma and has_beta say so.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.primitives.softmax import require_floats, wide
from keras_native.engine.tensor import Tensor


def _optional(values, has_gamma, has_beta):
    """(gamma or None, beta or None) from the inputs that are there."""
    values = list(values)
    gamma = values.pop(0) if has_gamma else None
    beta = values.pop(0) if has_beta else None
    return gamma, beta


def _given(*values):
    return [v for v in values if v is not None]


def _check_scale(name, dims, x, *parameters):
    require_floats(name, x, *parameters)
    if any(p.dims != dims for p in parameters):
        raise ValueError(
            f"{name}: gamma and beta need the shape of the normalised dimensions, "
            f"got {signature([x, *parameters])}"
        )


def _tail(x, axes, name="layer_norm"):
    """The last `axes` axes of x, checked."""
    if not 1 <= axes <= x.ndim:
        raise ValueError(f"{name}: cannot normalise the last {axes} axes of {signature([x])}")
    return tuple(range(x.ndim - axes, x.ndim))


def _constant(value, like):
    return sh.full((), value, like.dtype)


def _add_epsilon(x, eps):
    return ew.add(x, _constant(eps, x))


def _affine(y, gamma, beta):
    y = y if gamma is None else ew.mul(y, gamma)
    return y if beta is None else ew.add(y, beta)


def _mean(x, axes):
    return rd.reduce_mean(x, axes, keepdims=True)


def _standardise(x, axes, eps):
    """(x^, rstd) in primitives."""
    centred = ew.sub(x, _mean(x, axes))
    rstd = ew.rsqrt(_add_epsilon(_mean(ew.square(centred), axes), eps))
    return ew.mul(centred, rstd), rstd


def _gradients(ct, normal, rstd, gamma, axes, outer, has_beta, centred=True):
    """dx, dgamma if gamma, dbeta if has_beta, in primitives; the latter summed over `outer`."""
    g = ct if gamma is None else ew.mul(ct, gamma)
    inner = ew.mul(normal, _mean(ew.mul(g, normal), axes))
    if centred:
        inner = ew.add(inner, _mean(g, axes))
    outs = [ew.mul(rstd, ew.sub(g, inner))]
    if gamma is not None:
        outs.append(rd.reduce_sum(ew.mul(ct, normal), outer))
    if has_beta:
        outs.append(rd.reduce_sum(ct, outer))
    return tuple(outs)


def _standardise_array(x, axes, eps):
    x = wide(x)
    centred = x - x.mean(axis=axes, keepdims=True)
    rstd = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + eps)
    return centred * rstd, rstd.astype(x.dtype)


def _affine_array(y, gamma, beta):
    y = y if gamma is None else y * wide(gamma)
    return y if beta is None else y + wide(beta)


def _gradient_arrays(ct, normal, rstd, gamma, axes, outer, has_beta, centred=True):
    ct = wide(ct)
    g = ct if gamma is None else ct * wide(gamma)
    inner = normal * (g * normal).mean(axis=axes, keepdims=True)
    if centred:
        inner = inner + g.mean(axis=axes, keepdims=True)
    outs = [rstd * (g - inner)]
    if gamma is not None:
        outs.append((ct * normal).sum(axis=outer))
    if has_beta:
        outs.append(ct.sum(axis=outer))
    return tuple(outs)


# layer norm ------------------------------------------------------------------------------------


def _layer_shape(x, *parameters, axes, eps, has_gamma, has_beta):
    _tail(x, axes)
    _check_scale("layer_norm", x.dims[x.ndim - axes :], x, *parameters)
    return x.dims, x.dtype


def _layer_reference(x, *parameters, axes, eps, has_gamma, has_beta):
    normal, _ = _standardise_array(x, tuple(range(x.ndim - axes, x.ndim)), eps)
    return _affine_array(normal, *_optional(parameters, has_gamma, has_beta))


def _layer_decompose(x, *parameters, axes, eps, has_gamma, has_beta):
    normal, _ = _standardise(x, _tail(x, axes), eps)
    return _affine(normal, *_optional(parameters, has_gamma, has_beta))


def _layer_vjp(ct, y, x, *parameters, axes, eps, has_gamma, has_beta):
    gamma, _ = _optional(parameters, has_gamma, has_beta)
    return _layer_grad(
        ct, x, *_given(gamma), axes=axes, eps=eps, has_gamma=has_gamma, has_beta=has_beta
    )


_layer = Primitive(
    "layer_norm",
    shape=_layer_shape,
    reference=_layer_reference,
    vjp=_layer_vjp,
    decompose=_layer_decompose,
)


def layer_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    axes: int = 1,
    eps: float = 1e-3,
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * gamma + beta over the last `axes` axes.

    Args:
        gamma, beta: of shape x.dims[-axes:] and the dtype of x, or None.

    Raises:
        TypeError, ValueError: wrong dtypes or shapes.
    """
    flags = {"has_gamma": gamma is not None, "has_beta": beta is not None}
    return _layer(x, *_given(gamma, beta), axes=axes, eps=float(eps), **flags)


def _layer_grad_shape(ct, x, *gamma, axes, eps, has_gamma, has_beta):
    require_floats("layer_norm_grad", ct, x, *gamma)
    _tail(x, axes)
    parameter = (x.dims[x.ndim - axes :], x.dtype)
    return [(x.dims, x.dtype)] + [parameter] * (int(has_gamma) + int(has_beta))


def _layer_grad_reference(ct, x, *gamma, axes, eps, has_gamma, has_beta):
    split = x.ndim - axes
    inner, outer = tuple(range(split, x.ndim)), tuple(range(split))
    normal, rstd = _standardise_array(x, inner, eps)
    return _gradient_arrays(ct, normal, rstd, *(gamma or [None]), inner, outer, has_beta)


def _layer_grad_decompose(ct, x, *gamma, axes, eps, has_gamma, has_beta):
    inner = _tail(x, axes)
    normal, rstd = _standardise(x, inner, eps)
    outer = tuple(range(x.ndim - axes))
    return _gradients(ct, normal, rstd, *(gamma or [None]), inner, outer, has_beta)


_layer_grad = Primitive(
    "layer_norm_grad",
    shape=_layer_grad_shape,
    reference=_layer_grad_reference,
    vjp=lambda ct, out, *inputs, **attrs: vjp_through(
        lambda *a: _layer_grad_decompose(*a, **attrs), ct, inputs
    ),
    decompose=_layer_grad_decompose,
)


# RMS norm --------------------------------------------------------------------------------------


def _rms_shape(x, *gamma, axes, eps, has_gamma):
    _tail(x, axes, "rms_norm")
    _check_scale("rms_norm", x.dims[x.ndim - axes :], x, *gamma)
    return x.dims, x.dtype


def _rms_arrays(x, axes, eps):
    x = wide(x)
    tail = tuple(range(x.ndim - axes, x.ndim))
    rstd = 1 / np.sqrt(np.square(x).mean(axis=tail, keepdims=True) + eps)
    return x * rstd, rstd.astype(x.dtype)


def _rms(x, axes, eps):
    rstd = ew.rsqrt(_add_epsilon(_mean(ew.square(x), _tail(x, axes)), eps))
    return ew.mul(x, rstd), rstd


def _rms_reference(x, *gamma, axes, eps, has_gamma):
    return _affine_array(_rms_arrays(x, axes, eps)[0], *(gamma or [None]), None)


def _rms_decompose(x, *gamma, axes, eps, has_gamma):
    return _affine(_rms(x, axes, eps)[0], *(gamma or [None]), None)


_rms_norm = Primitive(
    "rms_norm",
    shape=_rms_shape,
    reference=_rms_reference,
    vjp=lambda ct, y, x, *gamma, **attrs: _rms_grad(ct, x, *gamma, **attrs),
    decompose=_rms_decompose,
)


def rms_norm(x: Tensor, gamma: Tensor | None = None, axes: int = 1, eps: float = 1e-6) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * gamma over the last `axes` axes.

    Args:
        gamma: of shape x.dims[-axes:] and the dtype of x, or None.

    Raises:
        TypeError, ValueError: wrong dtypes or shapes.
    """
    return _rms_norm(x, *_given(gamma), axes=axes, eps=float(eps), has_gamma=gamma is not None)


def _rms_grad_shape(ct, x, *gamma, axes, eps, has_gamma):
    require_floats("rms_norm_grad", ct, x, *gamma)
    _tail(x, axes, "rms_norm_grad")
    return [(x.dims, x.dtype)] + [(g.dims, g.dtype) for g in gamma]


def _rms_grad_reference(ct, x, *gamma, axes, eps, has_gamma):
    split = x.ndim - axes
    inner, outer = tuple(range(split, x.ndim)), tuple(range(split))
    normal, rstd = _rms_arrays(x, axes, eps)
    return _gradient_arrays(ct, normal, rstd, *(gamma or [None]), inner, outer, False, False)


def _rms_grad_decompose(ct, x, *gamma, axes, eps, has_gamma):
    inner, outer = _tail(x, axes), tuple(range(x.ndim - axes))
    normal, rstd = _rms(x, axes, eps)
    return _gradients(ct, normal, rstd, *(gamma or [None]), inner, outer, False, False)


_rms_grad = Primitive(
    "rms_norm_grad",
    shape=_rms_grad_shape,
    reference=_rms_grad_reference,
    vjp=lambda ct, out, *inputs, **attrs: vjp_through(
        lambda *a: _rms_grad_decompose(*a, **attrs), ct, inputs
    ),
    decompose=_rms_grad_decompose,
)


# batch norm ------------------------------------------------------------------------------------


def _batch_shape(x, *inputs, eps, has_gamma, has_beta, activation="none", residual=False):
    if x.ndim < 2:
        raise ValueError(f"batch_norm_train needs x[..., channels], got {signature([x])}")
    parameters = inputs[: has_gamma + has_beta]
    _check_scale("batch_norm_train", x.dims[-1:], x, *parameters)
    statistic = (x.dims[-1:], x.dtype)
    return [(x.dims, x.dtype), statistic, statistic]


# A pass sets, after differentiation, `residual` (one more input, added to y) and `activation`
# ("relu" or "relu6" of that).
_CLIPS = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}


def _batch_reference(x, *inputs, eps, has_gamma, has_beta, activation="none", residual=False):
    x, axes = wide(x), tuple(range(x.ndim - 1))
    mean, var = x.mean(axis=axes), x.var(axis=axes)
    normal = (x - mean) / np.sqrt(var + eps)
    y = _affine_array(normal, *_optional(inputs, has_gamma, has_beta))
    y = y + wide(inputs[-1]) if residual else y
    return np.clip(y, *_CLIPS[activation]), mean, var


def _statistics(x):
    axes = tuple(range(x.ndim - 1))
    mean = rd.reduce_mean(x, axes)
    return mean, rd.reduce_mean(ew.square(ew.sub(x, mean)), axes)


def _batch_decompose(x, *parameters, eps, has_gamma, has_beta):
    mean, var = _statistics(x)
    normal = ew.mul(ew.sub(x, mean), ew.rsqrt(_add_epsilon(var, eps)))
    return _affine(normal, *_optional(parameters, has_gamma, has_beta)), mean, var


def _batch_vjp(ct, out, x, *parameters, eps, has_gamma, has_beta):
    ct_y, ct_mean, ct_var = ct
    _, mean, var = out
    gamma, beta = _optional(parameters, has_gamma, has_beta)
    dx, rest = None, [None] * len(parameters)
    if ct_y is not None:
        dx, *rest = _batch_grad(
            ct_y, x, mean, var, *_given(gamma), eps=eps, has_gamma=has_gamma, has_beta=has_beta
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
    return _batch(x, *_given(gamma, beta), eps=float(eps), **flags)


def _batch_grad_shape(ct, x, mean, var, *rest, eps, has_gamma, has_beta, activation="none"):
    _check_scale("batch_norm_train_grad", x.dims[-1:], x, mean, var, *rest)
    return [(x.dims, x.dtype)] + [(x.dims[-1:], x.dtype)] * (int(has_gamma) + int(has_beta))


# A pass sets `activation` here too: ct is then that of the clipped result, and beta, if there is
# one, an input.
def _batch_grad_reference(ct, x, mean, var, *rest, eps, has_gamma, has_beta, activation="none"):
    axes = tuple(range(x.ndim - 1))
    gamma, beta = _optional(rest, has_gamma, has_beta and activation != "none")
    rstd = 1 / np.sqrt(wide(var) + eps)
    normal = (wide(x) - wide(mean)) * rstd
    low, high = _CLIPS[activation]
    y = _affine_array(normal, gamma, beta)
    ct = ct if activation == "none" else np.where((y > low) & (y < high), ct, 0)
    return _gradient_arrays(ct, normal, rstd, gamma, axes, axes, has_beta)


def _batch_grad_decompose(ct, x, mean, var, *gamma, eps, has_gamma, has_beta):
    # mean and var count as inputs: batch_norm_train passes their cotangents on.
    axes = tuple(range(x.ndim - 1))
    rstd = ew.rsqrt(_add_epsilon(var, eps))
    normal = ew.mul(ew.sub(x, mean), rstd)
    return _gradients(ct, normal, rstd, *(gamma or [None]), axes, axes, has_beta)


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
    _check_scale("batch_norm_inference", x.dims[-1:], x, mean, var, *parameters)
    return x.dims, x.dtype


def _inference_reference(x, mean, var, *parameters, eps, has_gamma, has_beta):
    normal = (wide(x) - wide(mean)) / np.sqrt(wide(var) + eps)
    return _affine_array(normal, *_optional(parameters, has_gamma, has_beta))


def _inference_decompose(x, mean, var, *parameters, eps, has_gamma, has_beta):
    normal = ew.mul(ew.sub(x, mean), ew.rsqrt(_add_epsilon(var, eps)))
    return _affine(normal, *_optional(parameters, has_gamma, has_beta))


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
    return _inference(x, mean, var, *_given(gamma, beta), eps=float(eps), **flags)


# group norm ------------------------------------------------------------------------------------


def _check_groups(name, x, groups):
    if x.ndim < 2 or groups < 1 or x.dims[-1] % groups != 0:
        raise ValueError(
            f"{name}: x[batch, ..., channels] needs channels divisible by groups={groups}, "
            f"got {signature([x])}"
        )


def _group_shape(x, *parameters, groups, eps, has_gamma, has_beta):
    _check_groups("group_norm", x, groups)
    _check_scale("group_norm", x.dims[-1:], x, *parameters)
    return x.dims, x.dtype


def _grouped_dims(dims, groups):
    return (*dims[:-1], groups, dims[-1] // groups)


def _group_axes(ndim):
    """Normalised axes of x[batch, ..., groups, channels / groups] when x had `ndim` axes."""
    return (*range(1, ndim - 1), ndim)


def _group_reference(x, *parameters, groups, eps, has_gamma, has_beta):
    split = x.reshape(_grouped_dims(x.shape, groups))
    normal, _ = _standardise_array(split, _group_axes(x.ndim), eps)
    return _affine_array(normal.reshape(x.shape), *_optional(parameters, has_gamma, has_beta))


def _group_decompose(x, *parameters, groups, eps, has_gamma, has_beta):
    split = sh.reshape(x, _grouped_dims(x.dims, groups))
    normal, _ = _standardise(split, _group_axes(x.ndim), eps)
    return _affine(sh.reshape(normal, x.dims), *_optional(parameters, has_gamma, has_beta))


def _group_vjp(ct, y, x, *parameters, has_gamma, has_beta, **attrs):
    gamma, _ = _optional(parameters, has_gamma, has_beta)
    return _group_grad(ct, x, *_given(gamma), has_gamma=has_gamma, has_beta=has_beta, **attrs)


_group = Primitive(
    "group_norm",
    shape=_group_shape,
    reference=_group_reference,
    vjp=_group_vjp,
    decompose=_group_decompose,
)


def group_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    groups: int = 32,
    eps: float = 1e-3,
) -> Tensor:
    """Normalises x[batch, ..., channels] over all but the batch, apart for each group of channels.

    Args:
        gamma, beta: [channels] of the dtype of x, or None.
        groups: divides the number of channels.

    Raises:
        TypeError, ValueError: wrong dtypes or shapes.
    """
    flags = {"has_gamma": gamma is not None, "has_beta": beta is not None}
    return _group(x, *_given(gamma, beta), groups=groups, eps=float(eps), **flags)


def _group_grad_shape(ct, x, *gamma, groups, eps, has_gamma, has_beta):
    _check_groups("group_norm_grad", x, groups)
    _check_scale("group_norm_grad", x.dims[-1:], x, *gamma)
    return [(x.dims, x.dtype)] + [(x.dims[-1:], x.dtype)] * (int(has_gamma) + int(has_beta))


def _group_grad_reference(ct, x, *gamma, groups, eps, has_gamma, has_beta):
    dims, inner = _grouped_dims(x.shape, groups), _group_axes(x.ndim)
    normal, rstd = _standardise_array(x.reshape(dims), inner, eps)
    scale = gamma[0].reshape(dims[-2:]) if gamma else None
    outer = tuple(range(x.ndim - 1))
    dx, *rest = _gradient_arrays(ct.reshape(dims), normal, rstd, scale, inner, outer, has_beta)
    return (dx.reshape(x.shape), *(r.reshape(x.shape[-1:]) for r in rest))


def _group_grad_decompose(ct, x, *gamma, groups, eps, has_gamma, has_beta):
    dims, inner = _grouped_dims(x.dims, groups), _group_axes(x.ndim)
    normal, rstd = _standardise(sh.reshape(x, dims), inner, eps)
    scale = sh.reshape(gamma[0], dims[-2:]) if gamma else None
    outer = tuple(range(x.ndim - 1))
    dx, *rest = _gradients(sh.reshape(ct, dims), normal, rstd, scale, inner, outer, has_beta)
    return (sh.reshape(dx, x.dims), *(sh.reshape(r, x.dims[-1:]) for r in rest))


_group_grad = Primitive(
    "group_norm_grad",
    shape=_group_grad_shape,
    reference=_group_grad_reference,
    vjp=lambda ct, out, *inputs, **attrs: vjp_through(
        lambda *a: _group_grad_decompose(*a, **attrs), ct, inputs
    ),
    decompose=_group_grad_decompose,
)
