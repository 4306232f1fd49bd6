"""Keras's operations, one module for each of Keras's namespaces."""

from keras_native.src.ops import core, image, linalg, math, nn, numpy  # noqa: F401
from keras_native.src.ops.core import *  # noqa: F403
