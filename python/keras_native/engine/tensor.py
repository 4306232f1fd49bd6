"""The tensor: a value (eager) or a value to be (traced), with value semantics."""

from __future__ import annotations

import numpy as np

from keras_native import _core
from keras_native.engine import device
from keras_native.engine import dtype as dtypes
from keras_native.engine.errors import TraceError


class Tensor:
    """A tensor of fixed dtype.

    Attributes:
        dims: its sizes as a tuple; under trace an entry may be a `SymInt`.
        dtype: Keras's name of its dtype.
        array: the `_core.Array` of an eager tensor, None under trace.
        trace, node: the trace that will compute it and its value number there (None if eager).

    Contents never change. Operators and NumPy's protocols are attached by `engine.operators`.
    """

    __array_priority__ = 1000

    def __init__(self, array=None, *, dims=None, dtype=None, trace=None, node=None):
        self.array = array
        self.dims = array.shape if dims is None else dims
        self.dtype = array.dtype if dtype is None else dtype
        self.trace = trace
        self.node = node

    @property
    def shape(self) -> tuple:
        """Sizes as Keras sees them: None where a size is symbolic."""
        if self.trace is None:
            return self.dims
        return tuple(d if type(d) is int else None for d in self.dims)

    @property
    def ndim(self) -> int:
        return len(self.dims)

    @property
    def size(self):
        total = 1
        for d in self.dims:
            total = total * d
        return total

    def numpy(self) -> np.ndarray:
        """A read-only NumPy view of an eager tensor (no copy on the CPU).

        Raises:
            TraceError: the tensor is being traced and has no value yet.
        """
        if self.array is None:
            raise TraceError(
                f"a traced tensor {self.dtype}{self.shape} has no value yet; it was asked for one "
                "(bool(), float(), NumPy or a Python branch on it)"
            )
        return self.array.numpy()

    def __reduce__(self):
        return from_numpy, (self.numpy(),)


def from_numpy(array, copy: bool = True) -> Tensor:
    """A tensor with the elements of a NumPy array, on the current device.

    Args:
        array: any NumPy array or scalar of a dtype in `dtypes.NAMES`.
        copy: False shares the memory where layout allows; the caller promises not to write to it.
    """
    array = np.asarray(array)
    dtypes.from_numpy(array.dtype)
    return Tensor(device.place(_core.Array.from_numpy(array, copy)))
