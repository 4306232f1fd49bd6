"""The engine: tensors, primitives, derivatives and traces. It knows nothing of Keras."""

# They give Tensor its operators and register matchers. Not when they are first needed: a fork of
# another thread at that moment leaves a child that waits for ever for the import to end.
from keras_native.engine import operators, patterns, patterns_attention  # noqa: F401
