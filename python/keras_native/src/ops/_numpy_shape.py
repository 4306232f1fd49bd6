"""Shapes and rearrangements of keras.ops: everything that moves elements without computing."""

from __future__ import annotations

import builtins
import operator

import numpy as np

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.symbolic import SymInt
from keras_native.engine.tensor import Tensor
from keras_native.src.ops._numpy_common import (
    as_index,
    axes_of,
    axis_of,
    constant,
    host,
    result_type,
    tensor,
    tensors,
    unsupported_under_trace,
)


def _sizes(shape) -> tuple:
    """A shape argument as a tuple of ints or symbolic sizes."""
    if isinstance(shape, (Tensor, np.ndarray)):
        return tuple(int(d) for d in host(shape).reshape(-1))
    if not isinstance(shape, (tuple, list)):
        shape = (shape,)
    return tuple(d if type(d) is int or type(d) is SymInt else operator.index(d) for d in shape)


def reshape(x, newshape):
    """The same elements in another shape; one size may be -1 (or None): what is left."""
    newshape = newshape if isinstance(newshape, (tuple, list)) else _sizes(newshape)
    return sh.reshape(tensor(x), _sizes([-1 if d is None else d for d in newshape]))


def ravel(x):
    """All elements as a vector."""
    x = tensor(x)
    return sh.reshape(x, (x.size,))


def expand_dims(x, axis):
    """New axes of size 1 where `axis` says (an int or several)."""
    axis = tuple(axis) if isinstance(axis, (tuple, list)) else operator.index(axis)
    return sh.expand_dims(tensor(x), axis)


def squeeze(x, axis=None):
    """Without the axes of size 1 (all of them, or those given)."""
    return sh.squeeze(tensor(x), tuple(axis) if isinstance(axis, list) else axis)


def transpose(x, axes=None):
    """Axes permuted; None reverses them."""
    return sh.transpose(tensor(x), None if axes is None else tuple(axes))


def swapaxes(x, axis1, axis2):
    """Two axes exchanged."""
    x = tensor(x)
    perm = list(range(x.ndim))
    a, b = axis_of(axis1, x.ndim), axis_of(axis2, x.ndim)
    perm[a], perm[b] = b, a
    return sh.transpose(x, perm)


def moveaxis(x, source, destination):
    """Axes moved to new places, the others in their order.

    Raises:
        ValueError: as many sources as destinations are needed, all different.
    """
    x = tensor(x)
    source = [source] if not isinstance(source, (tuple, list)) else source
    destination = [destination] if not isinstance(destination, (tuple, list)) else destination
    source = [axis_of(a, x.ndim) for a in source]
    destination = [axis_of(a, x.ndim) for a in destination]
    if not len(source) == len(destination) == len(set(source)) == len(set(destination)):
        raise ValueError(f"moveaxis: bad source {source} and destination {destination}")
    perm = [a for a in range(x.ndim) if a not in source]
    for to, axis in sorted(zip(destination, source)):
        perm.insert(to, axis)
    return sh.transpose(x, perm)


def broadcast_to(x, shape):
    """x repeated to a shape by NumPy's rule."""
    return sh.broadcast_to(tensor(x), _sizes(shape))


def copy(x):
    """A copy (tensors never change, so the same one)."""
    return sh.copy(tensor(x))


def ndim(x):
    """The number of axes."""
    return tensor(x).ndim


def size(x):
    """The number of elements; under trace it may be a symbolic size."""
    return tensor(x).size


# Joining and splitting


def concatenate(xs, axis=0):
    """Tensors joined along an axis, in their common dtype; None flattens them first."""
    xs = tensors(*xs)
    if axis is None:
        return sh.concat([ravel(x) for x in xs], 0)
    return sh.concat(xs, axis)


def append(x1, x2, axis=None):
    """x2 after x1 along an axis; None flattens both first."""
    return concatenate([x1, x2], axis)


def stack(x, axis=0):
    """Tensors of one shape joined along a new axis, in their common dtype."""
    return sh.stack(tensors(*x), axis)


def _at_least(x: Tensor, rank: int) -> Tensor:
    if x.ndim >= rank:
        return x
    if rank == 1:
        return sh.reshape(x, (1,))
    if rank == 2:
        return sh.reshape(x, (1, *(x.dims or (1,))))
    dims = {0: (1, 1), 1: (1, *x.dims), 2: x.dims}[x.ndim]
    return sh.reshape(x, (*dims, 1))


def hstack(xs):
    """Joined along axis 1, vectors along axis 0."""
    xs = [_at_least(x, 1) for x in tensors(*xs)]
    return sh.concat(xs, 0 if xs[0].ndim == 1 else 1)


def vstack(xs):
    """Joined along axis 0, vectors as rows."""
    return sh.concat([_at_least(x, 2) for x in tensors(*xs)], 0)


def dstack(xs):
    """Joined along axis 2, new where missing."""
    return sh.concat([_at_least(x, 3) for x in tensors(*xs)], 2)


def column_stack(xs):
    """Joined along axis 1, vectors as columns."""
    xs = tensors(*xs)
    return sh.concat([sh.reshape(x, (x.size, 1)) if x.ndim < 2 else x for x in xs], 1)


def array_split(x, indices_or_sections, axis=0):
    """Pieces along an axis: so many (sizes may differ by one), or cut at the indices given."""
    x = tensor(x)
    axis = axis_of(axis, x.ndim)
    count = x.dims[axis]
    if isinstance(indices_or_sections, (tuple, list, np.ndarray, Tensor)):
        if isinstance(indices_or_sections, Tensor):
            indices_or_sections = host(indices_or_sections)
        cuts = [i if type(i) is SymInt else operator.index(i) for i in indices_or_sections]
    else:
        sections = operator.index(indices_or_sections)
        if sections <= 0:
            raise ValueError(f"array_split: expected at least one section, got {sections}")
        small, extra = divmod(count, sections)
        cuts, at = [], 0
        for i in range(sections - 1):
            at = at + small + (1 if i < extra else 0)
            cuts.append(at)
    full = [None] * x.ndim
    pieces = []
    for low, high in zip([0, *cuts], [*cuts, None]):
        start, stop = list(full), list(full)
        start[axis], stop[axis] = low, high
        pieces.append(ss.slice(x, start, stop))
    return pieces


def split(x, indices_or_sections, axis=0):
    """Pieces along an axis: so many equal ones, or cut at the indices given.

    Raises:
        ValueError: the axis does not divide into so many.
    """
    x = tensor(x)
    if isinstance(indices_or_sections, int) and indices_or_sections > 0:
        count = x.dims[axis_of(axis, x.ndim)]
        if type(count) is int and count % indices_or_sections != 0:
            raise ValueError(
                f"split: axis {axis} of a tensor of shape {x.shape} does not divide into "
                f"{indices_or_sections} equal pieces"
            )
    return array_split(x, indices_or_sections, axis)


def hsplit(x, indices_or_sections):
    """`split` along axis 1, of vectors along axis 0."""
    x = tensor(x)
    return split(x, indices_or_sections, 1 if x.ndim > 1 else 0)


def vsplit(x, indices_or_sections):
    """`split` along axis 0."""
    return split(x, indices_or_sections, 0)


def dsplit(x, indices_or_sections):
    """`split` along axis 2."""
    return split(x, indices_or_sections, 2)


def meshgrid(*x, indexing="xy"):
    """Coordinate tensors of the grid that the vectors span; "xy" swaps the first two axes.

    Raises:
        ValueError: unknown indexing.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f'`indexing` must be "xy" or "ij". Received: indexing={indexing}')
    xs = [ravel(v) for v in x]
    places = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        places[:2] = [1, 0]
    dims = [None] * len(xs)
    for v, place in zip(xs, places):
        dims[place] = v.dims[0]
    grid = []
    for v, place in zip(xs, places):
        own = [1] * len(xs)
        own[place] = v.dims[0]
        grid.append(sh.broadcast_to(sh.reshape(v, own), dims))
    return grid


# Repeating, turning, padding


def repeat(x, repeats, axis=None):
    """Each element repeated, so often each or by a list of counts (which must be known)."""
    x = tensor(x)
    if axis is None:
        x, axis = ravel(x), 0
    axis = axis_of(axis, x.ndim)
    if isinstance(repeats, int) or type(repeats) is SymInt:
        return sh.repeat(x, repeats, axis)
    if isinstance(repeats, Tensor) and repeats.array is None:
        unsupported_under_trace("repeat")
    counts = host(repeats).reshape(-1)
    if counts.size == 1:
        return sh.repeat(x, int(counts[0]), axis)
    places = np.repeat(np.arange(x.dims[axis]), counts)
    return ga.gather(x, constant(places, "int32"), axis)


def tile(x, repeats):
    """x repeated as a whole along its axes."""
    return sh.tile(tensor(x), _sizes(repeats))


def flip(x, axis=None):
    """Reversed along axes; None reverses all."""
    x = tensor(x)
    return sh.flip(x, axes_of(axis, x.ndim))


def fliplr(x):
    """Reversed along axis 1."""
    return flip(x, 1)


def flipud(x):
    """Reversed along axis 0."""
    return flip(x, 0)


def rot90(array, k=1, axes=(0, 1)):
    """Turned by k quarter turns in the plane of two axes.

    Raises:
        ValueError: fewer than 2 axes, or axes that are no plane.
    """
    array = tensor(array)
    if array.ndim < 2:
        raise ValueError(
            f"Input array must have at least 2 dimensions. Received: array.ndim={array.ndim}"
        )
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(f"Invalid axes: {axes}. Axes must be a tuple of two different dimensions.")
    first, second = (axis_of(a, array.ndim) for a in axes)
    k = k % 4
    if k == 0:
        return array
    if k == 2:
        return sh.flip(array, tuple(sorted((first, second))))
    if k == 1:
        return swapaxes(sh.flip(array, (second,)), first, second)
    return sh.flip(swapaxes(array, first, second), (second,))


def roll(x, shift, axis=None):
    """Elements moved along axes, those that leave coming in again at the other end; one shift goes
    with several axes, one axis with several shifts."""
    x = tensor(x)
    if axis is None:
        return sh.reshape(roll(ravel(x), shift, 0), x.dims)
    both = [list(v) if isinstance(v, (tuple, list)) else [v] for v in (axis, shift)]
    axes, shifts = (v * len(w) if len(v) == 1 else v for v, w in (both, both[::-1]))
    if len(axes) != len(shifts):
        raise ValueError(f"roll: {len(shifts)} shifts {shift} do not fit {len(axes)} axes {axis}")
    for a, by in zip(axes, shifts):
        x = _roll(x, by, axis_of(a, x.ndim))
    return x


def _roll(x: Tensor, by, axis: int) -> Tensor:
    count = x.dims[axis]
    if isinstance(by, Tensor) and by.array is None:
        places = ew.sub(sh.iota(count), ew.cast(by, "int32"))
        return ga.gather(x, ew.mod(places, scalar(count, "int32")), axis)
    by = operator.index(by)
    if by == 0 or (type(count) is int and count == 0):
        return x
    cut = (-by) % count if type(count) is int else (-by if by < 0 else count - by)
    if type(cut) is int and cut == 0:
        return x
    front = [None] * x.ndim
    front[axis] = cut
    full = [None] * x.ndim
    return sh.concat([ss.slice(x, front, full), ss.slice(x, full, front)], axis)


def pad(x, pad_width, mode="constant", constant_values=None):
    """x with borders of (before, after) elements along each axis.

    Args:
        pad_width: an int for all, a pair for all, or a pair for each axis.
        mode: "constant", or any of NumPy's modes that repeat elements ("reflect", "symmetric",
            "edge", "wrap").
        constant_values: for "constant", 0 by default.

    Raises:
        ValueError: `constant_values` with another mode.
    """
    x = tensor(x)
    widths = _pad_widths(pad_width, x.ndim)
    if mode == "constant":
        value = 0 if constant_values is None else constant_values
        value = sh.reshape(ew.cast(tensor(value), x.dtype), ())
        return ss.pad(x, tuple(w[0] for w in widths), tuple(w[1] for w in widths), value)
    if constant_values is not None:
        raise ValueError(
            "Argument `constant_values` can only be provided when `mode == 'constant'`. "
            f"Received: mode={mode}"
        )
    for axis, (low, high) in enumerate(widths):
        if low or high:
            places = np.pad(np.arange(x.dims[axis]), (low, high), mode=mode)
            x = ga.gather(x, constant(places, "int32"), axis)
    return x


def _pad_widths(pad_width, rank: int) -> list[tuple[int, int]]:
    if isinstance(pad_width, Tensor):
        pad_width = host(pad_width)
    widths = np.broadcast_to(np.asarray(pad_width), (rank, 2))
    return [(int(low), int(high)) for low, high in widths]


# Diagonals and triangles


def diagonal(x, offset=0, axis1=0, axis2=1):
    """The diagonal of two axes, as a new last axis.

    Raises:
        ValueError: fewer than 2 axes.
    """
    x = tensor(x)
    if x.ndim < 2:
        raise ValueError(
            f"diagonal: expected a tensor with at least 2 axes. Received: shape={x.shape}"
        )
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    *lead, rows, columns = x.dims
    start = offset if offset >= 0 else -offset * columns
    count = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    if type(count) is int and count <= 0:
        return sh.full((*lead, 0), 0, x.dtype)
    # In a flattened matrix neighbours on a diagonal are columns + 1 apart.
    flat = sh.reshape(x, (*lead, rows * columns))
    if type(columns) is not int:
        step = sh.full((), columns + 1, "int32")
        places = ew.add(ew.mul(sh.iota(count), step), sh.full((), start, "int32"))
        return ga.gather(flat, places, len(lead))
    stop = start + (count - 1) * (columns + 1) + 1
    full = [None] * len(lead)
    return ss.slice(flat, [*full, start], [*full, stop], [1] * len(lead) + [columns + 1])


def diag(x, k=0):
    """The k-th diagonal of a matrix, or the matrix with a vector on its k-th diagonal.

    Raises:
        ValueError: x has neither 1 nor 2 axes.
    """
    x = tensor(x)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag: expected 1 or 2 axes. Received: shape={x.shape}")
    count = x.dims[0]
    width = count + builtins.abs(k)
    if type(count) is int and count == 0:
        return sh.full((width, width), 0, x.dtype)
    # Each element and the zeros up to the next one on the diagonal, width + 1 further.
    zero = scalar(0, x.dtype)
    spread = ss.pad(sh.reshape(x, (count, 1)), (0, 0), (0, width), zero)
    flat = ss.slice(
        sh.reshape(spread, (count * (width + 1),)), (0,), ((count - 1) * (width + 1) + 1,)
    )
    before = k if k >= 0 else -k * width
    after = width * width - before - ((count - 1) * (width + 1) + 1)
    return sh.reshape(ss.pad(flat, (before,), (after,), zero), (width, width))


def diagflat(x, k=0):
    """The matrix with all elements of x on its k-th diagonal."""
    return diag(ravel(x), k)


def _lower(rows, columns, k: int) -> Tensor:
    """bool[rows, columns]: on or below the k-th diagonal."""
    down = sh.reshape(sh.iota(rows), (rows, 1))
    return ew.ge(ew.add(down, int(k)), sh.iota(columns))


def tril(x, k=0):
    """x with zeros above the k-th diagonal of its last two axes."""
    x = tensor(x)
    return ew.select(_lower(*x.dims[-2:], k), x, scalar(0, x.dtype))


def triu(x, k=0):
    """x with zeros below the k-th diagonal of its last two axes."""
    x = tensor(x)
    return ew.select(_lower(*x.dims[-2:], k - 1), scalar(0, x.dtype), x)


# Taking


def take(x, indices, axis=None):
    """Slices at positions along an axis (None: of the flattened tensor).

    Negative indices count from the end; those outside are clipped.
    """
    x = tensor(x)
    if axis is None:
        x, axis = ravel(x), 0
    return ga.gather(x, as_index(indices), axis_of(axis, x.ndim))


def take_along_axis(x, indices, axis=None):
    """One element for each index along an axis (None: of the flattened tensor)."""
    x, indices = tensor(x), as_index(indices)
    if axis is None:
        if indices.ndim != 1:
            raise ValueError(
                f"take_along_axis: expected 1-D indices without an axis, got {indices.shape}"
            )
        x, axis = ravel(x), 0
    return ga.take_along_axis(x, indices, axis)


def unravel_index(indices, shape):
    """Positions in a flattened tensor as positions along its axes, in the dtype of `indices`."""
    indices = tensor(indices)
    dtype = result_type(indices.dtype)
    rest, found = as_index(indices), []
    for d in reversed(_sizes(shape)):
        found.append(ew.cast(ew.mod(rest, d), dtype))
        rest = ew.floor_divide(rest, d)
    return tuple(reversed(found))
