"""The tape: remembers primitives as they are called and applies their gradient rules backwards.

Rules are written in primitives, so a tape that is recording while another goes backwards yields
derivatives of derivatives, and a trace around both compiles them.
"""

from __future__ import annotations

from collections.abc import Sequence

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives.batch import Unbatchable
from keras_native.engine.recognise import recognise
from keras_native.engine.tensor import Tensor


class Tape:
    """Records (primitive, inputs, attrs, result) while it is among `STATE.tapes`."""

    def __init__(self):
        self.records: list[tuple] = []

    def record(self, primitive, inputs, attrs, result) -> None:
        if primitive.vjp is not None:
            self.records.append((primitive, inputs, attrs, result))

    def __enter__(self):
        STATE.tapes = [*STATE.tapes, self]
        return self

    def __exit__(self, *exc):
        STATE.tapes = [t for t in STATE.tapes if t is not self]


class paused:
    """Within it, the given tapes (all, by default) do not record."""

    def __init__(self, *tapes):
        self.tapes = tapes

    def __enter__(self):
        self.saved = STATE.tapes
        STATE.tapes = [t for t in self.saved if self.tapes and t not in self.tapes]

    def __exit__(self, *exc):
        STATE.tapes = self.saved


class _Custom:
    """Stands for a primitive on the tape: its gradient rule is given."""

    def __init__(self, name, vjp):
        self.name = name
        self.vjp = vjp


def record_custom(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], vjp) -> None:
    """Puts a function with a gradient rule of its own on the active tapes, as one record.

    Args:
        name: as error messages name it.
        vjp: `vjp(cts, outs, *inputs) -> tuple`, a cotangent or None for each input; entries of
            `cts` are None where nothing flowed back.
    """
    if STATE.trace is not None and STATE.trace.outer_tapes:
        # Tapes around a batch would see the pieces, not the rule.
        raise Unbatchable(name)
    for tape in STATE.tapes:
        tape.record(_Custom(name, vjp), tuple(inputs), {}, tuple(outputs))


def backward(
    records: Sequence[tuple],
    targets: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    sources: Sequence[Tensor],
) -> list[Tensor | None]:
    """Cotangents of `sources`, given those of `targets`; None where nothing depends on a source."""
    from keras_native.engine.primitives import elementwise

    if STATE.trace is not None:
        records = recognise(records)
    # Only what depends on a source needs a cotangent.
    active = {id(s) for s in sources}
    relevant = []
    for record in records:
        _, inputs, _, result = record
        for t in inputs:
            if id(t) in active:
                relevant.append(record)
                for out in result if type(result) is tuple else (result,):
                    if dtypes.is_differentiable(out.dtype):
                        active.add(id(out))
                break

    pending: dict[int, Tensor] = {}

    def accumulate(tensor, cotangent):
        if cotangent.dims != tensor.dims or cotangent.dtype != tensor.dtype:
            raise ValueError(
                f"cotangent {cotangent.dtype}{cotangent.shape} for a tensor "
                f"{tensor.dtype}{tensor.shape}"
            )
        known = pending.get(id(tensor))
        pending[id(tensor)] = cotangent if known is None else elementwise.add(known, cotangent)

    kept = {id(s): None for s in sources}
    for target, cotangent in zip(targets, cotangents):
        if id(target) in active:
            accumulate(target, cotangent)
    for primitive, inputs, attrs, result in reversed(relevant):
        several = type(result) is tuple
        outs = result if several else (result,)
        cts = []
        for out in outs:
            ct = pending.pop(id(out), None)
            if ct is not None and id(out) in kept:
                kept[id(out)] = _plus(kept[id(out)], ct)
            cts.append(ct)
        if all(ct is None for ct in cts):
            continue
        given = primitive.vjp(tuple(cts) if several else cts[0], result, *inputs, **attrs)
        for t, ct in zip(inputs, given, strict=True):
            if ct is not None and id(t) in active:
                try:
                    accumulate(t, ct)
                except ValueError as error:
                    raise ValueError(f"gradient rule of '{primitive.name}': {error}") from None
    return [_plus(kept[id(s)], pending.get(id(s))) for s in sources]


def _plus(a, b):
    from keras_native.engine.primitives import elementwise

    if a is None or b is None:
        return b if a is None else a
    return elementwise.add(a, b)


def full_like(tensor: Tensor, value: float) -> Tensor:
    """A tensor of the same sizes and dtype, every element `value`."""
    from keras_native.engine.primitives import shape

    return shape.full(tensor.dims, value, tensor.dtype)


class GradientTape:
    """Records operations for automatic differentiation, as a custom `train_step` wants it.

    Variables that are read inside the `with` block are watched; tensors after `watch`, which here
    is
    needed for nothing but symmetry with other libraries.

        with keras_native.GradientTape() as tape:
            loss = ...
        gradients = tape.gradient(loss, model.trainable_variables)

    Args:
        persistent: allows several calls of `gradient`.
    """

    def __init__(self, persistent: bool = False):
        self.persistent = persistent
        self._tape = Tape()
        self._used = False

    def __enter__(self):
        self._tape.__enter__()
        return self

    def __exit__(self, *exc):
        self._tape.__exit__(*exc)

    def watch(self, tensors) -> None:
        """Accepted for symmetry: every tensor is differentiable."""

    def gradient(self, target, sources, output_gradients=None):
        """Derivatives of `target` (a tensor, or a structure of them, summed) by `sources`.

        Args:
            target: scalar or not; elements are summed unless `output_gradients` are given.
            sources: a tensor or variable, or a (nested) structure of them.
            output_gradients: cotangents, in the structure of `target`.

        Returns:
            The structure of `sources`; None where the target does not depend on one. By a sparse
            tensor: a sparse one, at the same positions.

        Raises:
            RuntimeError: a tape that is not persistent was asked twice.
        """
        from keras_native.engine.tree import flatten, like_sources, unflatten

        if self._used and not self.persistent:
            raise RuntimeError(
                "GradientTape.gradient was called twice; make the tape persistent=True"
            )
        self._used = True
        targets = [as_tensor(t) for t in flatten(target)[0] if t is not None]
        flat, tree = flatten(sources)
        if output_gradients is None:
            seeds = None
        else:
            seeds = [as_tensor(t) for t in flatten(output_gradients)[0]]
        with paused(self._tape):
            cotangents = seeds or [full_like(t, 1) for t in targets]
            grads = backward(self._tape.records, targets, cotangents, [as_tensor(s) for s in flat])
        if not self.persistent:
            self._tape.records = []
        return like_sources(unflatten(tree, grads), sources)


def as_tensor(value) -> Tensor:
    """The tensor of a variable-like object (anything with `.value`), or the tensor itself.

    Raises:
        TypeError: neither a tensor nor a variable.
    """
    if isinstance(value, Tensor):
        return value
    inner = getattr(value, "value", None)
    if isinstance(inner, Tensor):
        return inner
    raise TypeError(f"expected a tensor or a variable, got {type(value).__name__}")
