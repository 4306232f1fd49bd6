"""Histogram equalisation whose shapes do not depend on values, so that it can be compiled."""

from __future__ import annotations

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import Tensor

_METHODS = ("_custom_histogram_fixed_width", "_apply_equalization")


def histogram_fixed_width(values: Tensor, value_range, bins: int) -> Tensor:
    """How many values fall into each of `bins` bins [bins]; those beyond count at the ends.

    Args:
        values: of any shape and dtype.
        value_range: (low, high) of the bins' first and last edges.
    """
    low, high = value_range
    scaled = ew.mul(ew.sub(ew.cast(values, "float32"), float(low)), bins - 1.0)
    places = ew.clip(ew.cast(ew.div(scaled, float(high - low)), "int32"), 0, bins - 1)
    places = sh.reshape(places, (places.size,))
    return ga.scatter_add(sh.zeros((bins,), "int32"), places, sh.ones(places.dims, "int32"), 0)


def equalize(channel: Tensor, histogram: Tensor) -> Tensor:
    """A channel in [0, 255] with its values spread evenly; float32, of the channel's shape."""
    bins = histogram.dims[0]
    below = ew.cast(rd.cumsum(histogram, 0), "float32")
    total = ss.slice(below, (bins - 1,), (bins,))
    # As many as in the first bin that is not empty.
    least = rd.reduce_min(ew.select(ew.gt(below, 0.0), below, total), 0, keepdims=True)
    spread = ew.maximum(ew.sub(total, least), 1.0)
    levels = ew.round(ew.div(ew.mul(ew.sub(below, least), 255.0), spread))
    levels = ew.clip(levels, 0.0, 255.0)
    places = ew.clip(ew.mul(ew.div(channel, 255.0), bins - 1.0), 0.0, bins - 1.0)
    return ga.gather(levels, ew.cast(places, "int32"), 0)


def amend(layer: type) -> None:
    """Makes `keras.layers.Equalization` use the functions above, except in a tf.data pipeline."""
    if not all(hasattr(layer, name) for name in _METHODS):
        return  # a Keras that computes it otherwise
    stock_histogram, stock_equalization = (getattr(layer, name) for name in _METHODS)

    def histogram(self, values, value_range, nbins):
        if self.backend.name != "native":
            return stock_histogram(self, values, value_range, nbins)
        return histogram_fixed_width(values, value_range, nbins)

    def equalization(self, channel, hist):
        if self.backend.name != "native":
            return stock_equalization(self, channel, hist)
        return equalize(channel, hist)

    for name, method in zip(_METHODS, (histogram, equalization)):
        setattr(layer, name, method)
