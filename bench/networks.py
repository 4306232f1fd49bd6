"""Layers of well-known networks as data: what they convolve and multiply, each shape once.

Importing this file imports nothing of ours and no other library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conv:
    """A convolution of square images and windows. A window of odd size has (size - 1) // 2 zeros on
    each side of the image, one of even size none.

    `transposed`: the layer is the gradient of this one by its input, from cout to cin channels.
    """

    size: int
    cin: int
    cout: int
    kernel: int = 3
    strides: int = 1
    groups: int = 1
    transposed: bool = False


def _depthwise(size: int, channels: int, kernel: int = 3, strides: int = 1) -> Conv:
    return Conv(size, channels, channels, kernel, strides, channels)


def _resnet50() -> list[Conv]:
    layers = [Conv(224, 3, 64, 7, 2)]
    # Size, width inside, channels in and out of a stage.
    for size, width, before, after in [
        (56, 64, 64, 256),
        (56, 128, 256, 512),
        (28, 256, 512, 1024),
        (14, 512, 1024, 2048),
    ]:
        strides = 1 if width == 64 else 2
        inside = size // strides
        layers += [
            Conv(size, before, after, 1, strides),
            Conv(size, before, width, 1, strides),
            Conv(inside, width, width, 3),
            Conv(inside, width, after, 1),
            Conv(inside, after, width, 1),
        ]
    return layers


def _inverted(stages: list[tuple], stem: int) -> list[Conv]:
    """Blocks that widen, convolve each channel, and narrow: (size, cin, wide, cout, kernel,
    strides) each, the last layer excluded."""
    layers = [Conv(224, 3, stem, 3, 2)]
    for size, cin, wide, cout, kernel, strides in stages:
        if wide != cin:
            layers.append(Conv(size, cin, wide, 1))
        layers.append(_depthwise(size, wide, kernel, strides))
        layers.append(Conv(-(-size // strides), wide, cout, 1))
    return layers


_MOBILENETV2 = [
    (112, 32, 32, 16, 3, 1),
    (112, 16, 96, 24, 3, 2),
    (56, 24, 144, 24, 3, 1),
    (56, 24, 144, 32, 3, 2),
    (28, 32, 192, 32, 3, 1),
    (28, 32, 192, 64, 3, 2),
    (14, 64, 384, 64, 3, 1),
    (14, 64, 384, 96, 3, 1),
    (14, 96, 576, 96, 3, 1),
    (14, 96, 576, 160, 3, 2),
    (7, 160, 960, 160, 3, 1),
    (7, 160, 960, 320, 3, 1),
]

_EFFICIENTNETB0 = [
    (112, 32, 32, 16, 3, 1),
    (112, 16, 96, 24, 3, 2),
    (56, 24, 144, 24, 3, 1),
    (56, 24, 144, 40, 5, 2),
    (28, 40, 240, 40, 5, 1),
    (28, 40, 240, 80, 3, 2),
    (14, 80, 480, 80, 3, 1),
    (14, 80, 480, 112, 5, 1),
    (14, 112, 672, 112, 5, 1),
    (14, 112, 672, 192, 5, 2),
    (7, 192, 1152, 192, 5, 1),
    (7, 192, 1152, 320, 3, 1),
]


def _convnext_tiny() -> list[Conv]:
    layers = [Conv(224, 3, 96, 4, 4)]
    for size, width in [(56, 96), (28, 192), (14, 384), (7, 768)]:
        layers += [
            _depthwise(size, width, 7),
            Conv(size, width, 4 * width, 1),
            Conv(size, 4 * width, width, 1),
        ]
        if size > 7:
            layers.append(Conv(size, width, 2 * width, 2, 2))
    return layers


def _unet() -> list[Conv]:
    """The U-Net of segmentation, images of 128 x 128."""
    layers = [Conv(128, 3, 64)]
    for size, width in [(128, 64), (64, 128), (32, 256), (16, 512)]:
        layers += [Conv(size, width, width), Conv(size // 2, width, 2 * width)]
    for size, width in [(8, 1024), (16, 512), (32, 256), (64, 128)]:
        layers += [
            Conv(2 * size, width // 2, width, 2, 2, transposed=True),
            Conv(2 * size, width, width // 2),
        ]
    return [*layers, Conv(128, 64, 2, 1)]


CONVOLUTIONS = {
    "resnet50": _resnet50(),
    "mobilenetv2": [*_inverted(_MOBILENETV2, 32), Conv(7, 320, 1280, 1)],
    "efficientnetb0": [*_inverted(_EFFICIENTNETB0, 32), Conv(7, 320, 1280, 1)],
    "convnext_tiny": _convnext_tiny(),
    "unet": _unet(),
}


def transformer(batch: int, length: int, width: int, heads: int) -> list[tuple]:
    """Products of a layer of a Transformer, as (m, k, n, batch, transpose_b): projections, both
    layers of the feed-forward part, scores, and scores times values."""
    rows, size = batch * length, width // heads
    return [
        (rows, width, width, (), False),
        (rows, width, 4 * width, (), False),
        (rows, 4 * width, width, (), False),
        (length, size, length, (batch * heads,), True),
        (length, length, size, (batch * heads,), False),
    ]
