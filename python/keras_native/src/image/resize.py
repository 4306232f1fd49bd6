"""Resizing: each spatial axis is multiplied by a matrix of interpolation weights."""

from __future__ import annotations

import math

import numpy as np
from keras.src.backend import config

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import matmul as mm
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.image.color import check_rank
from keras_native.src.nn.activations import as_float, where
from keras_native.src.ops.convert import convert_to_tensor

RESIZE_INTERPOLATIONS = ("bilinear", "nearest", "lanczos3", "lanczos5", "bicubic")


def _triangle(x: Tensor) -> Tensor:
    return ew.maximum(ew.sub(1.0, x), 0.0)


def _cubic(x: Tensor) -> Tensor:
    """Keys's kernel with a = -1/2."""
    near = ew.add(ew.mul(ew.square(x), ew.sub(ew.mul(1.5, x), 2.5)), 1.0)
    far = ew.add(ew.mul(x, ew.sub(ew.mul(x, ew.add(ew.mul(-0.5, x), 2.5)), 4.0)), 2.0)
    return where(ew.ge(x, 2.0), 0.0, ew.select(ew.ge(x, 1.0), far, near))


def _lanczos(radius: float):
    def kernel(x: Tensor) -> Tensor:
        wave = ew.mul(ew.sin(ew.mul(math.pi, x)), ew.sin(ew.mul(math.pi / radius, x)))
        away = ew.gt(x, 1e-3)
        scale = ew.mul(math.pi**2 / radius, ew.square(where(away, x, 1.0)))
        return where(ew.gt(x, radius), 0.0, where(away, ew.div(wave, scale), 1.0))

    return kernel


_KERNELS = {
    "linear": _triangle,
    "bilinear": _triangle,
    "trilinear": _triangle,
    "cubic": _cubic,
    "bicubic": _cubic,
    "tricubic": _cubic,
    "lanczos3": _lanczos(3.0),
    "lanczos5": _lanczos(5.0),
}
SCALE_AND_TRANSLATE_METHODS = set(_KERNELS)


def _weights(size, count, scale: Tensor, translation: Tensor, kernel, antialias) -> Tensor:
    """[count, size] weights of the inputs in each output; zeros outside of the input."""
    dtype = scale.dtype
    step = ew.reciprocal(scale)
    centres = ew.add(sh.iota(count, dtype), 0.5)
    at = ew.sub(ew.mul(ew.sub(centres, translation), step), 0.5)
    at = sh.expand_dims(at, 1)
    distance = ew.abs(ew.sub(at, sh.expand_dims(sh.iota(size, dtype), 0)))
    if antialias:
        distance = ew.div(distance, ew.maximum(step, 1.0))
    weights = kernel(distance)
    total = rd.reduce_sum(weights, (1,), keepdims=True)
    usable = ew.gt(ew.abs(total), 1000 * float(np.finfo(np.float32).eps))
    weights = where(usable, ew.div(weights, where(usable, total, 1.0)), 0.0)
    inside = ew.logical_and(ew.ge(at, -0.5), ew.le(at, size - 0.5))
    return where(inside, weights, 0.0)


def _apply(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Contracts an axis of x with the second axis of `weights`, whose first takes its place."""
    weights = ew.cast(weights, x.dtype)
    if axis == x.ndim - 1:
        return mm.matmul(x, weights, transpose_b=True)
    # Everything behind the axis is a column.
    before, after = x.dims[:axis], x.dims[axis + 1 :]
    columns = 1
    for size in after:
        columns = columns * size
    moved = mm.matmul(weights, sh.reshape(x, (*before, x.dims[axis], columns)))
    return sh.reshape(moved, (*before, weights.dims[0], *after))


def _nearest(x: Tensor, size: int, count: int, axis: int) -> Tensor:
    positions = np.floor((np.arange(count) + 0.5) * (size / count)).astype(np.int32)
    return ga.gather(x, from_numpy(positions), axis)


def resize(
    images,
    size,
    interpolation="bilinear",
    antialias=False,
    crop_to_aspect_ratio=False,
    pad_to_aspect_ratio=False,
    fill_mode="constant",
    fill_value=0.0,
    data_format=None,
):
    """Images of another height and width; the dtype stays."""
    data_format = config.standardize_data_format(data_format)
    if interpolation not in RESIZE_INTERPOLATIONS:
        raise ValueError(
            "Invalid value for argument `interpolation`. Expected of one "
            f"{RESIZE_INTERPOLATIONS}. Received: interpolation={interpolation}"
        )
    if fill_mode != "constant":
        raise ValueError(
            "Invalid value for argument `fill_mode`. Only `'constant'` is supported. "
            f"Received: fill_mode={fill_mode}"
        )
    if pad_to_aspect_ratio and crop_to_aspect_ratio:
        raise ValueError(
            "Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`."
        )
    if len(size) != 2:
        raise ValueError(
            "Argument `size` must be a tuple of two elements (height, width). "
            f"Received: size={size}"
        )
    images = convert_to_tensor(images)
    check_rank(images)
    first = images.ndim - (3 if data_format == "channels_last" else 2)
    axes = (first, first + 1)
    if crop_to_aspect_ratio:
        images = _crop_to_ratio(images, axes, size)
    elif pad_to_aspect_ratio:
        images = _pad_to_ratio(images, axes, size, fill_value)

    dtype = images.dtype
    if interpolation == "nearest":
        for axis, count in zip(axes, size):
            if images.dims[axis] != count:
                images = _nearest(images, int(images.dims[axis]), count, axis)
        return images
    x = as_float(images)
    wide = "float64" if x.dtype == "float64" else "float32"
    for axis, count in zip(axes, size):
        have = x.dims[axis]
        if have == count:
            continue
        scale = scalar(count / have, wide)
        origin = scalar(0.0, wide)
        weights = _weights(have, count, scale, origin, _KERNELS[interpolation], antialias)
        x = _apply(x, weights, axis)
    if dtype in dtypes.INTEGERS:
        info = np.iinfo(dtypes.NUMPY[dtype])
        x = ew.clip(ew.round(x), float(info.min), float(info.max))
    return ew.cast(x, dtype)


def _crop_to_ratio(images: Tensor, axes, size) -> Tensor:
    height, width = (int(images.dims[a]) for a in axes)
    target_height, target_width = size
    kept = (
        max(min(height, int(float(width * target_height) / target_width)), 1),
        max(min(width, int(float(height * target_width) / target_height)), 1),
    )
    start, stop = [0] * images.ndim, [None] * images.ndim
    for axis, have, keep in zip(axes, (height, width), kept):
        start[axis] = int(float(have - keep) / 2)
        stop[axis] = start[axis] + keep
    return ss.slice(images, start, stop)


def _pad_to_ratio(images: Tensor, axes, size, fill_value) -> Tensor:
    height, width = (int(images.dims[a]) for a in axes)
    target_height, target_width = size
    wanted = (
        max(height, int(float(width * target_height) / target_width)),
        max(width, int(float(height * target_width) / target_height)),
    )
    around = [0] * images.ndim
    for axis, have, want in zip(axes, (height, width), wanted):
        around[axis] = int(float(want - have) / 2)
    return ss.pad(images, around, around, convert_to_tensor(fill_value, images.dtype))


def scale_and_translate(
    images, output_shape, scale, translation, spatial_dims, method, antialias=True
):
    """Images scaled by `scale` and moved by `translation` along `spatial_dims`."""
    if method not in _KERNELS:
        raise ValueError(
            "Invalid value for argument `method`. Expected of one "
            f"{SCALE_AND_TRANSLATE_METHODS}. Received: method={method}"
        )
    images = as_float(images)
    x = images if images.dtype == "float64" else ew.cast(images, "float32")
    scale, translation = (convert_to_tensor(t, x.dtype) for t in (scale, translation))
    if len(output_shape) != x.ndim or scale.dims != (len(spatial_dims),):
        raise ValueError(
            f"scale_and_translate: output_shape {tuple(output_shape)} must have one entry for each "
            f"axis of {images.shape}, and scale one for each of spatial_dims {spatial_dims}"
        )
    for i, axis in enumerate(spatial_dims):
        axis = sh.normal_axis("scale_and_translate", axis, x.ndim)
        ratio, origin = (sh.reshape(ss.slice(t, (i,), (i + 1,)), ()) for t in (scale, translation))
        count = output_shape[axis]
        weights = _weights(x.dims[axis], count, ratio, origin, _KERNELS[method], antialias)
        x = _apply(x, weights, axis)
    return ew.cast(x, images.dtype)
