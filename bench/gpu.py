"""A family's cases on gpu:0: which have a kernel there, whether it is right, what it costs.

On a GPU cases are timed; on the emulator, which is a million times slower and whose time says
nothing, they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench import harness
from bench.harness import Case
from keras_native import _core
from keras_native.engine import device
from keras_native.engine.tensor import from_numpy

# What the emulator runs in a second or two.
MOST_EMULATED = 3e6


def problem(case: Case, arrays: Sequence[np.ndarray]):
    """The operands as arrays of the CPU and the specs of the results."""
    inputs = [from_numpy(a) for a in arrays]
    specs = harness.primitive(case.op).shape(*inputs, **case.attrs)
    specs = [(dtype, dims) for dims, dtype in (specs if type(specs) is list else [specs])]
    return [t.array for t in inputs], specs


def kernel_of(case: Case) -> str | None:
    """The kernel of the GPU that takes the case, None if there is none; opens the GPU."""
    device.find(device.GPU)
    inputs, specs = problem(case, case.arrays())
    inputs = [(a.dtype, a.shape) for a in inputs]
    return _core.chosen_kernel(case.op, inputs, specs, case.attrs, "cuda")


def runnable(cases: Sequence[Case], emulated: bool) -> tuple[list[Case], list[str]]:
    """Those with a kernel (on the emulator: small enough ones), and the rest's names."""
    if emulated:
        cases = [c for c in harness.test_cases(cases) if c.flops <= MOST_EMULATED]
    taken = [case for case in cases if kernel_of(case) is not None]
    return taken, [str(case) for case in cases if case not in taken]


def outputs(case: Case, arrays: Sequence[np.ndarray]) -> list:
    """The case's results as arrays of gpu:0, by a kernel of its own."""
    assert kernel_of(case) is not None, f"{case}: no kernel"
    inputs, specs = problem(case, arrays)
    return _core.run(case.op, [a.to(device.GPU) for a in inputs], case.attrs, specs)


def check(case: Case, seed: int = 0) -> float:
    """Compares with float64 by the table's own bound; the error in units of the allowed one.

    Raises:
        AssertionError: it is above 1, a result is elsewhere, or the emulator found a fault.
    """
    from keras_native import _cuda

    arrays = case.arrays(seed)
    results = outputs(case, arrays)
    wanted = harness.expected(case, arrays)
    assert len(results) == len(wanted)
    worst = 0.0
    for result, want in zip(results, wanted):
        assert result.device == device.GPU
        worst = max(worst, harness.compare(result.numpy(), want, case))
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

    inputs, specs = problem(case, case.arrays())
    there = [a.to(device.GPU) for a in inputs]
    run = lambda: _core.run(case.op, there, case.attrs, specs)  # noqa: E731
    return harness.time_callable(run, spent, wait=_cuda.synchronize)
