"""Calls of `keras.ops` by name on whatever backend this process has; results as plain values."""

from __future__ import annotations

import functools

import numpy as np
from keras import backend, ops, tree


def function(name: str):
    """The function of `keras.ops` of this (dotted) name."""
    return functools.reduce(getattr, name.split("."), ops)


def tensors(arguments):
    """Arguments with tensors for arrays."""
    return tree.map_structure(
        lambda x: ops.convert_to_tensor(x, x.dtype.name) if isinstance(x, np.ndarray) else x,
        arguments,
    )


def leaves(result) -> list:
    """(dtype, value) of each result: a NumPy array, or with dtype None what is no tensor."""
    if callable(result):
        # vectorize and custom_gradient give functions: their results are meant.
        result = result(ops.ones((3,)))

    def leaf(x):
        if ops.is_tensor(x):
            return backend.standardize_dtype(x.dtype), ops.convert_to_numpy(x)
        if isinstance(x, np.ndarray):
            return None, x
        return None, x if isinstance(x, (bool, int, float, str, type(None))) else str(x)

    return [leaf(x) for x in tree.flatten(result)]


def evaluate(name: str, args, kwargs) -> list:
    """Calls eagerly; see `leaves`."""
    args, kwargs = tensors((args, kwargs))
    with np.errstate(all="ignore"):
        return leaves(function(name)(*args, **kwargs))
