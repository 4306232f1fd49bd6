"""A function of one element run once over a batch of them.

Inside, a tensor that depends on an element has the element's sizes; each primitive is carried out
on the whole batch by its batching rule, or by the rules of what it decomposes into. What has no
rule (loops, assignments to variables) is `Unbatchable`.
"""

from __future__ import annotations

from collections.abc import Callable

from keras_native.engine import tree
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import shape
from keras_native.engine.primitives.batch import Unbatchable, spread
from keras_native.engine.tape import as_tensor, paused
from keras_native.engine.tensor import Tensor


class _Context:
    """What the thread does meanwhile: this trace and these tapes."""

    def __init__(self, trace, tapes):
        self.inside = trace, tapes

    def __enter__(self):
        self.saved = STATE.trace, STATE.tapes
        STATE.trace, STATE.tapes = self.inside

    def __exit__(self, *exc):
        STATE.trace, STATE.tapes = self.saved


class _BatchTrace:
    """Stands where a trace stands, but carries primitives out, on batches.

    A tensor of it has in `node` the tensor of the whole batch.
    """

    graph = None

    def __init__(self, size):
        self.size = size
        self.outer, self.outer_tapes = STATE.trace, STATE.tapes
        self.root = None if self.outer is None else self.outer.root

    def __getattr__(self, name):
        raise Unbatchable(f"a batch has no '{name}'")

    def outside(self):
        return _Context(self.outer, self.outer_tapes)

    def tensor(self, whole: Tensor) -> Tensor:
        return Tensor(dims=tuple(whole.dims[1:]), dtype=whole.dtype, trace=self, node=whole)

    def record(self, primitive, inputs, attrs, specs) -> list[Tensor]:
        batched = [t.trace is self for t in inputs]
        if not any(batched):
            with self.outside():
                outs = primitive(*inputs, **attrs)
            return list(outs) if isinstance(outs, tuple) else [outs]
        outs = None
        if primitive.batch is not None:
            wholes = [t.node if b else t for t, b in zip(inputs, batched)]
            with self.outside():
                outs = primitive.batch(primitive, self.size, wholes, batched, **attrs)
        if outs is not None:
            return [self.tensor(t) for t in (outs if isinstance(outs, tuple) else (outs,))]
        if primitive.decompose is None:
            raise Unbatchable(primitive.name)
        with paused():
            outs = primitive.decompose(*inputs, **attrs)
        return list(outs) if isinstance(outs, tuple) else [outs]

    def read(self, slot) -> Tensor:
        with self.outside():
            return slot.read()

    def write(self, slot, tensor) -> None:
        raise Unbatchable("a variable is assigned")


def over_batch(function: Callable, elements):
    """`function` of each element along the leading axis of `elements`, the results stacked.

    Args:
        function: takes one element (in the structure of `elements`), returns a structure of
            tensors (None allowed).
        elements: tensors of one leading size.

    Raises:
        Unbatchable: it needs something that cannot be done to all elements at once; nothing was
            assigned then.
        ValueError: leading sizes differ.
    """
    leaves, structure = tree.flatten(elements)
    leaves = [as_tensor(t) for t in leaves]
    if not leaves or any(not t.dims for t in leaves):
        raise ValueError("vectorized_map: elements must have a leading dimension")
    size = leaves[0].dims[0]
    for t in leaves:
        if not shape.same(t.dims[0], size):
            raise ValueError(f"vectorized_map: leading sizes {size} and {t.dims[0]} differ")
    trace = _BatchTrace(size)
    with _Context(trace, []):
        result = function(tree.unflatten(structure, [trace.tensor(t) for t in leaves]))

    def whole(t):
        if t is None:
            return None
        t = as_tensor(t)
        return t.node if t.trace is trace else spread(t, False, size)

    return tree.map_structure(whole, result)
