"""Gradients against finite differences, in float64."""

import numpy as np

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.tensor import from_numpy
from keras_native.engine.transforms import grad


def check_gradients(function, *arrays, step=1e-6, tolerance=2e-6):
    """Of sum(function(*arrays) * fixed weights), by every array; the function gives one tensor."""
    arrays = [np.asarray(a, np.float64) for a in arrays]
    weights = np.random.default_rng(0).standard_normal(
        tuple(function(*map(from_numpy, arrays)).dims)
    )

    def scalar(*tensors):
        return rd.reduce_sum(ew.mul(function(*tensors), from_numpy(weights)))

    found = grad(scalar, argnums=tuple(range(len(arrays))))(*map(from_numpy, arrays))
    for which, array in enumerate(arrays):
        expected = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[which][at] += sign * step
                values.append(float(scalar(*map(from_numpy, moved)).numpy()))
            expected[at] = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(found[which].numpy(), expected, rtol=tolerance, atol=tolerance)
