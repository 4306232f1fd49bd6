"""Nested structures: dicts (by sorted key), lists, tuples and None, flattened to leaves.

A sparse tensor is a structure of two tensors here. In Keras's own trees it is a leaf, as a tensor
is: both are trees of one namespace of optree, hence the stand-in.
"""

from __future__ import annotations

import optree

from keras_native.engine.sparse import SparseTensor, entries


class _Parts:
    """Stands for a sparse tensor while a structure is flattened."""

    def __init__(self, whole: SparseTensor):
        self.whole = whole


optree.register_pytree_node(
    _Parts,
    lambda p: ((p.whole.indices, p.whole.values), (p.whole.dims, p.whole.unique)),
    lambda fixed, parts: entries(*parts, *fixed),
    namespace="keras",
)


def _flatten(structure):
    return optree.tree_flatten(structure, none_is_leaf=True, namespace="keras")


def sparse(structure) -> list[SparseTensor]:
    """The sparse tensors in a structure."""
    return [leaf for leaf in _flatten(structure)[0] if type(leaf) is SparseTensor]


def map_sparse(fn, structure):
    """The structure with `fn` applied to every sparse tensor in it."""
    leaves, spec = _flatten(structure)
    if SparseTensor not in map(type, leaves):
        return structure
    return unflatten(spec, [fn(x) if type(x) is SparseTensor else x for x in leaves])


def flatten(structure) -> tuple[list, object]:
    """Leaves in order and the structure; None is a leaf."""
    leaves, spec = optree.tree_flatten(structure, none_is_leaf=True, namespace="keras")
    if SparseTensor in map(type, leaves):
        leaves, spec = _flatten(map_sparse(_Parts, structure))
    return leaves, spec


def unflatten(spec, leaves):
    """The structure with other leaves."""
    return optree.tree_unflatten(spec, leaves)


def map_structure(fn, structure):
    """The structure with `fn` applied to every leaf (None is a leaf)."""
    leaves, spec = flatten(structure)
    return unflatten(spec, [fn(leaf) for leaf in leaves])


def like_sources(gradients, sources):
    """Gradients as their users want them: by a sparse tensor, one at its positions, or None.

    Args:
        gradients: the structure of `sources` with a derivative for each tensor.
    """
    found, spec = _flatten(gradients)
    given = _flatten(sources)[0]
    for i, (gradient, source) in enumerate(zip(found, given, strict=True)):
        if type(source) is SparseTensor:
            values = gradient.values
            found[i] = None if values is None else source.with_values(values)
    return unflatten(spec, found)
