"""Keras's core operations: conversion, slices, scatters, gradients' controls, control flow."""

from __future__ import annotations

import contextlib
import functools

from keras.src import tree
from keras.src.backend.common import KerasVariable
from keras.src.backend.common.name_scope import name_scope
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope

from keras_native.engine import device
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitives import gather_nd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import Tensor
from keras_native.src.layer import BackendLayer
from keras_native.src.ops import sparse as sparse_rules
from keras_native.src.ops.control_flow import (
    associative_scan,
    cond,
    fori_loop,
    map,
    scan,
    switch,
    vectorized_map,
    while_loop,
)
from keras_native.src.ops.convert import cast, convert_to_numpy, is_tensor, keep_sparse, shape
from keras_native.src.ops.convert import convert_to_tensor as tensor
from keras_native.src.ops.output_spec import compute_output_spec

__all__ = [
    "associative_scan",
    "cast",
    "compute_output_spec",
    "cond",
    "convert_to_numpy",
    "convert_to_tensor",
    "custom_gradient",
    "device_scope",
    "fori_loop",
    "grad",
    "is_tensor",
    "map",
    "name_scope",
    "random_seed_dtype",
    "remat",
    "scan",
    "scatter",
    "scatter_update",
    "shape",
    "slice",
    "slice_update",
    "stop_gradient",
    "switch",
    "unstack",
    "vectorized_map",
    "while_loop",
]

_REDUCTIONS = {
    None: gather_nd.scatter_nd_set,
    "add": gather_nd.scatter_nd_add,
    "max": gather_nd.scatter_nd_max,
    "min": gather_nd.scatter_nd_min,
    "mul": gather_nd.scatter_nd_mul,
}


def convert_to_tensor(x, dtype=None, sparse=None, ragged=None):
    """A tensor with the values of `x`, of a dtype: see `convert.convert_to_tensor`.

    Args:
        sparse: False turns a sparse tensor into a dense one; else it stays sparse.

    Raises:
        ValueError: ragged was asked for.
    """
    if type(x) is Tensor and (dtype is None or x.dtype == dtype) and not ragged:
        return x
    kept = keep_sparse(x) if sparse is not False and not ragged else None
    if kept is not None:
        return kept if dtype is None else cast(kept, dtype)
    return tensor(x, dtype, ragged)


def scatter(indices, values, shape):
    """Zeros of `shape` with `values` added at `indices` (their last axis indexes)."""
    values = tensor(values)
    zeros = sh.full(tuple(shape), 0, values.dtype)
    return gather_nd.scatter_nd_add(zeros, _indices(indices), values)


def scatter_update(inputs, indices, updates, reduction=None):
    """`inputs` with `updates` written, or combined by `reduction`, at `indices`."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"Unsupported reduction: {reduction}")
    inputs = tensor(inputs)
    indices = _indices(indices)
    updates = tensor(updates, inputs.dtype)
    wanted = indices.dims[:-1] + inputs.dims[indices.dims[-1] :]
    if updates.dims != wanted:
        updates = sh.broadcast_to(updates, wanted)
    return _REDUCTIONS[reduction](inputs, indices, updates)


def _indices(indices) -> Tensor:
    indices = tensor(indices)
    return indices if indices.dtype in ("int32", "int64") else cast(indices, "int32")


def _static_starts(start_indices) -> tuple | None:
    """The starts as integers (symbolic ones too), or None where they are in tensors."""
    if isinstance(start_indices, (Tensor, KerasVariable)):
        return None
    starts = tuple(start_indices)
    if any(isinstance(s, (Tensor, KerasVariable)) for s in starts):
        return None
    return tuple(s if not hasattr(s, "item") else s.item() for s in starts)


def slice(inputs, start_indices, shape):
    """`shape` elements from `start_indices` on; -1 means up to the end of that axis.

    Starts that are tensors are clamped so that the slice lies inside.
    """
    inputs = tensor(inputs)
    if len(shape) != inputs.ndim:
        raise ValueError(
            f"slice: `shape` {tuple(shape)} must have one entry for each axis of {inputs.shape}"
        )
    starts = _static_starts(start_indices)
    if starts is None:
        if any(s == -1 for s in shape):
            raise ValueError("slice: a size of -1 needs start indices that are plain integers")
        return ss.dynamic_slice(inputs, tensor(start_indices, "int32"), tuple(shape))
    sizes = tuple(
        dim - start if isinstance(size, int) and size == -1 else size
        for dim, start, size in zip(inputs.dims, starts, shape)
    )
    for dim, start, size in zip(inputs.dims, starts, sizes):
        if isinstance(dim, int) and isinstance(start + size, int) and start + size > dim:
            raise ValueError(
                f"slice: start {starts} and shape {sizes} reach outside of {inputs.shape}"
            )
    return ss.slice(inputs, starts, tuple(start + size for start, size in zip(starts, sizes)))


def slice_update(inputs, start_indices, updates):
    """`inputs` with `updates` written from `start_indices` on."""
    inputs = tensor(inputs)
    updates = tensor(updates, inputs.dtype)
    return ss.dynamic_update_slice(inputs, updates, tensor(start_indices, "int32"))


def unstack(x, num=None, axis=0):
    """The slices of `x` along `axis`, without that axis."""
    x = tensor(x)
    axis = axis if axis >= 0 else axis + x.ndim
    count = x.dims[axis] if num is None else num
    if not isinstance(count, int):
        raise UnsupportedError(
            f"unstack: the size of axis {axis} of a tensor of shape {x.shape} is not known; "
            "pass `num`"
        )
    starts, stops = [0] * x.ndim, list(x.dims)
    dims = x.dims[:axis] + x.dims[axis + 1 :]
    slices = []
    for i in range(count):
        starts[axis], stops[axis] = i, i + 1
        slices.append(sh.reshape(ss.slice(x, tuple(starts), tuple(stops)), dims))
    return slices


def stop_gradient(variable):
    """The value, through which no gradient flows."""
    return sh.stop_gradient(tensor(variable))


def custom_gradient(fun):
    """A function whose gradient is the second of the pair that `fun` returns."""
    from keras_native.engine import transforms

    wrapped = transforms.custom_gradient(fun)

    def call(*args, **kwargs):
        args, kwargs = tree.map_structure(
            lambda x: x.value if isinstance(x, KerasVariable) else x, (args, kwargs)
        )
        return wrapped(*args, **kwargs)

    return call


def grad(f, argnums=0):
    """A function of the arguments of `f` that returns the gradient of the sum of its result.

    Args:
        argnums: position, or tuple of positions, of the arguments to differentiate by: tensors,
            variables or structures of them. The result is a tuple if this is one.

    Raises (when called):
        TypeError, ValueError: `argnums` are no distinct positions of the arguments given.
    """
    from keras_native.engine import tape as tapes

    def call(*args, **kwargs):
        positions = _positions(argnums, len(args))
        given = [tree.map_structure(tensor, a) if i in positions else a for i, a in enumerate(args)]
        with tapes.Tape() as tape:
            result = tensor(f(*given, **kwargs))
        sources = [t for i in positions for t in tree.flatten(given[i])]
        found = tapes.backward(tape.records, [result], [tapes.full_like(result, 1)], sources)
        grads = iter(tapes.full_like(t, 0) if g is None else g for g, t in zip(found, sources))
        parts = [tree.map_structure(lambda _: next(grads), given[i]) for i in positions]
        return parts[0] if isinstance(argnums, int) else tuple(parts)

    return call


def _positions(argnums, count: int) -> tuple[int, ...]:
    several = (argnums,) if isinstance(argnums, int) else argnums
    if not isinstance(several, (list, tuple)) or not all(isinstance(i, int) for i in several):
        raise TypeError(f"`argnums` must be an int or a tuple of ints. Received: argnums={argnums}")
    for i in several:
        if not -count <= i < count:
            raise ValueError(
                f"`argnums` refers to positional argument {i}, but the function was called with "
                f"{count} positional arguments."
            )
    positions = tuple(i % count for i in several)
    if len(set(positions)) != len(positions):
        raise ValueError(f"`argnums` must not repeat a position. Received: argnums={argnums}")
    return positions


def remat(f):
    """`f`, recomputed in the backward pass instead of keeping its intermediate values.

    Losses that layers add meanwhile, where `f` is a layer's method, are results like the others,
    and so is what a stateless scope gets.
    """
    from keras_native.engine import transforms

    layer = getattr(f, "__self__", None)

    def with_others(*args, **kwargs):
        before = {id(t): t for t in _put_aside(layer)}
        result = f(*args, **kwargs)
        return result, [t for t in _put_aside(layer) if id(t) not in before]

    again = transforms.checkpoint(with_others)
    return functools.wraps(f)(lambda *args, **kwargs: again(*args, **kwargs)[0])


def _put_aside(layer) -> list:
    """Losses of a layer and its parts, and the losses and values that a stateless scope has."""
    parts = layer._flatten_layers() if isinstance(layer, BackendLayer) else ()
    found = [loss for part in parts for loss in part._losses]
    if in_stateless_scope():
        scope = get_stateless_scope()
        found += [*scope.losses, *scope.state_mapping.values()]
    return found


def random_seed_dtype() -> str:
    """The dtype of a seed's two words."""
    return "uint32"


@contextlib.contextmanager
def device_scope(device_name):
    """A scope for a device by name: "cpu:0", or "gpu:0" where there is one (experimental).

    Raises:
        ValueError: it is the name of no device. RuntimeError: the GPU cannot be used; says why.
    """
    with device.scope(device_name):
        yield


sparse_rules.attach(globals())
