"""Creation of tensors in keras.ops: constants, ranges, windows, special matrices."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine import promotion
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives.elementwise_common import broadcast_dims
from keras_native.engine.symbolic import SymInt
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.ops._numpy_common import (
    axis_of,
    constant,
    floatx,
    host,
    result_type,
    tensor,
    tensors,
)
from keras_native.src.ops._numpy_shape import _lower, _sizes, broadcast_to
from keras_native.src.ops.convert import convert_to_tensor


def _dtype(dtype) -> str | None:
    return None if dtype is None else dtypes.standardize(dtype, floatx())


def array(x, dtype=None):
    """`x` as a tensor."""
    return convert_to_tensor(x, _dtype(dtype))


def full(shape, fill_value, dtype=None):
    """A tensor of one value, or of a tensor broadcast to the shape."""
    dtype = _dtype(dtype) or floatx()
    if isinstance(fill_value, (bool, int, float)):
        return sh.full(_sizes(shape), fill_value, dtype)
    return broadcast_to(convert_to_tensor(fill_value, dtype), shape)


def zeros(shape, dtype=None):
    """A tensor of zeros."""
    return sh.full(_sizes(shape), 0, _dtype(dtype) or floatx())


def ones(shape, dtype=None):
    """A tensor of ones."""
    return sh.full(_sizes(shape), 1, _dtype(dtype) or floatx())


def empty(shape, dtype=None):
    """A tensor of any contents (zeros)."""
    return zeros(shape, dtype)


def full_like(x, fill_value, dtype=None):
    """A tensor of one value with the shape and dtype of x."""
    x = tensor(x)
    return full(x.dims, fill_value, _dtype(dtype) or x.dtype)


def zeros_like(x, dtype=None):
    """Zeros with the shape and dtype of x."""
    return full_like(x, 0, dtype)


def ones_like(x, dtype=None):
    """Ones with the shape and dtype of x."""
    return full_like(x, 1, dtype)


def empty_like(x, dtype=None):
    """Any contents (zeros) with the shape and dtype of x."""
    return full_like(x, 0, dtype)


def _kind(x):
    if x is None:
        return None
    if type(x) is SymInt:
        return int
    return promotion.kind(x) if isinstance(x, Tensor) else getattr(x, "dtype", type(x))


def _number(x):
    """A Python number from anything that has one value now."""
    if isinstance(x, (int, float)) or type(x) is SymInt:
        return x
    return host(x).reshape(()).item()


def arange(start, stop=None, step=None, dtype=None):
    """start, start + step, ... up to before stop; `stop` alone counts from 0."""
    if dtype is None:
        kinds = [_kind(x) for x in (start, stop, step) if x is not None]
        dtype = result_type(*(k if isinstance(k, (str, type)) else str(k) for k in kinds))
    dtype = _dtype(dtype)
    if stop is None:
        start, stop = 0, start
    start, stop = _number(start), _number(stop)
    step = 1 if step is None else _number(step)
    if any(type(x) is SymInt for x in (start, stop, step)):
        count = -((start - stop) // step)
        counted = ew.cast(sh.iota(count), dtype)
        step, start = promotion.as_dtype(step, dtype), promotion.as_dtype(start, dtype)
        return ew.add(ew.mul(counted, step), start)
    if dtype in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "bool"):
        return constant(np.arange(start, stop, step), dtype)
    return from_numpy(np.arange(start, stop, step, dtype=dtype))


def _ends(start, stop, dtype):
    """(start, stop) of a space in the dtype to compute in, and the dtype of the result."""
    if dtype is None:
        dtype = result_type(_kind_of(start), _kind_of(stop), float)
    dtype = _dtype(dtype)
    compute = dtype if dtype in ("float64", *dtypes.COMPLEX) else "float32"
    return *tensors(start, stop, dtype=compute), dtype


def _kind_of(x):
    kind = _kind(x)
    if kind in (list, tuple):
        return tensor(x).dtype
    return kind if isinstance(kind, (str, type)) else str(kind)


def _known(*xs) -> bool:
    return all(not isinstance(x, Tensor) or x.array is not None for x in xs)


def _space(make, start, stop, num, endpoint, dtype, axis, **options) -> Tensor:
    """A space between ends that are known now: NumPy's, rounded once."""
    if dtype is None:
        dtype = result_type(_kind_of(start), _kind_of(stop), float)
    dtype = _dtype(dtype)
    ends = [x if isinstance(x, (int, float, complex)) else _exact(x) for x in (start, stop)]
    values = make(*ends, num=num, endpoint=endpoint, axis=axis, **options)
    if dtype in dtypes.INTEGERS:
        values = np.floor(values)
    return constant(values, dtype)


def _exact(x) -> np.ndarray:
    array = host(x)
    return array if array.dtype.kind == "c" else array.astype(np.float64)


def linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0):
    """`num` evenly spaced numbers from start to stop (`endpoint`: included) along a new axis; with
    `retstep` also the step."""
    if _known(start, stop) and not retstep and not _tracked(start, stop):
        return _space(np.linspace, start, stop, num, endpoint, dtype, axis)
    start, stop, dtype = _ends(start, stop, dtype)
    gaps = num - 1 if endpoint else num
    width = ew.sub(stop, start)
    step = ew.div(width, float(gaps)) if gaps > 0 else ew.mul(width, float("nan"))
    start, stop = _common_shape(start, stop)
    axis = axis_of(axis, start.ndim + 1)
    if num == 1 or gaps <= 0:
        out = (
            sh.expand_dims(start, axis)
            if num
            else sh.full((*start.dims[:axis], 0, *start.dims[axis:]), 0, start.dtype)
        )
    else:
        places = np.arange(num).reshape((num, *[1] * (start.ndim - axis)))
        t = constant(places / gaps, start.dtype)
        # Both ends come out exactly.
        low = ew.mul(sh.expand_dims(start, axis), ew.sub(1.0, t))
        out = ew.add(low, ew.mul(sh.expand_dims(stop, axis), t))
    if dtype in dtypes.INTEGERS:
        out = ew.floor(out)
    out = ew.cast(out, dtype)
    return (out, ew.cast(step, dtype) if dtype not in dtypes.INTEGERS else step) if retstep else out


def _tracked(*xs) -> bool:
    """Whether a tape may want gradients of these: then primitives must do the work."""
    from keras_native.engine.primitive import STATE

    return bool(STATE.tapes) and any(isinstance(x, Tensor) for x in xs)


def _common_shape(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    dims = broadcast_dims("linspace", (a, b))
    return sh.broadcast_to(a, dims), sh.broadcast_to(b, dims)


def logspace(start, stop, num=50, endpoint=True, base=10, dtype=None, axis=0):
    """base ** linspace(start, stop)."""
    if _known(start, stop, base) and not _tracked(start, stop):
        return _space(np.logspace, start, stop, num, endpoint, dtype, axis, base=_number(base))
    if dtype is None:
        dtype = result_type(_kind_of(start), _kind_of(stop), float)
    powers = linspace(start, stop, num, endpoint, dtype=_inexact(dtype), axis=axis)
    return ew.cast(ew.pow(promotion.as_dtype(_number(base), powers.dtype), powers), _dtype(dtype))


def geomspace(start, stop, num=50, endpoint=True, dtype=None, axis=0):
    """`num` numbers from start to stop whose ratio is constant, along a new axis."""
    if _known(start, stop) and not _tracked(start, stop):
        return _space(np.geomspace, start, stop, num, endpoint, dtype, axis)
    start, stop, dtype = _ends(start, stop, dtype)
    sign = ew.sign(start)
    logs = (ew.log(ew.mul(start, sign)), ew.log(ew.mul(stop, sign)))
    powers = linspace(*logs, num, endpoint, dtype=logs[0].dtype, axis=axis)
    sign = sh.expand_dims(sign, axis) if sign.ndim else sign
    return ew.cast(ew.mul(ew.exp(powers), sign), dtype)


def _inexact(dtype) -> str:
    name = _dtype(dtype)
    return name if name in ("float64", "float32") else "float32"


# Matrices


def eye(N, M=None, k=0, dtype=None):
    """N by M (N by N) zeros with ones on the k-th diagonal."""
    dtype = _dtype(dtype) or floatx()
    N, M = _sizes(N)[0], _sizes(N if M is None else M)[0]
    down = sh.reshape(sh.iota(N), (N, 1))
    return ew.cast(ew.eq(ew.add(down, int(k)), sh.iota(M)), dtype)


def identity(n, dtype=None):
    """The identity matrix."""
    return eye(n, dtype=dtype)


def tri(N, M=None, k=0, dtype=None):
    """N by M (N by N), ones on and below the k-th diagonal, zeros above."""
    N, M = _sizes(N)[0], _sizes(N if M is None else M)[0]
    return ew.cast(_lower(N, M, k), _dtype(dtype) or floatx())


def vander(x, N=None, increasing=False):
    """Columns of powers of a vector, N (its length) of them, the highest first or last.

    Raises:
        ValueError: x is not a vector.
    """
    x = tensor(x)
    if x.ndim != 1:
        raise ValueError(f"vander: expected a vector. Received: shape={x.shape}")
    if x.dtype == "bool":
        x = ew.cast(x, "int32")
    count = x.dims[0] if N is None else N
    columns = [sh.full(x.dims, 1, x.dtype)]
    for _ in range(count - 1):
        columns.append(ew.mul(columns[-1], x))
    columns = columns[:count]
    if not columns:
        return sh.full((*x.dims, 0), 0, x.dtype)
    return sh.stack(columns if increasing else columns[::-1], 1)


# Windows


def _window(name: str, make, doc: str):
    def function(x):
        return constant(make(int(_number(x))), floatx())

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {doc} window of x points, in floatx."
    return function


bartlett = _window("bartlett", np.bartlett, "Bartlett (triangular)")
blackman = _window("blackman", np.blackman, "Blackman")
hamming = _window("hamming", np.hamming, "Hamming")
hanning = _window("hanning", np.hanning, "Hann")


def kaiser(x, beta):
    """The Kaiser window of x points and shape `beta`, in floatx."""
    return constant(np.kaiser(int(_number(x)), _number(beta)), floatx())
