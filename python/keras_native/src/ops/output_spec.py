"""The shapes and dtypes that a function gives for symbolic inputs."""

from __future__ import annotations

import numpy as np
from keras.src import tree
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.backend.common.symbolic_scope import SymbolicScope

from keras_native.engine import dtype as dtypes
from keras_native.engine.tensor import Tensor, from_numpy


def compute_output_spec(fn, *args, **kwargs):
    """`fn`'s outputs as KerasTensors for KerasTensor inputs, whose None sizes stay None."""
    with StatelessScope(), SymbolicScope():
        unknown = any(
            isinstance(x, KerasTensor) and None in x.shape for x in tree.flatten((args, kwargs))
        )
        first = _run(fn, args, kwargs, 83)
        second = _run(fn, args, kwargs, 89) if unknown else first

    def spec(a, b):
        if not isinstance(a, Tensor):
            return a
        shape = tuple(m if m == n else None for m, n in zip(a.shape, b.shape))
        return KerasTensor(shape, a.dtype)

    flat = [spec(a, b) for a, b in zip(tree.flatten(first), tree.flatten(second))]
    return tree.pack_sequence_as(first, flat)


def _run(fn, args, kwargs, size: int):
    def fill(x):
        if not isinstance(x, KerasTensor):
            return x
        shape = tuple(size if d is None else d for d in x.shape)
        return from_numpy(np.zeros(shape, dtypes.NUMPY[x.dtype]))

    args, kwargs = tree.map_structure(fill, (args, kwargs))
    return fn(*args, **kwargs)
