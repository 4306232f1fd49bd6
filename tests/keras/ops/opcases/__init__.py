"""One table of cases for all of `keras.ops`: how each operation is called, and what to expect."""

from opcases import core, image, math, nn, numpy_pointwise, numpy_reduce, numpy_shape
from opcases.drawing import Draw, Op

OPS: dict[str, Op] = {}
for _module in (core, numpy_pointwise, numpy_reduce, numpy_shape, nn, math, image):
    OPS |= _module.OPS

__all__ = ["OPS", "Draw", "Op"]
