"""Keras's variable on a storage slot of the engine."""

from __future__ import annotations

import numpy as np
from keras.src.backend.common import KerasVariable

from keras_native.engine.eager import eagerly
from keras_native.engine.slot import Slot
from keras_native.src.ops.convert import convert_to_tensor


class Variable(KerasVariable):
    """A Keras variable whose value lives in one `Slot`: compiled steps read and write it in
    place."""

    _slot = None

    @property
    def _value(self):
        return None if self._slot is None else self._slot.read()

    @_value.setter
    def _value(self, value):
        # Keras sets None before a deferred initialisation, and tests may set a tensor.
        if value is None:
            self._slot = None
        elif self._slot is None:
            self._slot = Slot(convert_to_tensor(value, dtype=self._dtype))
        else:
            self._slot.write(convert_to_tensor(value, dtype=self._dtype))

    def _initialize(self, value):
        self._slot = Slot(convert_to_tensor(value, dtype=self._dtype))
        self._shape = tuple(self._slot.dims)

    def _initialize_with_initializer(self, initializer):
        # A variable made while a step is traced still gets its first value now, and once.
        with eagerly():
            super()._initialize_with_initializer(initializer)

    def _direct_assign(self, value):
        self._slot.write(value)

    def _convert_to_tensor(self, value, dtype=None):
        return convert_to_tensor(value, dtype=dtype)

    def __array__(self, dtype=None, copy=None):
        array = self.value.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **kwargs):
        return self.value.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.value.__dlpack_device__()
