"""Keras's mathematical operations beyond NumPy's: segments, ranks, spectra."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import TraceError
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import fft as ft
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import gather_nd as gn
from keras_native.engine.primitives import gather_sort as gs
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor
from keras_native.src.nn.activations import as_float, where
from keras_native.src.ops.convert import convert_to_tensor, promote

__all__ = [
    "cdist",
    "erf",
    "erfc",
    "erfinv",
    "extract_sequences",
    "fft",
    "fft2",
    "gammainc",
    "ifft2",
    "in_top_k",
    "irfft",
    "istft",
    "lgamma",
    "logdet",
    "logsumexp",
    "rfft",
    "rsqrt",
    "segment_max",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "stft",
    "top_k",
]


def _lowest(dtype: str):
    return _extreme(dtype, -1)


def _highest(dtype: str):
    return _extreme(dtype, 1)


def _extreme(dtype: str, sign: int):
    if dtypes.is_float(dtype):
        return sign * float("inf")
    info = np.iinfo(dtypes.NUMPY[dtype])
    return info.max if sign > 0 else info.min


def _segments(scatter, initial, data, segment_ids, num_segments) -> Tensor:
    data = convert_to_tensor(data)
    ids = convert_to_tensor(segment_ids, "int32")
    if num_segments is None:
        if ids.array is None:
            raise TraceError("segment reductions need `num_segments` inside a compiled step")
        num_segments = int(ids.numpy().max(initial=-1)) + 1
    # Elements of no segment go to one more row, which is dropped.
    valid = ew.logical_and(ew.ge(ids, 0), ew.lt(ids, num_segments))
    ids = where(valid, ids, num_segments)
    start = sh.full((num_segments + 1,) + data.dims[1:], initial, data.dtype)
    out = scatter(start, sh.expand_dims(ids, -1), data)
    return ss.slice(out, (0,) * out.ndim, (num_segments,) + (None,) * (out.ndim - 1))


def segment_sum(data, segment_ids, num_segments=None, sorted=False):
    """Sums of the rows of each segment; ids outside of [0, num_segments) are left out."""
    return _segments(gn.scatter_nd_add, 0, data, segment_ids, num_segments)


def segment_prod(data, segment_ids, num_segments=None, sorted=False):
    """Products of the rows of each segment."""
    return _segments(gn.scatter_nd_mul, 1, data, segment_ids, num_segments)


def segment_max(data, segment_ids, num_segments=None, sorted=False):
    """Maxima of the rows of each segment; the lowest number for an empty one."""
    data = convert_to_tensor(data)
    return _segments(gn.scatter_nd_max, _lowest(data.dtype), data, segment_ids, num_segments)


def segment_min(data, segment_ids, num_segments=None, sorted=False):
    """Minima of the rows of each segment; the highest number for an empty one."""
    data = convert_to_tensor(data)
    return _segments(gn.scatter_nd_min, _highest(data.dtype), data, segment_ids, num_segments)


def top_k(x, k, sorted=True):
    """The k largest along the last axis, in descending order, and their positions."""
    return gs.top_k(convert_to_tensor(x), k)


def in_top_k(targets, predictions, k):
    """Whether the target class is among the k largest predictions; NaN is among none."""
    targets = convert_to_tensor(targets)
    targets = targets if targets.dtype in ("int32", "int64") else ew.cast(targets, "int32")
    predictions = as_float(predictions)
    at_target = ga.take_along_axis(predictions, sh.expand_dims(targets, -1), -1)
    at_target = where(ew.isnan(at_target), -float("inf"), at_target)
    larger = ew.cast(ew.gt(predictions, at_target), "int32")
    return ew.lt(rd.reduce_sum(larger, (-1,)), int(k))


def logsumexp(x, axis=None, keepdims=False):
    """log(sum(exp(x))) over `axis`, without overflow."""
    return rd.reduce_logsumexp(as_float(x), axis, keepdims)


def cdist(x, y):
    """Euclidean distances between the rows of x [..., n, d] and of y [..., m, d]."""
    x, y = promote(as_float(x), as_float(y))
    if x.ndim < 2 or y.ndim < 2:
        raise ValueError("`cdist` inputs must have rank >= 2")
    if x.dims[-1] != y.dims[-1]:
        raise ValueError("Last dimension of inputs to `cdist` must match")
    difference = ew.sub(sh.expand_dims(x, -2), sh.expand_dims(y, -3))
    return ew.sqrt(rd.reduce_sum(ew.square(difference), (-1,)))


def _frame_positions(count, length: int, stride: int) -> Tensor:
    starts = ew.mul(sh.iota(count), stride)
    return ew.add(sh.expand_dims(starts, 1), sh.expand_dims(sh.iota(length), 0))


def extract_sequences(x, sequence_length, sequence_stride):
    """Overlapping frames of the last axis: [..., frames, sequence_length]."""
    x = convert_to_tensor(x)
    count = (x.dims[-1] - sequence_length) // sequence_stride + 1
    return ga.gather(x, _frame_positions(count, sequence_length, sequence_stride), -1)


def _overlap_add(frames: Tensor, stride: int) -> Tensor:
    """The adjoint of `extract_sequences`: adds frames into one signal."""
    *lead, count, length = frames.dims
    signal = sh.zeros((*lead, (count - 1) * stride + length), frames.dtype)
    return ga.scatter_add(signal, _frame_positions(count, length, stride), frames, -1)


def _get_complex_tensor_from_tuple(x) -> Tensor:
    """Real and imaginary parts as one tensor; Keras itself calls this by its name."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError(
            f"Input `x` should be a tuple of two tensors - real and imaginary. Received: x={x}"
        )
    real, imag = map(convert_to_tensor, x)
    if real.ndim != imag.ndim or real.dims != imag.dims:
        raise ValueError(
            "Input `x` should be a tuple of two tensors - real and imaginary. Both the real and "
            "imaginary parts should have the same shape. "
            f"Received: x[0].shape = {real.shape}, x[1].shape = {imag.shape}"
        )
    if not (dtypes.is_float(real.dtype) and dtypes.is_float(imag.dtype)):
        raise ValueError(f"At least one tensor in input `x` is not of type float. Received: x={x}.")
    real, imag = promote(real, imag)
    return ew.complex_(_transformable(real), _transformable(imag))


def _transformable(x: Tensor) -> Tensor:
    return x if x.dtype in ("float32", "float64") else ew.cast(x, "float32")


def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
    return ew.real(x), ew.imag(x)


def fft(x):
    """The Fourier transform of (real, imaginary) parts over the last axis."""
    return _parts(ft.fft(_get_complex_tensor_from_tuple(x)))


def fft2(x):
    """The Fourier transform of (real, imaginary) parts over the last two axes."""
    return _parts(ft.fft(_get_complex_tensor_from_tuple(x), (-2, -1)))


def ifft2(x):
    """The inverse of `fft2`."""
    return _parts(ft.fft(_get_complex_tensor_from_tuple(x), (-2, -1), inverse=True))


def rfft(x, fft_length=None):
    """The Fourier transform of a real tensor over the last axis, as real and imaginary parts."""
    return _parts(ft.rfft(_transformable(as_float(x)), fft_length))


def irfft(x, fft_length=None):
    """The inverse of `rfft`."""
    return ft.irfft(_get_complex_tensor_from_tuple(x), fft_length)


def _window(window, sequence_length: int, fft_length: int, dtype: str) -> Tensor:
    """The analysis window, in the middle of `fft_length` zeros; None is a window of ones."""
    if window is None:
        return sh.ones((fft_length,), dtype)
    if isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ValueError(
                "If a string is passed to `window`, it must be one of "
                f'`"hann"`, `"hamming"`. Received: window={window}'
            )
        # Periodic, not symmetric: the first value is not repeated at the end.
        mean = 0.5 if window == "hann" else 0.54
        phase = 2 * np.pi * np.arange(sequence_length) / sequence_length
        window = mean - (1 - mean) * np.cos(phase)
    window = convert_to_tensor(window, dtype)
    if window.ndim != 1 or window.dims[0] != sequence_length:
        raise ValueError(
            "The shape of `window` must be equal to [sequence_length]. "
            f"Received: window shape={window.shape}"
        )
    low = (fft_length - sequence_length) // 2
    high = fft_length - sequence_length - low
    return ss.pad(window, (low,), (high,), scalar(0, dtype))


def _reflected(x: Tensor, count: int) -> Tensor:
    """`count` mirrored elements before and after the last axis."""
    if not count:
        return x
    size = x.dims[-1]
    if isinstance(size, int) and count >= size:
        raise ValueError(f"stft: a signal of length {size} is too short to pad by {count}")
    all_but_last = (0,) * (x.ndim - 1)
    full = x.dims[:-1]
    before = ss.slice(x, (*all_but_last, 1), (*full, count + 1))
    after = ss.slice(x, (*all_but_last, size - count - 1), (*full, size - 1))
    return sh.concat([sh.flip(before, (-1,)), x, sh.flip(after, (-1,))], -1)


def stft(x, sequence_length, sequence_stride, fft_length, window="hann", center=True):
    """The short-time Fourier transform: real and imaginary [..., frames, fft_length // 2 + 1]."""
    x = convert_to_tensor(x)
    if x.dtype not in ("float32", "float64"):
        raise TypeError(
            f"Invalid input type. Expected `float32` or `float64`. Received: input type={x.dtype}"
        )
    if fft_length < sequence_length:
        raise ValueError(
            "`fft_length` must equal or larger than `sequence_length`. "
            f"Received: sequence_length={sequence_length}, fft_length={fft_length}"
        )
    window = _window(window, sequence_length, fft_length, x.dtype)
    if center:
        x = _reflected(x, fft_length // 2)
    frames = extract_sequences(x, fft_length, sequence_stride)
    return _parts(ft.rfft(ew.mul(frames, window)))


def istft(x, sequence_length, sequence_stride, fft_length, length=None, window="hann", center=True):
    """The inverse of `stft`: overlapping frames, weighted by the window, over the sum of the
    squared weights at each place."""
    x = _get_complex_tensor_from_tuple(x)
    if x.ndim < 2:
        raise ValueError(f"Input `x` must have at least 2 dimensions. Received shape: {x.shape}")
    frames = ft.irfft(x, fft_length)
    weights = _window(window, sequence_length, fft_length, frames.dtype)
    signal = _overlap_add(ew.mul(frames, weights), sequence_stride)
    power = sh.broadcast_to(ew.square(weights), frames.dims[-2:])
    power = _overlap_add(power, sequence_stride)
    signal = ew.div(signal, where(ew.gt(power, 1e-10), power, 1.0))
    if window is None:
        signal = ew.mul(signal, fft_length / sequence_stride)
    signal_length = signal.dims[-1]
    start = fft_length // 2 if center else 0
    if length is not None:
        stop = start + length
    elif center:
        stop = signal_length - fft_length // 2
    else:
        stop = signal_length
    full = signal.dims[:-1]
    return ss.slice(signal, (0,) * len(full) + (start,), (*full, stop))


def rsqrt(x):
    """1 / sqrt(x)."""
    return ew.rsqrt(as_float(x))


def erf(x):
    """The error function."""
    return ew.erf(as_float(x))


def erfc(x):
    """1 - erf(x), accurate where that is small."""
    return ew.erfc(as_float(x))


def erfinv(x):
    """The inverse of the error function."""
    return ew.erfinv(as_float(x))


def gammainc(x1, x2):
    """The regularised lower incomplete gamma function P(x1, x2), for x1, x2 >= 0.

    On the host. Differentiable by both arguments, by `x1` once.
    """
    return ew.gammainc(*(as_float(x) for x in promote(x1, x2)))


def lgamma(x):
    """The logarithm of the absolute value of the gamma function."""
    return ew.lgamma(as_float(x))


def logdet(x):
    """The logarithm of the absolute determinant."""
    from keras_native.src.ops.numpy import slogdet

    return slogdet(x)[1]
