"""Resizing, sampling, filters and colours against plain NumPy and SciPy."""

import numpy as np
import pytest
from numeric import check_gradients

from keras_native.engine.tensor import from_numpy
from keras_native.src.image.equalization import equalize, histogram_fixed_width
from keras_native.src.image.filters import smooth
from keras_native.src.ops import image

RNG = np.random.default_rng(13)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos3", "lanczos5"])
@pytest.mark.parametrize("size", [(9, 4), (3, 11), (5, 7)])
def test_resizing_keeps_constants_and_is_linear(method, size):
    ones = image.resize(np.ones((2, 5, 7, 3), "float32"), size, method, antialias=True).numpy()
    np.testing.assert_allclose(ones, np.ones((2, *size, 3)), rtol=1e-5)
    a, b = RNG.random((2, 5, 7, 3)), RNG.random((2, 5, 7, 3))
    total = image.resize(a + b, size, method).numpy()
    parts = image.resize(a, size, method).numpy() + image.resize(b, size, method).numpy()
    np.testing.assert_allclose(total, parts, rtol=1e-6)


def test_bilinear_resizing_by_hand():
    x = np.arange(4.0).reshape(1, 4, 1)
    found = image.resize(x, (1, 8), "bilinear").numpy()[0, :, 0]
    np.testing.assert_allclose(found, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


@pytest.mark.parametrize("mode", ["constant", "nearest", "wrap", "mirror", "reflect"])
@pytest.mark.parametrize("order", [0, 1])
def test_map_coordinates(mode, order):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = RNG.random((4, 5))
    at = RNG.uniform(-6, 10, (2, 50))
    names = {"constant": "grid-constant", "wrap": "grid-wrap"}
    expected = ndimage.map_coordinates(x, at, order=order, mode=names.get(mode, mode), cval=0.5)
    found = image.map_coordinates(x, at, order, mode, 0.5).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradient_of_sampling():
    at = RNG.uniform(0.1, 2.9, (2, 6))
    at = np.where(np.abs(at - np.round(at)) < 0.05, at + 0.1, at)
    check_gradients(lambda x, p: image.map_coordinates(x, p, 1), RNG.random((4, 4)), at)


def test_identity_transformations():
    x = RNG.random((2, 5, 6, 3)).astype("float32")
    same = image.affine_transform(x, [1, 0, 0, 0, 1, 0, 0, 0]).numpy()
    np.testing.assert_allclose(same, x, rtol=1e-6)
    corners = np.array([[0, 0], [5, 0], [0, 4], [5, 4]], "float32")
    same = image.perspective_transform(x, np.stack([corners] * 2), np.stack([corners] * 2))
    np.testing.assert_allclose(same.numpy(), x, atol=1e-6)


def test_homography_takes_four_points_to_four():
    corners = 40 * np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    start, end = ((corners + RNG.uniform(-9, 9, (5, 4, 2))).astype("float32") for _ in range(2))
    found = image.compute_homography_matrix(start, end).numpy()
    matrix = np.append(found.astype("float64"), np.ones((5, 1)), 1).reshape(5, 3, 3)
    projected = np.append(end, np.ones((5, 4, 1)), -1) @ matrix.transpose(0, 2, 1)
    np.testing.assert_allclose(projected[..., :2] / projected[..., 2:], start, atol=1e-5)
    check_gradients(
        image.compute_homography_matrix, *(p[:1].astype("float64") for p in (start, end))
    )


def test_colours_go_there_and_back():
    x = RNG.random((2, 4, 5, 3)).astype("float32")
    for data_format, images in (("channels_last", x), ("channels_first", x.transpose(0, 3, 1, 2))):
        hsv = image.rgb_to_hsv(images, data_format)
        np.testing.assert_allclose(image.hsv_to_rgb(hsv, data_format).numpy(), images, atol=1e-5)


def test_sobel_of_a_ramp():
    ramp = np.tile(np.arange(6.0), (5, 1))[None, :, :, None]
    edges = image.sobel_edges(ramp, "channels_last").numpy()[0, 1:-1, 1:-1, 0]
    np.testing.assert_allclose(edges[..., 0], 0, atol=1e-9)
    np.testing.assert_allclose(edges[..., 1], 8)


@pytest.mark.parametrize("height, width, sigma", [(12, 9, 1.3), (30, 21, 0.2), (5, 6, 9.0)])
def test_smoothing_by_a_width_unknown_yet_is_a_blur(height, width, sigma):
    x = RNG.standard_normal((2, height, width)).astype("float32")
    found = smooth(from_numpy(x), from_numpy(np.float32(sigma))).numpy()
    taps = int(6 * sigma) | 1
    expected = image.gaussian_blur(x[..., None], (taps, taps), (sigma, sigma), "channels_last")
    np.testing.assert_allclose(found, expected.numpy()[..., 0], atol=1e-6)


@pytest.mark.parametrize("bins", [256, 50])
@pytest.mark.parametrize("low, high", [(0, 255), (40, 60), (-30, 300), (7, 7)])
def test_equalization(bins, low, high):
    x = RNG.uniform(low, high, (3, 11, 7)).astype("float32")
    places = np.clip((x * np.float32(bins - 1) / np.float32(255)).astype("int32"), 0, bins - 1)
    counts = np.bincount(places.ravel(), minlength=bins)
    found = histogram_fixed_width(from_numpy(x), (0, 255), bins)
    np.testing.assert_array_equal(found.numpy(), counts)
    sums = np.cumsum(counts)
    least = sums[np.flatnonzero(sums)[0]]
    levels = np.rint((sums - least) * 255 / max(sums[-1] - least, 1))
    expected = levels[np.clip(x / np.float32(255) * (bins - 1), 0, bins - 1).astype("int32")]
    # A half may be rounded either way.
    np.testing.assert_allclose(equalize(from_numpy(x), found).numpy(), expected, atol=1)
