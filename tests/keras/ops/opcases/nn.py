"""`keras.ops`, neural-network part."""

import numpy as np

from opcases.drawing import (
    ANY_ORDER,
    FLOAT,
    NUMBER,
    REAL,
    Op,
    along,
    call,
    elementwise,
    images,
    layout,
)

_KERAS = "Keras's symbolic rule differs from its backends"
_WIDER = "it gives float32 for 16-bit floats"
_SPARSEMAX = "it sums what it should select: its results do not add up to one"
_NEEDS_JAX = "Keras's NumPy backend computes it by JAX"


def _activation(low=-4.0, high=4.0, **static):
    return Op(elementwise(low, high, **static), FLOAT, ANY_ORDER, bound=16, level=0.05)


def _soft(**options):
    return Op(along(empty=False, none=True), FLOAT, ANY_ORDER, bound=32, level=1, **options)


def _adaptive(d):
    rank = d.pick(1, 2, 2, 3)
    x = d.array((d.pick(1, 2), *(d.pick(4, 5, 6) for _ in range(rank)), 2), special=False)
    x, data_format = layout(d, x)
    return call(x, d.pick(2, (3, 2, 4)[:rank]), data_format=data_format)


def _pool(d):
    rank = d.pick(1, 2, 3)
    x = d.array((1, *(d.pick(4, 5) for _ in range(rank)), 2), special=False)
    padding = d.pick("valid", "same")
    x, data_format = layout(d, x)
    window = d.pick(2, (2, 3, 2)[:rank])
    return call(x, window, d.pick(None, 1, 2), padding=padding, data_format=data_format)


def _conv(depthwise=False, separable=False):
    def make(d):
        rank = d.pick(1, 2) if depthwise or separable else d.pick(1, 2, 3)
        x = d.array((d.pick(1, 2), *(d.pick(5, 6) for _ in range(rank)), 4), special=False)
        x, data_format = layout(d, x)
        window = tuple(d.pick(1, 2, 3) for _ in range(rank))
        strides, dilation = d.pick((1, 1), (2, 1), (1, 2), (1, (1, 2, 1)[:rank]))
        options = {"strides": strides, "dilation_rate": dilation, "data_format": data_format}
        options["padding"] = d.pick("valid", "same")
        if depthwise or separable:
            kernels = [d.array((*window, 4, d.pick(1, 2)), special=False)]
            if separable:
                between = 4 * kernels[0].shape[-1]
                kernels.append(d.array((*(1,) * rank, between, 3), special=False))
            return call(x, *kernels, **options)
        groups = d.pick(1, 1, 2, 4)
        return call(x, d.array((*window, 4 // groups, 4), special=False), **options)

    return make


def _conv_transpose(d):
    rank = d.pick(1, 2, 3)
    x = d.array((1, *(d.pick(3, 4) for _ in range(rank)), 2), special=False)
    window = tuple(d.pick(1, 2, 3) for _ in range(rank))
    kernel = d.array((*window, 3, 2), special=False)
    x, data_format = layout(d, x)
    strides = d.pick(1, 2, (2, 1, 3)[:rank])
    options = {"padding": d.pick("valid", "same"), "data_format": data_format}
    if strides == 2 and d.flip():
        options["output_padding"] = d.pick(0, 1)
    if strides == 1:
        options["dilation_rate"] = d.pick(1, 2)
    return call(x, kernel, strides=strides, **options)


def _batch_normalization(d):
    x = d.array((2, 3, 4), special=False)
    axis = d.pick(-1, 2, 1)
    n = (x.shape[axis],)
    mean, variance, offset, scale = (d.array(n, low=0.5, high=2, special=False) for _ in range(4))
    return call(x, mean, variance, axis, d.pick(None, offset), d.pick(None, scale), 1e-3)


def _normalization(d, bias):
    x = d.array((2, 3, 4), special=False)
    scale, offset = (d.array((4,), low=0.5, high=2, special=False) for _ in range(2))
    return call(x, *((d.pick(None, scale), d.pick(None, offset)) if bias else (scale,)))


def _distribution(d, shape):
    p = d.array(shape, low=0.2, high=2, special=False)
    return (p / p.sum(-1, keepdims=True, dtype="float32")).astype(p.dtype)


def _crossentropy(kind):
    def make(d):
        shape = (*d.shape(1, 2, empty=False), 4)
        from_logits = d.flip()
        output = d.array(shape, special=False) if from_logits else _distribution(d, shape)
        if kind == "sparse":
            target = d.array(shape[:-1], "int32", low=0, high=3, special=False)
        elif kind == "binary":
            target = d.array(shape, low=0.1, high=0.9, special=False)
            if not from_logits:
                output = d.array(shape, low=0.1, high=0.9, special=False)
        else:
            target = _distribution(d, shape)
        return call(target, output, from_logits=from_logits)

    return make


def _ctc_loss(d):
    target = d.array((2, 3), "int32", low=1, high=3, special=False)
    output = d.array((2, 6, 4), special=False)
    lengths = [np.array(v, "int32") for v in ([3, 2], [6, 5])]
    return call(target, output, *lengths)


def _ctc_decode(d):
    output = d.array((2, 5, 4), special=False)
    return call(output, np.array([5, 4], "int32"), strategy=d.pick("greedy", "beam_search"))


def _attention(d):
    batch, length, heads, size = 2, d.pick(3, 4), d.pick(1, 2, 4), 4
    is_causal = d.flip()
    keys, groups = length if is_causal else d.pick(length, 5), d.pick(1, heads)
    q = d.array((batch, length, heads, size), special=False)
    k, v = (d.array((batch, keys, groups, size), special=False) for _ in range(2))
    bias = d.pick(None, d.array((batch, heads, length, keys), special=False))
    mask = None
    if d.flip(3) and not d.smooth:
        dims = (d.pick(1, batch), d.pick(1, heads), length, keys)
        mask = d.array(dims, "bool") | np.eye(length, keys, dtype=bool)
        mask[..., 0] = True
    return call(q, k, v, bias, mask, scale=d.pick(None, 0.5), is_causal=is_causal)


def _blocks(d):
    x, data_format = layout(d, d.array((1, 4, d.pick(2, 4), 2)))
    return call(x, 2, data_format=data_format)


def _hot(many):
    def make(d):
        x = d.array(d.shape(1, 2, empty=False), "int32", low=0, high=3, special=False)
        axis = d.pick(-1, 0) if not many else -1
        return call(x, d.pick(3, 4), axis=axis, dtype=d.pick(None, d.dtype))

    return make


def _unfold(d):
    x = d.array((1, 2, d.pick(4, 5), d.pick(4, 6)), special=False)
    return call(x, d.pick(2, (2, 3)), padding=d.pick(0, 1), stride=d.pick(1, 2))


def _fold(d):
    return call(d.array((1, 8, 9), special=False), (4, 4), 2)


def _two_images(d):
    shape = (1, 4, 4, 2)
    return call(*(d.array(shape, low=0, high=1, special=False) for _ in range(2)), 1.0)


def _glu(d):
    shape = [*d.shape(0, 2, empty=False), d.pick(2, 4)]
    return call(d.array(tuple(shape)), d.pick(-1, len(shape) - 1))


def _polar(d):
    shape = d.shape()
    return call(d.array(shape, low=0.5, special=False), d.array(shape, special=False))


def _normalize(d):
    x = d.array(d.shape(1, empty=False), special=False)
    return call(x, axis=d.axis(x.ndim), order=d.pick(1, 2, 3))


def _moments(d):
    x = d.array(d.shape(1, empty=False), special=False)
    axes = d.axes(x.ndim)
    axes = list(range(x.ndim)) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    return call(x, axes, keepdims=d.flip())


def _sums(make, **options):
    return Op(make, FLOAT, ANY_ORDER, **({"bound": 32, "level": 1, "special": False} | options))


OPS = {
    "adaptive_average_pool": _sums(_adaptive, symbolic=_KERAS),
    "adaptive_max_pool": _sums(_adaptive, symbolic=_KERAS),
    "average_pool": _sums(_pool, numpy=_NEEDS_JAX),
    "batch_normalization": _sums(_batch_normalization, numpy_dtype=_WIDER, symbolic=_KERAS),
    "binary_crossentropy": _sums(_crossentropy("binary"), numpy_dtype=_WIDER),
    "categorical_crossentropy": _sums(_crossentropy("categorical"), numpy_dtype=_WIDER),
    "celu": _activation(alpha=(1.0, 0.5)),
    "conv": _sums(
        _conv(),
        numpy=_NEEDS_JAX,
        symbolic="Keras's symbolic rule knows no groups",
        unsymbolic=lambda x, kernel: kernel.shape[-2] < 4,
    ),
    "conv_transpose": _sums(_conv_transpose, numpy=_NEEDS_JAX),
    "ctc_decode": Op(_ctc_decode, ("float32",), bound=64, level=1),
    "ctc_loss": Op(_ctc_loss, ("float32",), ANY_ORDER, bound=64, level=1),
    "depth_to_space": Op(images(lambda d, x: 2, channels=(4, 8)), REAL, ANY_ORDER),
    "depthwise_conv": _sums(_conv(depthwise=True), numpy=_NEEDS_JAX),
    "dot_product_attention": _sums(_attention),
    "elu": _activation(alpha=(1.0, 0.5)),
    "fold": _sums(_fold),
    "gelu": _activation(approximate=(True, False)),
    "glu": _sums(_glu),
    "hard_shrink": _activation(),
    "hard_sigmoid": _activation(),
    "hard_silu": _activation(),
    "hard_swish": _activation(),
    "hard_tanh": _activation(),
    "layer_normalization": _sums(lambda d: _normalization(d, True), bound=64, narrow=True),
    "leaky_relu": _activation(negative_slope=(0.2, 0.01)),
    "log_sigmoid": _activation(),
    "log_softmax": _soft(),
    "max_pool": _sums(_pool, numpy=_NEEDS_JAX),
    "moments": _sums(_moments),
    "multi_hot": Op(_hot(many=True), NUMBER, symbolic=_KERAS),
    "normalize": _sums(
        _normalize, bound=64, symbolic=_KERAS, jax_ties="of moduli JAX has the slope 1 at zero"
    ),
    "one_hot": Op(_hot(many=False), NUMBER),
    "polar": Op(_polar, ("float32", "float64"), ANY_ORDER, level=0.1, symbolic=_KERAS),
    "psnr": _sums(_two_images, symbolic=_KERAS),
    "relu": Op(elementwise(), NUMBER, ANY_ORDER),
    "relu6": Op(elementwise(high=8.0), FLOAT, ANY_ORDER),
    "rms_normalization": _sums(lambda d: _normalization(d, False), bound=64, narrow=True),
    "selu": _activation(),
    "separable_conv": _sums(_conv(separable=True), numpy=_NEEDS_JAX, bound=128),
    "sigmoid": _activation(),
    "silu": _activation(),
    "soft_shrink": _activation(),
    "softmax": _soft(),
    "softplus": _activation(),
    "softsign": _activation(),
    "space_to_depth": Op(_blocks, REAL, ANY_ORDER),
    "sparse_categorical_crossentropy": _sums(_crossentropy("sparse"), symbolic=_KERAS),
    "sparse_plus": _activation(),
    "sparse_sigmoid": _activation(),
    "sparsemax": _sums(
        lambda d: call(d.array((*d.shape(0, 1, empty=False), d.pick(2, 4)), special=False)),
        numpy=_SPARSEMAX,
        jax=_SPARSEMAX,
    ),
    "squareplus": _activation(b=(4, 1)),
    "swish": _activation(),
    "tanh_shrink": _activation(),
    "threshold": Op(lambda d: call(d.array(), d.pick(0.5, 1), d.pick(0, -1)), FLOAT, ANY_ORDER),
    "unfold": _sums(_unfold),
}
