"""Tracing: running a Python function on tensors without values, recording its primitives in a
graph."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Sequence

from keras_native import _core
from keras_native.engine import device, symbolic
from keras_native.engine.errors import TraceError
from keras_native.engine.primitive import REGISTRY, STATE, Primitive, as_spec
from keras_native.engine.primitives.batch import Unbatchable
from keras_native.engine.recognise import recognise
from keras_native.engine.slot import Slot
from keras_native.engine.symbolic import SymInt
from keras_native.engine.tape import Tape
from keras_native.engine.tensor import Tensor

# Constants of up to so many elements are computed while tracing; larger ones by the compiled code,
# so
# that they cost no memory between calls.
_FOLD_LIMIT = 4096


class Trace:
    """A function being recorded. `outer` is the trace around a region (the body of a cond or
    scan)."""

    outer_tapes = ()  # tapes that see something else than what is recorded here
    unrolled = False  # whether a scan records every step, instead of a region

    def __init__(self, outer: Trace | None = None):
        if outer is not None and outer.graph is None:
            raise Unbatchable("control flow")
        self.graph = _core.Graph()
        self.outer = outer
        self.root = outer.root if outer else self
        self.values: dict[int, Tensor] = {}  # by value number
        self.guards: list[tuple] = []  # of the root
        self.nodes = 0
        self.slots: dict[Slot, Tensor] = {}  # current values
        self.first: dict[Slot, Tensor] = {}  # those found outside
        self.read_slots: list[Slot] = []  # of the root: slots that are inputs
        self.written: dict[Slot, None] = {}
        self.captured: list[Tensor] = []  # of a region: outer tensors that are inputs
        self.captured_inputs: dict[int, Tensor] = {}
        self._constants: dict[int, tuple] = {}  # id(array) -> (tensor, array)
        self._sums: dict[int, list] = {}  # value of a scalar that was added up -> its two terms

    # Inputs.

    def tensor(self, value: int, dims, dtype: str) -> Tensor:
        known = self.values.get(value)
        if known is None:
            known = self.values[value] = Tensor(
                dims=tuple(dims), dtype=dtype, trace=self, node=value
            )
        return known

    def input(self, dims, dtype: str) -> Tensor:
        value = self.graph.input(dtype, [symbolic.code_of(d) for d in dims])
        return self.tensor(value, dims, dtype)

    def lift(self, tensor: Tensor) -> Tensor:
        """The tensor as a value of this trace: itself, a constant, or a captured outer value."""
        if tensor.trace is self:
            return tensor
        if tensor.trace is None and not self.root.watches(tensor):
            key = id(tensor.array)
            if key not in self._constants:
                value = self.graph.constant(tensor.array.to(device.CPU))  # passes look at it
                self._constants[key] = (self.tensor(value, tensor.dims, tensor.dtype), tensor.array)
            return self._constants[key][0]
        if self.outer is None:
            raise TraceError("a traced tensor was used after its trace had ended")
        key = id(tensor)
        if key not in self.captured_inputs:
            self.captured.append(tensor)
            self.captured_inputs[key] = self.input(tensor.dims, tensor.dtype)
        return self.captured_inputs[key]

    def offset(self, start: Tensor, stop: Tensor) -> int | None:
        """stop - start of two scalars, if `stop` was written as `start` plus a number known now."""
        terms = self._sums.get(stop.node, ())
        for term, other in zip(terms, reversed(terms)):
            for constant, array in self._constants.values():
                if term == start.node and constant.node == other:
                    return int(array.numpy())
        return None

    def watches(self, tensor: Tensor) -> bool:
        """Of a root: whether an eager tensor is an input of the regions and not a constant."""
        return False

    def folded(self, tensors: list[Tensor]) -> list[Tensor]:
        """Of a root: told of constants that were computed while tracing."""
        return tensors

    # Variables.

    def read(self, slot: Slot) -> Tensor:
        current = self.slots.get(slot)
        if current is None:
            if slot not in self.first:
                self.first[slot] = self._found(slot)
            current = self.slots[slot] = self.first[slot]
        return current

    def _found(self, slot: Slot) -> Tensor:
        if self.outer is not None:
            return self.lift(self.outer.read(slot))
        self.read_slots.append(slot)
        return self.input(slot.dims, slot.dtype)

    def write(self, slot: Slot, tensor: Tensor) -> None:
        self.read(slot)  # a branch that does not assign keeps the old value
        self.slots[slot] = tensor
        self.written[slot] = None

    # Recording.

    def record(
        self, primitive: Primitive, inputs: Sequence[Tensor], attrs: dict, specs
    ) -> list[Tensor]:
        known = primitive.pure and foldable(inputs, specs, attrs)
        if known and not any(map(self.root.watches, inputs)):
            return self.root.folded(primitive.run(inputs, attrs, specs))
        lifted = [self.lift(t).node for t in inputs]
        if any(v is None for v in attrs.values()):
            attrs = {k: v for k, v in attrs.items() if v is not None}
        outs = self.node(primitive.name, lifted, attrs, specs, primitive.pure)
        if all(self.is_own_name(t) for t in inputs):
            return outs
        # What comes of a value by another name has another name, too: tapes tell tensors apart.
        return [Tensor(dims=t.dims, dtype=t.dtype, trace=self, node=t.node) for t in outs]

    def is_own_name(self, tensor: Tensor) -> bool:
        """Whether a tensor is the one that this trace has for its value, if it is of this trace."""
        return tensor.trace is not self or self.values.get(tensor.node) is tensor

    def node(self, op, values, attrs, specs, pure=True, regions=(), host=None) -> list[Tensor]:
        self.root.nodes += 1
        outputs = [(dtype, [symbolic.code_of(d) for d in dims]) for dims, dtype in specs]
        attrs = {name: _encode(value) for name, value in attrs.items()}
        outs = self.graph.add(op, values, attrs, outputs, pure, list(regions), host)
        if op == "add" and not outputs[0][1]:
            self._sums[outs[0]] = values
        return [self.tensor(v, dims, dtype) for v, (dims, dtype) in zip(outs, specs)]

    def __enter__(self):
        self._saved = STATE.trace, STATE.tapes, device.STATE.name
        STATE.trace = self
        device.STATE.name = device.CPU  # constants are folded there
        if self.outer is None:
            STATE.tapes = []
        return self

    def __exit__(self, *exc):
        STATE.trace, STATE.tapes, device.STATE.name = self._saved


def _encode(value):
    if type(value) is SymInt:
        return value.code
    if type(value) in (tuple, list) and any(type(v) is SymInt for v in value):
        return tuple(symbolic.code_of(v) for v in value)
    return value


def foldable(inputs, specs, attrs) -> bool:
    """All inputs known now, and outputs small: the primitive can run while tracing."""
    for t in inputs:
        if t.trace is not None:
            return False
    for value in attrs.values():
        if type(value) is SymInt:
            return False
    for dims, _ in specs:
        count = 1
        for d in dims:
            if type(d) is SymInt:
                return False
            count *= d
        if count > _FOLD_LIMIT:
            return False
    return True


@contextlib.contextmanager
def _without_collections():
    """No search for cyclic garbage: what a trace makes all lives to its end, and searching it again
    and again takes more than linear time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class CompiledFunction:
    """A traced and compiled function of flat tensors.

    Attributes:
        compiled: the `_core.Compiled`; guards: what its sizes must satisfy; nodes: nodes recorded.
    """

    def __init__(
        self,
        fn: Callable,
        specs: Sequence[tuple],
        *,
        place: str = device.CPU,
        observer=None,
        passes: Sequence[str] = (),
    ):
        """Traces `fn(*tensors)`, which returns a list of tensors.

        Args:
            specs: (dims, dtype) of each argument; dims may hold SymInts.
            place: the device that it is compiled for.
            observer: called with the name and the text of the graph after each stage.
            passes: names of passes to run that do not run unasked.
        """
        trace = Trace()
        with _without_collections(), trace:
            arguments = [trace.input(dims, dtype) for dims, dtype in specs]
            with Tape() as tape:
                results = [trace.lift(t) for t in fn(*arguments)]
            recognise(tape.records)
            writes = list(trace.written)
            finals = [trace.lift(trace.slots[slot]) for slot in writes]
        # A slot that ends with the value it began with is not written.
        kept = [
            (slot, final)
            for slot, final in zip(writes, finals)
            if final is not trace.first.get(slot)
        ]
        self.place = place
        self.nodes = trace.nodes
        self.guards = trace.guards
        self.slots = trace.read_slots
        self._written = [slot for slot, _ in kept]
        self.compiled = _core.compile(
            trace.graph,
            [t.node for t in results] + [t.node for _, t in kept],
            [slot.core for slot in trace.read_slots],
            [slot.core for slot, _ in kept],
            place,
            observer,
            list(passes),
        )

    def accepts(self, sizes) -> bool:
        """Whether the compiled code is right for these sizes."""
        return not self.guards or symbolic.holds(self.guards, sizes)

    def run(self, arrays, sizes) -> list[Tensor]:
        results = [Tensor(a) for a in self.compiled.run(arrays, sizes)]
        for slot in self._written:
            slot.forget()
        if self.place != device.CPU:
            device.say_what_went_through_host()
        return results


def abstract_eval(fn: Callable, specs: Sequence[tuple]):
    """Runs `fn` on traced tensors of the given (dims, dtype) and throws the graph away.

    A size of None stands for one that is not known: it becomes a symbol, and None again in the
    shapes
    of the results. Returns whatever `fn` returned, its tensors traced ones: read `.shape` and
    `.dtype`.
    """
    trace = Trace()
    # One hint for all, so that sizes which must be equal are; a number that no known size equals.
    hint = 9973
    count = 0
    with trace:
        arguments = []
        for dims, dtype in specs:
            sizes = []
            for d in dims:
                if d is None:
                    d = SymInt(_core.symbols.symbol(count), hint)
                    count += 1
                sizes.append(d)
            arguments.append(trace.input(sizes, dtype))
        return fn(*arguments)


def _host(op: str):
    """What runs primitive `op` inside compiled code when no kernel takes it."""
    primitive = REGISTRY.get(op)
    if primitive is None or primitive.reference is None:
        return None

    def call(arrays, specs, attrs):
        STATE.host_calls[op] = STATE.host_calls.get(op, 0) + 1
        results = primitive.reference(*(a.numpy() for a in arrays), **attrs)
        if not isinstance(results, tuple):
            results = (results,)
        return [
            _core.Array.from_numpy(as_spec(r, dims, dtype), False)
            for r, (dtype, dims) in zip(results, specs, strict=True)
        ]

    return call


_core.set_host_fallback(_host)
