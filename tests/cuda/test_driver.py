"""No driver, an old one, or a module that does not fit: what is said, and that the CPU goes on."""

import os
import subprocess
import sys

import pytest
from ptxkernel import _cuda

SCRIPT = """
from keras_native import _cuda, _core
for _ in range(2):
    try:
        _cuda.device()
        print("opened")
    except RuntimeError as error:
        print(error)
print(_core.isa() != "")
"""


def said(driver):
    """What a process with that driver prints."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NATIVE_CUDA_DRIVER": driver},
    )
    assert done.returncode == 0, done.stderr
    *messages, cpu_works = done.stdout.splitlines()
    assert cpu_works == "True" and messages[0] == messages[1]
    return messages[0]


def test_no_driver():
    message = said("libcuda-that-there-is-not.so.1")
    for part in (
        "no NVIDIA driver",
        "cannot be opened",
        "use the CPU",
        "NATIVE_CUDA_DRIVER=emulator",
    ):
        assert part in message


def test_old_driver():
    """A library that lacks what is needed."""
    assert "too old: it has no cuInit" in said("libm.so.6")


def test_no_name():
    """As if it were not set."""
    assert "'libcuda.so.1' cannot be opened" in said("") or said("") == "opened"


@pytest.mark.emulator
def test_unknown_gpu(monkeypatch):
    monkeypatch.setenv("NATIVE_CUDA_GPU", "H200")
    message = said("emulator")
    assert "NATIVE_CUDA_GPU: unknown GPU 'H200'; known: A100, H100, B200, RTX5090" in message
    with pytest.raises(ValueError, match="unknown GPU 'H200'; known: A100, H100"):
        _cuda.emulate("H200")


def test_emulator():
    assert said("emulator") == "opened"


@pytest.mark.emulator
def test_module_that_does_not_fit():
    with pytest.raises(
        RuntimeError, match="machine code.*build it with this architecture, or with PTX"
    ):
        _cuda.Module("\x7fELF\x02")


@pytest.mark.emulator
def test_device():
    found = _cuda.device()
    assert found["name"] == "emulated A100" and found["capability"] == 80
    assert _cuda.device_count() == 1
