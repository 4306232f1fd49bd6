"""Host calls: a Python function on NumPy arrays as a node of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras_native import _core
from keras_native.engine.primitive import STATE, as_spec
from keras_native.engine.tensor import Tensor


def host_call(fn: Callable, inputs: Sequence[Tensor], specs: Sequence[tuple], pure: bool = True):
    """Calls `fn(*numpy_arrays)` when the step runs, with the GIL held.

    Args:
        fn: returns an array or a tuple of arrays of exactly the promised sizes (dtypes are cast).
        specs: (dims, dtype) of each result.
        pure: False keeps the call even if nobody uses its results.

    Returns:
        A list of tensors. No gradient flows through it.
    """

    def call(arrays, promised, _):
        results = fn(*(a.numpy() for a in arrays))
        if not isinstance(results, tuple):
            results = () if results is None else (results,)
        return [
            _core.Array.from_numpy(as_spec(r, dims, dtype), False)
            for r, (dtype, dims) in zip(results, promised, strict=True)
        ]

    if STATE.trace is None:
        arrays = call([t.array for t in inputs], [(dtype, dims) for dims, dtype in specs], {})
        return [Tensor(a) for a in arrays]
    trace = STATE.trace
    nodes = [trace.lift(t).node for t in inputs]
    return trace.node("host_call", nodes, {}, specs, pure, (), call)
