"""Activation functions. All keep shape and floating dtype; integers become `floatx` first."""

from __future__ import annotations

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather_sort as gs
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives import softmax as sm
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor
from keras_native.src.ops.convert import convert_to_tensor, result_type


def as_float(x) -> Tensor:
    """A tensor of a floating (or complex) dtype."""
    x = convert_to_tensor(x)
    if dtypes.is_differentiable(x.dtype):
        return x
    return ew.cast(x, result_type(x.dtype, float))


def where(condition: Tensor, a, b) -> Tensor:
    """`ew.select` in which one branch may be a Python number."""
    like = a if isinstance(a, Tensor) else b
    a, b = (x if isinstance(x, Tensor) else scalar(x, like.dtype) for x in (a, b))
    return ew.select(condition, a, b)


def relu(x):
    """max(x, 0)."""
    x = convert_to_tensor(x)
    return ew.relu(ew.cast(x, "int32") if x.dtype == "bool" else x)


def relu6(x):
    """min(max(x, 0), 6)."""
    return ew.relu6(as_float(x))


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return ew.sigmoid(as_float(x))


def sparse_sigmoid(x):
    """A sigmoid of three line segments: 0 below -1, 1 above 1."""
    x = as_float(x)
    return ew.clip(ew.mul(ew.add(x, 1.0), 0.5), 0.0, 1.0)


def tanh(x):
    """The hyperbolic tangent."""
    return ew.tanh(as_float(x))


def tanh_shrink(x):
    """x - tanh(x)."""
    x = as_float(x)
    return ew.sub(x, ew.tanh(x))


def softplus(x):
    """log(1 + exp(x))."""
    return ew.softplus(as_float(x))


def softsign(x):
    """x / (1 + |x|)."""
    return ew.softsign(as_float(x))


def soft_shrink(x, threshold=0.5):
    """x moved towards 0 by `threshold`, and 0 within it."""
    x = as_float(x)
    below = where(ew.lt(x, -threshold), ew.add(x, threshold), 0.0)
    return ew.select(ew.gt(x, threshold), ew.sub(x, threshold), below)


def sparse_plus(x):
    """A softplus of three pieces: 0, a parabola from -1 to 1, x."""
    x = as_float(x)
    parabola = ew.mul(0.25, ew.square(ew.add(x, 1.0)))
    return where(ew.le(x, -1.0), 0.0, ew.select(ew.lt(x, 1.0), parabola, x))


def silu(x):
    """x * sigmoid(x)."""
    return ew.silu(as_float(x))


def squareplus(x, b=4):
    """(x + sqrt(x^2 + b)) / 2."""
    x = as_float(x)
    return ew.mul(ew.add(x, ew.sqrt(ew.add(ew.square(x), float(b)))), 0.5)


def log_sigmoid(x):
    """log(sigmoid(x)), without underflow."""
    return ew.log_sigmoid(as_float(x))


def leaky_relu(x, negative_slope=0.2):
    """x above 0, `negative_slope` * x below."""
    return ew.leaky_relu(as_float(x), negative_slope)


def hard_sigmoid(x):
    """relu6(x + 3) / 6."""
    return ew.hard_sigmoid(as_float(x))


def hard_silu(x):
    """x * hard_sigmoid(x)."""
    return ew.hard_silu(as_float(x))


def elu(x, alpha=1.0):
    """x above 0, alpha * (exp(x) - 1) below."""
    return ew.elu(as_float(x), alpha)


def selu(x):
    """The scaled elu whose constants keep mean 0 and variance 1."""
    return ew.selu(as_float(x))


def gelu(x, approximate=True):
    """x times the normal distribution function of x, by default through tanh."""
    return ew.gelu(as_float(x), approximate)


def celu(x, alpha=1.0):
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)."""
    x = as_float(x)
    negative = ew.mul(float(alpha), ew.expm1(ew.div(ew.minimum(x, 0.0), float(alpha))))
    return ew.add(ew.relu(x), negative)


def glu(x, axis=-1):
    """a * sigmoid(b) for the two halves a, b of x along `axis`."""
    x = as_float(x)
    axis = sh.normal_axis("glu", axis, x.ndim)
    size = x.dims[axis]
    if size % 2:
        raise ValueError(f"glu: axis {axis} of {x.shape} must have an even size")
    half = size // 2
    start, stop = [0] * x.ndim, list(x.dims)
    stop[axis] = half
    a = ss.slice(x, tuple(start), tuple(stop))
    start[axis], stop[axis] = half, size
    b = ss.slice(x, tuple(start), tuple(stop))
    return ew.mul(a, ew.sigmoid(b))


def hard_tanh(x):
    """x clipped to [-1, 1]."""
    return ew.clip(as_float(x), -1.0, 1.0)


def hard_shrink(x, threshold=0.5):
    """x where |x| > threshold, else 0."""
    x = as_float(x)
    return where(ew.gt(ew.abs(x), threshold), x, 0.0)


def threshold(x, threshold, default_value):
    """x where x > threshold, else `default_value`."""
    x = as_float(x)
    return where(ew.gt(x, float(threshold)), x, float(default_value))


def _over_all(function, x):
    flat = sh.reshape(x, (x.size,))
    return sh.reshape(function(flat, 0), x.dims)


def softmax(x, axis=-1):
    """exp(x) / sum(exp(x)) along `axis`; over everything if it is None."""
    x = as_float(x)
    return _over_all(sm.softmax, x) if axis is None else sm.softmax(x, axis)


def log_softmax(x, axis=-1):
    """log(softmax(x)) along `axis`, without underflow; over everything if it is None."""
    x = as_float(x)
    return _over_all(sm.log_softmax, x) if axis is None else sm.log_softmax(x, axis)


def sparsemax(x, axis=-1):
    """The Euclidean projection of x onto the probability simplex along `axis`."""
    x = as_float(x)
    axis = axis if axis >= 0 else axis + x.ndim
    ordered = sh.flip(gs.sort(x, axis), (axis,))
    total = rd.cumsum(ordered, axis)
    ranks = ew.add(sh.iota(x.dims[axis], x.dtype), 1.0)
    dims = [1] * x.ndim
    dims[axis] = x.dims[axis]
    ranks = sh.reshape(ranks, tuple(dims))
    support = ew.gt(ew.add(1.0, ew.mul(ranks, ordered)), total)
    count = rd.reduce_sum(ew.cast(support, x.dtype), (axis,), keepdims=True)
    mass = rd.reduce_sum(where(support, ordered, 0.0), (axis,), keepdims=True)
    return ew.relu(ew.sub(x, ew.div(ew.sub(mass, 1.0), count)))
