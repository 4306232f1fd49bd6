"""Convolution and its two gradients, channels-last, 1 to 3 spatial dimensions.

`y = conv(x, w)` is bilinear in x and w; `conv_input_grad` and `conv_weight_grad` are its adjoints.
Each of the three is differentiated in terms of the other two, so any order of derivative exists.

    x [N, *S, Cin], w [*K, Cin / groups, Cout], y [N, *O, Cout]
    y[n, o, j] = sum over k, i of x[n, o * strides - low + k * dilation, i] * w[k, i, j]
"""

from __future__ import annotations

import math

import numpy as np

from keras_native.engine.primitive import REGISTRY, Primitive, signature
from keras_native.engine.primitives import batch, windows

ACTIVATIONS = ("none", "relu", "relu6", "sigmoid", "tanh", "silu", "gelu", "gelu_tanh")


def _check(op, a, b, groups):
    """ValueError or TypeError unless a and b are channels-last operands of equal rank and dtype."""
    if a.dtype != b.dtype:
        raise TypeError(f"{op}: operands must have equal dtypes, got {signature((a, b))}")
    if not 3 <= a.ndim <= 5 or a.ndim != b.ndim:
        raise ValueError(
            f"{op}: operands must have equal rank 3, 4 or 5 (1 to 3 spatial dimensions), "
            f"got {signature((a, b))}"
        )
    if groups < 1:
        raise ValueError(f"{op}: groups must be at least 1, got {groups}")


def _check_channels(op, cin, kernel_in, cout, groups, inputs):
    if cin != kernel_in * groups or cout % groups != 0:
        raise ValueError(
            f"{op}: input channels ({cin}) must be the kernel's ({kernel_in}) times groups "
            f"({groups}), and output channels ({cout}) a multiple of groups; "
            f"got {signature(inputs)}"
        )


def _accumulator(dtype):
    """float32 for narrower floats: sums are rounded once, at the end."""
    dtype = np.dtype(dtype)
    return np.dtype("float32") if dtype.itemsize < 4 and dtype.kind not in "iub" else dtype


def _by_group(x, groups):
    """`[..., G * c]` as `[G, rows, c]`."""
    rows = math.prod(x.shape[:-1])  # -1 is not known where there are no channels
    return np.moveaxis(x.reshape(rows, groups, x.shape[-1] // groups), 1, 0)


def _tap_by_group(w, groups):
    """A tap's `[c, G * o]` as `[G, c, o]`."""
    return np.moveaxis(w.reshape(w.shape[0], groups, w.shape[1] // groups), 1, 0)


# conv


def _conv_shape(x, w, *, strides, padding, dilation, groups):
    _check("conv", x, w, groups)
    _check_channels("conv", x.dims[-1], w.dims[-2], w.dims[-1], groups, (x, w))
    out = windows.out_sizes("conv", x.dims[1:-1], w.dims[:-2], strides, padding, dilation)
    return (x.dims[0], *out, w.dims[-1]), x.dtype


def _conv_reference(x, w, *, strides, padding, dilation, groups):
    out = windows.out_sizes("conv", x.shape[1:-1], w.shape[:-2], strides, padding, dilation)
    dtype = _accumulator(x.dtype)
    padded, w = windows.pad(x.astype(dtype), padding, 0), w.astype(dtype)
    y = np.zeros((groups, x.shape[0] * int(np.prod(out)), w.shape[-1] // groups), dtype)
    for tap, where in windows.taps(w.shape[:-2], strides, dilation, out):
        y += _by_group(padded[where], groups) @ _tap_by_group(w[tap], groups)
    return np.moveaxis(y, 0, 1).reshape(x.shape[0], *out, w.shape[-1])


def _conv_vjp(ct, out, x, w, **attrs):
    return conv_input_grad(ct, w, x.dims[1:-1], **attrs), conv_weight_grad(
        x, ct, w.dims[:-2], **attrs
    )


conv_p = Primitive(
    "conv", shape=_conv_shape, reference=_conv_reference, batch=batch.folded(1), vjp=_conv_vjp
)


def conv(x, w, strides=1, padding=None, dilation=1, groups=1):
    """Convolution (cross-correlation, as everywhere in deep learning).

    Args:
        x: `[N, *S, Cin]`, one to three spatial dimensions.
        w: `[*K, Cin / groups, Cout]`, same dtype; `groups == Cin` is a depthwise convolution.
        strides, dilation: an int or one for each spatial dimension.
        padding: `((low, high), ...)` zeros around each spatial dimension; None means none;
            negative entries crop.
        groups: channels are split into that many independent convolutions.

    Returns:
        `[N, *O, Cout]`, `O = (S + low + high - (K - 1) * dilation - 1) // strides + 1`.

    Raises:
        TypeError: dtypes differ.
        ValueError: ranks, channels or window do not fit.
    """
    _check("conv", x, w, groups)
    return conv_p(x, w, **_attrs("conv", x.ndim - 2, strides, padding, dilation, groups))


def _attrs(op, rank, strides, padding, dilation, groups):
    return {
        "strides": windows.spatial(op, "strides", strides, rank),
        "padding": windows.flat_padding(op, ((0, 0),) * rank if padding is None else padding, rank),
        "dilation": windows.spatial(op, "dilation", dilation, rank),
        "groups": int(groups),
    }


# conv_input_grad


def _input_grad_shape(ct, w, *, input_dims, strides, padding, dilation, groups):
    op = "conv_input_grad"
    _check(op, ct, w, groups)
    _check_channels(op, w.dims[-2] * groups, w.dims[-2], ct.dims[-1], groups, (ct, w))
    out = windows.out_sizes(op, input_dims, w.dims[:-2], strides, padding, dilation)
    if ct.dims[1:-1] != out or ct.dims[-1] != w.dims[-1]:
        raise ValueError(
            f"{op}: a convolution of {tuple(input_dims)} gives {(*out, w.shape[-1])} for each "
            f"example, but the cotangent differs; got {signature((ct, w))}"
        )
    return (ct.dims[0], *input_dims, w.dims[-2] * groups), ct.dtype


def _input_grad_reference(ct, w, *, input_dims, strides, padding, dilation, groups):
    dtype = _accumulator(ct.dtype)
    g, w = _by_group(ct.astype(dtype), groups), w.astype(dtype)
    cin = w.shape[-2] * groups
    padded = np.zeros((ct.shape[0], *windows.padded_sizes(input_dims, padding), cin), dtype)
    for tap, where in windows.taps(w.shape[:-2], strides, dilation, ct.shape[1:-1]):
        part = g @ _tap_by_group(w[tap], groups).swapaxes(1, 2)
        padded[where] += np.moveaxis(part, 0, 1).reshape(*ct.shape[:-1], cin)
    return windows.unpad(padded, input_dims, padding)


def _input_grad_vjp(ct, out, g, w, *, input_dims, **attrs):
    return conv(ct, w, **attrs), conv_weight_grad(ct, g, w.dims[:-2], **attrs)


conv_input_grad_p = Primitive(
    "conv_input_grad",
    shape=_input_grad_shape,
    reference=_input_grad_reference,
    vjp=_input_grad_vjp,
)


def conv_input_grad(ct, w, input_dims, strides=1, padding=None, dilation=1, groups=1):
    """The adjoint of `x -> conv(x, w)`; by itself, a transposed convolution.

    Args:
        ct: `[N, *O, Cout]`.
        w: `[*K, Cin / groups, Cout]`.
        input_dims: `*S`, the spatial sizes of the result.
        strides, padding, dilation, groups: of the convolution (see `conv`). For a transposed
            convolution, `high = (O - 1) * stride + (K - 1) * dilation + 1 - S - low` always fits.

    Returns:
        `[N, *S, Cin]`.

    Raises:
        TypeError: dtypes differ.
        ValueError: `conv` of such an input does not have the cotangent's shape.
    """
    _check("conv_input_grad", ct, w, groups)
    attrs = _attrs("conv_input_grad", ct.ndim - 2, strides, padding, dilation, groups)
    dims = windows.spatial("conv_input_grad", "input_dims", input_dims, ct.ndim - 2, least=0)
    return conv_input_grad_p(ct, w, input_dims=dims, **attrs)


# conv_weight_grad


def _weight_grad_shape(x, ct, *, kernel_dims, strides, padding, dilation, groups):
    op = "conv_weight_grad"
    _check(op, x, ct, groups)
    cin, cout = x.dims[-1], ct.dims[-1]
    _check_channels(op, cin, cin // groups, cout, groups, (x, ct))
    out = windows.out_sizes(op, x.dims[1:-1], kernel_dims, strides, padding, dilation)
    if ct.dims[1:-1] != out or ct.dims[0] != x.dims[0]:
        raise ValueError(
            f"{op}: a convolution by a kernel {tuple(kernel_dims)} gives {(x.shape[0], *out)} "
            f"positions, but the cotangent differs; got {signature((x, ct))}"
        )
    return (*kernel_dims, cin // groups, cout), x.dtype


def _weight_grad_reference(x, ct, *, kernel_dims, strides, padding, dilation, groups):
    dtype = _accumulator(x.dtype)
    padded, g = windows.pad(x.astype(dtype), padding, 0), _by_group(ct.astype(dtype), groups)
    cin, cout = x.shape[-1] // groups, ct.shape[-1]
    dw = np.empty((*kernel_dims, cin, cout), dtype)
    for tap, where in windows.taps(kernel_dims, strides, dilation, ct.shape[1:-1]):
        part = _by_group(padded[where], groups).swapaxes(1, 2) @ g
        dw[tap] = np.moveaxis(part, 0, 1).reshape(cin, cout)
    return dw


def _weight_grad_vjp(ct, out, x, g, *, kernel_dims, **attrs):
    return conv_input_grad(g, ct, x.dims[1:-1], **attrs), conv(x, ct, **attrs)


conv_weight_grad_p = Primitive(
    "conv_weight_grad",
    shape=_weight_grad_shape,
    reference=_weight_grad_reference,
    vjp=_weight_grad_vjp,
)


def conv_weight_grad(x, ct, kernel_dims, strides=1, padding=None, dilation=1, groups=1):
    """The adjoint of `w -> conv(x, w)`.

    Args:
        x: `[N, *S, Cin]`.
        ct: `[N, *O, Cout]`.
        kernel_dims: `*K`, the spatial sizes of the kernel.
        strides, padding, dilation, groups: of the convolution (see `conv`).

    Returns:
        `[*K, Cin / groups, Cout]`.

    Raises:
        TypeError: dtypes differ.
        ValueError: `conv` by such a kernel does not have the cotangent's shape.
    """
    _check("conv_weight_grad", x, ct, groups)
    attrs = _attrs("conv_weight_grad", x.ndim - 2, strides, padding, dilation, groups)
    dims = windows.spatial("conv_weight_grad", "kernel_dims", kernel_dims, x.ndim - 2)
    return conv_weight_grad_p(x, ct, kernel_dims=dims, **attrs)


# conv_bias_act


def _bias_act_shape(x, w, bias, *residual, activation, **attrs):
    if bias.dtype != x.dtype:
        raise TypeError(f"conv_bias_act: dtypes must be equal, got {signature((x, w, bias))}")
    if bias.ndim != 1 or bias.dims[0] != w.dims[-1]:
        raise ValueError(
            f"conv_bias_act: bias must be one value for each output channel, "
            f"got {signature((x, w, bias))}"
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"conv_bias_act: activation '{activation}' is not one of {ACTIVATIONS}")
    dims, dtype = _conv_shape(x, w, **attrs)
    if residual and (tuple(residual[0].dims) != tuple(dims) or residual[0].dtype != dtype):
        raise ValueError(
            f"conv_bias_act: residual must have the result's shape {tuple(dims)} and dtype, "
            f"got {signature((x, w, bias, *residual))}"
        )
    return dims, dtype


def _erf(z):
    return np.vectorize(math.erf, otypes=[z.dtype])(z)


def _sigmoid(z):
    return 0.5 * np.tanh(0.5 * z) + 0.5


_NUMPY_ACTIVATIONS = {
    "none": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "relu6": lambda z: np.clip(z, 0, 6),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "silu": lambda z: z * _sigmoid(z),
    "gelu": lambda z: 0.5 * z * (1 + _erf(z * 0.5**0.5)),
    "gelu_tanh": lambda z: 0.5 * z * (1 + np.tanh((2 / np.pi) ** 0.5 * (z + 0.044715 * z**3))),
}


def _bias_act_reference(x, w, bias, *residual, activation, **attrs):
    dtype = _accumulator(x.dtype)
    z = _conv_reference(x.astype(dtype), w.astype(dtype), **attrs) + bias.astype(dtype)
    for r in residual:
        z = z + r.astype(dtype)
    return _NUMPY_ACTIVATIONS[activation](z)


def _activate(z, activation):
    from keras_native.engine.primitives import elementwise as ew

    if activation == "none":
        return z
    if activation.startswith("gelu"):
        return ew.gelu(z, approximate=activation == "gelu_tanh")
    return getattr(ew, activation)(z)


def _bias_act_decompose(x, w, bias, *residual, activation, **attrs):
    from keras_native.engine.primitives import elementwise as ew

    z = ew.add(conv(x, w, **attrs), bias)
    return _activate(ew.add(z, residual[0]) if residual else z, activation)


def _activation_vjp(ct, out, inputs, activation, attrs):
    """The cotangent of what the activation was applied to."""
    if activation == "none":
        return ct
    if activation == "relu":
        z = out  # positive exactly where its argument was: no need to convolve again
    else:
        z = _bias_act_decompose(*inputs, activation="none", **attrs)
    if activation.startswith("gelu"):
        return REGISTRY["gelu"].vjp(ct, out, z, approximate=activation == "gelu_tanh")[0]
    return REGISTRY[activation].vjp(ct, out, z)[0]


def _bias_act_vjp(ct, out, x, w, *added, activation, **attrs):
    from keras_native.engine.primitives.reduce import reduce_sum

    ct = _activation_vjp(ct, out, (x, w, *added), activation, attrs)
    dx, dw = _conv_vjp(ct, None, x, w, **attrs)
    return dx, dw, reduce_sum(ct, tuple(range(ct.ndim - 1))), *([ct] if added[1:] else [])


conv_bias_act_p = Primitive(
    "conv_bias_act",
    shape=_bias_act_shape,
    reference=_bias_act_reference,
    vjp=_bias_act_vjp,
    decompose=_bias_act_decompose,
)


def conv_bias_act(
    x, w, bias, activation="none", strides=1, padding=None, dilation=1, groups=1, residual=None
):
    """`activation(conv(x, w) + bias + residual)` in one pass over the output.

    Args:
        bias: `[Cout]`, same dtype as x and w.
        residual: of the result's shape and dtype, or None.
        activation: one of `ACTIVATIONS`; others as in `conv`.

    Raises:
        TypeError: dtypes differ.
        ValueError: shapes do not fit or the activation is unknown.
    """
    _check("conv_bias_act", x, w, groups)
    attrs = _attrs("conv_bias_act", x.ndim - 2, strides, padding, dilation, groups)
    added = () if residual is None else (residual,)
    return conv_bias_act_p(x, w, bias, *added, activation=activation, **attrs)
