"""Recurrent cells and their gradients.

Tolerance: each gate is off by 2 eps at most, and a handful of products and sums follow, of
numbers whose cancellation the largest element bounds: 16 eps.
"""

from __future__ import annotations

from bench.harness import Case


def lstm(batch, units, dtype="float32", grad=False, speed=False):
    """A case of `lstm_cell` or its gradient."""
    z, state = ((batch, 4 * units), dtype), ((batch, units), dtype)
    inputs = (z, state, state, state) if grad else (z, state)
    size = 10 * batch * units * (1 + grad)
    op = "lstm_cell_grad" if grad else "lstm_cell"
    return Case(op=op, inputs=inputs, tol=16, flops=5 * size, bytes=4 * size, speed=speed)


def gru(batch, units, dtype="float32", grad=False, speed=False):
    """A case of `gru_cell` or its gradient."""
    gates, state = ((batch, 3 * units), dtype), ((batch, units), dtype)
    inputs = (gates, gates, state, state) if grad else (gates, gates, state)
    size = 8 * batch * units * (1 + grad)
    op = "gru_cell_grad" if grad else "gru_cell"
    return Case(op=op, inputs=inputs, tol=16, flops=5 * size, bytes=4 * size, speed=speed)


CASES = [
    case(batch, units, dtype, grad)
    for case in (lstm, gru)
    for batch, units, dtype in (
        (3, 5, "float32"),
        (1, 7, "float32"),
        (2, 64, "float32"),
        (150, 83, "float32"),
        (0, 4, "float32"),
        (3, 5, "float64"),
        (3, 5, "bfloat16"),
    )
    for grad in (False, True)
]
CASES += [
    case(*size, grad=grad, speed=True)
    for case in (lstm, gru)
    for size in ((32, 64), (64, 512))
    for grad in (False, True)
]
