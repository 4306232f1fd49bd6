"""`keras.ops`: sequences, spectra, segments, linear algebra."""

import numpy as np
from keras import ops

from opcases.drawing import (
    ANY_ORDER,
    COMPLEX,
    FLOAT,
    NUMBER,
    Op,
    call,
    first_of,
    reduction,
)

_HOST = ("float32", "float64")
_MATRICES = _HOST + COMPLEX


def _sequence(d, **more):
    return d.array((*d.shape(0, 1, empty=False), d.pick(8, 9)), special=False, **more)


def _spectrum(low_rank):
    def make(d):
        shape = (*d.shape(0, 1, empty=False), *(d.pick(2, 3, 5) for _ in range(low_rank)))
        return call((d.array(shape, special=False), d.array(shape, special=False)))

    return make


def _irfft(d):
    shape = (*d.shape(0, 1, empty=False), d.pick(3, 5))
    x = d.array(shape, special=False), d.array(shape, special=False)
    return call(x, d.pick(None, 4, 7))


def _istft(d):
    shape = (*d.shape(0, 1, empty=False), 4, 5)
    x = d.array(shape, special=False), d.array(shape, special=False)
    return call(x, 8, 4, 8, window=d.pick("hann", "hamming"), center=d.flip())


def _stft(d):
    return call(_sequence(d), 4, 2, d.pick(4, 5, 8), window=d.pick("hann", None), center=d.flip())


def _segment(d):
    n = d.pick(1, 4, 6)
    x = d.array((n, *d.shape(0, 1, empty=False)), special=False)
    ids = d.array((n,), "int32", low=0, high=3, special=False)
    ordered = d.flip()
    return call(x, np.sort(ids) if ordered else ids, 4, sorted=ordered)


def _segments(**options):
    return Op(_segment, NUMBER, ANY_ORDER, bound=16, level=1, **options)


def _in_top_k(d):
    targets = d.array((3,), "int32", low=0, high=4, special=False)
    return call(targets, d.array((3, 5), special=False), d.pick(1, 3))


def _norm(d):
    x = d.array(d.shape(1, empty=False), low=0.5, special=False)
    axis = d.axis(x.ndim)
    return call(x, d.pick(None, 1, 2, 3, np.inf, -np.inf), axis, keepdims=d.flip())


def _matrix(**options):
    return Op(lambda d: call(d.invertible()), _MATRICES, ANY_ORDER, bound=256, level=1, **options)


def _lstsq(d):
    a = d.matrix(4, 3, batch=False)
    return call(a + np.eye(4, 3, dtype=a.dtype) * 8, d.array((4, d.pick(1, 2)), special=False))


def _solve(triangular=False):
    def make(d):
        a = d.invertible()
        b = d.array((*a.shape[:-1], d.pick(1, 2)), special=False)
        return call(a, b, lower=d.flip()) if triangular else call(a, b)

    return make


def _tall(d):
    x = d.matrix(4, 3)
    return call(x + 4 * np.eye(4, 3, dtype=x.dtype))


def _linear(make, **options):
    options = {"bound": 256, "level": 1, "special": False} | options
    return Op(make, _MATRICES, ANY_ORDER, **options)


def _spectral(make, **options):
    """Of pairs of real arrays."""
    return Op(make, _HOST, ANY_ORDER, bound=32, level=1, special=False, **options)


def _cholesky(d):
    return call(d.positive(), d.flip())


def _factor(d):
    # The peers take no batches.
    a = np.tril(d.invertible())
    a = a[0] if a.ndim == 3 else a
    upper = d.flip()
    return call(np.ascontiguousarray(a.swapaxes(-1, -2)) if upper else a, upper)


def _hermitian(x):
    return ops.multiply(ops.add(x, ops.conj(ops.swapaxes(x, -1, -2))), 0.5)


def _square(x):
    return x * x


_KERAS = "Keras's symbolic rule differs from its backends"
_EMPTY = "it gives float64, and zero for segments without elements"
_FREE = "signs, phases and order are free"
_UNCONJUGATED = "it does not conjugate complex factors"
_COMPLEX = {"symbolic": _KERAS, "unsymbolic": first_of(*COMPLEX)}

OPS = {
    "cdist": Op(
        lambda d: call(d.array((d.pick(2, 3), 3), special=False), d.array((4, 3), special=False)),
        FLOAT,
        ANY_ORDER,
        bound=64,
        level=1,
    ),
    "cholesky": _linear(_cholesky, via=_hermitian),
    "cholesky_inverse": _linear(_factor, bound=1024, numpy=_UNCONJUGATED, jax=_UNCONJUGATED),
    "det": _matrix(),
    "eig": _linear(
        lambda d: call(d.invertible()),
        jax_gradient="JAX has none where eigenvectors are computed as well",
        values=False,
        result=0,
        numpy_dtype="real where eigenvalues are",
        symbolic=_KERAS,
        reason=_FREE,
    ),
    "eigh": _linear(
        lambda d: call(d.positive()),
        values=False,
        result=0,
        via=_hermitian,
        reason=_FREE,
        **_COMPLEX,
    ),
    "extract_sequences": Op(
        lambda d: call(_sequence(d), d.pick(2, 3), d.pick(1, 2)), FLOAT, ANY_ORDER
    ),
    "fft": _spectral(_spectrum(1)),
    "fft2": _spectral(_spectrum(2)),
    "ifft2": _spectral(_spectrum(2)),
    "in_top_k": Op(_in_top_k, FLOAT, special=False),
    "inv": _matrix(),
    "irfft": _spectral(_irfft),
    "istft": Op(_istft, _HOST, ANY_ORDER, bound=512, level=1, special=False),
    "jvp": Op(
        lambda d: call(_square, (x := d.array(special=False),), (d.array(x.shape, special=False),)),
        ("float32", "float64"),
        compiled=False,
        numpy="the NumPy backend has no derivatives",
    ),
    "logdet": _linear(lambda d: call(d.positive()), **_COMPLEX),
    "logsumexp": Op(
        reduction(empty=False),
        FLOAT,
        ANY_ORDER,
        bound=16,
        level=1,
        symbolic=_KERAS,
        numpy_dtype="float64 where a bfloat16 scalar is infinite",
    ),
    "lstsq": _linear(_lstsq, bound=2048),
    "lu_factor": _matrix(symbolic=_KERAS),
    "matrix_rank": Op(lambda d: call(d.matrix()), _MATRICES, special=False),
    "norm": Op(
        _norm,
        FLOAT + COMPLEX,
        ANY_ORDER,
        bound=32,
        level=1,
        numpy_dtype="complex where the operand is",
        jax_gradient="NaN where XLA, not optimising, rounds a complex modulus in two ways",
        **_COMPLEX,
    ),
    "pinv": _linear(_tall, bound=1024),
    "qr": _linear(_tall),
    "rfft": _spectral(lambda d: call(_sequence(d), d.pick(None, 4, 10))),
    "segment_max": _segments(numpy=_EMPTY),
    "segment_min": _segments(numpy=_EMPTY),
    "segment_prod": _segments(jax_gradient="JAX has none where indices may repeat"),
    "segment_sum": _segments(),
    "solve": _linear(_solve()),
    "solve_triangular": _linear(_solve(triangular=True)),
    "stft": _spectral(_stft),
    "svd": _linear(
        lambda d: call(*_tall(d)[0], full_matrices=not (d.smooth or d.flip())),
        values=False,
        result=1,
        reason=_FREE,
        **_COMPLEX,
    ),
    "view_as_complex": Op(
        lambda d: call(d.array((*d.shape(0, 2), 2))), ("float32", "float64"), ANY_ORDER
    ),
    "view_as_real": Op(lambda d: call(d.array()), COMPLEX, ANY_ORDER, symbolic=_KERAS),
}
