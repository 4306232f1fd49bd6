"""Function transforms over the one tape and the one trace, in JAX's manner."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine import tree
from keras_native.engine.closures import Memory, frozen
from keras_native.engine.dispatch import Dispatcher
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import shape
from keras_native.engine.tape import Tape, as_tensor, backward, full_like, paused, record_custom
from keras_native.engine.tensor import Tensor, from_numpy


def value_and_grad(
    fun: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable:
    """A function that returns `(fun(*args), gradients)`.

    Args:
        fun: returns a scalar tensor, or `(scalar, aux)` with `has_aux`.
        argnums: the argument, or arguments, to differentiate by; each a tensor, variable or
        structure.

    Raises (when called):
        ValueError: `fun` did not return a scalar.
    """
    several = not isinstance(argnums, int)
    positions = tuple(argnums) if several else (argnums,)

    @functools.wraps(fun)
    def wrapped(*args, **kwargs):
        args = list(args)
        flats = []
        for i in positions:
            leaves, spec = tree.flatten(args[i])
            tensors = [_leaf_tensor(leaf) for leaf in leaves]
            # Variables stay what they are: the function reads them itself.
            args[i] = tree.unflatten(
                spec, [t if _is_array(leaf) else leaf for leaf, t in zip(leaves, tensors)]
            )
            flats.append((tensors, spec, args[i]))
        with Tape() as tape:
            result = fun(*args, **kwargs)
        value = as_tensor(result[0] if has_aux else result)
        if value.dims != ():
            raise ValueError(f"value_and_grad: {fun} must return a scalar, got shape {value.shape}")
        sources = [t for tensors, _, _ in flats for t in tensors]
        grads = backward(tape.records, [value], [full_like(value, 1)], sources)
        grads = iter(g if g is not None else full_like(s, 0) for g, s in zip(grads, sources))
        parts = [
            tree.like_sources(tree.unflatten(spec, [next(grads) for _ in tensors]), given)
            for tensors, spec, given in flats
        ]
        return result, tuple(parts) if several else parts[0]

    return wrapped


def grad(fun: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that returns the gradients of `fun` (and aux): see `value_and_grad`."""
    both = value_and_grad(fun, argnums, has_aux)

    @functools.wraps(fun)
    def wrapped(*args, **kwargs):
        result, grads = both(*args, **kwargs)
        return (grads, result[1]) if has_aux else grads

    return wrapped


def _is_array(leaf) -> bool:
    return isinstance(leaf, (Tensor, np.ndarray, float, int, complex, np.generic))


def _leaf_tensor(leaf) -> Tensor:
    if isinstance(leaf, (float, int)) and not isinstance(leaf, bool):
        return from_numpy(np.float32(leaf))
    if isinstance(leaf, (np.ndarray, np.generic)):
        return from_numpy(leaf)
    return _renamed(leaf) if isinstance(leaf, Tensor) else as_tensor(leaf)


def _renamed(t: Tensor) -> Tensor:
    """The same value as another tensor: where the function reads `t` elsewhere, as another argument
    or from around it, that is a constant."""
    if STATE.trace is None or STATE.trace.graph is None:
        return shape.copy(t)
    # No node of the graph, so that what is computed from either is computed once; the trace gives
    # what comes of the other name names of their own.
    own = STATE.trace.lift(t)
    other = Tensor(dims=own.dims, dtype=own.dtype, trace=own.trace, node=own.node)
    for tape in STATE.tapes:
        tape.record(shape.copy_p, (t,), {}, other)
    return other


class _Jit:
    def __init__(self, fun, place):
        functools.update_wrapper(self, fun)
        self.fun = fun
        self._contexts = {}
        self.dispatcher = Dispatcher(
            self._call, place=place, name=getattr(fun, "__name__", "function")
        )

    def _flatten(self, args, kwargs):
        leaves, spec = tree.flatten((args, kwargs))
        tensors, statics = [], []
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, (np.ndarray, np.generic)):
                leaf = from_numpy(leaf)
            if isinstance(leaf, Tensor):
                tensors.append(leaf)
            else:
                statics.append((i, _Static(leaf)))
        return tensors, (spec, tuple(statics))

    def _call(self, *tensors, key):
        spec, statics = key
        fixed = dict(statics)
        arguments = iter(tensors)
        leaves = [fixed[i].value if i in fixed else next(arguments) for i in range(spec.num_leaves)]
        args, kwargs = tree.unflatten(spec, leaves)
        return self.fun(*args, **kwargs)

    def __call__(self, *args, **kwargs):
        if STATE.trace is not None or STATE.tapes:  # compiled code has no derivative of its own
            return self.fun(*args, **kwargs)
        tensors, key = self._flatten(args, kwargs)
        return self.dispatcher(key, tensors)

    def graph(self, *args, **kwargs) -> str:
        """The graph of a call, before and after each pass, as text."""
        from keras_native.engine.trace import CompiledFunction

        tensors, key = self._flatten(args, kwargs)
        parts = []

        def flat(*arguments):
            leaves, _ = tree.flatten(self._call(*arguments, key=key))
            return [leaf for leaf in leaves if isinstance(leaf, Tensor)]

        CompiledFunction(
            flat,
            [(t.dims, t.dtype) for t in tensors],
            observer=lambda name, text: parts.append(f"== {name}\n{text}"),
        )
        return "\n".join(parts)

    @property
    def traces(self) -> int:
        """How often the function was traced so far."""
        return self.dispatcher.traces


class _Static:
    """A Python value that is part of a cache key: by equality and type where hashable, by identity
    else."""

    __slots__ = ("key", "value")

    def __init__(self, value):
        self.value = value
        # By bits: -0.0 equals 0.0 and does otherwise, and NaN equals nothing.
        self.key = value.hex() if type(value) is float else value

    def __hash__(self):
        try:
            return hash((type(self.value), self.key))
        except TypeError:
            return id(self.value)

    def __eq__(self, other):
        if self.value is other.value:
            return True
        try:
            hash(self.key)
        except TypeError:
            return False
        return type(self.value) is type(other.value) and self.key == other.key


def jit(fun: Callable, *, device: str | None = None) -> Callable:
    """Compiles `fun`: traced once for each structure, dtype and pattern of sizes of its arguments.

    Tensors and NumPy arrays are traced; every other argument is a constant of the trace. Variables
    that the function reads or assigns are inputs and outputs of the compiled code. It runs on
    `device`, or on the current one of each call. Called inside another compiled function it is part
    of that; under an eager tape it runs eagerly, to be differentiated (compile the gradient
    instead). The result has a method `graph(*args)` and a count `traces`.
    """
    return _Jit(fun, device)


def stop_gradient(x):
    """The tensor (or structure of tensors) as a constant of differentiation."""
    return tree.map_structure(lambda t: shape.stop_gradient(as_tensor(t)), x)


def custom_gradient(fun: Callable) -> Callable:
    """Gives a function its own gradient.

    `fun(*args)` returns `(result, grad_fn)`; `grad_fn(*upstream)` (also called with `upstream=`
    where it
    takes that keyword) returns a cotangent for each tensor among the arguments.
    """

    @functools.wraps(fun)
    def wrapped(*args, **kwargs):
        leaves, _ = tree.flatten((args, kwargs))
        inputs = [as_tensor(a) for a in leaves if _is_tensor_like(a)]
        with paused():
            result, grad_fn = fun(*args, **kwargs)
        outputs, spec = tree.flatten(result)
        # Fresh tensors, so that a result that is one of the arguments has a cotangent of its own.
        with paused():
            outputs = [shape.copy(as_tensor(t)) for t in outputs]

        def vjp(cts, outs, *ins):
            upstream = [c if c is not None else full_like(o, 0) for c, o in zip(cts, outs)]
            try:
                grads = grad_fn(*upstream)
            except TypeError as error:
                if "upstream" not in str(error):
                    raise
                grads = grad_fn(upstream=upstream[0] if len(upstream) == 1 else upstream)
            flat = [None if g is None else as_tensor(g) for g in tree.flatten(grads)[0]]
            if len(flat) != len(ins):
                raise ValueError(
                    f"custom_gradient: {fun} has {len(ins)} tensor arguments, its gradient "
                    f"function returned {len(flat)} cotangents"
                )
            return tuple(flat)

        record_custom("custom_gradient", inputs, outputs, vjp)
        return tree.unflatten(spec, outputs)

    return wrapped


def _is_tensor_like(value) -> bool:
    return isinstance(value, Tensor) or isinstance(getattr(value, "value", None), Tensor)


def checkpoint(fun: Callable) -> Callable:
    """Recomputes `fun` in the backward pass instead of keeping what it computed.

    It is called again with all as it was: variables, what it closes over, Keras's scopes. What it
    assigns then is forgotten.
    """

    @functools.wraps(fun)
    def wrapped(*args, **kwargs):
        if not STATE.tapes:
            return fun(*args, **kwargs)
        leaves, spec = tree.flatten((args, kwargs))
        # Variables are read by the function itself, as those that it closes over.
        where = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        inputs = [leaves[i] for i in where]
        again, memory = frozen(fun), Memory()
        with paused(), Tape() as first, memory.kept():
            outs, out_spec = tree.flatten(fun(*args, **kwargs))
        outs = [as_tensor(o) if _is_tensor_like(o) else o for o in outs]
        of_it = _made(first.records)
        outside = _used(first.records, of_it.keys() | {id(t) for t in inputs})
        del first
        found = [*outs, *(slot.read() for slot in memory.assigned)]
        # What it hands on from elsewhere is no result of it, and has its derivative there.
        made = [i for i, t in enumerate(found) if id(t) in of_it]
        del of_it

        def vjp(cts, results, *ins):
            # By names of their own: one tensor may be given twice.
            fresh = [_renamed(shape.barrier(t)) for t in ins[: len(inputs)]]
            given = list(leaves)
            for i, t in zip(where, fresh):
                given[i] = t
            args2, kwargs2 = tree.unflatten(spec, given)
            with memory.recalled(), Tape() as tape:
                redone = tree.flatten(again(*args2, **kwargs2))[0]
                redone += [slot.read() for slot in memory.assigned]
            pairs = [(as_tensor(redone[i]), ct) for i, ct in zip(made, cts) if ct is not None]
            return tuple(
                backward(
                    tape.records, [t for t, _ in pairs], [c for _, c in pairs], fresh + outside
                )
            )

        record_custom("checkpoint", inputs + outside, [found[i] for i in made], vjp)
        return tree.unflatten(out_spec, outs)

    return wrapped


def _made(records) -> dict[int, Tensor]:
    results = (r if type(r) is tuple else (r,) for *_, r in records)
    return {id(t): t for several in results for t in several}


def _used(records, known) -> list[Tensor]:
    """Variables and closed-over tensors: what was used and neither given nor made."""
    used = {id(t): t for _, inputs, *_ in records for t in inputs if id(t) not in known}
    return [t for t in used.values() if dtypes.is_differentiable(t.dtype)]
