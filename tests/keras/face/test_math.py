"""Fourier transforms, segments and spectra."""

import numpy as np
import pytest
from numeric import check_gradients

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import fft as ft
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import from_numpy
from keras_native.src.ops import math

RNG = np.random.default_rng(5)


def both_parts(z):
    return sh.stack([ew.real(z), ew.imag(z)])


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("axes", [(-1,), (0, 2)])
def test_gradient_of_fft(axes, inverse):
    def function(re, im):
        return both_parts(ft.fft(ew.complex_(re, im), axes, inverse))

    check_gradients(function, RNG.standard_normal((2, 3, 4)), RNG.standard_normal((2, 3, 4)))


@pytest.mark.parametrize("size, n", [(6, None), (5, None), (5, 8), (6, 3)])
def test_rfft(size, n):
    x = RNG.standard_normal((2, size))
    found = both_parts(ft.rfft(from_numpy(x), n)).numpy()
    expected = np.fft.rfft(x, n)
    np.testing.assert_allclose(found, [expected.real, expected.imag], atol=1e-12)
    check_gradients(lambda t: both_parts(ft.rfft(t, n)), x)


@pytest.mark.parametrize("size, n", [(4, None), (4, 7), (3, 9), (5, 4), (1, 1)])
def test_irfft(size, n):
    re, im = RNG.standard_normal((2, 2, size))
    if n is None:
        n = 2 * (size - 1)
    found = math.irfft((re, im), n).numpy()
    np.testing.assert_allclose(found, np.fft.irfft(re + 1j * im, n), atol=1e-12)
    check_gradients(lambda a, b: ft.irfft(ew.complex_(a, b), n), re, im)


def test_istft_inverts_stft_in_the_middle():
    x = RNG.standard_normal((2, 256))
    options = {"sequence_length": 32, "sequence_stride": 8, "fft_length": 32}
    back = math.istft(math.stft(x, **options), **options).numpy()
    np.testing.assert_allclose(back[:, 32:-32], x[:, 32:-32], atol=1e-9)


def test_segments_leave_out_foreign_ids():
    data, ids = np.array([1.0, 2, 3, 4, 5]), np.array([0, 2, -1, 2, 9])
    assert math.segment_sum(data, ids, 3).numpy().tolist() == [1, 0, 6]
    assert math.segment_prod(data, ids, 3).numpy().tolist() == [1, 1, 8]
    assert math.segment_max(data, ids, 3).numpy().tolist() == [1, -np.inf, 4]
    assert math.segment_min(data, ids, 3).numpy().tolist() == [1, np.inf, 2]
    assert math.segment_max(np.array([7]), [1], 2).numpy().tolist() == [-(2**31), 7]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="irfft: length 0"):
        ft.irfft(ew.complex_(*[sh.zeros((1,), "float32")] * 2))
    with pytest.raises(TypeError, match="rfft: expected one of"):
        ft.rfft(sh.zeros((4,), "int32"))
    with pytest.raises(ValueError, match="axis 3 is out of range"):
        ft.fft(ew.complex_(*[sh.zeros((4,), "float32")] * 2), (3,))
