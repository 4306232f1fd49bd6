"""Regions: traced bodies of control flow.

What a body uses from outside is captured as extra inputs; variables that it assigns become extra
results. A region stands in the graph of the trace around it; when it is called eagerly, in that of
an `EagerTrace`, whose node is run at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from keras_native import _core
from keras_native.engine import device, tree
from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise
from keras_native.engine.slot import Slot
from keras_native.engine.tape import Tape, as_tensor, backward, full_like
from keras_native.engine.tensor import Tensor
from keras_native.engine.trace import Trace


class EagerTrace(Trace):
    """Stands around a region that is called eagerly: its node is compiled and run at once.

    Where tapes record, floating-point tensors from outside are inputs and not constants, so that
    derivatives by them can be asked for; what is made of numbers inside stays constant.
    """

    def __init__(self):
        super().__init__()
        self.place = device.STATE.name
        self.recorded = bool(STATE.tapes)
        self.fed: list[Tensor] = []
        self._inputs: dict[int, Tensor] = {}
        self._made: dict[int, Tensor] = {}

    def watches(self, tensor: Tensor) -> bool:
        differentiable = self.recorded and dtypes.is_differentiable(tensor.dtype)
        return differentiable and id(tensor) not in self._made

    def folded(self, tensors: list[Tensor]) -> list[Tensor]:
        self._made.update((id(t), t) for t in tensors)
        return tensors

    def lift(self, tensor: Tensor) -> Tensor:
        if tensor.trace is not None:
            return super().lift(tensor)
        if id(tensor) not in self._inputs:
            self.fed.append(tensor)
            self._inputs[id(tensor)] = self.input(tensor.dims, tensor.dtype)
        return self._inputs[id(tensor)]

    def read(self, slot: Slot) -> Tensor:
        return self.slots.setdefault(slot, slot.current())

    def write(self, slot: Slot, tensor: Tensor) -> None:
        slot.store(tensor)

    def node(self, op, values, attrs, specs, pure=True, regions=(), host=None) -> list[Tensor]:
        outs = super().node(op, values, attrs, specs, pure, regions, host)
        compiled = _core.compile(self.graph, [t.node for t in outs], [], [], self.place, None)
        return [Tensor(a) for a in compiled.run([t.array for t in self.fed], [])]


def surrounding_trace():
    """A context in which regions can be made: the current trace, or one that runs them at once."""
    return contextlib.nullcontext() if STATE.trace is not None else EagerTrace()


class Region:
    """One traced body.

    Args:
        fn: called with tensors; returns a structure of tensors (None allowed).
        arguments: tensors whose sizes and dtypes the arguments have.
        slots: variables that are arguments too (after the others) and results (after the others).
        snapshot: values of variables at an earlier time, outer tensors.
        discard: assignments inside have no effect outside (the body is a recomputation).
    """

    def __init__(self, fn: Callable, arguments, slots=(), snapshot=None, discard=False):
        outer = STATE.trace
        self.trace = trace = Trace(outer=outer)
        with trace:
            inputs = [trace.input(t.dims, t.dtype) for t in arguments]
            for slot in slots:
                trace.slots[slot] = trace.input(slot.dims, slot.dtype)
            for slot, tensor in (snapshot or {}).items():
                trace.slots[slot] = trace.lift(tensor)
            leaves, self.structure = tree.flatten(fn(*inputs))
            self.nones = tuple(i for i, leaf in enumerate(leaves) if leaf is None)
            self.results = [trace.lift(as_tensor(leaf)) for leaf in leaves if leaf is not None]
        self.written = [] if discard else list(trace.written)

    @property
    def captured(self) -> list[Tensor]:
        return self.trace.captured

    def slot_values(self, slots) -> list[Tensor]:
        """Values of variables at the end of the body."""
        return [self.trace.lift(self.trace.read(slot)) for slot in slots]

    def finish(self, outputs, captured=None):
        """Fixes the graph's outputs, and its captured inputs to a given list."""
        self.trace.graph.set_outputs([t.node for t in outputs])
        if captured is not None:
            self.trace.graph.set_inputs([self.trace.lift(t).node for t in captured])
        return self.trace.graph

    def unflatten(self, tensors):
        tensors = iter(tensors)
        leaves = [
            None if i in self.nones else next(tensors) for i in range(self.structure.num_leaves)
        ]
        return tree.unflatten(self.structure, leaves)


def specs_of(tensors):
    return [(t.dims, t.dtype) for t in tensors]


def check_same(op, what, first, second):
    if specs_of(first) != specs_of(second):

        def text(ts):
            return ", ".join(f"{t.dtype}{t.shape}" for t in ts)

        raise ValueError(f"{op}: {what}: ({text(first)}) and ({text(second)})")


def region_node(op, values, attrs, results, regions):
    trace = STATE.trace
    nodes = [trace.lift(t).node for t in values]
    return trace.node(op, nodes, attrs, specs_of(results), True, regions)


def values_before(*regions):
    """What the variables that the regions read were before them, as outer tensors."""
    outer = STATE.trace
    return {
        slot: outer.slots[slot]
        for region in regions
        for slot in region.trace.slots
        if slot in outer.slots
    }


def gradients(run, cts, sources):
    """Inside a region: cotangents of `sources` through `run()`, zeros where there is none.

    `sources` may be outer tensors: a body uses them as they are or lifted (variables).
    """
    with Tape() as tape:
        results = [as_tensor(t) for t in tree.flatten(run())[0] if t is not None]
    lifted = [STATE.trace.lift(t) for t in sources]
    pairs = [(t, ct) for t, ct in zip(results, cts) if ct is not None]
    targets, seeds = [t for t, _ in pairs], [ct for _, ct in pairs]
    found = backward(tape.records, targets, seeds, [*sources, *lifted])
    grads = []
    for k, t in enumerate(sources):
        direct, through = found[k], found[k + len(sources)]
        if lifted[k] is t:
            through = None
        if direct is None and through is None:
            grads.append(full_like(t, 0))
        elif direct is None or through is None:
            grads.append(through if direct is None else direct)
        else:
            grads.append(elementwise.add(direct, through))
    return grads


def differentiable(tensors):
    return [t for t in tensors if dtypes.is_differentiable(t.dtype)]
