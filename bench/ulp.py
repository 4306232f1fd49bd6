"""The largest error of each function of one argument over all of float32, in units in the last
place of the exact result (a float64 reference), and where it is.

    python -m bench.ulp                       every function, all 2^32 arguments: minutes each
    python -m bench.ulp exp tanh --stride 997 some of them, every 997th argument
    python -m bench.ulp --json bench/results/ulp.jsonl     a line a function, added to the file

Ends with 1 if a function exceeds 2 units, or is infinite or no number where the reference is.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time

import numpy as np

from bench import harness
from bench.cases.elementwise import ATTRS, FLAT, UNARY

MOST = 2.0
ALL = 1 << 32
CHUNK = 1 << 14  # stays in the second-level cache
# Exact, or not of floating point; and what has zeros between numbers, near which no relative error
# is bounded.
EXACT = {"neg", "abs", "square", "relu", "relu6"}
ZEROS = {"lgamma", "digamma", "gelu_slope"}
FUNCTIONS = [op for op in UNARY if op not in FLAT | EXACT | ZEROS]


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


def look(op: str, x: np.ndarray, worst: Worst) -> None:
    """Takes arguments into account."""
    from keras_native.engine.tensor import from_numpy

    primitive, attrs = harness.primitive(op), ATTRS.get(op, {})
    got = primitive(from_numpy(x), **attrs).numpy().astype(np.float64)
    with np.errstate(all="ignore"):
        want = primitive.reference(x.astype(np.float64), **attrs)
        # An error of u units is more than u / 2^24 of the result: only such can be the worst.
        likely = ~(np.abs(got - want) <= (worst.units * 2.0**-24) * np.abs(want))
    found = units(got[likely], want[likely])
    if found.size and not found.max() <= worst.units:
        worst.units = float(found.max())
        worst.at = float(x[likely][found.argmax()])
    worst.arguments += x.size


def check(op: str, stride: int = 1) -> Worst:
    """The worst of every `stride`th argument."""
    worst = Worst()
    for start in range(0, ALL, CHUNK * stride):
        look(op, arguments(start, stride), worst)
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
