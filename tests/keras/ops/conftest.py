"""Options and peers of the comparisons over the table of all operations."""

import importlib.util
import os
import sys

os.environ["KERAS_BACKEND"] = "native"

import pytest  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--examples", type=int, help="random calls of each operation and comparison")
    parser.addoption("--jax-python", help="an interpreter with Keras and JAX, by default this one")


@pytest.fixture(scope="session")
def examples(request) -> int | None:
    """Calls of each operation: a few that are the same on every run, or as many as asked for."""
    return request.config.getoption("--examples", None)


@pytest.fixture(scope="session")
def numpy_backend():
    """Keras's NumPy backend in a process of its own."""
    yield from _peer("numpy", sys.executable)


@pytest.fixture(scope="session")
def jax_backend(request):
    """Keras's JAX backend in a process of its own."""
    yield from _peer("jax", _jax_python(request.config))


def _jax_python(config) -> str:
    return config.getoption("--jax-python", None) or sys.executable


def pytest_generate_tests(metafunc):
    """Comparisons with JAX: of every operation, or one that is skipped."""
    if "jax_backend" not in metafunc.fixturenames:
        return
    from opcases import OPS

    names = [name for name in OPS if not OPS[name].jax]
    if _jax_python(metafunc.config) == sys.executable and not importlib.util.find_spec("jax"):
        names = [pytest.param("", marks=pytest.mark.skip(reason="JAX is not installed"))]
    metafunc.parametrize("name", names)


def _peer(backend, python):
    from opcases.peer import Peer

    peer = Peer(backend, python)
    try:
        peer.wait()
        yield peer
    finally:
        peer.close()
