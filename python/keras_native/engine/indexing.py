"""NumPy's indexing of a tensor: integers, slices, None and Ellipsis by slicing and reshaping, index
arrays by gathering. Sizes may be symbolic; boolean masks need values, so they work eagerly only,
and so do slices by tensors unless their length is known: `x[i : i + 3]`."""

from __future__ import annotations

import operator

import numpy as np

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import gather_nd as gn
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.symbolic import SymInt
from keras_native.engine.tensor import Tensor, from_numpy

_NEW = object()
_ALL = slice(None)


def getitem(x: Tensor, key) -> Tensor:
    """`x[key]` with NumPy's meaning.

    Index arrays wrap negative indices and are clipped to the axis; static integers are checked.
    Under trace a slice `i : i + n` by a tensor keeps its length: it is moved inside if it sticks
    out.

    Raises:
        IndexError: too many indices, or a static integer out of range.
        TraceError: a boolean mask, or a slice of unknown length, that is being traced.
    """
    if type(key) is int and x.dims:
        return _take(x, key)
    entries = _entries(x, key if isinstance(key, tuple) else (key,))
    arrays = any(isinstance(e, Tensor) for e in entries)
    if arrays:
        # Beside index arrays an integer is an index array of shape ().
        entries = [from_numpy(np.asarray(e, np.int32)) if type(e) is int else e for e in entries]
    x, entries = _windows(x, entries)
    x, dims, places = _basic(x, entries)
    x = sh.reshape(x, dims)
    return _advanced(x, places) if arrays else x


def _take(x: Tensor, index: int) -> Tensor:
    """x[index] for one static integer: the path of loops over a tensor."""
    dims = x.dims
    i = _position(index, dims[0], 0, dims)
    rest = dims[1:]
    zeros = (0,) * len(rest)
    return sh.reshape(ss.slice(x, (i, *zeros), (i + 1, *rest)), rest)


def _position(index: int, size, axis: int, dims: tuple):
    if type(size) is int and not -size <= index < size:
        raise IndexError(
            f"index {index} is out of range for axis {axis} of a tensor of shape {dims}"
        )
    return index + size if index < 0 else index


def _entries(x: Tensor, key: tuple) -> list:
    """The key with one entry for each axis: int, slice, index Tensor; and `_NEW` for new axes."""
    entries, consumed, dots = [], 0, None
    for item in key:
        if item is None:
            entries.append(_NEW)
            continue
        if item is Ellipsis:
            if dots is not None:
                raise IndexError("an index holds at most one Ellipsis")
            dots = len(entries)
            continue
        found = _entry(item)
        consumed += len(found)
        entries.extend(found)
    missing = x.ndim - consumed
    if missing < 0:
        raise IndexError(f"{consumed} indices for a tensor of shape {x.shape}")
    if dots is None:
        dots = len(entries)
    entries[dots:dots] = [_ALL] * missing
    return entries


def _entry(item) -> list:
    if isinstance(item, (slice, int)) and type(item) is not bool:
        return [item]
    if isinstance(item, Tensor):
        if item.dtype == "bool":
            return _mask(item.numpy())
        if item.dtype not in dtypes.INTEGERS:
            raise IndexError(f"tensors are indexed by integers, not {item.dtype}")
        return [index_tensor(item)]
    if not isinstance(item, (np.ndarray, np.generic, list, tuple, bool)):
        # A size that is still symbolic stays as it is.
        if type(item) is SymInt:
            return [item]
        try:
            return [operator.index(item)]
        except TypeError:
            raise IndexError(f"cannot index a tensor by {type(item).__name__}") from None
    if isinstance(item, (list, tuple)) and any(isinstance(i, Tensor) for i in item):
        return [
            index_tensor(sh.stack([i if isinstance(i, Tensor) else from_numpy(i) for i in item]))
        ]
    array = np.asarray(item)
    if array.dtype == bool:
        return _mask(array)
    if array.size == 0:
        array = array.astype(np.int32)
    if array.dtype.kind not in "iu":
        raise IndexError(f"tensors are indexed by integers, not {array.dtype}")
    if array.ndim == 0:
        return [int(array)]
    return [index_tensor(from_numpy(array))]


def index_tensor(index: Tensor) -> Tensor:
    """An index tensor of the dtypes that the gather primitives take."""
    if index.dtype in ("int32", "int64"):
        return index
    from keras_native.engine.primitives.elementwise import cast

    return cast(index, "int64" if index.dtype in ("uint32", "uint64") else "int32")


def _mask(mask: np.ndarray) -> list:
    if mask.ndim == 0:
        raise IndexError("a boolean scalar is no index of a tensor")
    return [from_numpy(i.astype(np.int32)) for i in np.nonzero(mask)]


def _windows(x: Tensor, entries: list) -> tuple[Tensor, list]:
    """Applies the slices that begin at a traced scalar and whose length is known."""
    axes = [entry for entry in entries if entry is not _NEW]
    lengths = [_known_length(entry) for entry in axes]
    if all(length is None for length in lengths):
        return x, entries
    starts, sizes, whole = [], [], {}
    for entry, length, size in zip(axes, lengths, x.dims):
        starts.append(from_numpy(np.int32(0)) if length is None else _as(entry.start, "int32"))
        sizes.append(size if length is None else length)
        whole[id(entry)] = entry if length is None else _ALL
    x = ss.dynamic_slice(x, sh.stack(starts), sizes)
    return x, [entry if entry is _NEW else whole[id(entry)] for entry in entries]


def _known_length(entry) -> int | None:
    if not isinstance(entry, slice) or entry.step not in (None, 1):
        return None
    start, stop = entry.start, entry.stop
    if not isinstance(start, Tensor) or not isinstance(stop, Tensor) or start.trace is None:
        return None
    if start.dims or stop.trace is not start.trace:
        return None
    return start.trace.offset(start, stop)


def _basic(x: Tensor, entries: list) -> tuple[Tensor, tuple, list]:
    """Applies slices and integers: the sliced tensor, the sizes to reshape it to, and
    (axis, index, whether a slice or new axis stands between it and the previous index)."""
    start, stop, step = [], [], []
    for entry in entries:
        if entry is _NEW:
            continue
        axis = len(start)
        if isinstance(entry, slice):
            start.append(_bound(entry.start))
            stop.append(_bound(entry.stop))
            step.append(1 if entry.step is None else operator.index(entry.step))
        elif isinstance(entry, Tensor):
            start.append(None)
            stop.append(None)
            step.append(1)
        else:
            low = _position(entry, x.dims[axis], axis, x.dims) if type(entry) is int else entry
            start.append(low)
            stop.append(low + 1)
            step.append(1)
    x = ss.slice(x, start, stop, step)
    dims, places, axis, apart = [], [], 0, True
    for entry in entries:
        if entry is _NEW:
            dims.append(1)
            apart = True
            continue
        if isinstance(entry, Tensor):
            places.append((len(dims), entry, apart))
            apart = False
        elif isinstance(entry, slice):
            apart = True
        if isinstance(entry, (slice, Tensor)):
            dims.append(x.dims[axis])
        axis += 1
    return x, tuple(dims), places


def _bound(bound):
    if bound is None or type(bound) is int:
        return bound
    if isinstance(bound, (Tensor, np.ndarray, np.generic)):
        return operator.index(bound)
    return bound


def _advanced(x: Tensor, places: list) -> Tensor:
    """Gathers at (axis, index) pairs."""
    axes = [axis for axis, _, _ in places]
    indices = [index for _, index, _ in places]
    if len(axes) == 1:
        return ga.gather(x, indices[0], axes[0])
    dtype = "int64" if any(i.dtype == "int64" for i in indices) else "int32"
    indices = _broadcast([_as(i, dtype) for i in indices])
    rank = indices[0].ndim
    rest = [a for a in range(x.ndim) if a not in axes]
    out = gn.gather_nd(sh.transpose(x, tuple(axes + rest)), sh.stack(indices, -1))
    # Adjacent index arrays leave their axes where the first one stood, others go to the front.
    first = 0 if any(apart for _, _, apart in places[1:]) else axes[0]
    if first == 0:
        return out
    front = tuple(range(rank, rank + first))
    return sh.transpose(out, front + tuple(range(rank)) + tuple(range(rank + first, out.ndim)))


def _as(index: Tensor, dtype: str) -> Tensor:
    from keras_native.engine.primitives.elementwise import cast

    return cast(index, dtype)


def _broadcast(indices: list[Tensor]) -> list[Tensor]:
    from keras_native.engine.primitives.elementwise_common import broadcast_dims

    dims = broadcast_dims("indexing", indices)
    return [i if i.dims is dims else sh.broadcast_to(i, dims) for i in indices]
