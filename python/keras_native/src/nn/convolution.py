"""Convolutions, and the rearrangements between channels and space."""

from __future__ import annotations

import numpy as np
from keras.src.backend import config
from keras.src.backend.common.backend_utils import (
    check_conv_input_channels,
    check_conv_transpose_input_channels,
    compute_conv_transpose_padding_args_for_jax,
)

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import signature
from keras_native.engine.primitives import conv as cv
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.nn.layout import channels_last, padding_pairs, per_axis, restore
from keras_native.src.ops.convert import convert_to_tensor


def _operands(op: str, inputs, kernel) -> tuple[Tensor, Tensor]:
    """Both as tensors of the kernel's dtype; ValueError where no convolution has such ranks."""
    kernel = convert_to_tensor(kernel)
    inputs = convert_to_tensor(inputs, kernel.dtype)
    if not 3 <= inputs.ndim == kernel.ndim <= 5:
        raise ValueError(
            f"{op}: inputs and kernel must have one rank of 3 to 5 (1 to 3 spatial dimensions), "
            f"got {signature((inputs, kernel))}"
        )
    return inputs, kernel


def _conv(x: Tensor, w: Tensor, strides, padding, data_format, dilation, groups) -> Tensor:
    rank = x.ndim - 2
    strides, dilation = per_axis(strides, rank), per_axis(dilation, rank)
    x = channels_last(x, data_format)
    pairs = padding_pairs(padding, x.dims[1:-1], w.dims[:-2], strides, dilation)
    return restore(cv.conv(x, w, strides, pairs, dilation, groups), data_format)


def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """Convolution in 1 to 3 dimensions; grouped if the kernel has fewer input channels."""
    data_format = config.standardize_data_format(data_format)
    x, w = _operands("conv", inputs, kernel)
    channels = x.dims[-1] if data_format == "channels_last" else x.dims[1]
    if w.dims[-2] == 0 or channels % w.dims[-2]:
        raise ValueError(
            "The number of input channels must be evenly divisible by kernel's in_channels. "
            f"Received input channels {channels} and kernel in_channels {w.dims[-2]}. "
        )
    out = _conv(x, w, strides, padding, data_format, dilation_rate, channels // w.dims[-2])
    if any(isinstance(d, int) and d == 0 for d in out.dims) and 0 not in x.shape:
        raise ValueError(
            "The convolution operation resulted in an empty output. This can happen if the input "
            "is too small for the given kernel size, strides, dilation rate, and padding mode. "
            "Please check the input shape and convolution parameters."
        )
    return out


def depthwise_conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """Each channel convolved by its own kernels: [*K, channels, multiplier]."""
    data_format = config.standardize_data_format(data_format)
    x, w = _operands("depthwise_conv", inputs, kernel)
    check_conv_input_channels(x, w, data_format)
    channels, multiplier = w.dims[-2:]
    w = sh.reshape(w, w.dims[:-2] + (1, channels * multiplier))
    return _conv(x, w, strides, padding, data_format, dilation_rate, channels)


def separable_conv(
    inputs,
    depthwise_kernel,
    pointwise_kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    """A depthwise convolution, then one of width 1 that mixes the channels."""
    data_format = config.standardize_data_format(data_format)
    x = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(x, pointwise_kernel, 1, "valid", data_format, 1)


def conv_transpose(
    inputs,
    kernel,
    strides=1,
    padding="valid",
    output_padding=None,
    data_format=None,
    dilation_rate=1,
):
    """The adjoint of a convolution; the kernel is [*K, output channels, input channels]."""
    data_format = config.standardize_data_format(data_format)
    x, w = _operands("conv_transpose", inputs, kernel)
    check_conv_transpose_input_channels(x, w, data_format)
    rank = x.ndim - 2
    # Zeros around the input, stretched by the strides, that a plain convolution would then need.
    around = compute_conv_transpose_padding_args_for_jax(
        x.shape, w.dims, strides, padding, output_padding, dilation_rate
    )
    strides, dilation = per_axis(strides, rank), per_axis(dilation_rate, rank)
    x = channels_last(x, data_format)
    pairs, sizes = [], []
    for size, k, stride, d, (low, high) in zip(
        x.dims[1:-1], w.dims[:-2], strides, dilation, around
    ):
        reach = (k - 1) * d
        pairs.append((reach - low, reach - high))
        sizes.append((size - 1) * stride + 1 + low + high - reach)
    out = cv.conv_input_grad(x, w, tuple(sizes), strides, tuple(pairs), dilation)
    return restore(out, data_format)


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """The sliding blocks of images [N, C, H, W] as columns [N, C * kH * kW, blocks]."""
    x = convert_to_tensor(input)
    kernel, step, dil, pad = (per_axis(v, 2) for v in (kernel_size, stride, dilation, padding))
    if any(pad):
        around = (0, 0, *pad)
        x = ss.pad(x, around, around, scalar(0, x.dtype))
    n, c, *size = x.dims
    counts = [(s - (k - 1) * d - 1) // t + 1 for s, k, d, t in zip(size, kernel, dil, step)]
    blocks = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            start = (i * dil[0], j * dil[1])
            stop = [b + (m - 1) * t + 1 for b, m, t in zip(start, counts, step)]
            blocks.append(ss.slice(x, (0, 0, *start), (n, c, *stop), (1, 1, *step)))
    return sh.reshape(sh.stack(blocks, 2), (n, c * kernel[0] * kernel[1], counts[0] * counts[1]))


def fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The adjoint of `unfold`: adds blocks [N, C * kH * kW, L] into images [N, C, H, W]."""
    x = convert_to_tensor(x)
    size, kernel, step, dil, pad = (
        per_axis(v, 2) for v in (output_size, kernel_size, stride, dilation, padding)
    )
    counts = [
        (s + 2 * p - d * (k - 1) - 1) // t + 1
        for s, k, t, d, p in zip(size, kernel, step, dil, pad)
    ]
    n, columns, _ = x.dims
    taps = kernel[0] * kernel[1]
    blocks = channels_last(sh.reshape(x, (n, columns, *counts)), "channels_first")
    # Each tap of a channel lies in a channel of its own: adding up is a grouped convolution's
    # adjoint by a kernel of zeros and ones.
    one_tap = np.eye(taps, dtype=dtypes.NUMPY[x.dtype]).reshape(*kernel, 1, taps)
    weights = from_numpy(np.tile(one_tap, (1, 1, 1, columns // taps)))
    pairs = tuple((p, p) for p in pad)
    images = cv.conv_input_grad(blocks, weights, size, step, pairs, dil, columns // taps)
    return restore(images, "channels_first")


def depth_to_space(x, block_size, data_format="channels_last"):
    """Channels become blocks of pixels: [N, H, W, C * b * b] to [N, H * b, W * b, C]."""
    x = convert_to_tensor(x)
    b = block_size
    if data_format == "channels_last":
        n, h, w, c = x.dims
        c = c // (b * b)
        x = sh.transpose(sh.reshape(x, (n, h, w, b, b, c)), (0, 1, 3, 2, 4, 5))
        return sh.reshape(x, (n, h * b, w * b, c))
    n, c, h, w = x.dims
    c = c // (b * b)
    x = sh.transpose(sh.reshape(x, (n, c, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return sh.reshape(x, (n, c, h * b, w * b))


def space_to_depth(x, block_size, data_format="channels_last"):
    """The inverse of `depth_to_space`."""
    x = convert_to_tensor(x)
    b = block_size
    if data_format == "channels_last":
        n, h, w, c = x.dims
        h, w = h // b, w // b
        x = sh.transpose(sh.reshape(x, (n, h, b, w, b, c)), (0, 1, 3, 2, 4, 5))
        return sh.reshape(x, (n, h, w, c * b * b))
    n, c, h, w = x.dims
    h, w = h // b, w // b
    x = sh.transpose(sh.reshape(x, (n, c, h, b, w, b)), (0, 1, 3, 5, 2, 4))
    return sh.reshape(x, (n, c * b * b, h, w))
