"""Encodings of classes, and the losses that compare them with predictions."""

from __future__ import annotations

from keras.src.backend import config

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import softmax as sm
from keras_native.engine.tensor import Tensor
from keras_native.src.nn.activations import as_float, where
from keras_native.src.ops import _sparse_shape as sparse_shape
from keras_native.src.ops.convert import convert_to_tensor, promote, standardize_dtype


def one_hot(x, num_classes, axis=-1, dtype=None, sparse=False):
    """1 at each index along a new axis of size `num_classes`; 0 everywhere for other indices.

    Sparse, if asked for: one entry for each index.
    """
    x = convert_to_tensor(x)
    if x.dtype not in dtypes.INTEGERS:
        x = ew.cast(x, "int32")
    dtype = config.floatx() if dtype is None else standardize_dtype(dtype)
    if sparse:
        return sparse_shape.one_hot(x, num_classes, axis, dtype)
    return ga.one_hot(x, num_classes, axis, dtype)


def multi_hot(x, num_classes, axis=-1, dtype=None, sparse=False):
    """1 at every class that occurs along the class axis of `x`."""
    x = convert_to_tensor(x)
    if sparse:
        dtype = config.floatx() if dtype is None else standardize_dtype(dtype)
        return sparse_shape.multi_hot(x, num_classes, axis, dtype)
    reduction_axis = 1 if x.ndim > 1 else 0
    hot = one_hot(ew.cast(x, "int32"), num_classes, axis, dtype)
    return rd.reduce_max(hot, (reduction_axis,))


def _same_shape(target: Tensor, output: Tensor) -> None:
    if target.ndim != output.ndim or target.dims != output.dims:
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. Received: "
            f"target.shape={target.shape}, output.shape={output.shape}"
        )


def _clipped(probabilities: Tensor) -> Tensor:
    epsilon = config.epsilon()
    return ew.clip(probabilities, epsilon, 1.0 - epsilon)


def _normalised(output: Tensor, axis: int) -> Tensor:
    return ew.div(output, rd.reduce_sum(output, (axis,), keepdims=True))


def categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """-sum(target * log(output)) along `axis`, for probabilities or logits."""
    target, output = promote(convert_to_tensor(target), as_float(output))
    _same_shape(target, output)
    if output.ndim < 1:
        raise ValueError(
            "Arguments `target` and `output` must be at least rank 1. Received: "
            f"target.shape={target.shape}, output.shape={output.shape}"
        )
    axis = sh.normal_axis("categorical_crossentropy", axis, output.ndim)
    if from_logits:
        if axis == output.ndim - 1:
            return sm.softmax_cross_entropy(output, target)
        log_probabilities = sm.log_softmax(output, axis)
    else:
        log_probabilities = ew.log(_clipped(_normalised(output, axis)))
    return ew.neg(rd.reduce_sum(ew.mul(target, log_probabilities), (axis,)))


def sparse_categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """-log(output[target]) along `axis`, at least in float32; 0 for targets that are no class."""
    target = convert_to_tensor(target, "int32")
    output = as_float(output)
    if output.dtype in ("float16", "bfloat16"):
        output = ew.cast(output, "float32")
    if target.ndim == output.ndim and target.ndim and target.dims[-1] == 1:
        target = sh.reshape(target, target.dims[:-1])
    if output.ndim < 1:
        raise ValueError(
            f"Argument `output` must be at least rank 1. Received: output.shape={output.shape}"
        )
    if target.ndim != output.ndim - 1 or target.dims != output.dims[:-1]:
        raise ValueError(
            "Arguments `target` and `output` must have the same shape up until the last "
            f"dimension: target.shape={target.shape}, output.shape={output.shape}"
        )
    axis = sh.normal_axis("sparse_categorical_crossentropy", axis, output.ndim)
    if from_logits and axis == output.ndim - 1:
        return sm.sparse_softmax_cross_entropy(output, target)
    if from_logits:
        log_probability = _at_class(sm.log_softmax(output, axis), target, axis)
    else:
        log_probability = ew.log(_clipped(_at_class(_normalised(output, axis), target, axis)))
    is_class = ew.logical_and(ew.ge(target, 0), ew.lt(target, output.dims[axis]))
    return ew.neg(where(is_class, log_probability, 0.0))


def _at_class(x: Tensor, target: Tensor, axis: int) -> Tensor:
    chosen = ga.take_along_axis(x, sh.expand_dims(target, axis), axis)
    return sh.reshape(chosen, target.dims)


def binary_crossentropy(target, output, from_logits=False):
    """-t log(p) - (1 - t) log(1 - p), elementwise, for probabilities or logits."""
    target, output = promote(convert_to_tensor(target), as_float(output))
    _same_shape(target, output)
    if from_logits:
        return sm.sigmoid_cross_entropy(output, target)
    p = _clipped(output)
    positive = ew.mul(target, ew.log(p))
    negative = ew.mul(ew.sub(1.0, target), ew.log(ew.sub(1.0, p)))
    return ew.neg(ew.add(positive, negative))


def psnr(x1, x2, max_val):
    """The peak signal-to-noise ratio of two tensors, in decibels."""
    x1, x2 = promote(as_float(x1), as_float(x2))
    if x1.dims != x2.dims:
        raise ValueError(
            f"Input shapes {x1.shape} and {x2.shape} must match for PSNR calculation. "
        )
    max_val = convert_to_tensor(max_val, x2.dtype)
    error = rd.reduce_mean(ew.square(ew.sub(x1, x2)))
    return ew.sub(ew.mul(20.0, ew.log10(max_val)), ew.mul(10.0, ew.log10(error)))
