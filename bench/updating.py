"""Cases whose results replace operands: a compiled step over variables that hold these."""

from __future__ import annotations

from collections.abc import Sequence

from bench import harness


class Updating:
    """Runs like a `harness.Bound`; from the second run on in the memory of the variables. The
    first one copies what the bound case still holds.

    Attributes: those of the bound case.
    """

    def __init__(self, bound: harness.Bound, updates: Sequence[int]):
        from keras_native.engine.slot import Slot
        from keras_native.engine.tensor import Tensor
        from keras_native.engine.trace import CompiledFunction

        self.op, self.arrays = bound.op, bound.arrays
        self.attrs, self.outputs = bound.attrs, bound.outputs
        tensors = [Tensor(array) for array in bound.arrays]
        self._slots = {i: Slot(tensors[i]) for i in updates}
        given = [i for i in range(len(tensors)) if i not in self._slots]
        self._arguments = [tensors[i].array for i in given]

        def step(*arguments):
            read = dict(zip(given, arguments)) | {i: s.read() for i, s in self._slots.items()}
            results = harness.primitive(bound.op)(*(read[i] for i in sorted(read)), **bound.attrs)
            for i, result in zip(updates, harness.as_tuple(results), strict=True):
                self._slots[i].write(result)
            return []

        self._step = CompiledFunction(step, [(tensors[i].dims, tensors[i].dtype) for i in given])
        for slot in self._slots.values():
            slot.forget()

    def run(self):
        """One step; an empty list."""
        return self._step.run(self._arguments, [])
