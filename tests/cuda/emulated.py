"""Cases of the kernel tables, run on the emulated gpu:0 by the kernels built into `_cuda`.

Importing this skips a file of tests where the GPU part is not built, or was built without nvcc.
"""

import pytest
from ptxkernel import _cuda

from bench.gpu import check, kernel_of, outputs

__all__ = ["check", "has_kernel", "kernel_of", "outputs"]

if not _cuda.images():
    pytest.skip("the GPU part was built without nvcc", allow_module_level=True)


def has_kernel(case) -> bool:
    """Whether a kernel of the GPU takes the case."""
    return kernel_of(case) is not None
