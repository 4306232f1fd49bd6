"""Layer, RMS and group normalisation, each with its fused gradient.

Optional gamma and beta are left out of the inputs; the attributes has_gamma and has_beta say so.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import norm_common as common
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.decomposed import vjp_through
from keras_native.engine.primitives.softmax import require_floats, wide
from keras_native.engine.tensor import Tensor

# layer norm ------------------------------------------------------------------------------------


def _layer_shape(x, *parameters, axes, eps, has_gamma, has_beta):
    common.tail(x, axes)
    common.check_scale("layer_norm", x.dims[x.ndim - axes :], x, *parameters)
    return x.dims, x.dtype


def _layer_reference(x, *parameters, axes, eps, has_gamma, has_beta):
    normal, _ = common.standardise_array(x, tuple(range(x.ndim - axes, x.ndim)), eps)
    return common.affine_array(normal, *common.optional(parameters, has_gamma, has_beta))


def _layer_decompose(x, *parameters, axes, eps, has_gamma, has_beta):
    normal, _ = common.standardise(x, common.tail(x, axes), eps)
    return common.affine(normal, *common.optional(parameters, has_gamma, has_beta))


def _layer_vjp(ct, y, x, *parameters, axes, eps, has_gamma, has_beta):
    gamma, _ = common.optional(parameters, has_gamma, has_beta)
    return _layer_grad(
        ct, x, *common.given(gamma), axes=axes, eps=eps, has_gamma=has_gamma, has_beta=has_beta
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
    return _layer(x, *common.given(gamma, beta), axes=axes, eps=float(eps), **flags)


def _layer_grad_shape(ct, x, *gamma, axes, eps, has_gamma, has_beta):
    require_floats("layer_norm_grad", ct, x, *gamma)
    common.tail(x, axes)
    parameter = (x.dims[x.ndim - axes :], x.dtype)
    return [(x.dims, x.dtype)] + [parameter] * (int(has_gamma) + int(has_beta))


def _layer_grad_reference(ct, x, *gamma, axes, eps, has_gamma, has_beta):
    split = x.ndim - axes
    inner, outer = tuple(range(split, x.ndim)), tuple(range(split))
    normal, rstd = common.standardise_array(x, inner, eps)
    return common.gradient_arrays(ct, normal, rstd, *(gamma or [None]), inner, outer, has_beta)


def _layer_grad_decompose(ct, x, *gamma, axes, eps, has_gamma, has_beta):
    inner = common.tail(x, axes)
    normal, rstd = common.standardise(x, inner, eps)
    outer = tuple(range(x.ndim - axes))
    return common.gradients(ct, normal, rstd, *(gamma or [None]), inner, outer, has_beta)


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
    common.tail(x, axes, "rms_norm")
    common.check_scale("rms_norm", x.dims[x.ndim - axes :], x, *gamma)
    return x.dims, x.dtype


def _rms_arrays(x, axes, eps):
    x = wide(x)
    tail = tuple(range(x.ndim - axes, x.ndim))
    rstd = 1 / np.sqrt(np.square(x).mean(axis=tail, keepdims=True) + eps)
    return x * rstd, rstd.astype(x.dtype)


def _rms(x, axes, eps):
    rstd = ew.rsqrt(common.add_epsilon(common.mean(ew.square(x), common.tail(x, axes)), eps))
    return ew.mul(x, rstd), rstd


def _rms_reference(x, *gamma, axes, eps, has_gamma):
    return common.affine_array(_rms_arrays(x, axes, eps)[0], *(gamma or [None]), None)


def _rms_decompose(x, *gamma, axes, eps, has_gamma):
    return common.affine(_rms(x, axes, eps)[0], *(gamma or [None]), None)


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
    return _rms_norm(
        x, *common.given(gamma), axes=axes, eps=float(eps), has_gamma=gamma is not None
    )


def _rms_grad_shape(ct, x, *gamma, axes, eps, has_gamma):
    require_floats("rms_norm_grad", ct, x, *gamma)
    common.tail(x, axes, "rms_norm_grad")
    return [(x.dims, x.dtype)] + [(g.dims, g.dtype) for g in gamma]


def _rms_grad_reference(ct, x, *gamma, axes, eps, has_gamma):
    split = x.ndim - axes
    inner, outer = tuple(range(split, x.ndim)), tuple(range(split))
    normal, rstd = _rms_arrays(x, axes, eps)
    return common.gradient_arrays(ct, normal, rstd, *(gamma or [None]), inner, outer, False, False)


def _rms_grad_decompose(ct, x, *gamma, axes, eps, has_gamma):
    inner, outer = common.tail(x, axes), tuple(range(x.ndim - axes))
    normal, rstd = _rms(x, axes, eps)
    return common.gradients(ct, normal, rstd, *(gamma or [None]), inner, outer, False, False)


_rms_grad = Primitive(
    "rms_norm_grad",
    shape=_rms_grad_shape,
    reference=_rms_grad_reference,
    vjp=lambda ct, out, *inputs, **attrs: vjp_through(
        lambda *a: _rms_grad_decompose(*a, **attrs), ct, inputs
    ),
    decompose=_rms_grad_decompose,
)


# group norm ------------------------------------------------------------------------------------


def _check_groups(name, x, groups):
    if x.ndim < 2 or groups < 1 or x.dims[-1] % groups != 0:
        raise ValueError(
            f"{name}: x[batch, ..., channels] needs channels divisible by groups={groups}, "
            f"got {signature([x])}"
        )


def _group_shape(x, *parameters, groups, eps, has_gamma, has_beta):
    _check_groups("group_norm", x, groups)
    common.check_scale("group_norm", x.dims[-1:], x, *parameters)
    return x.dims, x.dtype


def _grouped_dims(dims, groups):
    return (*dims[:-1], groups, dims[-1] // groups)


def _group_axes(ndim):
    """Normalised axes of x[batch, ..., groups, channels / groups] when x had `ndim` axes."""
    return (*range(1, ndim - 1), ndim)


def _group_reference(x, *parameters, groups, eps, has_gamma, has_beta):
    split = x.reshape(_grouped_dims(x.shape, groups))
    normal, _ = common.standardise_array(split, _group_axes(x.ndim), eps)
    return common.affine_array(
        normal.reshape(x.shape), *common.optional(parameters, has_gamma, has_beta)
    )


def _group_decompose(x, *parameters, groups, eps, has_gamma, has_beta):
    split = sh.reshape(x, _grouped_dims(x.dims, groups))
    normal, _ = common.standardise(split, _group_axes(x.ndim), eps)
    return common.affine(
        sh.reshape(normal, x.dims), *common.optional(parameters, has_gamma, has_beta)
    )


def _group_vjp(ct, y, x, *parameters, has_gamma, has_beta, **attrs):
    gamma, _ = common.optional(parameters, has_gamma, has_beta)
    return _group_grad(ct, x, *common.given(gamma), has_gamma=has_gamma, has_beta=has_beta, **attrs)


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
    return _group(x, *common.given(gamma, beta), groups=groups, eps=float(eps), **flags)


def _group_grad_shape(ct, x, *gamma, groups, eps, has_gamma, has_beta):
    _check_groups("group_norm_grad", x, groups)
    common.check_scale("group_norm_grad", x.dims[-1:], x, *gamma)
    return [(x.dims, x.dtype)] + [(x.dims[-1:], x.dtype)] * (int(has_gamma) + int(has_beta))


def _group_grad_reference(ct, x, *gamma, groups, eps, has_gamma, has_beta):
    dims, inner = _grouped_dims(x.shape, groups), _group_axes(x.ndim)
    normal, rstd = common.standardise_array(x.reshape(dims), inner, eps)
    scale = gamma[0].reshape(dims[-2:]) if gamma else None
    outer = tuple(range(x.ndim - 1))
    dx, *rest = common.gradient_arrays(
        ct.reshape(dims), normal, rstd, scale, inner, outer, has_beta
    )
    return (dx.reshape(x.shape), *(r.reshape(x.shape[-1:]) for r in rest))


def _group_grad_decompose(ct, x, *gamma, groups, eps, has_gamma, has_beta):
    dims, inner = _grouped_dims(x.dims, groups), _group_axes(x.ndim)
    normal, rstd = common.standardise(sh.reshape(x, dims), inner, eps)
    scale = sh.reshape(gamma[0], dims[-2:]) if gamma else None
    outer = tuple(range(x.ndim - 1))
    dx, *rest = common.gradients(sh.reshape(ct, dims), normal, rstd, scale, inner, outer, has_beta)
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
