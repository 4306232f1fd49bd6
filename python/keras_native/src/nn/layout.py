"""Keras's ways to say windows, paddings and data formats, turned into those of the kernels."""

from __future__ import annotations

from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import Tensor


def per_axis(value, rank: int) -> tuple[int, ...]:
    """An int, or one for each spatial axis, as a tuple."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def channels_last(x: Tensor, data_format: str) -> Tensor:
    """`x` with the channels in the last axis, where kernels want them."""
    if data_format == "channels_last":
        return x
    return sh.transpose(x, (0, *range(2, x.ndim), 1))


def restore(x: Tensor, data_format: str) -> Tensor:
    """The inverse of `channels_last`."""
    if data_format == "channels_last":
        return x
    return sh.transpose(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


def padding_pairs(padding: str, sizes, window, strides, dilation) -> tuple[tuple[int, int], ...]:
    """The zeros before and after each spatial axis that 'valid' or 'same' stand for.

    'same' gives ceil(size / stride) outputs, the odd zero after the data.

    Raises:
        ValueError: another word.
    """
    if padding.lower() == "valid":
        return ((0, 0),) * len(window)
    if padding.lower() != "same":
        raise ValueError(f"Invalid padding '{padding}', must be 'same' or 'valid'.")
    pairs = []
    for size, k, stride, d in zip(sizes, window, strides, dilation):
        span = (k - 1) * d + 1
        if stride == 1:
            total = span - 1
        else:
            total = max((-(-int(size) // stride) - 1) * stride + span - int(size), 0)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)
