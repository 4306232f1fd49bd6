"""Gradients of an operation on whatever backend this process has; results as plain values."""

from __future__ import annotations

import numpy as np
from keras import backend, ops, tree

from opcases.calling import function, tensors
from opcases.drawing import COMPLEX, Op

VARIES = ("float32", "complex64")


def varies(x) -> bool:
    """Whether an argument is differentiated by."""
    return isinstance(x, np.ndarray) and x.dtype.name in VARIES


def _gradients(f, points):
    argnums = tuple(range(len(points)))
    if backend.backend() == "jax":
        import jax

        return jax.grad(f, argnums)(*points)
    import keras_native

    return keras_native.grad(f, argnums)(*points)


def slopes(name: str, op: Op, args, kwargs, seed: int) -> list:
    """The gradients of a sum of all finite results, with weights drawn from the seed.

    Returns:
        (dtype, value) for each array in the arguments that is float32 or complex64.
    """
    leaves = tree.flatten((args, kwargs))

    def weighted(*points):
        own = iter(map(op.via, points) if op.via else points)
        given = [next(own) if varies(x) else tensors(x) for x in leaves]
        own_args, own_kwargs = tree.pack_sequence_as((args, kwargs), given)
        found = tree.flatten(function(name)(*own_args, **own_kwargs))
        found = found if op.result is None else [found[op.result]]
        weights = np.random.default_rng(seed)
        total = ops.zeros(())
        for leaf in found:
            if not ops.is_tensor(leaf):
                continue
            split = backend.standardize_dtype(leaf.dtype) in COMPLEX
            for part in [ops.real(leaf), ops.imag(leaf)] if split else [leaf]:
                if backend.standardize_dtype(part.dtype) == "float32":
                    w = weights.uniform(0.5, 1.5, part.shape).astype("float32")
                    total += ops.sum(ops.where(ops.isfinite(part), part * w, 0.0))
        return total

    points = tensors([x for x in leaves if varies(x)])
    with np.errstate(all="ignore"):
        found = _gradients(weighted, points)
    return [(backend.standardize_dtype(g.dtype), ops.convert_to_numpy(g)) for g in found]
