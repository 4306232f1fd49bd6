"""Filters: each channel is convolved by the same small kernel."""

from __future__ import annotations

import numpy as np
from keras.src.backend import config

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.image.color import check_rank
from keras_native.src.nn.activations import as_float
from keras_native.src.nn.convolution import depthwise_conv
from keras_native.src.ops.convert import convert_to_tensor


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
    across, down = (sh.reshape(sh.slice(sigma, (i,), (i + 1,)), ()) for i in range(2))
    width, height = map(int, kernel_size)
    x = sh.expand_dims(images, 0) if images.ndim == 3 else images
    # The kernel is the product of a row and a column: two passes of a few taps.
    x = _each_channel(x, sh.expand_dims(_gaussian(width, across), 0), data_format)
    x = _each_channel(x, sh.expand_dims(_gaussian(height, down), 1), data_format)
    return sh.reshape(x, x.dims[1:]) if images.ndim == 3 else x


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
