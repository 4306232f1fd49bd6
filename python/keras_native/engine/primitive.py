"""What a primitive is, and the one function that every operation goes through.

A primitive is defined once, in `engine/primitives/<family>.py`: shape rule, reference and gradient
rule side by side.

    def _shape(x, *, axis): return x.dims, x.dtype
    def _reference(x, *, axis): ...NumPy...
    def _vjp(ct, out, x, *, axis): return (..., )
    softmax = Primitive("softmax", shape=_shape, reference=_reference, vjp=_vjp)

Called with tensors, it runs the C++ kernel registered under its name; if no kernel takes the
problem,
the reference runs on the host. Under a trace it is recorded; under a tape it is remembered as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from keras_native import _core
from keras_native.engine import device
from keras_native.engine import dtype as dtypes
from keras_native.engine.tensor import Tensor

REGISTRY: dict[str, Primitive] = {}


class State(threading.local):
    """What this thread is doing: the innermost trace (or None), the active tapes, and counters."""

    def __init__(self):
        self.trace = None
        self.tapes = []
        self.view = None  # how eager code sees variables, if not as they are stored
        self.calls = 0  # primitive calls from Python
        self.slots = 0  # variables made
        self.python_loops = False  # whether loops that are called eagerly run their body each time
        self.host_calls: dict[str, int] = {}  # of them, how many ran the reference on the host


STATE = State()


class Primitive:
    """One operation on tensors.

    Args:
        name: unique; C++ kernels register under it.
        shape: `shape(*inputs, **attrs) -> (dims, dtype)`, or a list of such pairs for several
        outputs.
            It checks its inputs and raises ValueError or TypeError naming op, shapes and dtypes.
            `dims` may hold SymInts: arithmetic is fine, a comparison guards the trace.
        reference: `reference(*numpy_arrays, **attrs)`, an array or a tuple of arrays. Runs where no
            kernel does, and in tests on float64.
        batch: `batch(primitive, size, inputs, batched, **attrs)`, how it runs over a leading axis
            that some operands have; see `primitives/batch.py`. None: by its decomposition, or not.
        vjp: `vjp(ct, out, *inputs, **attrs) -> tuple`, a cotangent or None for each input, written
            in primitives. `ct` and `out` are tuples when there are several outputs; an entry of
            `ct`
            is None where nothing flowed back. None: not differentiable (no cotangent flows).
        decompose: `decompose(*inputs, **attrs)` in terms of simpler primitives, for fused ones.
        pure: False for host calls with side effects (never merged or dropped).
    """

    def __init__(
        self,
        name: str,
        *,
        shape: Callable,
        reference: Callable | None = None,
        batch: Callable | None = None,
        vjp: Callable | None = None,
        decompose: Callable | None = None,
        pure: bool = True,
    ):
        if name in REGISTRY:
            raise ValueError(f"primitive '{name}' is defined twice")
        self.name = name
        self.shape = shape
        self.reference = reference
        self.batch = batch
        self.vjp = vjp
        self.decompose = decompose
        self.pure = pure
        REGISTRY[name] = self

    def __repr__(self):
        return f"Primitive({self.name})"

    def __call__(self, *inputs: Tensor, **attrs):
        """Runs or records the primitive: a Tensor, or a tuple of Tensors for several outputs."""
        state = STATE
        state.calls += 1
        specs = self.shape(*inputs, **attrs)
        several = type(specs) is list
        if not several:
            specs = [specs]
        if state.trace is not None:
            outs = state.trace.record(self, inputs, attrs, specs)
        else:
            outs = self.run(inputs, attrs, specs)
        result = tuple(outs) if several else outs[0]
        for tape in state.tapes:
            tape.record(self, inputs, attrs, result)
        return result

    def run(self, inputs, attrs, specs) -> list[Tensor]:
        """Runs eagerly: by a kernel, or by the reference on the host."""
        arrays = [t.array for t in inputs]
        outs = _core.run(self.name, arrays, attrs, [(dtype, dims) for dims, dtype in specs])
        if outs is None:
            return self.run_on_host(inputs, attrs, specs)
        if device.STATE.name != device.CPU:
            device.say_what_went_through_host()
            return [Tensor(device.place(a)) for a in outs]
        return [Tensor(a) for a in outs]

    def run_on_host(self, inputs, attrs, specs) -> list[Tensor]:
        """Runs the NumPy reference; counted in `STATE.host_calls`."""
        STATE.host_calls[self.name] = STATE.host_calls.get(self.name, 0) + 1
        results = self.reference(*(t.numpy() for t in inputs), **attrs)
        if not isinstance(results, tuple):
            results = (results,)
        beside = [t.array for t in inputs]
        return [
            Tensor(device.place(_core.Array.from_numpy(as_spec(r, dims, dtype), False), beside))
            for r, (dims, dtype) in zip(results, specs, strict=True)
        ]


def as_spec(result, dims, dtype: str) -> np.ndarray:
    """A host result as a fresh contiguous array of the promised dtype; ValueError if shapes
    differ."""
    array = np.asarray(result)
    if array.shape != tuple(dims):
        raise ValueError(f"host result has shape {array.shape}, expected {tuple(dims)}")
    wanted = dtypes.NUMPY[dtype]
    if array.dtype != wanted or not array.flags.c_contiguous or not array.flags.owndata:
        array = np.array(array, dtype=wanted, order="C")
    return array


def signature(inputs) -> str:
    """'float32(2, 3), int32(4,)': operands as error messages name them."""
    return ", ".join(f"{t.dtype}{tuple(t.shape)}" for t in inputs)
