"""Elements by their order: ascending, NaN after everything."""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitive import Primitive, signature
from keras_native.engine.primitives import batch
from keras_native.engine.primitives.gather import scatter_along_axis_add
from keras_native.engine.primitives.shape import (
    normal_axis,
    zeros,
)
from keras_native.engine.tensor import Tensor


def _check_order(op, x):
    if x.dtype in dtypes.COMPLEX:
        raise TypeError(f"{op}: complex numbers have no order: {signature([x])}")


def _sort_shape(x, *, axis):
    _check_order("sort", x)
    return x.dims, x.dtype


def _sortable(x):
    narrow = dtypes.from_numpy(x.dtype) in ("bfloat16", "float8_e4m3fn", "float8_e5m2")
    return x.astype(np.float32) if narrow else x


_sort = Primitive(
    "sort",
    shape=_sort_shape,
    reference=lambda x, *, axis: np.sort(_sortable(x), axis=axis).astype(x.dtype),
    batch=batch.shifted,
    vjp=lambda ct, out, x, *, axis: (
        scatter_along_axis_add(zeros(x.dims, ct.dtype), argsort(x, axis), ct, axis),
    ),
)


def sort(x: Tensor, axis: int = -1) -> Tensor:
    """x sorted ascending along an axis, NaN last. TypeError for complex."""
    return _sort(x, axis=normal_axis("sort", axis, x.ndim))


def _argsort_shape(x, *, axis, stable):
    _check_order("argsort", x)
    return x.dims, "int32"


_argsort = Primitive(
    "argsort",
    shape=_argsort_shape,
    reference=lambda x, *, axis, stable: np.argsort(_sortable(x), axis=axis, kind="stable").astype(
        np.int32
    ),
    batch=batch.shifted,
)


def argsort(x: Tensor, axis: int = -1, stable: bool = True) -> Tensor:
    """Positions (int32) that sort x ascending along an axis, NaN last; equal ones keep their order.

    `stable` is accepted for its meaning elsewhere: the order is always stable.
    """
    return _argsort(x, axis=normal_axis("argsort", axis, x.ndim), stable=bool(stable))


def _top_k_shape(x, *, k):
    _check_order("top_k", x)
    if not x.ndim or k < 0 or (type(x.dims[-1]) is int and k > x.dims[-1]):
        raise ValueError(f"top_k: k = {k} does not fit the last axis of {signature([x])}")
    dims = tuple(x.dims[:-1]) + (k,)
    return [(dims, x.dtype), (dims, "int32")]


def _top_k_reference(x, *, k):
    y = _sortable(x)
    # Ties keep the earlier one, so the stable ascending sort runs over the mirrored row.
    last = x.shape[-1] - 1
    order = last - np.argsort(y[..., ::-1], axis=-1, kind="stable")[..., ::-1][..., :k]
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


def _top_k_vjp(cts, outs, x, *, k):
    if cts[0] is None:
        return (None,)
    return (scatter_along_axis_add(zeros(x.dims, cts[0].dtype), outs[1], cts[0], x.ndim - 1),)


_top_k = Primitive(
    "top_k",
    shape=_top_k_shape,
    reference=_top_k_reference,
    batch=batch.shifted,
    vjp=_top_k_vjp,
)


def top_k(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of the last axis in descending order and their positions (int32).

    NaN counts as the largest; of equal ones the earlier comes first.
    """
    return _top_k(x, k=int(k))


def _searchsorted_shape(sorted_, values, *, side):
    _check_order("searchsorted", sorted_)
    if sorted_.ndim != 1:
        raise ValueError(f"searchsorted: needs a vector: {signature([sorted_, values])}")
    if sorted_.dtype != values.dtype:
        raise TypeError(f"searchsorted: dtypes differ: {signature([sorted_, values])}")
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right', got '{side}'")
    return values.dims, "int32"


_searchsorted = Primitive(
    "searchsorted",
    shape=_searchsorted_shape,
    reference=lambda sorted_, values, *, side: np.searchsorted(
        _sortable(sorted_), _sortable(values), side
    ).astype(np.int32),
)


def searchsorted(sorted_: Tensor, values: Tensor, side: str = "left") -> Tensor:
    """Where each value would be inserted into an ascending vector, as int32.

    Args:
        side: "left" before equal elements, "right" after them.
    """
    return _searchsorted(sorted_, values, side=side)
