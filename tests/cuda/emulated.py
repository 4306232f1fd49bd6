"""Cases of the kernel tables, run on the emulated gpu:0 by the kernels built into `_cuda`.

Importing this skips a file of tests where the GPU part is not built, or was built without nvcc.
"""

import pytest
from ptxkernel import _cuda

from bench import harness
from keras_native import _core
from keras_native.engine.tensor import from_numpy

if not _cuda.images():
    pytest.skip("the GPU part was built without nvcc", allow_module_level=True)


def outputs(case, arrays):
    """The case's results as arrays of gpu:0, by a kernel of its own."""
    _cuda.attach(_core.companion)
    inputs = [from_numpy(a) for a in arrays]
    specs = harness.primitive(case.op).shape(*inputs, **case.attrs)
    specs = [(dtype, dims) for dims, dtype in (specs if type(specs) is list else [specs])]
    problem = [(t.dtype, t.dims) for t in inputs], specs, case.attrs
    assert _core.chosen_kernel(case.op, *problem, "cuda") is not None, f"{case}: no kernel"
    there = [t.array.to("gpu:0") for t in inputs]
    return _core.run(case.op, there, case.attrs, specs)


def check(case, seed=0):
    """Compares with float64 by the table's own bound; demands that nothing was found wrong."""
    arrays = case.arrays(seed)
    results = outputs(case, arrays)
    wanted = harness.expected(case, arrays)
    terms = case.terms(arrays) if callable(case.terms) else [case.terms] * len(wanted)
    for result, want, size in zip(results, wanted, terms, strict=True):
        assert result.device == "gpu:0"
        harness.compare(result.numpy(), want, case, terms=size)
    assert _cuda.reports() == []


def chosen(case) -> str | None:
    """Name of the kernel of the GPU that takes the case, or None."""
    _cuda.attach(_core.companion)
    inputs = [from_numpy(a) for a in case.arrays()]
    specs = harness.primitive(case.op).shape(*inputs, **case.attrs)
    specs = [(dtype, dims) for dims, dtype in (specs if type(specs) is list else [specs])]
    inputs = [(t.dtype, t.dims) for t in inputs]
    return _core.chosen_kernel(case.op, inputs, specs, case.attrs, "cuda")


def has_kernel(case) -> bool:
    """Whether a kernel of the GPU takes the case."""
    return chosen(case) is not None
