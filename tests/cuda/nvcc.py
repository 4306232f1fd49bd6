"""Finds and runs nvcc, for tests that compile CUDA sources."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def find_nvcc() -> str | None:
    """NVCC of the environment, nvcc of the path, or the one of the wheel nvidia-cuda-nvcc."""
    if found := os.environ.get("NVCC") or shutil.which("nvcc"):
        return found
    wheels = importlib.util.find_spec("nvidia")
    for folder in wheels.submodule_search_locations if wheels else ():
        for path in Path(folder).glob("cu*/bin/nvcc"):
            return str(path)
    return None


def compile_ptx(source: Path, out: Path, *options: str) -> str:
    """The PTX of a source for sm_80; skips the test where there is no nvcc."""
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip(
            "no nvcc: set NVCC, or install nvidia-cuda-{nvcc,crt,cccl,runtime}, nvidia-nvvm"
        )
    command = [nvcc, "-ptx", "-arch=sm_80", "-lineinfo", *options, str(source), "-o", str(out)]
    # What is preloaded here, a sanitiser's library say, is not for the compiler.
    clean = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=clean)
    assert done.returncode == 0, done.stderr
    return out.read_text()
