"""Everything that can be wrong with a GPU is an exception that says what to do, and the process
and the CPU go on."""

import os
import subprocess
import sys

import emulated  # noqa: F401  skips this file where there are no kernels
import fake_driver
import numpy as np
import pytest
from ptxkernel import HEADER, Buffer, _cuda, source

from keras_native.engine import device
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import shape as sh
from keras_native.engine.tensor import from_numpy

# Uses the GPU twice, then the CPU.
SCRIPT = """
import numpy as np
from keras_native.engine import device
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.tensor import from_numpy
for _ in range(2):
    try:
        with device.scope("gpu:0"):
            x = from_numpy(np.ones(2, np.float32))
            print("worked", ew.add(x, x).array.to("cpu:0").numpy().size)
    except (RuntimeError, MemoryError) as error:
        print(type(error).__name__, str(error).replace(chr(10), " "))
print(ew.add(from_numpy([1.5, 2]), 1.0).numpy().sum())
"""

# What the driver does -> the exception, and what it says.
FAULTS = {
    "nothing wrong": ({}, "worked", "2"),
    "no device": (
        {"FAKE_cuInit": 100},
        "RuntimeError",
        "check nvidia-smi and CUDA_VISIBLE_DEVICES",
    ),
    "no device left": ({"FAKE_COUNT": 0}, "RuntimeError", "there is no device gpu:0"),
    "old driver": (
        {"FAKE_VERSION": 12080},
        "RuntimeError",
        "too old: it supports CUDA 12.8, and 13.0 is needed. Install driver 580 or later",
    ),
    "old GPU": (
        {"FAKE_CAPABILITY": 75},
        "RuntimeError",
        "Fake GPU has compute capability 7.5; 8.0 (Ampere) or later is needed. Use the CPU",
    ),
    "updated driver": ({"FAKE_cuInit": 803}, "RuntimeError", "restart the machine"),
    "no context": ({"FAKE_cuDevicePrimaryCtxRetain": 2}, "MemoryError", "opening the context"),
    "out of memory": (
        {"FAKE_cuMemAlloc_v2": 2},
        "MemoryError",
        "on Fake GPU: FAKE_ERROR_2 (2); free arrays, use a smaller batch, or use the CPU",
    ),
    "wrong architecture": (
        {"FAKE_cuModuleLoadData": 209},
        "RuntimeError",
        "no code for this GPU: build it with this architecture, or with PTX",
    ),
    "new PTX": ({"FAKE_cuModuleLoadData": 222}, "RuntimeError", "install driver 580 or later"),
    "launch": (
        {"FAKE_cuLaunchKernel": 701},
        "RuntimeError",
        "launching kernel 'tile_program': FAKE_ERROR_701 (701); the launch asks for more",
    ),
    "kernel fault": (
        {"FAKE_cuStreamSynchronize": 700},
        "RuntimeError",
        "the process must be restarted to use the GPU again, the CPU still works",
    ),
    "failed copy": ({"FAKE_cuMemcpyHtoDAsync_v2": 719}, "RuntimeError", "copying to Fake GPU"),
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return fake_driver.build(tmp_path_factory.mktemp("driver"))


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_driver(driver, fault):
    given, kind, message = FAULTS[fault]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NATIVE_CUDA_DRIVER": driver} | {k: str(v) for k, v in given.items()},
    )
    assert done.returncode == 0, done.stderr
    first, second, total = done.stdout.splitlines()
    assert first == second and first.startswith(kind) and message in first
    assert total == "5.5"


def test_out_of_memory_frees_what_is_kept(driver):
    """Blocks kept for reuse are given back before an allocation fails."""
    code = """
from keras_native import _cuda
kept = _cuda.DeviceArray(600_000)
del kept
held = _cuda.DeviceArray(900_000)
try:
    _cuda.DeviceArray(900_000)
except MemoryError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NATIVE_CUDA_DRIVER": driver, "FAKE_BYTES": "1000000"},
    )
    assert done.stdout.startswith("allocating 900096 bytes on Fake GPU"), done.stderr
    assert "use a smaller batch, or use the CPU" in done.stdout


@pytest.mark.emulator
def test_out_of_memory_in_a_computation():
    """The emulated device has 8 GiB."""
    with device.scope("gpu:0"):
        x = from_numpy(np.ones(8, np.float32))
        with pytest.raises(MemoryError, match="allocating 17179869184 bytes on emulated A100"):
            sh.broadcast_to(x, (1 << 29, 8))
        assert ew.add(x, x).numpy().sum() == 16


@pytest.mark.emulator
def test_a_fault_of_a_kernel_leaves_the_emulated_device_usable():
    x = Buffer(np.zeros(8, np.uint32))
    body = "add.u64 %rd1, %p0, %off4; st.global.u32 [%rd1], %lane;"
    kernel = _cuda.Module(source(body, 1)).kernel("k")
    kernel.launch([1], [32], [x.memory])
    with pytest.raises(RuntimeError, match="out of bounds: kernel k.*thread \\(8, 0, 0\\)"):
        _cuda.synchronize()
    with device.scope("gpu:0"):
        y = from_numpy(np.ones(8, np.float32))
        assert ew.add(y, y).numpy().sum() == 16


@pytest.mark.emulator
def test_a_module_for_a_later_gpu():
    text = source("mov.u32 %r1, 0;", 1).replace(HEADER, HEADER.replace("sm_80", "sm_90"))
    with pytest.raises(RuntimeError, match="PTX for sm_90 on an emulated A100; .*no code for this"):
        _cuda.Module(text)
