"""What Keras imports as its backend, in the layout of Keras 3.16; `flat` serves Keras 3.15."""

from keras.src.backend.common.name_scope import name_scope

from keras_native.src import distribution_lib, ops, random, rnn
from keras_native.src import recall as _recall  # noqa: F401 (for what it registers)
from keras_native.src.ops.core import compute_output_spec, device_scope
from keras_native.src.variable import Variable

IS_THREAD_SAFE = True
SUPPORTS_COMPLEX_DTYPES = True
SUPPORTS_GRADIENT = True
SUPPORTS_RAGGED_TENSORS = False
SUPPORTS_SPARSE_TENSORS = True

__all__ = [
    "IS_THREAD_SAFE",
    "SUPPORTS_COMPLEX_DTYPES",
    "SUPPORTS_GRADIENT",
    "SUPPORTS_RAGGED_TENSORS",
    "SUPPORTS_SPARSE_TENSORS",
    "Variable",
    "compute_output_spec",
    "device_scope",
    "distribution_lib",
    "name_scope",
    "ops",
    "random",
    "rnn",
]
