"""Runs nvcc, for tests that compile CUDA sources."""

from pathlib import Path

import pytest

from keras_native.tools import nvidia


def compile_ptx(source: Path, *options: str, architecture: int | str = 80) -> str:
    """The PTX of a source; skips the test where there is no nvcc."""
    if nvidia.find("nvcc") is None:
        pytest.skip("no nvcc: set NVCC, or pip install -r cuda/nvcc.txt")
    return nvidia.compile_ptx(source, architecture, options)
