"""gpu:0 as a device of the engine and of Keras: where tensors lie, and what runs there."""

import ctypes
import os
import subprocess
import sys
import warnings

import emulated  # noqa: F401  skips this file where there are no kernels
import numpy as np
import pytest
from ptxkernel import _cuda

os.environ["KERAS_BACKEND"] = "native"

import keras  # noqa: E402

from keras_native import _core  # noqa: E402
from keras_native.engine import control, device, transforms  # noqa: E402
from keras_native.engine.primitives import elementwise as ew  # noqa: E402
from keras_native.engine.primitives import linalg, matmul, reduce  # noqa: E402
from keras_native.engine.primitives import shape as sh  # noqa: E402
from keras_native.engine.tensor import from_numpy  # noqa: E402


def through_host(run):
    """What `run` gives, and how often each primitive went by way of the host meanwhile."""
    before = _core.runs_through_host()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run()
    after = _core.runs_through_host()
    return result, {k: v - before.get(k, 0) for k, v in after.items() if v > before.get(k, 0)}


def rows(*dims, seed=0):
    return np.random.default_rng(seed).standard_normal(dims).astype(np.float32)


def test_tensors_follow_the_scope():
    with device.scope("gpu:0"):
        x = from_numpy(rows(3, 4))
        y = ew.add(x, 1.0)
        with device.scope("cpu"):
            z = from_numpy(rows(2))
    assert [t.array.device for t in (x, y, z)] == ["gpu:0", "gpu:0", "cpu:0"]
    np.testing.assert_array_equal(y.numpy(), rows(3, 4) + 1)
    # Where one operand is, the others are brought.
    both = ew.mul(z, ew.add(reduce.reduce_sum(x, None), 0.0))
    assert both.array.device == "gpu:0"
    np.testing.assert_allclose(both.numpy(), rows(2) * rows(3, 4).sum(), rtol=1e-5)
    assert _cuda.reports() == []


@pytest.mark.parametrize("name", ["gpu:7", "cuda:0", "cpu:1", "tpu", "", None, 3, b"gpu"])
def test_names_of_no_device(name):
    message = f"expected 'cpu', 'cpu:0', 'gpu' or 'gpu:0'.*CUDA_VISIBLE_DEVICES.*{name!r}"
    for scope in (device.scope, keras.device):
        with pytest.raises(ValueError, match="`device_name`: " + message), scope(name):
            pass
    assert device.STATE.name == "cpu:0"
    if name is not None:
        with pytest.raises(ValueError, match="`device`: " + message):
            transforms.jit(lambda x: x, device=name)


@pytest.mark.parametrize("name", ["GPU", "GPU:0", "gpu"])
def test_other_names_of_the_device(name):
    with keras.device(name):
        x = from_numpy(rows(2))
    assert x.array.device == "gpu:0"
    assert transforms.jit(lambda x: x * 2.0, device=name)(x).array.device == "gpu:0"


def test_a_wrong_name_in_the_environment():
    done = python("import keras_native.engine.device", NATIVE_DEVICE="gpu:7")
    assert done.returncode
    assert "`NATIVE_DEVICE`: expected 'cpu'" in done.stderr


def test_operands_of_both_devices():
    """Operations bring what lies elsewhere; variables keep what they were given."""
    here, (a, b) = from_numpy(rows(2, 3)), (rows(2, 3), rows(2, 3, seed=1))
    with keras.device("gpu:0"):
        there, variable = from_numpy(b), keras.Variable(b)
    for result, want in [
        (keras.ops.matmul(here, keras.ops.transpose(there)), a @ b.T),
        (keras.ops.concatenate([here, there]), np.concatenate([a, b])),
        (keras.ops.where(here > 0, there, here), np.where(a > 0, b, a)),
        (here + variable, a + b),
        (transforms.jit(lambda x, y: x + y, device="gpu")(here, there), a + b),
        (transforms.grad(lambda x, y: keras.ops.sum(x * y))(here, there), b),
    ]:
        np.testing.assert_allclose(result.numpy(), want, rtol=1e-5)
    variable.assign(here)
    np.testing.assert_array_equal(variable.numpy(), a)
    assert _cuda.reports() == []


@pytest.mark.emulator
def test_a_step_without_memory_leaves_the_model():
    """The emulated device has 8 GiB; the CPU and smaller batches go on."""
    with keras.device("gpu:0"):
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(1 << 14, "relu"), keras.layers.Dense(1)]
        )
        model.compile("sgd", "mse")
        few, many = [(rows(n, 4), rows(n, 1)) for n in (2, (1 << 17) + 3)]
        model.train_on_batch(*few)
        before = model.get_weights()
        for run in (model.train_on_batch, lambda x, y: model.predict_on_batch(x)):
            with pytest.raises(MemoryError, match="emulated A100.*use a smaller batch, or use"):
                run(*many)
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        assert int(model.optimizer.iterations) == 1
        model.train_on_batch(*few)
    assert model.predict_on_batch(few[0]).shape == (2, 1)
    assert _cuda.reports() == []


def test_results_of_the_host_are_where_the_operands_are():
    """LAPACK's, outside of the scope in which their operand was made."""
    with device.scope("gpu:0"):
        x = from_numpy(np.eye(3, dtype=np.float32) * 4)
    low = linalg.cholesky(x)
    assert low.array.device == "gpu:0"
    np.testing.assert_array_equal(low.numpy(), np.eye(3) * 2)
    assert linalg.cholesky(from_numpy(np.eye(2, dtype=np.float32))).array.device == "cpu:0"


def network(x, *w):
    return reduce.reduce_sum(ew.square(matmul.matmul(ew.gelu(matmul.matmul(x, w[0])), w[1])), None)


def test_a_compiled_gradient_runs_on_kernels_of_the_gpu_alone():
    w = [from_numpy(rows(40, 80)), from_numpy(rows(80, 20, seed=1))]
    both = transforms.value_and_grad(network, (1, 2))
    x = from_numpy(rows(50, 40, seed=2))
    value, grads = both(x, *w)
    run = transforms.jit(both, device="gpu:0")
    (there, there_grads), host = through_host(lambda: run(x, *w))
    assert host == {}
    assert there.array.device == "gpu:0"
    np.testing.assert_allclose(there.numpy(), value.numpy(), rtol=1e-5)
    for a, b in zip(grads, there_grads):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-3)
    assert _cuda.reports() == []


def test_compiled_code_opens_the_gpu():
    """In a process that has not used it."""
    code = """
from keras_native.engine import transforms
from keras_native.engine.tensor import from_numpy
print(transforms.jit(lambda x: x * 2.0, device="gpu:0")(from_numpy([1.5])).array.device)
"""
    done = python(code, NATIVE_CUDA_DRIVER=os.environ["NATIVE_CUDA_DRIVER"])
    assert done.stdout == "gpu:0\n", done.stderr


def test_control_flow():
    def steps(x):
        def body(i, v):
            return ew.add(i, 1), control.cond(
                ew.lt(reduce.reduce_sum(v, None), 50.0), lambda: ew.mul(v, 2.0), lambda: ew.neg(v)
            )

        return control.while_loop(lambda i, v: ew.lt(i, 5), body, (sh.full((), 0, "int32"), x))

    x = from_numpy(np.abs(rows(3, 5)))
    here = transforms.jit(steps)(x)
    there = transforms.jit(steps, device="gpu:0")(x)
    for a, b in zip(here, there):
        assert b.array.device == "gpu:0"
        np.testing.assert_array_equal(b.numpy(), a.numpy())


def test_arrays_of_one_value():
    def fn(x):
        return ew.add(sh.full((70, 80), 0.25, "float32"), sh.broadcast_to(x, (70, 80)))

    x = from_numpy(rows(80))
    result, host = through_host(lambda: transforms.jit(fn, device="gpu:0")(x))
    assert host == {}
    np.testing.assert_array_equal(
        result.numpy(), np.broadcast_to(rows(80) + np.float32(0.25), (70, 80))
    )


@pytest.mark.parametrize(
    "dtype", ["int8", "uint16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
)
def test_counts_and_wide_values(dtype):
    def fn(x):
        return sh.iota(300, dtype), sh.full((7, 5), 3, dtype), ew.add(x, x)

    x = from_numpy(rows(2))
    (count, value, _), host = through_host(lambda: transforms.jit(fn, device="gpu:0")(x))
    assert host == {} and count.array.device == value.array.device == "gpu:0"
    want = transforms.jit(fn)(x)
    for got, expected in zip((count, value), want):
        assert got.numpy().tobytes() == expected.numpy().tobytes()


def test_what_has_no_kernel_is_said_once():
    device.say_what_went_through_host()
    here = ew.digamma(from_numpy(rows(6))).numpy()
    with device.scope("gpu:0"):
        x = from_numpy(rows(6))
        with pytest.warns(UserWarning, match="no kernels for these problems of digamma"):
            y = ew.digamma(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ew.digamma(x)
    assert y.array.device == "gpu:0"
    np.testing.assert_array_equal(y.numpy(), here)


def train(place, dtype="float32"):
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((320, 20)).astype(np.float32), rng.integers(0, 10, 320)
    with keras.device(place):
        model = keras.Sequential(
            [
                keras.Input((20,)),
                keras.layers.Dense(32, "relu"),
                keras.layers.Dense(24, "gelu"),
                keras.layers.Dropout(0.2),
                keras.layers.Dense(10),
            ]
        )
        model.compile(
            keras.optimizers.Adam(1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        logs = [
            model.train_on_batch(x[i : i + 32], y[i : i + 32].astype("int32"), return_dict=True)
            for i in range(0, 320, 32)
        ]
    return model, logs


def test_an_mlp_trains_there_as_on_the_cpu():
    _, here = train("cpu:0")
    (model, there), host = through_host(lambda: train("gpu:0"))
    for a, b in zip(here, there):
        assert abs(float(a["loss"]) - float(b["loss"])) < 1e-4
        assert float(a["accuracy"]) == float(b["accuracy"])
    places = {w._slot.core.get().device for w in model.trainable_weights}
    assert places == {"gpu:0"}
    assert host == {}
    assert _cuda.reports() == []


def python(code, **environment):
    clean = {
        k: v for k, v in os.environ.items() if k not in ("NATIVE_DEVICE", "NATIVE_CUDA_DRIVER")
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_environment_chooses_the_device():
    code = "from keras_native.engine.tensor import from_numpy as t; print(t([1.5]).array.device)"
    done = python(code, NATIVE_DEVICE="gpu", NATIVE_CUDA_DRIVER="emulator")
    assert done.stdout == "gpu:0\n", done.stderr


def test_without_a_driver_the_cpu_still_works():
    code = """
from keras_native.engine import device
from keras_native.engine.tensor import from_numpy
try:
    device.scope("gpu:0").__enter__()
except RuntimeError as error:
    print(error)
print(from_numpy([1.5, 2]).numpy().sum())
"""
    done = python(code, NATIVE_CUDA_DRIVER="/nowhere/libcuda.so.1")
    said, total = done.stdout.splitlines()
    assert "no NVIDIA driver" in said and "use the CPU" in said and total == "3.5", done.stderr


def test_modules_of_different_builds_do_not_meet():
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = (
        ctypes.py_object,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
    )
    table = (ctypes.c_int * 8)(99)
    with pytest.raises(RuntimeError, match="different versions.*from one build"):
        _cuda.attach(new(ctypes.addressof(table), b"keras_native.companion", None))
    with pytest.raises(ValueError, match="incorrect name"):
        _cuda.attach(new(ctypes.addressof(table), b"other", None))


def test_predictions_of_a_convolution_stay_there():
    """One that the CPU would prepare for Winograd's method, of which the GPU has no kernel."""
    model = keras.Sequential(
        [keras.Input((6, 6, 32)), keras.layers.Conv2D(32, 3), keras.layers.BatchNormalization()]
    )
    x = rows(2, 6, 6, 32)
    want = model.predict_on_batch(x)
    with keras.device("gpu:0"):
        got, host = through_host(lambda: model.predict_on_batch(x))
    assert host == {}
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
