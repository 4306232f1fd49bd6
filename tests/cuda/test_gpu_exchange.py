"""Exchange with other libraries' arrays on the GPU, and CuPy's long tail: the logic around them.

Other libraries cannot use the emulator's memory: stand-ins can, and what they are given is looked
at. On a GPU with CuPy this is unproved.
"""

import types
import warnings

import emulated  # noqa: F401  skips this file where there are no kernels
import ml_dtypes
import numpy as np
import pytest
import standin_cupy
from ptxkernel import Buffer, _cuda

from keras_native import _core
from keras_native.engine import device, exchange, long_tail
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.tensor import from_numpy
from keras_native.src.ops.convert import convert_to_tensor


@pytest.fixture(autouse=True)
def opened():
    device.find("gpu:0")


@pytest.fixture
def shared(monkeypatch):
    """As if the emulator's memory were of use to others."""
    monkeypatch.setattr(exchange, "shares_memory", lambda t: t.array.device == "gpu:0")


@pytest.fixture
def cupy():
    long_tail.use(standin_cupy)
    yield standin_cupy
    long_tail.use(None)


def there(array):
    with device.scope("gpu:0"):
        return from_numpy(array)


X = np.arange(24, dtype=np.float32).reshape(4, 6)
# Of a dtype that no elementwise kernel of the GPU takes.
WIDE = X.astype(np.float64) / 10


@pytest.mark.emulator
def test_emulated_memory_goes_by_way_of_the_host():
    x = there(X)
    assert x.__dlpack_device__() == (1, 0)
    np.testing.assert_array_equal(np.from_dlpack(x), X)
    assert not hasattr(x, "__cuda_array_interface__")


def test_cuda_array_interface(shared):
    x = there(X)
    found = x.__cuda_array_interface__
    assert found["shape"] == (4, 6) and found["typestr"] == "<f4" and found["strides"] is None
    assert found["data"] == (x.array.address, True) and found["version"] == 3
    assert found["stream"] == _cuda.stream_handle()
    assert not hasattr(from_numpy(X), "__cuda_array_interface__")
    assert not hasattr(there(X.astype(ml_dtypes.bfloat16)), "__cuda_array_interface__")


DTYPES = ["float32", "float16", "bfloat16", "int8", "uint8", "int32", "int64", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", [None, (1, 0)])
def test_dlpack_out(shared, dtype, version):
    """Consumers of version 1 get the memory itself, marked read-only; others a copy."""
    x = there(X.astype(np.dtype(getattr(ml_dtypes, dtype, dtype))))
    capsule = x.__dlpack__(stream=1, max_version=version)
    found = _cuda.describe_dlpack(capsule)
    assert x.__dlpack_device__() == found["device"] == (2, 0)
    assert (found["address"] == x.array.address) == (version is not None)
    assert found["shape"] == [4, 6] and found["strides"] is None
    assert exchange._dtype_of(found["code"], found["bits"], found["lanes"]) == dtype
    again = _core.Array.copy_of(found["address"], dtype, (4, 6), "gpu:0").numpy()
    assert again.tobytes() == x.numpy().tobytes()


@pytest.mark.emulator
def test_a_capsule_keeps_its_memory_alive(shared):
    capsule = there(X).__dlpack__(stream=-1, max_version=(1, 0))
    found = _cuda.describe_dlpack(capsule)
    copy = _core.Array.copy_of(found["address"], "float32", (4, 6), "gpu:0")
    np.testing.assert_array_equal(copy.numpy(), X)
    del capsule
    with pytest.raises(RuntimeError, match="freed"):
        _core.Array.copy_of(found["address"], "float32", (4, 6), "gpu:0").numpy()
    _cuda.clear_reports()


WRONG = [
    ({"dl_device": (1, 0)}, "cannot be exported to the device"),
    ({"copy": False}, "only consumers of DLPack 1.0"),
]


@pytest.mark.parametrize("options, message", WRONG)
def test_dlpack_that_cannot_be_had(shared, options, message):
    with pytest.raises(BufferError, match=message):
        there(X).__dlpack__(**options)


def test_capsules_that_are_none():
    with pytest.raises((TypeError, ValueError)):
        _cuda.describe_dlpack(3)
    with pytest.raises(ValueError, match="no capsule of DLPack's"):
        _cuda.describe_dlpack(_core.companion)


def interface(array, **more):
    """An object of another library whose memory is on the device."""
    held = Buffer(array)
    facts = {
        "shape": array.shape,
        "typestr": array.dtype.str,
        "data": (held.memory.address, False),
        "strides": None,
        "version": 3,
    }
    return types.SimpleNamespace(held=held, __cuda_array_interface__=facts | more)


@pytest.mark.emulator
@pytest.mark.parametrize("stream", [None, 1, "own"])
@pytest.mark.parametrize("strides", [None, (24, 4)])
def test_from_the_interface(stream, strides):
    own = _cuda.Stream()
    other = interface(X, stream=own.handle if stream == "own" else stream, strides=strides)
    x = convert_to_tensor(other)
    assert x.array.device == "gpu:0" and x.dtype == "float32"
    np.testing.assert_array_equal(x.numpy(), X)
    # A copy: what its owner does afterwards does not show.
    other.held.memory.copy_in(np.zeros(X.nbytes, np.uint8))
    np.testing.assert_array_equal(x.numpy(), X)
    assert convert_to_tensor(other, "int32").dtype == "int32"


def test_strides_are_refused():
    with pytest.raises(ValueError, match="float32\\(4, 6\\) with strides \\(1, 4\\).*contiguous"):
        convert_to_tensor(interface(X, strides=(4, 16)))


class Other:
    """An array of a library that knows DLPack alone."""

    def __init__(self, tensor):
        self.tensor, self.streams = tensor, []

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        return exchange.to_dlpack(self.tensor, stream=stream)


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_dlpack(shared, dtype):
    given = there(X.astype(np.dtype(getattr(ml_dtypes, dtype, dtype))))
    other = Other(given)
    x = convert_to_tensor(other)
    assert other.streams == [_cuda.stream_handle()]
    assert x.array.device == "gpu:0" and x.dtype == dtype
    assert x.numpy().tobytes() == given.numpy().tobytes()


def test_cupy_has_our_memory_and_stream(cupy):
    assert cupy.ExternalStream.used[-1] == _cuda.stream_handle()
    pointer = cupy.allocators[-1](1000)
    memory = pointer.memory
    assert (memory.size, memory.owner.bytes, pointer.offset) == (1000, 1000, 0)
    assert memory.address == memory.owner.address


def counted(run):
    before = dict(_core.runs_through_host()), dict(long_tail.RUNS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run()
    after = _core.runs_through_host(), long_tail.RUNS
    return result, *(
        {k: n - b.get(k, 0) for k, n in a.items() if n > b.get(k, 0)} for a, b in zip(after, before)
    )


def test_cupy_computes_the_long_tail(cupy):
    y, host, by_cupy = counted(lambda: ew.exp(there(WIDE)))
    assert host == {} and by_cupy == {"exp": 1}
    assert y.array.device == "gpu:0"
    np.testing.assert_allclose(y.numpy(), np.exp(WIDE), rtol=1e-14)
    assert _cuda.reports() == []


def test_what_cupy_cannot_do_goes_by_way_of_the_host(cupy, monkeypatch):
    """Tried once, then left alone."""
    tried = []

    def view(operand):
        tried.append(operand)
        raise TypeError("no such function")

    monkeypatch.setattr(long_tail, "_view", view)
    x = there(WIDE)
    for _ in range(2):
        y, host, by_cupy = counted(lambda: ew.sqrt(x))
        assert host == {"sqrt": 1} and by_cupy == {}
        np.testing.assert_allclose(y.numpy(), np.sqrt(WIDE), rtol=1e-14)
    assert len(tried) == 1


def test_dtypes_that_cupy_has_not(cupy):
    x = there(X.astype(ml_dtypes.bfloat16))
    _, host, by_cupy = counted(lambda: ew.cast(x, "float64"))
    assert host == {"cast": 1} and by_cupy == {}


def test_cupy_is_found_unless_switched_off(monkeypatch):
    used = []
    monkeypatch.setattr(long_tail, "use", used.append)
    monkeypatch.setattr(long_tail.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(long_tail.importlib, "import_module", lambda name: f"module {name}")
    monkeypatch.setenv("NATIVE_CUPY", "0")
    assert not long_tail.open_cupy() and used == []
    monkeypatch.delenv("NATIVE_CUPY")
    assert long_tail.open_cupy() and used == ["module cupy"]
    monkeypatch.setattr(long_tail.importlib.util, "find_spec", lambda name: None)
    assert not long_tail.open_cupy()
