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
    "no memory for a copy": (
        {"FAKE_cuMemHostAlloc": 2},
        "MemoryError",
        "allocating pinned memory: FAKE_ERROR_2 (2); free arrays, use a smaller batch",
    ),
    "no memory for a kernel": (
        {"FAKE_cuModuleLoadData": 2},
        "MemoryError",
        "loading kernels on Fake GPU: FAKE_ERROR_2 (2); free arrays",
    ),
    "no memory for a launch": (
        {"FAKE_cuLaunchKernel": 2},
        "MemoryError",
        "launching kernel 'tile_program': FAKE_ERROR_2 (2); free arrays",
    ),
    "another's GPU": (
        {"FAKE_cuDevicePrimaryCtxRetain": 46},
        "RuntimeError",
        "opening the context of Fake GPU: FAKE_ERROR_46 (46); another process has this GPU",
    ),
    "forked": ({"FAKE_cuCtxSetCurrent": 3}, "RuntimeError", "start processes by 'spawn'"),
    "faulty memory": ({"FAKE_cuStreamSynchronize": 214}, "RuntimeError", "memory is faulty"),
    "kernel's misaligned access": (
        {"FAKE_cuStreamSynchronize": 716},
        "RuntimeError",
        "the process must be restarted to use the GPU again, the CPU still works",
    ),
    # What an image is refused for is remembered, where memory may be there the next time.
    "refused once": (
        {"FAKE_ONCE_cuModuleLoadData": 209},
        "RuntimeError",
        "no code for this GPU: build it with this architecture, or with PTX",
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


def on(driver, code, **given):
    """What a process with that driver does."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NATIVE_CUDA_DRIVER": driver} | {k: str(v) for k, v in given.items()},
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_driver(driver, fault):
    given, kind, message = FAULTS[fault]
    done = on(driver, SCRIPT, **given)
    assert done.returncode == 0, done.stderr
    first, second, total = done.stdout.splitlines()
    assert first == second and first.startswith(kind) and message in first
    assert total == "5.5"


def test_memory_for_a_kernel_may_be_there_the_next_time(driver):
    done = on(driver, SCRIPT, FAKE_ONCE_cuModuleLoadData=2)
    first, second, total = done.stdout.splitlines()
    assert first.startswith("MemoryError loading kernels") and second == "worked 2", done.stderr
    assert total == "5.5"


def test_sizes_beyond_all_memory(driver):
    """Where blocks are kept by classes of sizes."""
    code = """
from keras_native import _cuda
for bytes in (1 << 62, (1 << 64) - 1):
    try:
        _cuda.DeviceArray(bytes)
    except MemoryError as error:
        print(error)
"""
    done = on(driver, code)
    first, second = done.stdout.splitlines()
    assert first.startswith(f"allocating {1 << 62} bytes on Fake GPU"), done.stderr
    assert second.startswith(f"allocating {(1 << 64) - 1} bytes on Fake GPU")


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
    done = on(driver, code, FAKE_BYTES=1000000)
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


@pytest.mark.emulator
def test_shared_memory_beyond_what_can_be_counted():
    """Bytes of which the driver would be told the lowest 32 bits."""
    x = Buffer(np.zeros(32, np.uint32))
    kernel = _cuda.Module(source("mov.u32 %r1, 0;", 1)).kernel("k")
    with pytest.raises(RuntimeError, match="no GPU has 4294967296 bytes of shared memory"):
        kernel.launch([1], [32], [x.memory], shared=1 << 32)


@pytest.mark.emulator
def test_a_stream_that_there_is_not():
    stream = _cuda.Stream()
    gone = stream.handle
    del stream
    for handle in (12345, gone):
        with pytest.raises(RuntimeError, match="INVALID_HANDLE.*there is no stream 0x"):
            _cuda.follow(handle, _cuda.stream_handle())
        with pytest.raises(RuntimeError, match="INVALID_HANDLE.*there is no stream 0x"):
            _cuda.follow(_cuda.stream_handle(), handle)


def test_copies_of_what_is_not_contiguous():
    x = np.arange(8, dtype=np.float32)
    memory = _cuda.DeviceArray(16)
    for part in (x[::2], x[3::-1]):
        with pytest.raises(ValueError, match="not contiguous"):
            memory.copy_in(part)
