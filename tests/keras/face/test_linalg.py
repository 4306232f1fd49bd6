"""The linear algebra of the face: results against NumPy, gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import linalg as la
from keras_native.engine.tensor import from_numpy
from keras_native.engine.transforms import grad
from keras_native.src.ops import linalg
from keras_native.src.ops import numpy as knp

RNG = np.random.default_rng(7)


def general(*dims):
    return RNG.standard_normal(dims)


def positive(*dims):
    a = RNG.standard_normal(dims)
    return a @ a.swapaxes(-1, -2) + dims[-1] * np.eye(dims[-1])


def triangular(*dims):
    return np.tril(general(*dims)) + 3 * np.eye(dims[-1])


def symmetrised(function):
    """Of functions that read one triangle: the gradient by the symmetric matrix."""
    return lambda a: function(knp.add(a, knp.swapaxes(a, -1, -2)))


# name, function of tensors, inputs. Signs and phases are removed where they are free.
GRADIENTS = {
    "solve": (linalg.solve, general(2, 3, 3), general(2, 3, 2)),
    "solve vector": (linalg.solve, general(3, 3), general(3)),
    "inv": (linalg.inv, general(2, 3, 3)),
    "triangular lower": (
        lambda a, b: linalg.solve_triangular(a, b, lower=True),
        triangular(3, 3),
        general(3, 2),
    ),
    "triangular upper": (linalg.solve_triangular, triangular(3, 3).T.copy(), general(3, 2)),
    "cholesky": (symmetrised(linalg.cholesky), positive(2, 3, 3)),
    "cholesky_inverse": (linalg.cholesky_inverse, triangular(3, 3)),
    "det": (linalg.det, general(2, 3, 3)),
    "det singular": (linalg.det, np.ones((2, 2))),
    "slogdet": (lambda a: knp.slogdet(a)[1], general(2, 3, 3)),
    "eigh values": (symmetrised(lambda a: linalg.eigh(a)[0]), general(3, 3)),
    "eigh vectors": (symmetrised(lambda a: knp.square(linalg.eigh(a)[1])), general(3, 3)),
    "eig values": (
        lambda a: knp.real(knp.multiply(linalg.eig(a)[0], linalg.eig(a)[0])),
        general(3, 3),
    ),
    "eig vectors": (lambda a: knp.absolute(linalg.eig(a)[1]), general(3, 3)),
    "svd values": (lambda a: linalg.svd(a, compute_uv=False), general(2, 4, 3)),
    "svd full values": (lambda a: linalg.svd(a)[1], general(3, 4)),
    "svd u": (lambda a: knp.square(linalg.svd(a, full_matrices=False)[0]), general(4, 3)),
    "svd vh": (lambda a: knp.square(linalg.svd(a, full_matrices=False)[2]), general(3, 4)),
    "svd square": (lambda a: knp.square(knp.matmul(*linalg.svd(a)[::2])), general(3, 3)),
    "qr q": (lambda a: linalg.qr(a)[0], general(4, 3)),
    "qr r": (lambda a: linalg.qr(a)[1], general(2, 3, 3)),
    "qr wide": (lambda a: linalg.qr(a)[1], general(2, 4)),
    "lu": (lambda a: linalg.lu_factor(a)[0], general(2, 3, 3)),
    "pinv": (linalg.pinv, general(4, 3)),
    "lstsq": (linalg.lstsq, general(4, 3), general(4, 2)),
    "norm nuc": (lambda a: linalg.norm(a, "nuc", (0, 1)), general(3, 4)),
    "norm 3": (lambda a: linalg.norm(a, 3, -1), general(3, 4)),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient(name):
    function, *inputs = GRADIENTS[name]
    inputs = [np.asarray(x, np.float64) for x in inputs]
    weights = RNG.standard_normal(function(*map(from_numpy, inputs)).dims)

    def loss(*tensors):
        return knp.sum(knp.multiply(function(*tensors), from_numpy(weights)))

    for i, x in enumerate(inputs):
        got = grad(loss, i)(*map(from_numpy, inputs)).numpy()
        expected = np.empty_like(x)
        for at in np.ndindex(*x.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = [v.copy() for v in inputs]
                moved[i][at] += step
                values.append(float(loss(*map(from_numpy, moved))))
            expected[at] = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def complex_general(*dims):
    return general(*dims) + 1j * general(*dims)


def hermitian(function):
    return lambda a: function(knp.add(a, knp.conj(knp.swapaxes(a, -1, -2))))


def polar(u, _, vh):
    return knp.matmul(u, vh)


def signed(sign, logarithm):
    return knp.multiply(sign, ew.cast(logarithm, "complex128"))


# Functions of vectors that are the same whatever the phases; others are in tests/keras/ops.
COMPLEX_GRADIENTS = {
    "eigh vectors": (hermitian(lambda a: knp.absolute(linalg.eigh(a)[1])), (2, 3, 3)),
    "eig vectors": (lambda a: knp.absolute(linalg.eig(a)[1]), (3, 3)),
    "svd square": (lambda a: polar(*linalg.svd(a)), (2, 3, 3)),
    "svd tall": (lambda a: polar(*linalg.svd(a, full_matrices=False)), (4, 3)),
    "svd wide": (lambda a: polar(*linalg.svd(a, full_matrices=False)), (3, 4)),
    "qr q": (lambda a: linalg.qr(a)[0], (4, 3)),
    "qr r": (lambda a: linalg.qr(a)[1], (2, 3, 3)),
    "qr wide": (lambda a: knp.matmul(*linalg.qr(a)), (2, 4)),
    "qr wide r": (lambda a: linalg.qr(a)[1], (2, 4)),
    "cholesky": (lambda a: linalg.cholesky(knp.matmul(a, knp.conj(knp.transpose(a)))), (3, 3)),
    "cholesky upper": (
        lambda a: linalg.cholesky(knp.matmul(a, knp.conj(knp.transpose(a))), upper=True),
        (3, 3),
    ),
    "slogdet": (lambda a: signed(*knp.slogdet(a)), (2, 3, 3)),
}


@pytest.mark.parametrize("name", COMPLEX_GRADIENTS)
def test_complex_gradient(name):
    """df/dx - i df/dy of a real function, as JAX has it."""
    function, dims = COMPLEX_GRADIENTS[name]
    x = complex_general(*dims)
    out = function(from_numpy(x))
    weights = (complex_general if out.dtype == "complex128" else general)(*out.dims)

    def loss(a):
        return knp.real(knp.sum(knp.multiply(function(a), from_numpy(weights))))

    got = grad(loss)(from_numpy(x)).numpy()
    expected = np.zeros_like(x)
    for at in np.ndindex(*dims):
        for direction, factor in ((1, 1), (1j, -1j)):
            values = []
            for step in (1e-6, -1e-6):
                moved = x.copy()
                moved[at] += step * direction
                values.append(float(loss(from_numpy(moved))))
            expected[at] += factor * (values[0] - values[1]) / 2e-6
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_complex_cholesky_factors_and_inverses():
    a = complex_general(3, 3)
    a = a @ a.conj().T + np.eye(3)
    for upper in (False, True):
        factor = linalg.cholesky(from_numpy(a), upper=upper)
        f = factor.numpy()
        np.testing.assert_allclose(f.conj().T @ f if upper else f @ f.conj().T, a, rtol=1e-12)
        inverse = linalg.cholesky_inverse(factor, upper=upper).numpy()
        np.testing.assert_allclose(inverse, np.linalg.inv(a), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dims", [(3, 3), (2, 4, 3), (3, 5), (0, 3, 3), (4, 0, 5)])
def test_lu_rebuilds_the_matrix(dims):
    a = general(*dims)
    factors, pivots = (t.numpy() for t in la.lu(from_numpy(a)))
    m, n = dims[-2:]
    k = min(m, n)
    for i in np.ndindex(*dims[:-2]):
        low = np.tril(factors[i], -1)[:, :k] + np.eye(m, k)
        rebuilt = low @ np.triu(factors[i])[:k]
        rows = np.arange(m)
        for j, pivot in enumerate(pivots[i]):
            rows[[j, pivot]] = rows[[pivot, j]]
        np.testing.assert_allclose(rebuilt, a[i][rows], atol=1e-12)


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
@pytest.mark.parametrize("axis", [(0, 1), (1, 0), (-1, 0)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_matrix_norm(ord, axis, keepdims):
    a = general(3, 4, 2)
    got = linalg.norm(from_numpy(a), ord, axis, keepdims).numpy()
    np.testing.assert_allclose(got, np.linalg.norm(a, ord, axis, keepdims), rtol=1e-12)


@pytest.mark.parametrize("ord", [None, 0, 1, 2, 3.5, np.inf, -np.inf])
def test_vector_norm(ord):
    a = general(3, 4)
    got = linalg.norm(from_numpy(a), ord, axis=-1).numpy()
    np.testing.assert_allclose(got, np.linalg.norm(a, ord, axis=-1), rtol=1e-12)


def test_jvp_is_the_directional_derivative():
    x, t = general(3), general(3)
    out, pushed = linalg.jvp(lambda v: knp.exp(v), (from_numpy(x),), (from_numpy(t),))
    np.testing.assert_allclose(out.numpy(), np.exp(x))
    np.testing.assert_allclose(pushed.numpy(), np.exp(x) * t)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["svd", "eigh", "eig"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_matrices_that_are_not_finite_have_no_decomposition(name, value, dtype):
    a = general(3, 4, 4).astype(dtype)
    a[1, 2, 1] = value
    found, rest = getattr(linalg, name)(a), getattr(linalg, name)(a[::2])
    for both, finite in zip(found, rest):
        assert np.isnan(both.numpy()[1]).all()
        np.testing.assert_array_equal(both.numpy()[::2], finite.numpy())


def test_bad_inputs_raise():
    with pytest.raises(ValueError, match="square"):
        linalg.inv(from_numpy(general(2, 3)))
    with pytest.raises(ValueError):
        linalg.inv(from_numpy(np.zeros((2, 2))))
    with pytest.raises(ValueError):
        linalg.cholesky(from_numpy(-np.eye(2)))
    with pytest.raises(ValueError, match="rank >= 2"):
        linalg.pinv(from_numpy(general(3)))
    with pytest.raises(ValueError, match="fit"):
        linalg.solve(from_numpy(general(3, 3)), from_numpy(general(2, 4)))
