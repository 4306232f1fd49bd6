"""The sparse tensor: some elements with their positions, in coordinates; all others are zero.

It is made of two tensors, so whatever is computed with it is composed of primitives: traced,
compiled and differentiated as all else. In compiled code the number of entries may be symbolic,
and is never read: what would drop entries by their values keeps zeros in their place there.
"""

from __future__ import annotations

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine import promotion
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import gather_nd as gn
from keras_native.engine.primitives import gather_sort as gs
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import Tensor, from_numpy


class SparseTensor:
    """A tensor of which only some elements, or slices, are stored. Contents never change.

    Entries at one position add up. A gradient by a sparse tensor is one at the same positions.

    Args:
        indices: [n, k] integers, the position of each entry along the first k axes.
        values: [n, *shape[k:]]; with k less than the rank, whole slices.
        shape: sizes of the whole tensor.

    Attributes:
        indices: int32 or int64 tensor.
        values: tensor.
        dims: sizes of the whole tensor, ints or SymInts.
        unique: whether at most one entry of each position differs from zero for certain.

    Raises (when made):
        TypeError: indices that are no integers.
        ValueError: sizes that do not fit together, or indices outside of the shape.
    """

    __array_ufunc__ = None  # an array on the left leaves its operators to those here

    def __init__(self, indices, values, shape):
        self.dims = tuple(int(d) if hasattr(d, "item") else d for d in shape)
        self.indices = _as_indices(indices, self.dims)
        self.values = _as_values(values)
        self.unique = False
        _check(self)

    @property
    def shape(self) -> tuple:
        """Sizes as Keras sees them: None where a size is symbolic."""
        return tuple(d if type(d) is int else None for d in self.dims)

    @property
    def dtype(self) -> str:
        return self.values.dtype

    @property
    def ndim(self) -> int:
        return len(self.dims)

    @property
    def n_dense(self) -> int:
        """How many of the last axes are stored whole."""
        return self.values.ndim - 1

    @property
    def n_sparse(self) -> int:
        """How many of the first axes the indices are for."""
        return len(self.dims) - self.n_dense

    @property
    def trace(self):
        """The trace that computes the values, None if eager."""
        return self.values.trace

    @classmethod
    def from_dense(cls, x) -> SparseTensor:
        """The elements of a tensor or array that differ from zero; under trace, all of them."""
        x = _as_values(x)
        if STATE.trace is None:
            places = np.flatnonzero(x.numpy())
            places = from_numpy(places.astype(_place_dtype(x.dims)))
        else:
            places = sh.iota(sh.product(x.dims), _place_dtype(x.dims))
        values = ga.gather(sh.reshape(x, (sh.product(x.dims),)), places, 0)
        return entries(unravel(places, x.dims), values, x.dims, unique=True)

    def to_dense(self) -> Tensor:
        """The whole tensor."""
        if not self.n_sparse:
            return _add(lambda wide: rd.reduce_sum(wide, (0,)), self.values)
        return _add(
            lambda wide: gn.scatter_nd_add(sh.zeros(self.dims, wide.dtype), self.indices, wide),
            self.values,
        )

    def numpy(self) -> np.ndarray:
        """The whole tensor as a read-only NumPy array.

        Raises:
            TraceError: it is being traced and has no values yet.
        """
        return self.to_dense().numpy()

    def with_values(self, values: Tensor) -> SparseTensor:
        """Other values at the same positions; zeros must have stayed zeros."""
        return entries(self.indices, values, self.dims, self.unique)

    def __repr__(self):
        count = self.values.shape[0]
        return f"<SparseTensor shape={self.shape} dtype={self.dtype} entries={count}>"

    def __reduce__(self):
        return entries, (self.indices, self.values, self.dims, self.unique)


def entries(indices: Tensor, values: Tensor, dims, unique: bool = False) -> SparseTensor:
    """A sparse tensor of parts that are known to fit."""
    x = object.__new__(SparseTensor)
    x.indices, x.values, x.dims, x.unique = indices, values, tuple(dims), unique
    return x


def _plain(values) -> np.ndarray:
    """Python's numbers as an array of the dtypes that tensors of them have."""
    array = np.asarray(values)
    if isinstance(values, (np.ndarray, np.generic)):
        return array
    usual = {"float64": promotion.floatx(), "int64": "int32", "complex128": "complex64"}
    return array.astype(dtypes.NUMPY[usual.get(array.dtype.name, array.dtype.name)])


def _as_values(values) -> Tensor:
    inner = getattr(values, "value", values)
    return inner if isinstance(inner, Tensor) else from_numpy(_plain(values))


def _as_indices(indices, dims) -> Tensor:
    indices = _as_values(indices)
    if indices.dtype not in dtypes.INTEGERS:
        raise TypeError(f"SparseTensor: indices must be integers, got {indices.dtype}")
    return ew.cast(indices, _place_dtype(dims))


def _check(x: SparseTensor) -> None:
    given = (
        f"indices {x.indices.dtype}{x.indices.shape}, values {x.dtype}{x.values.shape}, "
        f"shape {x.dims}"
    )
    rank = x.indices.dims[-1] if x.indices.ndim == 2 else None
    if type(rank) is not int or x.values.ndim < 1:
        raise ValueError(f"SparseTensor: expected indices [n, k] and values [n, ...]: {given}")
    if rank > x.ndim or x.values.ndim != 1 + x.ndim - rank:
        raise ValueError(f"SparseTensor: indices and values have not the axes of shape: {given}")
    if not sh.same(x.indices.dims[0], x.values.dims[0]):
        raise ValueError(f"SparseTensor: as many indices as values are needed: {given}")
    if not all(map(sh.same, x.values.dims[1:], x.dims[rank:])):
        raise ValueError(f"SparseTensor: the sizes of values are not those of shape: {given}")
    if x.indices.array is not None and all(type(d) is int for d in x.dims):
        where = x.indices.numpy()
        if ((where < 0) | (where >= np.array(x.dims[:rank], np.int64))).any():
            raise ValueError(f"SparseTensor: an index is outside of the shape: {given}")


def _add(add, values: Tensor) -> Tensor:
    """`add` for values of any dtype: of truth values, whether any is true."""
    if values.dtype != "bool":
        return add(values)
    return ew.cast(add(ew.cast(values, "int32")), "bool")


# Positions: one integer for each entry (row-major), or one for each axis.


def _place_dtype(dims) -> str:
    small = all(type(d) is int for d in dims) and sh.product(dims) < 2**31
    return "int32" if small else "int64"


def columns(indices: Tensor) -> list[Tensor]:
    """The index of every entry along each axis."""
    count = indices.dims[1]
    if not count:
        return []
    return [sh.reshape(part, (indices.dims[0],)) for part in _split(indices, count)]


def _split(indices: Tensor, count: int) -> list[Tensor]:
    n = indices.dims[0]
    return [ss.slice(indices, (0, i), (n, i + 1)) for i in range(count)]


def join(parts: list[Tensor], count) -> Tensor:
    """The indices [count, k] of entries, given along each axis."""
    if not parts:
        return sh.zeros((count, 0), "int32")
    dtype = "int64" if any(p.dtype == "int64" for p in parts) else "int32"
    return sh.stack([ew.cast(p, dtype) for p in parts], 1)


def ravel(indices: Tensor, dims) -> Tensor:
    """The place of each entry in a tensor of these sizes."""
    dtype = _place_dtype(dims)
    place = sh.zeros((indices.dims[0],), dtype)
    for column, size in zip(columns(indices), dims):
        place = place * size + ew.cast(column, dtype)
    return place


def unravel(places: Tensor, dims) -> Tensor:
    """The indices [n, rank] of places in a tensor of these sizes."""
    parts = []
    for size in reversed(dims[1:]):
        parts.append(places % size)
        places = places // size
    return join([*([places] if dims else []), *reversed(parts)], places.dims[0])


def fully(x: SparseTensor) -> SparseTensor:
    """The same tensor with single elements for entries, none of its axes dense."""
    if not x.n_dense:
        return x
    inner = x.dims[x.n_sparse :]
    count, size = x.values.dims[0], sh.product(inner)
    within = unravel(sh.iota(size, _place_dtype(inner)), inner)
    spread = [sh.broadcast_to(sh.reshape(c, (count, 1)), (count, size)) for c in columns(x.indices)]
    spread += [sh.broadcast_to(sh.reshape(c, (1, size)), (count, size)) for c in columns(within)]
    total = count * size
    indices = join([sh.reshape(c, (total,)) for c in spread], total)
    return entries(indices, sh.reshape(x.values, (total,)), x.dims, x.unique)


def coalesce(x: SparseTensor) -> SparseTensor:
    """The same tensor where at most one entry of a position differs from zero.

    Eager: one entry for each position, in order. Under trace the number of entries stays, and what
    is left over holds zeros.
    """
    if x.unique:
        return x
    count, dims = x.values.dims[0], x.dims[: x.n_sparse]
    places = ravel(x.indices, dims)
    order = gs.argsort(places, 0)
    places = ga.gather(places, order, 0)
    rank = sh.iota(count, "int32")
    before = ga.gather(places, ew.maximum(rank - 1, 0), 0)
    first = ew.logical_or(ew.eq(rank, 0), ew.ne(places, before))
    # The number of the run of equal places that each entry is in.
    run = rd.cumsum(ew.cast(first, "int32"), 0) - 1
    runs = count
    if STATE.trace is None:
        runs = int(run.numpy()[-1]) + 1 if count else 0
    values = _add(
        lambda wide: ga.scatter_add(
            sh.zeros((runs, *wide.dims[1:]), wide.dtype), run, ga.gather(wide, order, 0), 0
        ),
        x.values,
    )
    places = gn.scatter_nd_max(sh.zeros((runs,), places.dtype), sh.reshape(run, (count, 1)), places)
    return entries(unravel(places, dims), values, x.dims, unique=True)


def align(x: SparseTensor, y: SparseTensor) -> tuple[SparseTensor, SparseTensor]:
    """Both with the positions of both, each at most once, in the same order.

    Args:
        x, y: of the same sizes and dtype.
    """
    if x.unique and y.unique and x.indices is y.indices:
        return x, y
    if x.n_sparse != y.n_sparse:
        x, y = fully(x), fully(y)

    def beside(values, first):
        zeros = sh.zeros(values.dims, values.dtype)
        return sh.stack([values, zeros] if first else [zeros, values], 1)

    k = x.n_sparse
    joint = entries(
        concatenated([x.indices, y.indices]),
        sh.concat([beside(x.values, True), beside(y.values, False)], 0),
        (*x.dims[:k], 2, *x.dims[k:]),
    )
    joint = coalesce(joint)
    halves = (ga.gather(joint.values, from_numpy(np.int32(i)), 1) for i in (0, 1))
    return tuple(entries(joint.indices, half, x.dims, unique=True) for half in halves)


def concatenated(indices: list[Tensor]) -> Tensor:
    """Indices of entries, one tensor's after another's."""
    dtype = "int64" if any(i.dtype == "int64" for i in indices) else "int32"
    return sh.concat([ew.cast(i, dtype) for i in indices], 0)


def elements_at(x: SparseTensor, dense: Tensor) -> Tensor:
    """A dense tensor's elements at the entries, to be combined with the values of those.

    Args:
        dense: sizes that broadcast to those of x.
    """
    offset = x.ndim - dense.ndim
    wanted = columns(x.indices)[max(offset, 0) :]
    if not wanted:
        return dense
    parts = [
        ew.mul(column, 0) if type(size) is int and size == 1 else column
        for column, size in zip(wanted, dense.dims)
    ]
    return gn.gather_nd(dense, join(parts, x.values.dims[0]))
