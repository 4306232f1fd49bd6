"""The engine: tensors, primitives, derivatives and traces. It knows nothing of Keras."""

from keras_native.engine import operators  # noqa: F401  (gives Tensor its operators)
