"""Operations that Keras 3.16 has and 3.15 does not."""

import numpy as np
import pytest
import scipy.special
from numeric import check_gradients

from keras_native.engine.errors import UnsupportedError
from keras_native.engine.tensor import from_numpy
from keras_native.src.ops import core, linalg, math
from keras_native.src.ops import numpy as knp
from keras_native.src.variable import Variable

RNG = np.random.default_rng(8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gammainc(dtype):
    a = np.concatenate([RNG.gamma(0.5, size=50), RNG.gamma(2, 20, size=50), [1e-3, 900, 5e3]])
    a = a.astype(dtype)[:, None]
    x = (a * np.array([1e-3, 0.3, 1, 1.1, 3, 30])).astype(dtype)
    found = math.gammainc(a, x).numpy()
    assert found.dtype == dtype
    a, x = a.astype("float64"), x.astype("float64")
    expected = scipy.special.gammainc(a, x)
    # Each term of the exponent a log x - x - lgamma(a + 1) is rounded in float64, and their sum is;
    # the same holds for the function compared with.
    exponent = np.abs(a * np.log(x)) + x + np.abs(scipy.special.gammaln(a + 1))
    info = np.finfo(dtype)
    bound = expected * (4.5e-16 * exponent + 16 * info.eps) + info.tiny
    assert (np.abs(found - expected) <= bound).all()


def test_gammainc_at_the_edges():
    inf, nan = np.inf, np.nan
    a = np.array([0, 0, 1, 1, inf, inf, 1, -1, nan, 1, 2e5])
    x = np.array([0, 1, 0, inf, 1, inf, -1, 1, 1, nan, 1])
    np.testing.assert_array_equal(math.gammainc(a, x).numpy(), scipy.special.gammainc(a, x))
    assert math.gammainc(2, 3).dtype == "float32"
    assert math.gammainc(np.ones((0, 3), "float32"), 1.0).dims == (0, 3)


def test_gradients_of_gammainc():
    a, x = RNG.uniform(0.3, 9, 6), RNG.uniform(0.1, 12, (3, 6))
    check_gradients(math.gammainc, a, x)
    check_gradients(lambda y: core.grad(lambda z: math.gammainc(np.array(2.5), z))(y), x[0])
    with pytest.raises(UnsupportedError, match="second derivative"):
        core.grad(core.grad(lambda b: math.gammainc(b, 2.0)))(from_numpy(a))


def test_lgamma():
    x = np.array([0.5, 1, 3.5, 30, -1.5], "float32")
    np.testing.assert_allclose(math.lgamma(x).numpy(), scipy.special.gammaln(x), rtol=1e-6)
    assert math.lgamma(3).dtype == "float32"
    check_gradients(math.lgamma, [0.4, 1.3, 7.0])


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, -1, -4])
def test_matrix_power(n):
    a = RNG.standard_normal((2, 3, 3)) + 2 * np.eye(3)
    np.testing.assert_allclose(
        linalg.matrix_power(a, n).numpy(), np.linalg.matrix_power(a, n), rtol=1e-9, atol=1e-9
    )
    if n:
        check_gradients(lambda m: linalg.matrix_power(m, n), a, tolerance=1e-5)


def test_matrix_power_of_what_has_none():
    with pytest.raises(ValueError, match="square"):
        linalg.matrix_power(np.ones((2, 3)), 2)
    with pytest.raises(TypeError):
        linalg.matrix_power(np.ones((2, 2)), 0.5)


def test_grad():
    x, y = np.array([1.0, 2.0], "float32"), Variable(np.array([3.0, 4.0], "float32"))

    def product(a, b, unused=None):
        return knp.multiply(a, b)

    np.testing.assert_array_equal(core.grad(product)(x, y).numpy(), [3, 4])
    by_x, by_y = core.grad(product, argnums=(0, -1))(x, y)
    np.testing.assert_array_equal(by_x.numpy(), [3, 4])
    np.testing.assert_array_equal(by_y.numpy(), [1, 2])
    nested = core.grad(lambda d: product(d["a"], d["b"][0]))({"a": x, "b": [y, x]})
    np.testing.assert_array_equal(nested["b"][0].numpy(), [1, 2])
    np.testing.assert_array_equal(nested["b"][1].numpy(), [0, 0])
    with pytest.raises(ValueError, match="repeat"):
        core.grad(product, argnums=(0, -2))(x, y)
    with pytest.raises(ValueError, match="positional argument 2"):
        core.grad(product, argnums=2)(x, y)
    with pytest.raises(TypeError, match="int"):
        core.grad(product, argnums="x")(x, y)
