"""Runs nvcc, for tests that compile CUDA sources."""

from pathlib import Path

import pytest

from keras_native.tools import nvidia


def compile_ptx(source: Path, *options: str) -> str:
    """The PTX of a source for sm_80; skips the test where there is no nvcc."""
    if nvidia.find("nvcc") is None:
        pytest.skip(
            "no nvcc: set NVCC, or install nvidia-cuda-{nvcc,crt,cccl,runtime}, nvidia-nvvm"
        )
    return nvidia.compile_ptx(source, 80, options)
