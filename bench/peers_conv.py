"""Convolutions and their gradients in other libraries, for the cases of bench.cases.conv."""

from __future__ import annotations

from collections.abc import Callable

from bench.peers import torch_tensor


def peers(op: str, attrs: dict, rank: int, depthwise: bool) -> dict[str, Callable]:
    """What builds the same work in each library that has it; symmetric padding only."""
    padding = attrs["padding"]
    if padding[::2] != padding[1::2]:
        return {}
    builders = {"torch": lambda arrays: _torch(op, attrs, rank, arrays)}
    if rank == 2 and attrs["groups"] == 1:
        builders["tensorflow"] = lambda arrays: _tensorflow(op, attrs, arrays)
    elif rank == 2 and depthwise and op != "conv_bias_act" and len({*attrs["strides"]}) == 1:
        builders["tensorflow"] = lambda arrays: _tensorflow_depthwise(op, attrs, arrays)
    return builders


def _torch(op, attrs, rank, arrays):
    """Channels last where PyTorch has that form: images and volumes."""
    import torch

    form = {2: torch.channels_last, 3: torch.channels_last_3d}.get(rank, torch.contiguous_format)

    def nchw(a):
        return torch_tensor(a).permute(0, rank + 1, *range(1, rank + 1))

    def oihw(a):
        a = torch_tensor(a).permute(rank + 1, rank, *range(rank))
        return a.contiguous(memory_format=form)

    def empty(like, *sizes):
        return torch.empty(*sizes, dtype=like.dtype).contiguous(memory_format=form)

    groups = attrs["groups"]
    common = ([*attrs["strides"]], [*attrs["padding"][::2]], [*attrs["dilation"]])
    if op in ("conv", "conv_bias_act"):
        x, w = nchw(arrays[0]), oihw(arrays[1])
        bias = torch_tensor(arrays[2]) if len(arrays) > 2 else None
        after = torch.relu if attrs.get("activation") == "relu" else lambda y: y
        convolve = getattr(torch, f"conv{rank}d")
        return lambda: after(convolve(x, w, bias, *common, groups))
    if op == "conv_input_grad":
        ct, w = nchw(arrays[0]), oihw(arrays[1])
        x = empty(ct, ct.shape[0], w.shape[1] * groups, *attrs["input_dims"])
    else:
        x, ct = nchw(arrays[0]), nchw(arrays[1])
        w = empty(x, ct.shape[1], x.shape[1] // groups, *attrs["kernel_dims"])
    mask = [op == "conv_input_grad", op == "conv_weight_grad", False]
    return lambda: torch.ops.aten.convolution_backward(
        ct, x, w, None, *common, False, [0] * rank, groups, mask
    )


def _common(attrs) -> dict:
    pad = attrs["padding"]
    return {
        "strides": [1, *attrs["strides"], 1],
        "padding": [[0, 0], [pad[0], pad[1]], [pad[2], pad[3]], [0, 0]],
        "dilations": [1, *attrs["dilation"], 1],
    }


def _tensorflow(op, attrs, arrays):
    import tensorflow as tf

    nn, common = tf.compat.v1.nn, _common(attrs)
    a, b = (tf.constant(x) for x in arrays[:2])
    if op == "conv":
        run = tf.function(lambda x, w: tf.nn.conv2d(x, w, **common))
    elif op == "conv_bias_act":
        bias = tf.constant(arrays[2])
        after = tf.nn.relu if attrs["activation"] == "relu" else tf.identity
        run = tf.function(lambda x, w: after(tf.nn.conv2d(x, w, **common) + bias))
    elif op == "conv_input_grad":
        sizes = (a.shape[0], *attrs["input_dims"], b.shape[2])
        run = tf.function(lambda ct, w: nn.conv2d_backprop_input(sizes, w, ct, **common))
    else:
        sizes = (*attrs["kernel_dims"], a.shape[3], b.shape[3])
        run = tf.function(lambda x, ct: nn.conv2d_backprop_filter(x, sizes, ct, **common))
    return lambda: run(a, b)


def _tensorflow_depthwise(op, attrs, arrays):
    import tensorflow as tf

    nn, common = tf.compat.v1.nn, _common(attrs)
    a, b = (tf.constant(x) for x in arrays)
    if op == "conv":
        run = tf.function(
            lambda x, w: tf.nn.depthwise_conv2d(x, w, **{**common, "dilations": attrs["dilation"]})
        )
        b = tf.transpose(b, [0, 1, 3, 2])
    elif op == "conv_input_grad":
        sizes = (a.shape[0], *attrs["input_dims"], a.shape[3])
        run = tf.function(
            lambda ct, w: nn.depthwise_conv2d_native_backprop_input(sizes, w, ct, **common)
        )
        b = tf.transpose(b, [0, 1, 3, 2])
    else:
        sizes = (*attrs["kernel_dims"], a.shape[3], 1)
        run = tf.function(
            lambda x, ct: nn.depthwise_conv2d_native_backprop_filter(x, sizes, ct, **common)
        )
    return lambda: run(a, b)
