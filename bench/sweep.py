"""`python -m bench.sweep [OP ...] [--step N]`: errors of float32 functions over all of float32.

Step 1, the default, takes each of the 2^32 numbers (minutes to hours, depending on the reference);
a prime step samples evenly in the exponent. Prints units in the last place of the exact result.
"""

from __future__ import annotations

import argparse

import numpy as np

from bench import harness
from bench.cases import elementwise as table

_BLOCK = 1 << 22


def worst_error(op: str, step: int = 1) -> tuple[float, float]:
    """The largest error of `op` in units in the last place, and where; finite results only."""
    from keras_native.engine.tensor import from_numpy

    prim, attrs = harness.primitive(op), table.ATTRS.get(op, {})
    worst, place = 0.0, float("nan")
    for low in range(0, 1 << 32, _BLOCK * step):
        high = min(low + _BLOCK * step, 1 << 32)
        x = np.arange(low, high, step, dtype=np.uint64).astype(np.uint32).view(np.float32)
        got = prim(from_numpy(x), **attrs).numpy()
        with np.errstate(all="ignore"):
            want = prim.reference(x.astype(np.float64), **attrs)
            rounded = want.astype(np.float32)
        finite = np.isfinite(rounded) & np.isfinite(got)
        if not finite.any():
            continue
        spacing = np.spacing(np.abs(rounded[finite])).astype(np.float64)
        error = np.abs(got[finite] - want[finite]) / np.maximum(spacing, 1e-45)
        if error.max() > worst:
            worst, place = float(error.max()), float(x[finite][error.argmax()])
    return worst, place


def main() -> None:
    """Parses the command line and prints a line for each function."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("op", nargs="*", default=sorted(set(table.UNARY) - table.FLAT))
    parser.add_argument("--step", type=int, default=1)
    options = parser.parse_args()
    for op in options.op:
        worst, place = worst_error(op, options.step)
        print(f"{op:12} {worst:8.3f} units at {place!r}", flush=True)


if __name__ == "__main__":
    main()
