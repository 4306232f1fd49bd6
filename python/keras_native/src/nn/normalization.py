"""Statistics and normalisation."""

from __future__ import annotations

from keras.src.backend import config

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import norm, norm_batch
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import Tensor
from keras_native.src.nn.activations import as_float
from keras_native.src.nn.layout import channels_last, restore
from keras_native.src.ops.convert import convert_to_tensor, promote

_HALF = ("float16", "bfloat16")
_LARGEST_FLOAT16 = 65504.0


def moments(x, axes, keepdims=False, synchronized=False):
    """Mean and population variance over `axes`.

    Half precision is computed in float32 and clipped to the range of float16.
    """
    if synchronized:
        raise NotImplementedError(
            "Argument synchronized=True is not supported with the native backend."
        )
    x = as_float(x)
    axes = sh.normal_axes("moments", axes, x.ndim)
    if not keepdims and x.ndim > 2 and axes == (0, *range(2, x.ndim)):
        # As batch_normalization has it.
        x, axes = channels_last(x, "channels_first"), tuple(range(x.ndim - 1))
    if x.dtype not in _HALF:
        return rd.moments(x, axes, keepdims)
    return tuple(
        ew.cast(ew.clip(m, -_LARGEST_FLOAT16, _LARGEST_FLOAT16), x.dtype)
        for m in rd.moments(ew.cast(x, "float32"), axes, keepdims)
    )


def batch_normalization(x, mean, variance, axis, offset=None, scale=None, epsilon=1e-3):
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, with parameters along `axis`."""
    given = [t for t in (scale, offset) if t is not None]
    x, mean, variance, *given = promote(*map(convert_to_tensor, (x, mean, variance, *given)))
    x, mean, variance, *given = (as_float(t) for t in (x, mean, variance, *given))
    given = iter(given)
    scale, offset = (None if t is None else next(given) for t in (scale, offset))
    axis = sh.normal_axis("batch_normalization", axis, x.ndim)
    fused = not x.dtype.startswith("complex")
    if fused and axis == x.ndim - 1:
        return norm_batch.batch_norm_inference(x, mean, variance, scale, offset, epsilon)
    if fused and axis == 1:
        x = channels_last(x, "channels_first")
        y = norm_batch.batch_norm_inference(x, mean, variance, scale, offset, epsilon)
        return restore(y, "channels_first")
    dims = [1] * x.ndim
    dims[axis] = mean.dims[0]
    dims = tuple(dims)
    inverse = ew.rsqrt(ew.add(variance, epsilon))
    if scale is not None:
        inverse = ew.mul(inverse, scale)
    shift = ew.neg(ew.mul(mean, inverse))
    if offset is not None:
        shift = ew.add(shift, offset)
    return ew.add(ew.mul(x, sh.reshape(inverse, dims)), sh.reshape(shift, dims))


def _wide(x: Tensor) -> Tensor:
    """Half precision as float32."""
    return ew.cast(x, "float32") if x.dtype in _HALF else x


def _trailing(axis, rank: int) -> int | None:
    """How many axes `axis` names if they are the last ones, else None."""
    axes = sh.normal_axes("normalization", axis, rank)
    return len(axes) if axes == tuple(range(rank - len(axes), rank)) else None


def _parameter(value, x: Tensor, count: int) -> Tensor | None:
    if value is None:
        return None
    return sh.broadcast_to(convert_to_tensor(value, x.dtype), x.dims[x.ndim - count :])


def layer_normalization(x, gamma=None, beta=None, axis=-1, epsilon=None):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over `axis`."""
    epsilon = config.epsilon() if epsilon is None else epsilon
    x = as_float(x)
    count = _trailing(axis, x.ndim)
    if count is not None:
        gamma, beta = (_parameter(p, x, count) for p in (gamma, beta))
        return norm.layer_norm(x, gamma, beta, count, epsilon)
    axes = sh.normal_axes("layer_normalization", axis, x.ndim)
    wide = _wide(x)
    mean, variance = rd.moments(wide, axes, keepdims=True)
    out = ew.mul(ew.sub(wide, mean), ew.rsqrt(ew.add(variance, epsilon)))
    return _affine(out, gamma, beta, axes, x.dtype)


def rms_normalization(x, scale=None, axis=-1, epsilon=None):
    """x / sqrt(mean(x^2) + epsilon) * scale over `axis`."""
    epsilon = config.epsilon() if epsilon is None else epsilon
    x = as_float(x)
    count = _trailing(axis, x.ndim)
    if count is not None:
        return norm.rms_norm(x, _parameter(scale, x, count), count, epsilon)
    axes = sh.normal_axes("rms_normalization", axis, x.ndim)
    wide = _wide(x)
    power = rd.reduce_mean(ew.square(wide), axes, keepdims=True)
    return _affine(ew.mul(wide, ew.rsqrt(ew.add(power, epsilon))), scale, None, axes, x.dtype)


def _affine(x: Tensor, gamma, beta, axes, dtype: str) -> Tensor:
    dims = tuple(d if i in axes else 1 for i, d in enumerate(x.dims))
    for parameter, apply in ((gamma, ew.mul), (beta, ew.add)):
        if parameter is not None:
            x = apply(x, sh.reshape(convert_to_tensor(parameter, x.dtype), dims))
    return ew.cast(x, dtype)
