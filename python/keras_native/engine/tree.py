"""Nested structures: dicts (by sorted key), lists, tuples and None, flattened to leaves."""

from __future__ import annotations

import optree


def flatten(structure) -> tuple[list, object]:
    """Leaves in order and the structure; None is a leaf."""
    leaves, spec = optree.tree_flatten(structure, none_is_leaf=True, namespace="keras")
    return leaves, spec


def unflatten(spec, leaves):
    """The structure with other leaves."""
    return optree.tree_unflatten(spec, leaves)


def map_structure(fn, structure):
    """The structure with `fn` applied to every leaf (None is a leaf)."""
    leaves, spec = flatten(structure)
    return unflatten(spec, [fn(leaf) for leaf in leaves])
