"""Directional derivatives of an operation by its gradient rules and by finite differences.

The gradient of a real function of z = x + iy is df/dx - i df/dy, as JAX has it: the derivative
along v is the real part of the sum of gradient times v.
"""

from __future__ import annotations

import contextlib

import numpy as np
from keras import ops, tree
from keras.src.backend.common import dtypes as keras_dtypes

from keras_native.engine import dtype as native_dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.engine.transforms import grad
from opcases.calling import function

STEP = 1e-5


def differentiable(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype in (np.float64, np.complex128)


@contextlib.contextmanager
def sixty_four_bits():
    """Within it promotion does not narrow: what Keras computes in float32 stays in float64."""
    tables = keras_dtypes.BIT64_TO_BIT32_DTYPE, native_dtypes._NARROW
    saved = [dict(table) for table in tables]
    for table in tables:
        table.clear()
    native_dtypes.result_type.cache_clear()
    try:
        yield
    finally:
        for table, contents in zip(tables, saved, strict=True):
            table.update(contents)
        native_dtypes.result_type.cache_clear()


def _direction(x, values: np.random.Generator):
    real = values.uniform(0.5, 1, x.shape)
    if x.dtype == np.float64:
        return real
    return np.asarray(real + 1j * values.uniform(0.5, 1, x.shape))


class Scalar:
    """A fixed random weighting of everything that a call gives, as a function of its float64 and
    complex128 arrays, moved along one fixed random direction."""

    def __init__(self, name, op, args, kwargs, values: np.random.Generator):
        self.function = function(name)
        self.op = op
        self.structure = (args, kwargs)
        self.leaves = tree.flatten(self.structure)
        self.points = [x for x in self.leaves if differentiable(x)]
        self.directions = [_direction(x, values) for x in self.points]
        self.seed = int(values.integers(1 << 30))

    def __call__(self, *points):
        """The weighted sum of the results."""
        own = iter(map(self.op.via, points) if self.op.via else points)
        leaves = [
            next(own)
            if differentiable(x)
            else ops.convert_to_tensor(x, x.dtype.name)
            if isinstance(x, np.ndarray)
            else x
            for x in self.leaves
        ]
        args, kwargs = tree.pack_sequence_as(self.structure, leaves)
        weights = np.random.default_rng(self.seed)
        total = from_numpy(np.zeros(()))
        found = tree.flatten(self.function(*args, **kwargs))
        if self.op.result is not None:
            found = [found[self.op.result]]
        for leaf in found:
            if not isinstance(leaf, Tensor):
                continue
            parts = [leaf]
            if leaf.dtype == "complex128":
                parts = [ew.real(leaf), ew.imag(leaf)]
            for part in parts:
                if part.dtype == "float64":
                    w = from_numpy(np.asarray(weights.uniform(0.5, 1.5, part.dims)))
                    weighted = ew.mul(part, w)
                    nothing = from_numpy(np.zeros(()))
                    weighted = ew.select(ew.isfinite(part), weighted, nothing)
                    total = ew.add(total, rd.reduce_sum(weighted))
        return total

    def moved(self, amount: float):
        """The points, `amount` along the direction."""
        pairs = zip(self.points, self.directions, strict=True)
        return [from_numpy(np.asarray(x + amount * v)) for x, v in pairs]

    def along(self, function, amount: float) -> float:
        return float(function(*self.moved(amount)).numpy())

    def slope(self, *points):
        """The derivative along the direction, by gradient rules."""
        return self._along_direction(self, points)

    def bend(self, *points):
        """The second derivative along the direction, by gradient rules."""
        return self._along_direction(self.slope, points)

    def _along_direction(self, function, points):
        total = from_numpy(np.zeros(()))
        grads = grad(function, argnums=tuple(range(len(points))))(*points)
        for g, v in zip(grads, self.directions, strict=True):
            part = ew.mul(g, from_numpy(v))
            total = ew.add(total, rd.reduce_sum(ew.real(part) if v.dtype.kind == "c" else part))
        return total

    def difference(self, function) -> float:
        """The derivative of a function of the points along the direction, by differences of order
        four."""
        f = [self.along(function, k * STEP) for k in (-2, -1, 1, 2)]
        return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * STEP)
