"""Directional derivatives of an operation by its gradient rules and by finite differences.

The gradient of a real function of z = x + iy is df/dx - i df/dy, as JAX has it: the derivative
along v is the real part of the sum of gradient times v.
"""

from __future__ import annotations

import contextlib

import numpy as np
from keras import tree
from keras.src.backend.common import dtypes as keras_dtypes

from keras_native.engine import dtype as native_dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.engine.transforms import grad
from opcases.calling import function, tensors
from opcases.drawing import COMPLEX, FLOAT, numpy_dtype

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


def is_float(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.name in FLOAT


class Weighted:
    """A fixed random weighting of everything that a call gives, as a function of its arrays.

    Args:
        varies: of which arrays: the others are constants.
        dtype: of the sum.
        counted: dtypes of results, or their parts, that count.
    """

    counted = FLOAT

    def __init__(self, name, op, args, kwargs, values, varies=is_float, dtype="float32"):
        self.function = function(name)
        self.op, self.varies, self.dtype = op, varies, dtype
        self.structure = (args, kwargs)
        self.leaves = tree.flatten(self.structure)
        self.points = [x for x in self.leaves if varies(x)]
        self.seed = int(values.integers(1 << 30))

    def __call__(self, *points):
        """The weighted sum of the finite results."""
        own = iter(map(self.op.via, points) if self.op.via else points)
        leaves = [next(own) if self.varies(x) else tensors(x) for x in self.leaves]
        args, kwargs = tree.pack_sequence_as(self.structure, leaves)
        weights = np.random.default_rng(self.seed)
        total = from_numpy(np.zeros((), self.dtype))
        found = tree.flatten(self.function(*args, **kwargs))
        if self.op.result is not None:
            found = [found[self.op.result]]
        for leaf in found:
            if not isinstance(leaf, Tensor):
                continue
            for part in [ew.real(leaf), ew.imag(leaf)] if leaf.dtype in COMPLEX else [leaf]:
                if part.dtype in self.counted:
                    w = np.asarray(weights.uniform(0.5, 1.5, part.dims), numpy_dtype(part.dtype))
                    nothing = scalar(0, part.dtype)
                    weighted = ew.select(ew.isfinite(part), ew.mul(part, from_numpy(w)), nothing)
                    total = ew.add(total, ew.cast(rd.reduce_sum(weighted), self.dtype))
        return total


def _direction(x, values: np.random.Generator):
    real = values.uniform(0.5, 1, x.shape)
    if x.dtype == np.float64:
        return real
    return np.asarray(real + 1j * values.uniform(0.5, 1, x.shape))


class Scalar(Weighted):
    """The same in 64 bits, moved along one fixed random direction."""

    counted = ("float64",)  # others are too coarse for differences

    def __init__(self, name, op, args, kwargs, values: np.random.Generator):
        super().__init__(name, op, args, kwargs, values, differentiable, "float64")
        self.directions = [_direction(x, values) for x in self.points]

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
