"""A family's cases on gpu:0: which have a kernel there, whether it is right, what it costs.

On a GPU cases are timed; on the emulator, which is a million times slower and whose time says
nothing, they are counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from bench import harness
from bench.harness import Case
from keras_native import _core
from keras_native.engine import device
from keras_native.engine.tensor import from_numpy

# What the emulator runs in a second or two.
MOST_EMULATED = 3e6


def kernel_of(case: Case) -> str | None:
    """The kernel of the GPU that takes the case, None if there is none; opens the GPU."""
    device.find(device.GPU)
    op, inputs, specs, attrs = harness.problem_of(case)
    return _core.chosen_kernel(op, inputs, specs, attrs, "cuda")


def runnable(cases: Sequence[Case], emulated: bool) -> tuple[list[Case], list[str]]:
    """Those with a kernel (on the emulator: small enough ones), and the rest's names."""
    if emulated:
        cases = [case for case in cases if case.flops <= MOST_EMULATED]
    taken = [case for case in cases if kernel_of(case) is not None]
    return taken, [case.name for case in cases if case not in taken]


def outputs(case: Case, arrays: Sequence[np.ndarray], own: bool = True) -> list:
    """The case's results as arrays of gpu:0; by a kernel of its own, unless another way will do."""
    assert kernel_of(case) is not None or not own, f"{case}: no kernel"
    there = [from_numpy(array).array.to(device.GPU) for array in arrays]
    return _core.run(case.op, there, case.attrs, harness.problem_of(case)[2])


def check(case: Case, seed: int = 0, own: bool = True) -> float:
    """Compares with float64 by the table's own bound; the error in units of the allowed one. `own`
    as for `outputs`.

    Raises:
        AssertionError: it is above 1, a result is elsewhere, or the emulator found a fault.
    """
    from keras_native import _cuda

    arrays = case.arrays(seed)
    results = outputs(case, arrays, own)
    wanted = harness.expected(case, arrays)
    terms = case.terms(arrays) if callable(case.terms) else [case.terms] * len(wanted)
    worst = 0.0
    for result, want, size in zip(results, wanted, terms, strict=True):
        assert result.device == device.GPU
        worst = max(worst, harness.compare(result.numpy(), want, case, terms=size))
    assert _cuda.reports() == []
    return worst


def counts(case: Case) -> list[dict]:
    """What the emulator counts for one run, instruction by instruction."""
    from keras_native import _cuda

    arrays = case.arrays()
    _cuda.synchronize()
    _cuda.clear_counts()
    for result in outputs(case, arrays):
        result.numpy()
    return [row for row in _cuda.counts() if row["executed"]]


def seconds(case: Case, spent: float = 0.4) -> float:
    """Seconds of one run on a GPU, launches one after another without waiting for each."""
    from keras_native import _cuda

    there = [from_numpy(array).array.to(device.GPU) for array in case.arrays()]
    specs = harness.problem_of(case)[2]
    run = lambda: _core.run(case.op, there, case.attrs, specs)  # noqa: E731
    return statistics.median(harness.sample(run, spent, wait=_cuda.synchronize))
