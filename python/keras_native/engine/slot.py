"""Variable storage: one slot a variable, read and written by eager code and by compiled steps
alike."""

from __future__ import annotations

from keras_native import _core
from keras_native.engine.primitive import STATE
from keras_native.engine.tensor import Tensor


class Slot:
    """Holds the current value of a variable.

    Arrays never change, so what `read` returned before a write stays as it was. Under a trace,
    reads
    are inputs of the compiled step and writes become its final commit.
    """

    def __init__(self, tensor: Tensor):
        self.core = _core.Slot(_concrete(tensor))
        self.dims = tensor.dims
        self.dtype = tensor.dtype
        # Version and value of a moment, in one: other threads look at it and replace it.
        self._seen = self.core.version, tensor
        STATE.slots += 1

    def read(self) -> Tensor:
        """The current value; the same object until the next write, so that tapes can watch it."""
        return self.current() if STATE.trace is None else STATE.trace.read(self)

    def current(self) -> Tensor:
        """The value that eager code sees, whatever is being traced."""
        return self.stored() if STATE.view is None else STATE.view.read(self)

    def stored(self) -> Tensor:
        # A compiled step may have replaced the array behind our back.
        seen, version = self._seen, self.core.version
        if seen is None or seen[0] != version:
            seen = self._seen = version, Tensor(self.core.get())
        return seen[1]

    def write(self, tensor: Tensor) -> None:
        """Replaces the value.

        Raises:
            ValueError: another shape or dtype than the slot's.
        """
        if tuple(tensor.dims) != tuple(self.dims) or tensor.dtype != self.dtype:
            raise ValueError(
                f"cannot assign {tensor.dtype}{tuple(tensor.shape)} to a variable of "
                f"{self.dtype}{tuple(self.dims)}"
            )
        if STATE.trace is not None:
            STATE.trace.write(self, tensor)
        else:
            self.store(tensor)

    def forget(self) -> None:
        """Lets go of what was read before a compiled step wrote: the next one may then write to
        the same memory."""
        self._seen = None

    def store(self, tensor: Tensor) -> None:
        """Replaces the value that eager code sees, whatever is being traced."""
        if STATE.view is None:
            self.replace(tensor)
        else:
            STATE.view.write(self, tensor)

    def replace(self, tensor: Tensor) -> None:
        """Replaces what is stored."""
        self._seen = self.core.set(_concrete(tensor)), tensor


def _concrete(tensor: Tensor):
    if tensor.array is None:
        tensor.numpy()  # raises TraceError with the reason
    return tensor.array
