"""Images read at arbitrary positions: geometric transformations."""

from __future__ import annotations

import itertools

from keras.src.backend import config

from keras_native.engine import dtype as dtypes
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import random as rn
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.primitives.elementwise_common import scalar
from keras_native.engine.tensor import Tensor
from keras_native.src.image.color import check_rank
from keras_native.src.image.filters import smooth
from keras_native.src.image.projection import compute_homography_matrix
from keras_native.src.nn.activations import as_float
from keras_native.src.nn.layout import channels_last, restore
from keras_native.src.ops.convert import convert_to_tensor, seed_key

AFFINE_TRANSFORM_INTERPOLATIONS = {"nearest": 0, "bilinear": 1}
FILL_MODES = {"constant", "nearest", "wrap", "mirror", "reflect"}
AFFINE_TRANSFORM_FILL_MODES = MAP_COORDINATES_FILL_MODES = FILL_MODES


def _mirrored(index: Tensor, size) -> Tensor:
    """Indices folded at the centres of the first and the last element."""
    last = size - 1
    if last == 0:
        return sh.zeros(index.dims, index.dtype)
    return ew.abs(ew.sub(ew.mod(ew.add(index, last), 2 * last), last))


def _inside(index: Tensor, size, mode: str) -> Tensor:
    """Indices brought into [0, size) as the mode says; those of 'constant' are clipped."""
    if mode == "wrap":
        return ew.mod(index, size)
    if mode == "mirror":
        return _mirrored(index, size)
    if mode == "reflect":
        folded = _mirrored(ew.add(ew.mul(index, 2), 1), 2 * size + 1)
        return ew.floor_divide(ew.sub(folded, 1), 2)
    return ew.clip(index, 0, size - 1)


def _neighbours(position: Tensor, order: int) -> list[tuple[Tensor, Tensor | None]]:
    """The grid points around a position along one axis, and their weights (None: 1)."""
    if order == 0:
        # Half away from zero.
        rounded = ew.mul(ew.sign(position), ew.floor(ew.add(ew.abs(position), 0.5)))
        return [(ew.cast(rounded, "int32"), None)]
    below = ew.floor(position)
    upper = ew.sub(position, below)
    index = ew.cast(below, "int32")
    return [(index, ew.sub(1.0, upper)), (ew.add(index, 1), upper)]


def _sample(rows: Tensor, sizes, positions, first_row, order, mode, fill_value) -> Tensor:
    """Interpolates rows of pixels [grid points, channels] at positions on a grid.

    Args:
        sizes: of the grid; positions: for each of its axes a float tensor, all of one shape.
        first_row: int32 tensor that broadcasts to that shape, or None: where the grid begins.

    Returns:
        [*positions' shape, channels].
    """
    total = None
    axes = [_neighbours(p, order) for p in positions]
    for corner in itertools.product(*axes):
        row, weight, valid = first_row, None, None
        stride = 1
        for (index, share), size in reversed(list(zip(corner, sizes))):
            if mode == "constant":
                ok = ew.logical_and(ew.ge(index, 0), ew.lt(index, size))
                valid = ok if valid is None else ew.logical_and(valid, ok)
            offset = _inside(index, size, mode)
            if type(stride) is not int or stride != 1:
                offset = ew.mul(offset, stride)
            row = offset if row is None else ew.add(row, offset)
            if share is not None:
                weight = share if weight is None else ew.mul(weight, share)
            stride = stride * size
        value = ga.gather(rows, row, 0)
        if valid is not None:
            fill = scalar(fill_value, value.dtype)
            value = ew.select(sh.expand_dims(valid, -1), value, fill)
        if weight is not None:
            value = ew.mul(value, ew.cast(sh.expand_dims(weight, -1), value.dtype))
        total = value if total is None else ew.add(total, value)
    return total


def _back(x: Tensor, dtype: str) -> Tensor:
    return ew.cast(ew.round(x) if dtype in dtypes.INTEGERS else x, dtype)


def _sample_images(images: Tensor, y, x, order, mode, fill_value) -> Tensor:
    """Images [B, H, W, C] at positions y, x of shape [B, ...]; the dtype stays."""
    batch, height, width, channels = images.dims
    rows = sh.reshape(as_float(images), (batch * height * width, channels))
    first = ew.mul(sh.iota(batch), height * width)
    first = sh.reshape(first, (batch,) + (1,) * (y.ndim - 1))
    out = _sample(rows, (height, width), (y, x), first, order, mode, float(fill_value))
    return _back(out, images.dtype)


def map_coordinates(inputs, coordinates, order, fill_mode="constant", fill_value=0.0):
    """`inputs` at the positions `coordinates` [rank, ...], nearest or linear (order 0 or 1)."""
    inputs = convert_to_tensor(inputs)
    coordinates = as_float(coordinates)
    if coordinates.dims[0] != inputs.ndim:
        raise ValueError(
            "First dim of `coordinates` must be the same as the rank of `inputs`. "
            f"Received inputs with shape: {inputs.shape} and coordinate "
            f"leading dim of {coordinates.shape[0]}"
        )
    if coordinates.ndim < 2:
        raise ValueError(
            "Invalid coordinates rank: expected at least rank 2. "
            f"Received input with shape: {coordinates.shape}"
        )
    if fill_mode not in FILL_MODES:
        raise ValueError(
            "Invalid value for argument `fill_mode`. Expected one of "
            f"{FILL_MODES}. Received: fill_mode={fill_mode}"
        )
    if order not in (0, 1):
        raise ValueError(
            f"Invalid value for argument `order`. Expected one of [0, 1]. Received: order={order}"
        )
    rows = sh.reshape(as_float(inputs), (inputs.size, 1))
    full = (None,) * (coordinates.ndim - 1)
    zeros = (0,) * (coordinates.ndim - 1)
    positions = [
        sh.reshape(ss.slice(coordinates, (i, *zeros), (i + 1, *full)), coordinates.dims[1:])
        for i in range(inputs.ndim)
    ]
    out = _sample(rows, inputs.dims, positions, None, order, fill_mode, float(fill_value))
    return _back(sh.reshape(out, coordinates.dims[1:]), inputs.dtype)


def _check_modes(interpolation, fill_mode="constant") -> int:
    if interpolation not in AFFINE_TRANSFORM_INTERPOLATIONS:
        raise ValueError(
            "Invalid value for argument `interpolation`. Expected of one "
            f"{set(AFFINE_TRANSFORM_INTERPOLATIONS)}. Received: interpolation={interpolation}"
        )
    if fill_mode not in FILL_MODES:
        raise ValueError(
            "Invalid value for argument `fill_mode`. Expected of one "
            f"{FILL_MODES}. Received: fill_mode={fill_mode}"
        )
    return AFFINE_TRANSFORM_INTERPOLATIONS[interpolation]


def _batched(images: Tensor, data_format: str) -> Tensor:
    check_rank(images)
    if images.ndim == 3:
        images = sh.expand_dims(images, 0)
    return channels_last(images, data_format)


def _unbatched(out: Tensor, images: Tensor, data_format: str) -> Tensor:
    out = restore(out, data_format)
    return sh.reshape(out, out.dims[1:]) if images.ndim == 3 else out


def _grid(height, width, dtype: str) -> tuple[Tensor, Tensor]:
    """Row and column numbers, of shapes [1, H, 1] and [1, 1, W]."""
    rows = sh.reshape(sh.iota(height, dtype), (1, height, 1))
    return rows, sh.reshape(sh.iota(width, dtype), (1, 1, width))


def _columns(matrix: Tensor) -> list[Tensor]:
    """The columns of [B, n], each as [B, 1, 1]."""
    batch, count = matrix.dims
    return [
        sh.reshape(ss.slice(matrix, (0, i), (None, i + 1)), (batch, 1, 1)) for i in range(count)
    ]


def _linear(a: Tensor, x: Tensor, b: Tensor, y: Tensor, c) -> Tensor:
    return ew.add(ew.add(ew.mul(a, x), ew.mul(b, y)), c)


def affine_transform(
    images,
    transform,
    interpolation="bilinear",
    fill_mode="constant",
    fill_value=0,
    data_format=None,
):
    """Output (x, y) is the input at (a0 x + a1 y + a2, b0 x + b1 y + b2).

    Args:
        transform: [8] or [batch, 8]: a0, a1, a2, b0, b1, b2, and two that are ignored.
    """
    data_format = config.standardize_data_format(data_format)
    order = _check_modes(interpolation, fill_mode)
    images = convert_to_tensor(images)
    transform = as_float(transform)
    check_rank(images)
    if transform.ndim not in (1, 2):
        raise ValueError(
            "Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of "
            f"transforms). Received input with shape: transform.shape={transform.shape}"
        )
    batch = _batched(images, data_format)
    if transform.ndim == 1:
        transform = sh.expand_dims(transform, 0)
    if transform.dtype not in ("float32", "float64"):
        transform = ew.cast(transform, "float32")
    count, height, width, _ = batch.dims
    a0, a1, a2, b0, b1, b2, *_ = _columns(transform)
    y, x = _grid(height, width, transform.dtype)
    dims = (count, height, width)
    x_in = sh.broadcast_to(_linear(a0, x, a1, y, a2), dims)
    y_in = sh.broadcast_to(_linear(b0, x, b1, y, b2), dims)
    out = _sample_images(batch, y_in, x_in, order, fill_mode, fill_value)
    return _unbatched(out, images, data_format)


def perspective_transform(
    images, start_points, end_points, interpolation="bilinear", fill_value=0, data_format=None
):
    """Images on which `start_points` [(batch,) 4, 2] have moved to `end_points`."""
    data_format = config.standardize_data_format(data_format)
    order = _check_modes(interpolation)
    images = convert_to_tensor(images)
    check_rank(images)
    start, end = (convert_to_tensor(p, "float32") for p in (start_points, end_points))
    for name, points in (("start_points", start), ("end_points", end)):
        if points.dims[-2:] != (4, 2) or points.ndim not in (2, 3):
            raise ValueError(
                f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. "
                f"Received shape: {points.shape}"
            )
    if start.dims != end.dims:
        raise ValueError(
            "start_points and end_points must have the same shape. "
            f"Received start_points.shape={start.shape}, end_points.shape={end.shape}"
        )
    batch = _batched(images, data_format)
    if start.ndim == 2:
        start, end = sh.expand_dims(start, 0), sh.expand_dims(end, 0)
    count, height, width, _ = batch.dims
    t = _columns(compute_homography_matrix(start, end))
    y, x = _grid(height, width, "float32")
    depth = _linear(t[6], x, t[7], y, 1.0)
    dims = (count, height, width)
    x_in = sh.broadcast_to(ew.div(_linear(t[0], x, t[1], y, t[2]), depth), dims)
    y_in = sh.broadcast_to(ew.div(_linear(t[3], x, t[4], y, t[5]), depth), dims)
    out = _sample_images(batch, y_in, x_in, order, "constant", fill_value)
    return _unbatched(out, images, data_format)


def elastic_transform(
    images,
    alpha=20.0,
    sigma=5.0,
    interpolation="bilinear",
    fill_mode="reflect",
    fill_value=0.0,
    seed=None,
    data_format=None,
):
    """Images on a grid bent by smoothed random displacements of strength `alpha`.

    Args:
        sigma: width of the smoothing, in pixels.
    """
    data_format = config.standardize_data_format(data_format)
    order = _check_modes(interpolation, fill_mode)
    images = convert_to_tensor(images)
    batch = _batched(images, data_format)
    count, height, width, _ = batch.dims
    dtype = images.dtype if dtypes.is_float(images.dtype) else "float32"
    alpha, sigma = convert_to_tensor(alpha, dtype), convert_to_tensor(sigma, "float32")
    noise = rn.random_normal(seed_key(seed), (2, count, height, width), dtype)
    shift = ew.mul(smooth(noise, sigma), ew.mul(ew.cast(sigma, dtype), alpha))
    y, x = _grid(height, width, dtype)
    across, down = (
        sh.reshape(ss.slice(shift, (i, 0, 0, 0), (i + 1, None, None, None)), batch.dims[:3])
        for i in range(2)
    )
    out = _sample_images(batch, ew.add(down, y), ew.add(across, x), order, fill_mode, fill_value)
    return _unbatched(out, images, data_format)
