"""Exceptions of the engine."""

from keras_native._core import UnsupportedError

__all__ = ["UnsupportedError", "TraceError"]


class TraceError(RuntimeError):
    """A traced function needed a concrete value: `bool(t)`, `np.asarray(t)`, a result whose
    shape depends on values."""
