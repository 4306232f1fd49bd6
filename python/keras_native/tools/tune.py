"""Races the kernels that are able to serve a problem and remembers the fastest on this machine."""

import importlib
import statistics
import sys

from keras_native import _core, tuned
from keras_native.tools import command
from keras_native.tools.bench import find_checkout
from keras_native.tools.kernels import ONLY_BY_FORCE

# A winner must be faster than the registry's choice by more than what repeated timings differ by.
LEAST_GAIN = 1.03

EXAMPLES = """\
examples:
  tune conv resnet50 --batch 1        the layers of a network (lists as in the tool bench)
  tune gemm 300x4000x70               one shape
  tune gemm 'matmul(float32(300, 4000), float32(4000, 70), transpose_a=False, transpose_b=False)'
  tune --list                         what is remembered, and where
  tune --clear                        forget all of it

A choice holds for exactly this problem, on this instruction set, processor and version of the
package. It may change the rounding of results. Without tuning the registry's order decides.
"""


def main(arguments: list[str]) -> int:
    """Runs the tool; returns the exit status."""
    parser = command.parser("tune", __doc__, EXAMPLES)
    parser.add_argument("family", nargs="?")
    parser.add_argument("cases", nargs="*", help="lists, cases or shapes, as the tool bench takes")
    parser.add_argument("--batch", type=int, default=8, help="of the lists of networks")
    parser.add_argument("--threads", type=int, default=_core.threads())
    parser.add_argument("--seconds", type=float, default=0.2, help="for each kernel in all")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--clear", action="store_true")
    options = parser.parse_args(arguments)
    if options.list or options.clear:
        print(forget() if options.clear else remembered())
        return 0
    root = find_checkout()
    if root is None or options.family is None:
        parser.print_usage()
        print("tune FAMILY CASE ... in a checkout of the project, or --list or --clear")
        return 2
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    choose = importlib.import_module("bench.choose")
    before = _core.threads()
    try:
        cases = choose.cases(options.family, options.cases, options.batch)
        _core.set_threads(options.threads)
        for case in cases:
            print(tune(case, options.seconds), flush=True)
    except ValueError as error:
        print(error)
        return 2
    finally:
        _core.set_threads(before)
    return 0


def remembered() -> str:
    """The choices in the file, a line each."""
    lines = [str(tuned.path())]
    for choice in tuned.read():
        shapes = ", ".join(f"{dtype}{tuple(dims)}" for dtype, dims in choice.inputs)
        attrs = "".join(f", {k}={v}" for k, v in choice.attrs.items())
        lines.append(f"{choice.op}({shapes}{attrs}) on {choice.isa}: {choice.kernel}, "
                     f"{choice.gain:.2f} times faster")  # fmt: skip
    return "\n".join(lines)


def forget() -> str:
    """Forgets all choices; says how many there were."""
    return f"{tuned.forget()} choices forgotten: {tuned.path()}"


def candidates(problem: tuple) -> list[str]:
    """Names of the kernels that are able to serve a problem, the registry's choice first; without
    those that are less exact and serve by force alone.

    Args:
        problem: primitive, operands, results and attributes, as the questions of `_core` take them.
    """
    rows = [(name, priority) for op, name, priority, _ in _core.kernels() if op == problem[0]]
    able = [
        name
        for (name, priority), takes in zip(rows, _core.accepting_kernels(*problem))
        if takes and priority != ONLY_BY_FORCE
    ]
    return list(dict.fromkeys(able))


def race(case, names: list[str], seconds: float, rounds: int = 5) -> dict[str, float]:
    """Median seconds of each kernel, which take turns."""
    harness = importlib.import_module("bench.harness")
    bound = harness.bind(case)
    found = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            with harness.forced(case.op, name):
                found[name].append(min(harness.sample(bound.run, seconds / rounds)))
    return {name: statistics.median(times) for name, times in found.items()}


def tune(case, seconds: float) -> str:
    """Races a case's kernels and remembers the winner if it gains enough; returns what to print."""
    problem = importlib.import_module("bench.harness").problem_of(case)
    names = candidates(problem)
    if len(names) < 2:
        return f"{case.name}: {names[0] if names else 'no kernel'} alone can"
    times = race(case, names, seconds)
    usual, winner = names[0], min(times, key=times.get)
    table = ", ".join(f"{name} {took * 1e6:.1f} us" for name, took in times.items())
    gain = times[usual] / times[winner]
    if gain < LEAST_GAIN:
        return f"{case.name}: {usual} stays ({table})"
    op, inputs, outputs, attrs = problem
    tuned.remember(tuned.Choice(op, inputs, outputs, dict(attrs), _core.isa(), winner, gain))
    return f"{case.name}: {winner}, {gain:.2f} times faster than {usual} ({table})"
