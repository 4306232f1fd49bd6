"""The shapes and dtypes that a function gives for symbolic inputs."""

from __future__ import annotations

from keras.src import tree
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.backend.common.symbolic_scope import SymbolicScope

from keras_native import _core
from keras_native.engine.eager import eagerly
from keras_native.engine.errors import TraceError
from keras_native.engine.primitives.shape import full
from keras_native.engine.sparse import SparseTensor, entries
from keras_native.engine.symbolic import SymInt
from keras_native.engine.tensor import Tensor
from keras_native.engine.trace import Trace

# What an unknown size is taken for where a function insists on a number; two, to find the sizes
# of its results that depend on it. Unlikely to equal any size that is known.
_HINTS = (9973, 9967)
_ENTRIES = 9949  # of a symbolic sparse tensor: no result has this size


def compute_output_spec(fn, *args, **kwargs):
    """`fn`'s results as KerasTensors for KerasTensor arguments; unknown sizes stay None.

    `fn` is traced, not computed. All unknown sizes are taken to be the same one, so that operands
    whose batch sizes are both unknown fit together. Tensors that are being traced (a layer that
    builds itself inside a step) count as symbolic too.
    """
    args, kwargs = tree.map_structure(_of_no_trace, (args, kwargs))
    try:
        out, specialised = _trace(fn, args, kwargs, _HINTS[0])
        again = _trace(fn, args, kwargs, _HINTS[1])[0] if specialised else out
    except TraceError:
        # Code that reads values is computed, on zeros of two batch sizes.
        out, again = _compute(fn, args, kwargs, 83), _compute(fn, args, kwargs, 89)

    def spec(first, second):
        if not isinstance(first, (Tensor, SparseTensor)):
            return first
        sizes = (m if m == n else None for m, n in zip(first.shape, second.shape))
        return KerasTensor(tuple(sizes), first.dtype, sparse=isinstance(first, SparseTensor))

    flat = [spec(a, b) for a, b in zip(tree.flatten(out), tree.flatten(again))]
    return tree.pack_sequence_as(out, flat)


def _of_no_trace(x):
    """A KerasTensor in place of a tensor that is being traced."""
    if not isinstance(x, (Tensor, SparseTensor)) or x.trace is None:
        return x
    return KerasTensor(x.shape, x.dtype, sparse=isinstance(x, SparseTensor))


def _compute(fn, args, kwargs, size: int):
    """`fn`'s results for zeros, unknown sizes being `size`."""

    def zeros(x):
        if not isinstance(x, KerasTensor):
            return x
        dims = [size if d is None else d for d in x.shape]
        if x.sparse:
            return entries(full((0, len(dims)), 0, "int32"), full((0,), 0, x.dtype), dims)
        return full(dims, 0, x.dtype)

    with StatelessScope(), SymbolicScope(), eagerly():
        args, kwargs = tree.map_structure(zeros, (args, kwargs))
        return fn(*args, **kwargs)


def _trace(fn, args, kwargs, hint: int):
    """`fn`'s results as traced tensors, and whether it asked for the value of the unknown size."""
    trace = Trace()
    unknown = SymInt(_core.symbols.symbol(0), hint)
    count = SymInt(_core.symbols.symbol(1), _ENTRIES)

    def symbolic(x):
        if not isinstance(x, KerasTensor):
            return x
        dims = [unknown if d is None else d for d in x.shape]
        if x.sparse:
            indices = trace.input([count, len(dims)], "int32")
            return entries(indices, trace.input([count], x.dtype), dims)
        return trace.input(dims, x.dtype)

    with StatelessScope(), SymbolicScope(), trace:
        args, kwargs = tree.map_structure(symbolic, (args, kwargs))
        out = fn(*args, **kwargs)
    return out, any(outcome for relation, _, _, outcome in trace.guards if relation == "==")
