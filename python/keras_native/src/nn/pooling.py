"""Pooling by windows, and to a given output size."""

from __future__ import annotations

import numpy as np
from keras.src.backend import config

from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import pool as pl
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.nn.activations import as_float
from keras_native.src.nn.layout import channels_last, padding_pairs, per_axis, restore
from keras_native.src.ops.convert import convert_to_tensor


def _pool(function, x: Tensor, pool_size, strides, padding, data_format) -> Tensor:
    data_format = config.standardize_data_format(data_format)
    rank = x.ndim - 2
    window = per_axis(pool_size, rank)
    strides = window if strides is None else per_axis(strides, rank)
    x = channels_last(x, data_format)
    pairs = padding_pairs(padding, x.dims[1:-1], window, strides, (1,) * rank)
    return restore(function(x, window, strides, pairs), data_format)


def max_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """The largest value in each window."""
    x = convert_to_tensor(inputs)
    return _pool(pl.max_pool, x, pool_size, strides, padding, data_format)


def average_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """The mean of each window; padding does not count."""
    return _pool(pl.avg_pool, as_float(inputs), pool_size, strides, padding, data_format)


def _adaptive(function, inputs, output_size, data_format) -> Tensor:
    """Output i along an axis covers inputs floor(i * in / out) to ceil((i + 1) * in / out)."""
    data_format = config.standardize_data_format(data_format)
    x = as_float(inputs)
    rank = x.ndim - 2
    if rank not in (1, 2, 3):
        raise ValueError("adaptive pooling supports only 1D/2D/3D inputs")
    x = channels_last(x, data_format)
    for axis, count in enumerate(per_axis(output_size, rank)):
        x = _adaptive_axis(function, x, axis, count)
    return restore(x, data_format)


def _adaptive_axis(function, x: Tensor, axis: int, count: int) -> Tensor:
    size = int(x.dims[axis + 1])
    one = [1] * (x.ndim - 2)

    def windows(length: int, stride: int) -> Tensor:
        window, strides = list(one), list(one)
        window[axis], strides[axis] = length, stride
        return function(x, tuple(window), tuple(strides))

    if size % count == 0:
        return windows(size // count, size // count)
    # Windows have one of two lengths: all windows of each are made, then the right ones picked.
    index = np.arange(count)
    starts = index * size // count
    lengths = -(-(index + 1) * size // count) - starts
    short, long = int(lengths.min()), int(lengths.max())
    if short == long:
        return ga.gather(windows(short, 1), from_numpy(starts.astype(np.int32)), axis + 1)
    both = sh.concat([windows(short, 1), windows(long, 1)], axis + 1)
    picks = np.where(lengths == short, starts, starts + size - short + 1)
    return ga.gather(both, from_numpy(picks.astype(np.int32)), axis + 1)


def adaptive_average_pool(inputs, output_size, data_format=None):
    """Means over windows that divide the input into `output_size` parts."""
    return _adaptive(pl.avg_pool, inputs, output_size, data_format)


def adaptive_max_pool(inputs, output_size, data_format=None):
    """Maxima over windows that divide the input into `output_size` parts."""
    return _adaptive(pl.max_pool, inputs, output_size, data_format)
