"""The engine: tensors, primitives, derivatives and traces. It knows nothing of Keras."""
