"""Colour spaces."""

from __future__ import annotations

import numpy as np
from keras.src.backend import config

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import Tensor
from keras_native.src.nn.activations import as_float, where
from keras_native.src.ops.convert import convert_to_tensor

# Luminance of red, green and blue (ITU-R BT.601).
_LUMINANCE = (0.2989, 0.5870, 0.1140)


def check_rank(images: Tensor) -> None:
    """ValueError unless `images` is one image or a batch of them."""
    if images.ndim not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). "
            f"Received input with shape: images.shape={images.shape}"
        )


def _channel_axis(images: Tensor, data_format) -> int:
    check_rank(images)
    data_format = config.standardize_data_format(data_format)
    return images.ndim - (1 if data_format == "channels_last" else 3)


def _planes(images: Tensor, axis: int) -> list[Tensor]:
    if images.dims[axis] != 3:
        raise ValueError(f"Invalid channel size: expected 3. Received: images.shape={images.shape}")
    dims = images.dims[:axis] + images.dims[axis + 1 :]
    start, stop = [0] * images.ndim, [None] * images.ndim
    planes = []
    for i in range(3):
        start[axis], stop[axis] = i, i + 1
        planes.append(sh.reshape(ss.slice(images, start, stop), dims))
    return planes


def _float_images(images) -> Tensor:
    images = convert_to_tensor(images)
    check_rank(images)
    if not dtypes.is_float(images.dtype):
        raise ValueError(
            f"Invalid images dtype: expected float dtype. Received: images.dtype={images.dtype}"
        )
    return images


def rgb_to_grayscale(images, data_format=None):
    """Luminance, in one channel; images of one channel are left as they are."""
    images = convert_to_tensor(images)
    axis = _channel_axis(images, data_format)
    if images.dims[axis] not in (1, 3):
        raise ValueError(
            "Invalid channel size: expected 3 (RGB) or 1 (Grayscale). "
            f"Received input with shape: images.shape={images.shape}"
        )
    if images.dims[axis] == 1:
        return images
    x = as_float(images)
    dims = [1] * x.ndim
    dims[axis] = 3
    weights = sh.reshape(convert_to_tensor(_LUMINANCE, x.dtype), tuple(dims))
    gray = rd.reduce_sum(ew.mul(x, weights), (axis,), keepdims=True)
    return ew.cast(gray, images.dtype)


def rgb_to_hsv(images, data_format=None):
    """Hue, saturation and value in [0, 1], from red, green and blue."""
    images = _float_images(images)
    axis = _channel_axis(images, data_format)
    tiny = float(np.finfo(np.float32).eps)
    if images.dtype != "float32":
        import ml_dtypes

        tiny = float(ml_dtypes.finfo(dtypes.NUMPY[images.dtype]).eps)
    images = where(ew.lt(ew.abs(images), tiny), 0.0, images)
    red, green, blue = _planes(images, axis)
    value = ew.maximum(ew.maximum(red, green), blue)
    spread = ew.sub(value, ew.minimum(ew.minimum(red, green), blue))
    is_coloured = ew.gt(spread, 0.0)
    is_lit = ew.gt(value, 0.0)
    saturation = where(is_lit, ew.div(spread, where(is_lit, value, 1.0)), 0.0)
    sixth = ew.div(1.0, ew.mul(6.0, where(is_coloured, spread, 1.0)))

    def sector(a, b, offset):
        return ew.add(ew.mul(sixth, ew.sub(a, b)), offset)

    hue = ew.select(
        ew.eq(value, green), sector(blue, red, 2.0 / 6.0), sector(red, green, 4.0 / 6.0)
    )
    hue = ew.select(ew.eq(value, red), sector(green, blue, 0.0), hue)
    hue = where(is_coloured, hue, 0.0)
    hue = ew.add(hue, ew.cast(ew.lt(hue, 0.0), hue.dtype))
    return sh.stack([hue, saturation, value], axis)


def hsv_to_rgb(images, data_format=None):
    """The inverse of `rgb_to_hsv`."""
    images = _float_images(images)
    axis = _channel_axis(images, data_format)
    hue, saturation, value = _planes(images, axis)
    sector = ew.mul(ew.mod(hue, 1.0), 6.0)
    grey = ew.sub(1.0, saturation)

    def plane(strength):
        strength = ew.clip(strength, 0.0, 1.0)
        return ew.mul(value, ew.add(grey, ew.mul(saturation, strength)))

    red = plane(ew.sub(ew.abs(ew.sub(sector, 3.0)), 1.0))
    green = plane(ew.sub(2.0, ew.abs(ew.sub(sector, 2.0))))
    blue = plane(ew.sub(2.0, ew.abs(ew.sub(sector, 4.0))))
    return sh.stack([red, green, blue], axis)
