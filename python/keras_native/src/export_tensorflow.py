"""This backend's primitives as TensorFlow's operations: what a SavedModel is written with.

A function is run on traced tensors, and each primitive that it calls is emitted at once: by the
table `EMITTERS`, or by its decomposition into simpler ones. TensorFlow is imported when it is
needed, by Keras's own lazy module.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from keras.src.utils.module_utils import tensorflow as tf

from keras_native import _core
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.symbolic import SymInt
from keras_native.engine.tensor import Tensor
from keras_native.engine.trace import Trace, foldable

# A size that is not known, while tracing: unlikely to equal one that is.
_HINT = 9973


class TensorFlowTrace(Trace):
    """A trace whose values are TensorFlow's tensors as well.

    Args:
        variables: id of a slot -> the `tf.Variable` that it is in the file.
    """

    unrolled = True

    def __init__(self, variables: dict):
        super().__init__()
        self.variables = variables
        # Functions run outside of it: Keras's layers for data pipelines look whether they are in
        # one of TensorFlow's graphs.
        self.function_graph = tf.compat.v1.get_default_graph()
        self.emitted: dict[int, object] = {}  # value number -> tf.Tensor
        self.sizes: dict[str, object] = {"max": tf.maximum, "min": tf.minimum}

    def argument(self, x) -> Tensor:
        """A `tf.Tensor` as an argument; first sizes that are not known are one, the batch's."""
        dims = []
        for axis, size in enumerate(x.shape):
            if size is None:
                number = 0 if axis == 0 else len(self.sizes)
                self.sizes[f"s{number}"] = tf.shape(x)[axis]
                size = SymInt(_core.symbols.symbol(number), _HINT)
            dims.append(size)
        tensor = self.input(dims, x.dtype.name)
        self.emitted[tensor.node] = x
        return tensor

    def of(self, tensor: Tensor):
        """The `tf.Tensor` that a tensor is, a constant if it has its value now."""
        node = self.lift(tensor).node
        if node not in self.emitted:
            self.emitted[node] = tf.constant(tensor.numpy(), tensor.dtype)
        return self.emitted[node]

    def size(self, d):
        """A size as an int, or a scalar where it depends on the arguments'."""
        if type(d) is not SymInt:
            return int(d)
        # The text of an expression over sizes is one of Python, over their names.
        return eval(_core.symbols.text(d.code), {"__builtins__": {}}, self.sizes)

    def dims(self, sizes):
        """Sizes as TensorFlow takes them: a list, or a vector where one is not known."""
        found = [self.size(d) for d in sizes]
        return found if all(type(d) is int for d in found) else tf.stack(found)

    def read(self, slot):
        known = slot in self.first
        tensor = super().read(slot)
        if not known:
            with self.function_graph.as_default():
                self.emitted[tensor.node] = self.variables[id(slot)].read_value()
        return tensor

    def finish(self) -> None:
        """Assigns what the function has assigned.

        Raises:
            UnsupportedError: it took decisions by a size that is not known.
        """
        if any(relation == "==" and outcome for relation, _, _, outcome in self.guards):
            raise UnsupportedError(
                "export: the model takes a size that is not known, of the batch perhaps, for a "
                "number; give its `input_signature` known sizes"
            )
        for slot in self.written:
            self.variables[id(slot)].assign(self.of(self.slots[slot]))

    def record(self, primitive, inputs, attrs, specs):
        if primitive.pure and foldable(inputs, specs, attrs):
            return primitive.run(inputs, attrs, specs)
        emit = EMITTERS.get(primitive.name)
        if emit is None and primitive.decompose is not None:
            outs = primitive.decompose(*inputs, **attrs)
            return list(outs) if isinstance(outs, tuple) else [outs]
        if emit is None:
            raise _unsupported(primitive.name)
        outs = super().record(primitive, inputs, attrs, specs)
        with self.function_graph.as_default():
            made = emit(self, *map(self.of, inputs), **attrs)
        for out, tensor in zip(outs, made if isinstance(made, tuple) else (made,), strict=True):
            tensor.set_shape(out.shape)
            self.emitted[out.node] = tensor
        return outs

    def node(self, op, values, attrs, specs, pure=True, regions=(), host=None):
        if regions or host is not None:
            raise _unsupported(op)
        return super().node(op, values, attrs, specs, pure)


def _unsupported(op: str) -> UnsupportedError:
    return UnsupportedError(
        f"export: '{op}' is not among the operations that this backend writes to a SavedModel. "
        "Save the model with `model.save('m.keras')` and export it under another backend."
    )


EMITTERS: dict[str, Callable] = {}

# Functions of the same arguments, by their name in TensorFlow.
_SAME = {
    "neg": "math.negative", "abs": "math.abs", "sign": "math.sign", "square": "math.square",
    "reciprocal": "math.reciprocal", "sqrt": "math.sqrt", "rsqrt": "math.rsqrt", "exp": "math.exp",
    "expm1": "math.expm1", "log": "math.log", "log1p": "math.log1p", "sin": "math.sin",
    "cos": "math.cos", "tan": "math.tan", "asin": "math.asin", "acos": "math.acos",
    "atan": "math.atan", "sinh": "math.sinh", "cosh": "math.cosh", "tanh": "math.tanh",
    "asinh": "math.asinh", "acosh": "math.acosh", "atanh": "math.atanh", "erf": "math.erf",
    "erfc": "math.erfc", "erfinv": "math.erfinv", "lgamma": "math.lgamma",
    "digamma": "math.digamma", "sigmoid": "math.sigmoid", "log_sigmoid": "math.log_sigmoid",
    "softplus": "math.softplus", "relu": "nn.relu", "relu6": "nn.relu6", "silu": "nn.silu",
    "selu": "nn.selu", "softsign": "nn.softsign", "floor": "math.floor", "ceil": "math.ceil",
    "round": "math.rint", "isnan": "math.is_nan", "isinf": "math.is_inf",
    "isfinite": "math.is_finite", "logical_not": "math.logical_not",
    "bitwise_not": "bitwise.invert", "conj": "math.conj", "real": "math.real", "imag": "math.imag",
    "angle": "math.angle",
    "sub": "math.subtract", "div": "math.divide", "floor_divide": "math.floordiv",
    "mod": "math.floormod", "fmod": "truncatemod", "pow": "math.pow", "maximum": "math.maximum",
    "minimum": "math.minimum", "atan2": "math.atan2", "gammainc": "math.igamma",
    "nextafter": "math.nextafter", "eq": "math.equal", "ne": "math.not_equal", "lt": "math.less",
    "le": "math.less_equal", "gt": "math.greater", "ge": "math.greater_equal",
    "bitwise_and": "bitwise.bitwise_and", "bitwise_or": "bitwise.bitwise_or",
    "bitwise_xor": "bitwise.bitwise_xor", "shift_left": "bitwise.left_shift",
    "shift_right": "bitwise.right_shift", "logical_and": "math.logical_and",
    "logical_or": "math.logical_or", "logical_xor": "math.logical_xor", "complex": "dtypes.complex",
    "select": "where", "copy": "identity", "barrier": "identity", "stop_gradient": "stop_gradient",
    "cholesky": "linalg.cholesky", "inv": "linalg.inv", "det": "linalg.det",
    "solve": "linalg.solve",
}  # fmt: skip


def _same(path: str) -> Callable:
    def emit(trace, *inputs):
        function = tf
        for name in path.split("."):
            function = getattr(function, name)
        return function(*inputs)

    return emit


EMITTERS.update({name: _same(path) for name, path in _SAME.items()})

# Elementwise functions that TensorFlow composes.
EMITTERS.update(
    add=lambda trace, a, b: tf.logical_or(a, b) if a.dtype == tf.bool else tf.add(a, b),
    mul=lambda trace, a, b: tf.logical_and(a, b) if a.dtype == tf.bool else tf.multiply(a, b),
    fma=lambda trace, a, b, c: a * b + c,
    clip=lambda trace, x, low, high: tf.minimum(tf.maximum(x, low), high),
    cast=lambda trace, x, *, dtype: tf.cast(x, dtype),
    cbrt=lambda trace, x: tf.sign(x) * tf.pow(tf.abs(x), 1 / 3),
    exp2=lambda trace, x: tf.pow(tf.constant(2, x.dtype), x),
    log2=lambda trace, x: tf.math.log(x) / math.log(2),
    log10=lambda trace, x: tf.math.log(x) / math.log(10),
    trunc=lambda trace, x: tf.where(x < 0, tf.math.ceil(x), tf.math.floor(x)),
    hard_sigmoid=lambda trace, x: tf.nn.relu6(x + 3) / 6,
    hard_silu=lambda trace, x: x * tf.nn.relu6(x + 3) / 6,
    gelu=lambda trace, x, *, approximate: tf.nn.gelu(x, approximate),
    elu=lambda trace, x, *, alpha: tf.where(x > 0, x, alpha * tf.math.expm1(x)),
    leaky_relu=lambda trace, x, *, slope: tf.where(x >= 0, x, slope * x),
    hypot=lambda trace, a, b: tf.sqrt(tf.square(a) + tf.square(b)),
    logaddexp=lambda trace, a, b: tf.where(
        a == b, a + math.log(2), tf.maximum(a, b) + tf.math.softplus(-tf.abs(a - b))
    ),
)

# Shapes.


def _slice(trace, x, *, start, stop, step):
    index = [
        slice(trace.size(a), None if s < 0 and type(b) is int and b < 0 else trace.size(b), s)
        for a, b, s in zip(start, stop, step)
    ]
    return x[tuple(index)]


def _pad(trace, x, value, *, low, high, interior):
    if any(type(n) is not int or n for n in interior):
        raise _unsupported("pad between elements")
    amounts = [[trace.size(a), trace.size(b)] for a, b in zip(low, high)]
    if x.dtype == tf.bool:
        x, value = tf.cast(x, "uint8"), tf.cast(value, "uint8")
        return tf.cast(tf.pad(x, amounts, "CONSTANT", value), "bool")
    return tf.pad(x, amounts, "CONSTANT", value)


EMITTERS.update(
    reshape=lambda trace, x, *, dims: tf.reshape(x, trace.dims(dims)),
    transpose=lambda trace, x, *, perm: tf.transpose(x, perm),
    broadcast_to=lambda trace, x, *, dims: tf.broadcast_to(x, trace.dims(dims)),
    concat=lambda trace, *parts, axis: tf.concat(parts, axis),
    flip=lambda trace, x, *, axes: tf.reverse(x, axes),
    slice=_slice,
    pad=_pad,
    dynamic_slice=lambda trace, x, start, *, sizes: tf.slice(
        x, tf.clip_by_value(start, 0, tf.shape(x) - trace.dims(sizes)), trace.dims(sizes)
    ),
    full=lambda trace, *, dims, value, dtype: tf.fill(
        trace.dims(dims), tf.cast(trace.size(value) if type(value) is SymInt else value, dtype)
    ),
    iota=lambda trace, *, size, dtype: tf.cast(tf.range(trace.size(size)), dtype),
)

# Elements by position.


def _within(indices, size):
    """Positions as `gather` and its like take them: negative ones from the end, others clipped."""
    size = tf.cast(size, indices.dtype)
    return tf.clip_by_value(tf.where(indices < 0, indices + size, indices), 0, size - 1)


def _gather(trace, x, indices, *, axis):
    return tf.gather(x, _within(indices, tf.shape(x)[axis]), axis=axis)


def _take_along_axis(trace, x, indices, *, axis):
    rank = x.shape.rank
    indices = _within(indices, tf.shape(x)[axis])
    last = [*(a for a in range(rank) if a != axis), axis]
    taken = tf.gather(tf.transpose(x, last), tf.transpose(indices, last), batch_dims=rank - 1)
    return tf.transpose(taken, [last.index(a) for a in range(rank)])


def _nd(function: str) -> Callable:
    def emit(trace, x, indices, *updates):
        sizes = tf.shape(x)[: indices.shape[-1]]
        return getattr(tf, function)(x, _within(indices, sizes), *updates)

    return emit


EMITTERS.update(
    gather=_gather,
    take_along_axis=_take_along_axis,
    gather_nd=_nd("gather_nd"),
    scatter_nd_add=_nd("tensor_scatter_nd_add"),
    scatter_nd_set=_nd("tensor_scatter_nd_update"),
    scatter_nd_max=_nd("tensor_scatter_nd_max"),
    scatter_nd_min=_nd("tensor_scatter_nd_min"),
    one_hot=lambda trace, x, *, depth, axis, dtype: tf.one_hot(
        x, depth, axis=axis if axis < x.shape.rank else -1, dtype=dtype,
        on_value=tf.cast(1, dtype), off_value=tf.cast(0, dtype),
    ),
    sort=lambda trace, x, *, axis: tf.sort(x, axis),
    argsort=lambda trace, x, *, axis, stable: tf.argsort(x, axis, stable=True),
    top_k=lambda trace, x, *, k: tuple(tf.math.top_k(x, k)),
    searchsorted=lambda trace, row, values, *, side: tf.reshape(
        tf.searchsorted(row, tf.reshape(values, [-1]), side), tf.shape(values)
    ),
)  # fmt: skip

# Reductions.


def _reduction(name: str) -> Callable:
    def emit(trace, x, *, axes, keepdims):
        return getattr(tf.math, name)(x, axis=list(axes), keepdims=keepdims)

    return emit


def _extreme(function: str) -> Callable:
    def emit(trace, x, *, axis, keepdims):
        place = getattr(tf.math, function)(x, axis, output_type="int32")
        return tf.expand_dims(place, axis) if keepdims else place

    return emit


EMITTERS.update(
    {f"reduce_{name}": _reduction(f"reduce_{name}") for name in
     ("all", "any", "logsumexp", "max", "mean", "min", "prod", "sum")},
    moments=lambda trace, x, *, axes, keepdims: tuple(
        tf.nn.moments(x, list(axes), keepdims=keepdims)
    ),
    argmax=_extreme("argmax"),
    argmin=_extreme("argmin"),
    cumsum=lambda trace, x, *, axis, reverse: tf.cumsum(x, axis, reverse=reverse),
    cumprod=lambda trace, x, *, axis, reverse: tf.math.cumprod(x, axis, reverse=reverse),
)  # fmt: skip

# Products, windows.


def _matmul(trace, a, b, *, transpose_a=False, transpose_b=False, out_dtype=None):
    if out_dtype is not None:
        a, b = tf.cast(a, out_dtype), tf.cast(b, out_dtype)
    return tf.linalg.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)


def _padded(x, padding, value=0):
    """Spatial axes of [N, *S, C] padded, or cropped where the amount is negative."""
    pairs = list(zip(padding[::2], padding[1::2]))
    crop = [slice(max(-low, 0), min(high, 0) or None) for low, high in pairs]
    x = x[(slice(None), *crop, slice(None))]
    amounts = [[0, 0], *([max(low, 0), max(high, 0)] for low, high in pairs), [0, 0]]
    return tf.pad(x, amounts, constant_values=tf.cast(value, x.dtype))


def _conv(trace, x, w, *, strides, padding, dilation, groups):
    x = _padded(x, padding)
    pieces = zip(tf.split(x, groups, -1), tf.split(w, groups, -1))
    depthwise = groups == x.shape[-1] and len(strides) == 2 and strides[0] == strides[1]
    if depthwise and groups > 1 and (max(dilation) == 1 or max(strides) == 1):
        kernel = tf.reshape(w, (*w.shape[:2], groups, w.shape[-1] // groups))
        return tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), "VALID", dilations=dilation)
    out = [tf.nn.convolution(a, b, strides, "VALID", dilations=dilation) for a, b in pieces]
    return out[0] if groups == 1 else tf.concat(out, -1)


def _conv_input_grad(trace, ct, w, *, input_dims, strides, padding, dilation, groups):
    """A transposed convolution: as without padding, then cropped or filled up to the sizes."""
    rank = len(strides)
    kernel = [1 + (k - 1) * d for k, d in zip(w.shape[:rank], dilation)]
    sizes = [(trace.size(n) - 1) * s + k for n, s, k in zip(_spatial(ct), strides, kernel)]
    parts = []
    for piece, weights in zip(tf.split(ct, groups, -1), tf.split(w, groups, -1)):
        shape = tf.stack([tf.shape(ct)[0], *sizes, w.shape[rank]])
        parts.append(
            tf.nn.conv_transpose(piece, weights, shape, strides, "VALID", dilations=dilation)
        )
    full = parts[0] if groups == 1 else tf.concat(parts, -1)
    wanted = [trace.size(d) for d in input_dims]
    ends = [n - low - size for n, low, size in zip(wanted, (-p for p in padding[::2]), sizes)]
    return _padded(full, [p for low, end in zip(padding[::2], ends) for p in (-low, end)])


def _spatial(x):
    return [d if d is not None else tf.shape(x)[i + 1] for i, d in enumerate(x.shape[1:-1])]


def _max_pool(trace, x, *, window, strides, padding):
    x = _padded(x, padding, x.dtype.min if x.dtype.is_integer else -math.inf)
    return tf.nn.pool(x, window, "MAX", strides, "VALID")


def _avg_pool(trace, x, *, window, strides, padding, count_include_pad):
    mean = tf.nn.pool(_padded(x, padding), window, "AVG", strides, "VALID")
    if count_include_pad or not any(padding):
        return mean
    ones = tf.ones_like(x[:1, ..., :1])
    return mean / tf.nn.pool(_padded(ones, padding), window, "AVG", strides, "VALID")


EMITTERS.update(
    matmul=_matmul,
    conv=_conv,
    conv_input_grad=_conv_input_grad,
    max_pool=_max_pool,
    avg_pool=_avg_pool,
)

# Random numbers: of the same distributions, but TensorFlow's own for a seed.


def _random(function: str) -> Callable:
    def emit(trace, key, *, dims, dtype):
        return getattr(tf.random, function)(trace.dims(dims), tf.bitcast(key, "int32"), dtype=dtype)

    return emit


EMITTERS.update(
    random_uniform=_random("stateless_uniform"),
    random_normal=_random("stateless_normal"),
    random_truncated_normal=_random("stateless_truncated_normal"),
)
