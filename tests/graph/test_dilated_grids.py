"""Dilated convolutions of 3x3 are computed over grids of pixels, without dilation."""

import re

import numpy as np
import pytest

from keras_native.engine import transforms
from keras_native.engine.primitives import conv
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.tensor import from_numpy

RNG = np.random.default_rng(0)


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32"))


def dilations(fn, args):
    """Of the convolutions and gradients after the pass."""
    text = transforms.jit(fn).graph(*args).split("== dilated_grids\n")[1].split("== ")[0]
    return re.findall(r" = conv\w*\(.* dilation=\((.*?)\)", text)


def close(got, wanted):
    wanted = wanted.numpy()
    np.testing.assert_allclose(got.numpy(), wanted, atol=2e-6 * np.abs(wanted).max())


def wide(*tensors):
    return [from_numpy(t.numpy().astype("float64")) for t in tensors]


SAME = ((2, 2), (2, 2))
# Sizes, padding, dilation; whether grids pay.
CASES = [
    ((16, 16), SAME, (2, 2), True),
    ((13, 10), SAME, (2, 2), True),
    ((12, 18), ((3, 3), (3, 3)), (3, 3), True),
    ((14, 12), None, (2, 2), True),
    ((12, 16), ((1, 1), (4, 4)), (1, 4), True),
    ((16, 16), ((1, 2), (2, 2)), (2, 2), False),  # results read two grids
    ((9, 9), ((6, 6), (6, 6)), (6, 6), False),  # grids of one or two pixels
]


@pytest.mark.parametrize("sizes, padding, dilation, pays", CASES, ids=str)
def test_forward_and_gradients(sizes, padding, dilation, pays):
    x, w, b = tensor(3, *sizes, 32), tensor(3, 3, 32, 48), tensor(48)

    def forward(x, w, b):
        return ew.relu(ew.add(conv.conv(x, w, 1, padding, dilation), b))

    def gradients(x, w, ct):
        y = conv.conv(x, w, 1, padding, dilation)
        return conv.conv_p.vjp(
            ct, y, x, w, strides=(1, 1), padding=flat, dilation=dilation, groups=1
        )

    flat = (0,) * 4 if padding is None else tuple(p for pair in padding for p in pair)
    wanted = {"1, 1"} if pays else {", ".join(map(str, dilation))}
    assert set(dilations(forward, (x, w, b))) == wanted
    close(transforms.jit(forward)(x, w, b), forward(*wide(x, w, b)))
    ct = tensor(*conv.conv(x, w, 1, padding, dilation).dims)
    assert set(dilations(gradients, (x, w, ct))) == wanted
    for got, right in zip(transforms.jit(gradients)(x, w, ct), gradients(*wide(x, w, ct))):
        close(got, right)


def test_a_residual_and_an_open_batch():
    w, b = tensor(3, 3, 32, 32), tensor(32)

    def fn(x):
        return ew.relu(ew.add(ew.add(conv.conv(x, w, 1, SAME, 2), b), x))

    compiled = transforms.jit(fn)
    for batch in (2, 5, 3):
        x = tensor(batch, 15, 12, 32)
        close(compiled(x), fn(x))
