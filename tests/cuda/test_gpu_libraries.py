"""CuPy, PyTorch and JAX beside this backend on a real GPU: shared memory, streams, the long tail.

The logic around them is tested by test_gpu_exchange.py with stand-ins; this needs a GPU and
NATIVE_TEST_GPU=1.
"""

import importlib

import numpy as np
import pytest
from ptxkernel import ON_GPU, _cuda

from keras_native import _core
from keras_native.engine import device, long_tail
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import linalg, matmul
from keras_native.engine.tensor import from_numpy
from keras_native.src.ops.convert import convert_to_tensor

pytestmark = pytest.mark.skipif(
    not ON_GPU, reason="other libraries cannot use the emulator's memory"
)
X = np.arange(24, dtype=np.float32).reshape(4, 6)


def there(array):
    with device.scope("gpu:0"):
        return from_numpy(array)


@pytest.fixture
def library(request):
    return pytest.importorskip(request.param)


def as_numpy(array) -> np.ndarray:
    """Of CuPy's, PyTorch's or JAX's array."""
    if hasattr(array, "get"):
        return array.get()
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


@pytest.mark.parametrize("library", ["cupy", "torch", "jax.numpy"], indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8"])
def test_dlpack_out(library, dtype):
    """After work that is still under way: the consumer's stream waits for ours."""
    x = ew.add(there(np.ones((600, 700), dtype)), 1)
    for _ in range(5):
        x = ew.mul(x, 1)
    got = as_numpy(library.from_dlpack(x))
    assert got.dtype == dtype and (got == 2).all()


@pytest.mark.parametrize("name", ["cupy", "torch", "jax"])
def test_taken_in(name):
    """By DLPack or the interface, after work that is still under way in the other's stream."""
    library = pytest.importorskip(name)
    other = {
        "cupy": lambda: library.asarray(X),
        "torch": lambda: library.from_numpy(X).to("cuda"),
        "jax": lambda: library.device_put(X, library.devices("gpu")[0]),
    }[name]()
    for _ in range(20):
        other = other + 1
    x = convert_to_tensor(other)
    assert x.array.device == "gpu:0" and x.dtype == "float32"
    np.testing.assert_array_equal(x.numpy(), X + 20)


def test_cupy_reads_the_interface():
    cupy = pytest.importorskip("cupy")
    x = ew.mul(there(X), 3.0)
    array = cupy.asarray(x)
    assert array.data.ptr == x.array.address
    np.testing.assert_array_equal(array.get(), 3 * X)


@pytest.fixture
def tail():
    """The long tail is CuPy's; what it counts."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    cupy = importlib.import_module("cupy")
    device.find("gpu:0")
    with cupy.cuda.Device(0):
        long_tail.use(cupy)
        yield long_tail.RUNS
        _cuda.synchronize()
        long_tail.use(None)
        cupy.cuda.set_allocator(cupy.get_default_memory_pool().malloc)
        cupy.cuda.Stream.null.use()


def test_the_long_tail_is_cupys(tail):
    """No copy to the host, and in order with the kernels before and after."""
    before, host = dict(tail), _core.runs_through_host()
    wide = (np.arange(24.0) + 1).reshape(4, 6)
    y = ew.exp(ew.log(there(wide)))
    assert y.array.device == "gpu:0"
    np.testing.assert_allclose(y.numpy(), wide, rtol=1e-12)
    assert tail["exp"] == before.get("exp", 0) + 1 and tail["log"] == before.get("log", 0) + 1
    assert _core.runs_through_host() == host


def test_linear_algebra_of_the_host_between_products(tail):
    a = np.random.default_rng(0).standard_normal((7, 7)).astype(np.float32)
    spd = ew.add(matmul.matmul(there(a), there(a), transpose_b=True), there(np.eye(7, dtype="f4")))
    factor = linalg.cholesky(spd)
    again = matmul.matmul(factor, factor, transpose_b=True)
    np.testing.assert_allclose(again.numpy(), a @ a.T + np.eye(7), rtol=1e-4, atol=1e-4)
    assert again.array.device == "gpu:0"


def test_cupy_takes_its_memory_from_ours(tail):
    import cupy

    before = cupy.zeros(1000, "float32")
    assert isinstance(before.data.mem, cupy.cuda.UnownedMemory)
    assert float(before.sum()) == 0
