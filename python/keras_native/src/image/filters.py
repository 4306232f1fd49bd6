"""Filters: each channel is convolved by the same small kernel."""

from __future__ import annotations

import numpy as np
from keras.src.backend import config

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.matmul import matmul
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.image.color import check_rank
from keras_native.src.nn.activations import as_float
from keras_native.src.nn.convolution import depthwise_conv
from keras_native.src.ops.convert import convert_to_tensor

_LONGEST_REACH = 4096  # of a Gaussian whose width is unknown, in pixels


def _each_channel(images: Tensor, kernel: Tensor, data_format: str) -> Tensor:
    """Every channel filtered by a kernel [kH, kW]; zeros around the image."""
    channels = images.dims[-1] if data_format == "channels_last" else images.dims[1]
    kernel = sh.broadcast_to(sh.expand_dims(kernel, (2, 3)), (*kernel.dims, channels, 1))
    return depthwise_conv(images, kernel, 1, "same", data_format)


def _gaussian(size: int, sigma: Tensor) -> Tensor:
    x = ew.sub(sh.iota(size, sigma.dtype), (size - 1) / 2)
    kernel = ew.exp(ew.mul(-0.5, ew.square(ew.div(x, sigma))))
    return ew.div(kernel, rd.reduce_sum(kernel))


def gaussian_blur(images, kernel_size=(3, 3), sigma=(1.0, 1.0), data_format=None):
    """Images convolved by a Gaussian; `kernel_size` and `sigma` are (x, y)."""
    data_format = config.standardize_data_format(data_format)
    images = as_float(images)
    check_rank(images)
    sigma = convert_to_tensor(sigma, images.dtype)
    across, down = (sh.reshape(ss.slice(sigma, (i,), (i + 1,)), ()) for i in range(2))
    width, height = map(int, kernel_size)
    x = sh.expand_dims(images, 0) if images.ndim == 3 else images
    # The kernel is the product of a row and a column: two passes of a few taps.
    x = _each_channel(x, sh.expand_dims(_gaussian(width, across), 0), data_format)
    x = _each_channel(x, sh.expand_dims(_gaussian(height, down), 1), data_format)
    return sh.reshape(x, x.dims[1:]) if images.ndim == 3 else x


def _band(size: int, sigma: Tensor, reach: Tensor) -> Tensor:
    """The symmetric matrix [size, size] that smooths a vector by a Gaussian cut off at `reach`."""

    def weights(distance):
        density = ew.exp(ew.mul(-0.5, ew.square(ew.div(distance, sigma))))
        return ew.mul(density, ew.cast(ew.le(distance, reach), "float32"))

    one_side = rd.reduce_sum(weights(ew.add(sh.iota(_LONGEST_REACH, "float32"), 1.0)))
    places = sh.iota(size, "float32")
    apart = ew.abs(ew.sub(sh.expand_dims(places, 0), sh.expand_dims(places, 1)))
    return ew.div(weights(apart), ew.add(ew.mul(2.0, one_side), 1.0))


def smooth(images: Tensor, sigma: Tensor) -> Tensor:
    """Images [..., H, W] convolved by a Gaussian whose width may be unknown yet; zeros around them.

    The kernel reaches three widths, and at most 4,096 pixels, to each side. Its size would be a
    shape, so it is the band of a matrix that the rows and the columns are multiplied by.

    Args:
        sigma: float32 scalar.
    """
    sigma = ew.maximum(sigma, 1e-6)
    reach = ew.floor(ew.mul(sigma, 3.0))
    down, across = (ew.cast(_band(n, sigma, reach), images.dtype) for n in images.dims[-2:])
    return matmul(matmul(down, images), across)


def sobel_edges(images, data_format=None):
    """The vertical and horizontal gradients of [N, H, W, C], stacked in a new last axis."""
    data_format = config.standardize_data_format(data_format)
    images = as_float(images)
    smooth, slope = np.array([1, 2, 1]), np.array([-1, 0, 1])
    dtype = dtypes.NUMPY[images.dtype]
    edges = [
        _each_channel(images, from_numpy(np.outer(a, b).astype(dtype)), data_format)
        for a, b in ((slope, smooth), (smooth, slope))
    ]
    return sh.stack(edges, -1)
