"""What normalisations share: statistics, the affine map after them, and the gradient of both.

Every gradient is that of y = x^ * gamma + beta with x^ = (x - mean) * rstd:
    dgamma = sum(ct x^), dbeta = sum(ct), g = ct gamma,
    dx = rstd (g - mean(g) - x^ mean(g x^))    (RMS: without the mean(g) term)
"""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitive import signature
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.softmax import require_floats, wide


def optional(values, has_gamma, has_beta):
    """(gamma or None, beta or None) from the inputs that are there."""
    values = list(values)
    gamma = values.pop(0) if has_gamma else None
    beta = values.pop(0) if has_beta else None
    return gamma, beta


def given(*values):
    """The values that are not None."""
    return [v for v in values if v is not None]


def check_scale(name, dims, x, *parameters):
    """TypeError or ValueError unless the parameters have the dtype of x and the shape `dims`."""
    require_floats(name, x, *parameters)
    if any(p.dims != dims for p in parameters):
        raise ValueError(
            f"{name}: gamma and beta need the shape of the normalised dimensions, "
            f"got {signature([x, *parameters])}"
        )


def tail(x, axes, name="layer_norm"):
    """The last `axes` axes of x, checked."""
    if not 1 <= axes <= x.ndim:
        raise ValueError(f"{name}: cannot normalise the last {axes} axes of {signature([x])}")
    return tuple(range(x.ndim - axes, x.ndim))


def constant(value, like):
    """A scalar of the dtype of `like`."""
    return sh.full((), value, like.dtype)


def add_epsilon(x, eps):
    """x + eps in the dtype of x."""
    return ew.add(x, constant(eps, x))


def affine(y, gamma, beta):
    """y * gamma + beta in primitives, of what is not None."""
    y = y if gamma is None else ew.mul(y, gamma)
    return y if beta is None else ew.add(y, beta)


def mean(x, axes):
    """The mean over axes, which stay with size 1."""
    return rd.reduce_mean(x, axes, keepdims=True)


def standardise(x, axes, eps):
    """(x^, rstd) in primitives."""
    centred = ew.sub(x, mean(x, axes))
    rstd = ew.rsqrt(add_epsilon(mean(ew.square(centred), axes), eps))
    return ew.mul(centred, rstd), rstd


def gradients(ct, normal, rstd, gamma, axes, outer, has_beta, centred=True):
    """dx, dgamma if gamma, dbeta if has_beta, in primitives; the latter summed over `outer`."""
    g = ct if gamma is None else ew.mul(ct, gamma)
    inner = ew.mul(normal, mean(ew.mul(g, normal), axes))
    if centred:
        inner = ew.add(inner, mean(g, axes))
    outs = [ew.mul(rstd, ew.sub(g, inner))]
    if gamma is not None:
        outs.append(rd.reduce_sum(ew.mul(ct, normal), outer))
    if has_beta:
        outs.append(rd.reduce_sum(ct, outer))
    return tuple(outs)


def standardise_array(x, axes, eps):
    """(x^, rstd) of a NumPy array, at least in float32."""
    x = wide(x)
    centred = x - x.mean(axis=axes, keepdims=True)
    rstd = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + eps)
    return centred * rstd, rstd.astype(x.dtype)


def affine_array(y, gamma, beta):
    """`affine` of NumPy arrays."""
    y = y if gamma is None else y * wide(gamma)
    return y if beta is None else y + wide(beta)


def gradient_arrays(ct, normal, rstd, gamma, axes, outer, has_beta, centred=True):
    """`gradients` of NumPy arrays."""
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
