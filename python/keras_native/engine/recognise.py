"""Recognition before differentiation: compositions that are fused primitives in disguise.

Keras 3.15 spells layer normalisation, batch normalisation in training and masked attention in small
operations. Once such a chain has been differentiated piece by piece the whole cannot be found
again;
so what a tape recorded under a trace is searched first. A match records the fused primitive, lets
it
stand for the chain's result in the graph, and takes the chain's place on the tape. Pieces that
somebody else uses stay; the others are dead code.
"""

from __future__ import annotations

from collections.abc import Callable

from keras_native.engine.primitive import REGISTRY, STATE
from keras_native.engine.tensor import Tensor

# (name of the root's primitive, matcher) in the order of registration. A matcher takes the root's
# record and the chain and returns (the fused primitive's name or a function that makes its outputs,
# inputs, attrs, position of the root's value among the outputs, other outputs by position or {}) or
# None.
MATCHERS: list[tuple[str, Callable]] = []


def matcher(root: str):
    """Registers a matcher for chains that end in primitive `root`."""

    def register(fn):
        MATCHERS.append((root, fn))
        return fn

    return register


class Chain:
    """What made a tensor, by primitive name."""

    def __init__(self, records):
        self.made = {}
        for record in records:
            result = record[3]
            for k, out in enumerate(result if type(result) is tuple else (result,)):
                self.made[id(out)] = (record, k)

    def of(self, tensor: Tensor, name: str):
        """The record of primitive `name` that made the tensor, or None."""
        found = self.made.get(id(tensor))
        return found[0] if found and found[0][0].name == name else None

    def inputs(self, tensor: Tensor, name: str):
        record = self.of(tensor, name)
        return None if record is None else record[1]

    def either(self, tensor: Tensor, name: str):
        """The two operands of a commutative primitive in both orders."""
        operands = self.inputs(tensor, name)
        if operands is None or len(operands) != 2:
            return ()
        a, b = operands
        return ((a, b), (b, a))

    def output(self, tensor: Tensor, name: str):
        """(record, position) where the tensor is one of several outputs of primitive `name`."""
        found = self.made.get(id(tensor))
        return found if found and found[0][0].name == name else (None, None)

    def through(self, tensor: Tensor, *names: str) -> Tensor:
        """The tensor behind any of the one-input primitives named."""
        while True:
            found = self.made.get(id(tensor))
            if not found or found[0][0].name not in names:
                return tensor
            tensor = found[0][1][0]


def scalar(tensor: Tensor) -> float | None:
    """The value of a scalar known while tracing."""
    if tensor.array is not None and tensor.dims == ():
        return float(tensor.numpy())
    return None


def recognise(records):
    """The records with known chains replaced by their fused primitives (in the current trace)."""
    if STATE.trace.graph is None:
        return records
    roots = {name for name, _ in MATCHERS}
    if not any(record[0].name in roots for record in records):
        return records
    chain = Chain(records)
    result = []
    for record in records:
        result.extend(_fused(record, chain) or [record])
    return result


def _fused(record, chain):
    root = record[3]
    if type(root) is tuple or root.trace is not STATE.trace:
        return None
    for name, match in MATCHERS:
        if record[0].name != name:
            continue
        found = match(record, chain)
        if found is not None and not _circular(found[1], found[4]):
            return _replace(root, *found)
    return None


def _circular(inputs, others) -> bool:
    """The fused primitive would read what it is to make (batch renormalisation: a scale that was
    computed from the batch's moments)."""
    graph = STATE.trace.graph
    made = [t.node for t in others.values() if t.trace is STATE.trace]
    return bool(made) and any(graph.depends(t.node, made) for t in inputs if t.trace is STATE.trace)


class _Recorder:
    """A tape for the primitives that take a chain's place."""

    def __init__(self):
        self.records = []

    def record(self, primitive, inputs, attrs, result):
        if primitive.vjp is not None:
            self.records.append((primitive, tuple(inputs), attrs, result))


def _replace(root, fused, inputs, attrs, position, others):
    recorder = _Recorder()
    saved, STATE.tapes = STATE.tapes, [recorder]
    try:
        outs = (fused if callable(fused) else REGISTRY[fused])(*inputs, **attrs)
        outs = outs if type(outs) is tuple else (outs,)
    finally:
        STATE.tapes = saved
    stand_ins = {}
    for old, new in [(root, outs[position]), *((old, outs[k]) for k, old in others.items())]:
        if old.trace is STATE.trace and old.node != new.node:
            STATE.trace.graph.alias(old.node, new.node)
            stand_ins[id(new)] = old

    def stand_in(result):
        if type(result) is tuple:
            return tuple(map(stand_in, result))
        return stand_ins.get(id(result), result)

    return [(p, ins, a, stand_in(result)) for p, ins, a, result in recorder.records]
