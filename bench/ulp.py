"""The largest error of each function of one argument over all of float32, in units in the last
place of the exact result (a float64 reference), and where it is.

    python -m bench.ulp                       every function, all 2^32 arguments: half an hour
    python -m bench.ulp exp tanh --stride 997 some of them, every 997th argument
    python -m bench.ulp --json bench/results/ulp.jsonl     a line a function, added to the file

Ends with 1 if a function exceeds 2 units, or is infinite or no number where the reference is.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy import special

from bench import harness
from bench.cases.elementwise import ATTRS, FLAT, UNARY

MOST = 2.0
ALL = 1 << 32
CHUNK = 1 << 15  # stays in the second-level cache
# Exact, or not of floating point; and what has zeros between numbers, near which no relative error
# is bounded.
EXACT = {"neg", "abs", "square", "relu", "relu6"}
ZEROS = {"lgamma", "digamma", "gelu_slope"}
FUNCTIONS = [op for op in UNARY if op not in FLAT | EXACT | ZEROS]
# f(-x) is f(x), or its negative: once the bits agree, so do the errors.
EVEN = {"cos", "cosh"}
ODD = {
    "reciprocal", "cbrt", "sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf",
    "erfinv", "softsign",
}  # fmt: skip


@dataclasses.dataclass
class Worst:
    """The largest error so far, and how many arguments were looked at."""

    units: float = 0.0
    at: float = 0.0
    arguments: int = 0


def arguments(start: int, stride: int) -> np.ndarray:
    """CHUNK arguments by their bits, every `stride`th from `start` on."""
    bits = np.arange(start, min(start + CHUNK * stride, ALL), stride, dtype=np.uint64)
    return bits.astype(np.uint32).view(np.float32)


def units(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Errors of float32 numbers in units in the last place of float64 ones; infinite where only one
    of both is a number. Infinity counts as the first number that is too large."""
    with np.errstate(all="ignore"):
        exponent = np.clip(np.frexp(np.abs(want))[1] - 24, -149, 104)
        # What is too large for float32 is infinite there.
        got, want = (np.clip(side, -(2.0**128), 2.0**128) for side in (got, want))
        error = np.ldexp(np.abs(got - want), -exponent)
    both = np.isnan(got) & np.isnan(want)
    return np.where(both, 0.0, np.where(np.isnan(got) | np.isnan(want), np.inf, error))


def _erfinv(x: np.ndarray) -> np.ndarray:
    y = np.full_like(x, np.nan)
    inside = np.abs(x) <= 1
    y[inside] = special.erfinv(x[inside])
    return y


# SciPy's where NumPy has none, for its speed.
SPECIAL = {
    "erf": special.erf, "erfc": special.erfc, "erfinv": _erfinv,
    "silu": lambda x: x * special.expit(x), "gelu": lambda x: x * special.ndtr(x),
}  # fmt: skip


@functools.cache
def reference(op: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function on float64 arrays."""
    return SPECIAL.get(op) or functools.partial(
        harness.primitive(op).reference, **ATTRS.get(op, {})
    )


def evaluate(op: str, x: np.ndarray) -> np.ndarray:
    """The function of float32 numbers by the kernel."""
    from keras_native.engine.tensor import from_numpy

    return harness.primitive(op)(from_numpy(x), **ATTRS.get(op, {})).numpy()


def look(op: str, x: np.ndarray, worst: Worst) -> None:
    """Takes arguments into account."""
    y = evaluate(op, x)
    got = y.astype(np.float64)
    with np.errstate(all="ignore"):
        want = reference(op)(x.astype(np.float64))
        # An error of u units is more than u / 2^24 of the result: only such can be the worst.
        fine = np.abs(got - want) <= (worst.units * 2.0**-24) * np.abs(want)
        if not fine.all():
            # Nor can what is infinite, or no number, in both.
            nearest = want.astype(np.float32)
            fine |= (np.isinf(y) & (y == nearest)) | (np.isnan(y) & np.isnan(nearest))
    worst.arguments += x.size
    if fine.all():
        return
    likely = ~fine
    found = units(got[likely], want[likely])
    if not found.max() <= worst.units:
        worst.units = float(found.max())
        worst.at = float(x[likely][found.argmax()])


def mirrored(op: str, x: np.ndarray) -> bool:
    """Whether the results of -x are those of x, but for the sign where the function is odd."""
    y, other = evaluate(op, x), evaluate(op, -x)
    return np.array_equal(y if op in EVEN else -y, other, equal_nan=True)


def check(op: str, stride: int = 1) -> Worst:
    """The worst of every `stride`th argument; of those of an even or odd function whose mirror
    images have the same results (a chunk at a time) one side is compared with the reference."""
    # Once it has given back so large a block, malloc keeps smaller ones and their pages.
    np.ones(64 * CHUNK)
    worst = Worst()
    symmetric = op in EVEN | ODD
    for start in range(0, ALL // 2 if symmetric else ALL, CHUNK * stride):
        x = arguments(start, stride)
        if symmetric:
            x = x[~np.signbit(x)]
        look(op, x, worst)
        if not symmetric:
            continue
        if mirrored(op, x):
            worst.arguments += x.size
        else:
            look(op, -x, worst)
    return worst


def main(words: list[str]) -> int:
    """Checks the functions asked for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ulp",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=" ".join(FUNCTIONS))
    parser.add_argument("--stride", type=int, default=1, help="look at every so manieth argument")
    parser.add_argument("--isa", help="instruction set")
    parser.add_argument("--json", metavar="FILE", help="add a line for each function")
    options = parser.parse_args(words)
    if unknown := set(options.functions) - set(FUNCTIONS):
        parser.error(f"no function of one argument: {', '.join(sorted(unknown))}")
    from keras_native import _core
    from keras_native.tools.info import processor

    harness.set_up(1, options.isa)
    failed = False
    for op in options.functions or FUNCTIONS:
        start = time.monotonic()
        worst = check(op, options.stride)
        failed = failed or not worst.units <= MOST
        print(f"{op:14} {worst.units:8.3f} at {worst.at!r:24} of {worst.arguments:,} arguments, "
              f"{time.monotonic() - start:.0f} s", flush=True)  # fmt: skip
        row = {"function": op, "isa": _core.isa(), "units": worst.units, "at": worst.at,
               "arguments": worst.arguments, "processor": processor()}  # fmt: skip
        if options.json:
            with pathlib.Path(options.json).open("a") as file:
                file.write(json.dumps(row) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
