"""`keras.ops.image`."""

import numpy as np
from keras import ops

from opcases.drawing import ANY_ORDER, FLOAT, NUMBER, Op, call, images, layout

_RANDOM = "random: bits are a backend's own"
_METHODS = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")


def _image(make, dtypes=FLOAT, **options):
    options = {"bound": 64, "level": 1, "special": False} | options
    return Op(make, dtypes, ANY_ORDER, **options)


def _affine(d):
    x = d.array((2, 4, 5, 2), special=False)
    near = np.tile(np.array([1, 0.13, 0.37, -0.11, 1, 0.23, 0, 0], "float32"), (2, 1))
    mode = d.pick("constant", "nearest", "wrap", "mirror", "reflect")
    way = d.pick("bilinear", "nearest")
    if d.smooth:
        way, mode = "bilinear", d.pick("nearest", "mirror", "reflect")
    x, data_format = layout(d, x)
    fill = d.pick(0, 0.5)
    return call(x, near.astype(x.dtype), way, mode, fill, data_format=data_format)


def _affine_alone(x):
    """c0 and c1 count as 0, says Keras; its JAX backend has gradients by them all the same."""
    if x.shape != (2, 8):
        return x
    return ops.concatenate([x[:, :6], ops.zeros_like(x[:, 6:])], 1)


def _perspective(d):
    x = d.array((1, 4, 5, 2), special=False)
    # The points are computed with in float32, too coarse for differences.
    dtype = "float32" if d.smooth else x.dtype
    start = np.array([[[0, 0], [5, 0], [0, 4], [5, 4]]], dtype)
    end = (start + 0.3).astype(dtype)
    x, data_format = layout(d, x)
    way = "bilinear" if d.smooth else d.pick("bilinear", "nearest")
    return call(x, start, end, way, data_format=data_format)


def _coordinates(d):
    shape = d.shape(1, 3, empty=False)
    n = d.pick(1, 5)
    at = np.stack([d.array((n,), "float32", -1, m, special=False) for m in shape])
    modes = ("constant", "nearest", "wrap", "mirror", "reflect")
    return call(d.array(shape, special=False), at, d.pick(0, 1), d.pick(*modes))


def _translated(d):
    x = d.array((1, 4, 5, 2), special=False)
    scale, shift = (d.array((2,), "float32", 0.5, 2.0, special=False) for _ in range(2))
    method = d.pick("linear", "cubic", "lanczos3")
    return call(x, (1, 3, 6, 2), scale, shift, (1, 2), method, d.flip())


def _volumes(d):
    x = d.array((1, 4, 4, 5, d.pick(1, 2)), special=False)
    padding = d.pick("valid", "same")
    x, data_format = layout(d, x)
    return call(x, d.pick(2, (2, 2, 3)), padding=padding, data_format=data_format)


def _structural(d):
    pair = (d.array((1, 12, 12, 1), low=0, high=1, special=False) for _ in range(2))
    first, second, data_format = layout(d, *pair)
    return call(first, second, data_format=data_format, filter_size=d.pick(7, 11))


def _unit(*extra, **options):
    return _image(images(*extra, channels=(3,), low=0.05, high=0.95), **options)


OPS = {
    "image.affine_transform": _image(_affine, narrow=True, via=_affine_alone),
    "image.crop_images": _image(
        images(top_cropping=(0, 1), left_cropping=(1,), target_height=(2,), target_width=(3,)),
        NUMBER,
    ),  # fmt: skip
    "image.elastic_transform": _image(
        images(seed=(3,)), values=False, jax_gradient=_RANDOM, reason=_RANDOM
    ),
    "image.extract_patches": _image(
        images(lambda d, x: d.pick(2, (2, 3)), padding=("valid", "same"), strides=(None, 1))
    ),
    "image.extract_patches_3d": _image(_volumes),
    "image.gaussian_blur": _image(images(kernel_size=((3, 3), (5, 3)))),
    "image.hsv_to_rgb": _unit(),
    "image.map_coordinates": _image(_coordinates, narrow=True),
    "image.pad_images": _image(
        images(top_padding=(0, 1), left_padding=(2,), target_height=(9,), target_width=(9,)), NUMBER
    ),
    "image.perspective_transform": _image(_perspective, bound=4096, narrow=True),
    "image.resize": _image(
        images(
            lambda d, x: d.pick((3, 3), (7, 8), (4, 9)),
            interpolation=_METHODS,
            antialias=(False, True),
            crop_to_aspect_ratio=(False, False, True),
        )
    ),  # fmt: skip
    "image.rgb_to_grayscale": _unit(),
    "image.rgb_to_hsv": _unit(),
    "image.scale_and_translate": _image(_translated),
    "image.sobel_edges": _image(images(), numpy="it reflects at the borders"),
    "image.ssim": _image(_structural, bound=4096, narrow=True),
}
