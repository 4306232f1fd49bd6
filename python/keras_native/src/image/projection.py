"""The projection of the plane that takes four points to four others, in closed form."""

from __future__ import annotations

import numpy as np

from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import gather as ga
from keras_native.engine.primitives import reduce as rd
from keras_native.engine.primitives import shape as sh
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import Tensor, from_numpy
from keras_native.src.nn.activations import as_float


def compute_homography_matrix(start_points, end_points):
    """The eight coefficients [batch, 8] of the projection that takes end to start points, both
    [batch, 4, 2]; the ninth is 1. Infinite or NaN where three end points are in a line.

    A point is the sum, over three of the four, of that point times the line through the other
    two at it: such a sum takes each of the three to itself, times the fourth's own coordinate. A
    projection that takes these points elsewhere puts the others' images and coordinates in.
    Everything is measured from the fourth point, whose coordinates are then the lines' last terms.
    In float64, since differences of products lose what a pixel's fraction needs.
    """
    start, end = as_float(start_points), as_float(end_points)
    dtype = start.dtype
    (x, y), corner = _from_last(ew.cast(start, "float64"))
    lines, end_corner = _from_last(ew.cast(end, "float64"))
    a, b, c = _lines(*lines)
    weights = ew.div(_lines(x, y)[2], c)
    # For each point: its image before and its line after, a product of 3 by 3.
    images = [ew.mul(weights, x), ew.mul(weights, y), weights]
    rows = [[_sum(ew.mul(image, line)) for line in (a, b, c)] for image in images]
    for row in rows:
        for line, shift in zip(row[:2], end_corner):
            row[2] = ew.sub(row[2], ew.mul(line, shift))
    for row, shift in zip(rows[:2], corner):
        row[:] = [ew.add(own, ew.mul(last, shift)) for own, last in zip(row, rows[2])]
    coefficients = sh.concat([*rows[0], *rows[1], *rows[2][:2]], -1)
    return ew.cast(ew.div(coefficients, rows[2][2]), dtype)


def _from_last(points: Tensor) -> tuple[tuple, tuple]:
    """x and y [batch, 3] of the first three points seen from the fourth, and those of the fourth
    [batch, 1]."""
    x, y = (
        sh.reshape(ss.slice(points, (0, 0, i), (None, None, i + 1)), points.dims[:2])
        for i in range(2)
    )
    fourth = tuple(ss.slice(p, (0, 3), (None, 4)) for p in (x, y))
    first = tuple(ew.sub(ss.slice(p, (0, 0), (None, 3)), q) for p, q in zip((x, y), fourth))
    return first, fourth


def _lines(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of three points the line a x + b y + c = 0 through the other two."""
    (x1, y1), (x2, y2) = (
        tuple(ga.gather(p, from_numpy(np.array(order, np.int32)), 1) for p in (x, y))
        for order in ((1, 2, 0), (2, 0, 1))
    )
    return ew.sub(y1, y2), ew.sub(x2, x1), ew.sub(ew.mul(x1, y2), ew.mul(x2, y1))


def _sum(x: Tensor) -> Tensor:
    return rd.reduce_sum(x, (1,), True)
