"""Chains that look like a fused primitive and are none keep their values."""

import numpy as np
import pytest

from keras_native.engine import transforms
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce, shape
from keras_native.engine.tensor import from_numpy

RNG = np.random.default_rng(0)


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32"))


@pytest.mark.parametrize(
    "axes, scale", [((2,), (8, 1)), ((1, 2), (1, 8, 8)), ((), (1, 8))], ids=str
)
def test_a_scale_along_other_axes_or_a_mean_over_none(axes, scale):
    def fn(x, w):
        mean = reduce.reduce_mean(ew.square(x), axes, keepdims=True)
        normal = ew.mul(x, ew.rsqrt(ew.add(mean, 1e-3)))
        return ew.mul(normal, shape.reshape(w, scale))

    args = tensor(2, 8, 8), tensor(int(np.prod(scale)))
    np.testing.assert_allclose(transforms.jit(fn)(*args).numpy(), fn(*args).numpy(), rtol=1e-5)
