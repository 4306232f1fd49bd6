"""Checks and times the kernels of a family, beside other libraries and the machine's limits."""

import argparse
import importlib
import json
import pathlib
import sys

from keras_native import _core
from keras_native.tools import command

# The largest problem that is compared with float64 when it is asked for by name, in operations.
MOST_CHECKED = 1e9

EXAMPLES = """\
examples:
  bench gemm                          speed: time, GFLOP/s, shares of the peak and of the roofline
  bench gemm square layers            named lists; bench gemm --list says which there are
  bench conv resnet50 --batch 1       the layers of a network
  bench gemm 512x512x512:Tb           one shape; so is conv 8x56x56x64-64:3x3:f
  bench softmax 'softmax(float32(64, 1000), axis=-1)'   any problem of any primitive
  bench gemm square --peers           beside NumPy, PyTorch, JAX and TensorFlow, a process each,
                                      taking turns case by case, three rounds of fresh processes
  bench conv unet --peers torch --peer-python ~/peers/bin/python
  bench gemm --check                  first compare every small case with float64, and gradients
  bench conv 1x7x7x512-512:3x3:f --kernel direct        by that kernel and no other
  bench gemm curve --plot gemm.png --json gemm.json     drawn, and kept
  bench gemm square --imbalance       what 2 to 64 threads would make of the tasks
  bench gemm --device gpu --check     the GPU's kernels, with --peers beside cuBLAS and cuDNN;
                                      NATIVE_CUDA_DRIVER=emulator: counts in place of times
  bench attention gpu --device gpu --peers torch torch:flash      and flash-attention 2
"""


def main(arguments: list[str]) -> int:
    """Runs the tool; returns the exit status: 1 where a check failed, 2 for what it cannot do."""
    parser = parser_of()
    options = parser.parse_args(arguments)
    root = find_checkout()
    if root is None:
        print(
            "The cases are not part of the wheel: run this from a checkout of the project "
            "(a folder with bench/cases), or from a folder inside one."
        )
        return 2
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    choose = importlib.import_module("bench.choose")
    family = choose.ALIASES.get(options.family, options.family)
    families = sorted(p.stem for p in (root / "bench/cases").glob("[a-z]*.py"))
    if family not in families:
        print(f"usage: {parser.prog} FAMILY ...; families: {', '.join(families)}")
        return 2
    if options.list:
        print(listing(family))
        return 0
    try:
        cases = choose.cases(family, options.cases, options.batch)
        require_problems(cases)
        require_kernel(options.kernel, cases)
    except ValueError as error:
        print(error)
        return 2
    cases = [case for case in cases if options.filter in case.name]
    if options.device == "gpu":
        from keras_native.tools import bench_gpu

        return bench_gpu.run(family, cases, options)
    before = _core.isa(), _core.threads()
    try:
        _core.set_isa(options.isa or before[0])
        _core.set_threads(options.threads)
        return run(family, cases, options)
    finally:
        _core.set_isa(before[0])
        _core.set_threads(before[1])


def parser_of() -> argparse.ArgumentParser:
    """The command line."""
    parser = command.parser("bench", __doc__, EXAMPLES)
    parser.add_argument("family", nargs="?", help="a file of bench/cases; gemm is matmul")
    parser.add_argument("cases", nargs="*", help="lists, cases as a table names them, or shapes")
    parser.add_argument("--list", action="store_true", help="say which lists and cases there are")
    parser.add_argument("--batch", type=int, default=8, help="of the lists of networks")
    parser.add_argument("--check", action="store_true", help="results and gradients, then speed")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=_core.threads())
    parser.add_argument("--isa", help=f"one of {', '.join(_core.isas())}")
    parser.add_argument("--kernel", help="the registered kernel to force, see the tool kernels")
    parser.add_argument("--peers", nargs="*", metavar="LIBRARY", help="time others; none: all")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has them")
    parser.add_argument("--rounds", type=int, default=3, help="of fresh processes, beside others")
    parser.add_argument("--by", choices=("median", "least"), default="median")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: the process's own time, for one thread on a busy machine",
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="cases whose name has TEXT")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each case in each round")
    parser.add_argument("--json", metavar="FILE", help="write what was measured")
    parser.add_argument("--plot", metavar="FILE", help="draw it (needs matplotlib)")
    parser.add_argument("--imbalance", action="store_true", help="model many threads' tasks")
    return parser


def run(family: str, cases: list, options) -> int:
    """Checks, measures, prints, keeps and draws as the options say; returns the exit status."""
    plot = importlib.import_module("bench.plot") if options.plot else None
    if options.imbalance:
        print(importlib.import_module("bench.imbalance").table(cases))
        return 0
    failures = check(to_check(family, cases, options), options.isa) if options.check else []
    report = measure(family, cases, options)
    if options.json:
        report["failures"] = failures
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    if plot:
        try:
            plot.draw(report, options.plot)
        except plot.PlotError as error:
            print(error)
            return 2
    return 1 if failures else 0


def find_checkout() -> pathlib.Path | None:
    """The nearest folder upwards, from here or from this package, that has bench/cases."""
    for start in (pathlib.Path.cwd(), pathlib.Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "bench/cases").is_dir() and (folder / "bench/harness.py").is_file():
                return folder
    return None


def listing(family: str) -> str:
    """The family's lists and speed cases, and how a shape is spelled."""
    harness = importlib.import_module("bench.harness")
    module = importlib.import_module(f"bench.cases.{family}")
    lines = [f"{name}: {len(make(8))} cases" for name, make in harness.load_lists(family).items()]
    lines += [f"shapes: {module.SYNTAX}"] if hasattr(module, "SYNTAX") else []
    lines += [case.name for case in harness.load_cases(family) if case.speed]
    return "\n".join(lines)


def require_problems(cases: list) -> None:
    """Raises ValueError where a case names no primitive, or operands that it does not take."""
    harness = importlib.import_module("bench.harness")
    for case in cases:
        try:
            harness.problem_of(case)
        except KeyError as error:
            raise ValueError(f"there is no primitive {error}") from error
        except TypeError as error:
            raise ValueError(f"{case.name}: {error}") from error


def require_kernel(kernel: str | None, cases: list) -> None:
    """Raises ValueError unless the kernel, where one is asked for, is registered for the cases."""
    for op in sorted({case.op for case in cases}) if kernel else ():
        known = sorted({name for of, name, *_ in _core.kernels() if of == op})
        if kernel not in known:
            raise ValueError(f"{op} has no kernel '{kernel}': {', '.join(known) or 'it has none'}")


def to_check(family: str, cases: list, options) -> list:
    """The small cases of the family, or those of the cases asked for that are not too large."""
    harness = importlib.import_module("bench.harness")
    if not options.cases:
        small = harness.test_cases(harness.load_cases(family))
        return [case for case in small if options.filter in str(case)]
    small = [case for case in cases if case.flops <= MOST_CHECKED]
    if len(small) < len(cases):
        print(f"{len(cases) - len(small)} cases of more than {MOST_CHECKED:.0e} operations are "
              "timed and not checked")  # fmt: skip
    return small


def check(cases: list, isa: str | None = None) -> list[str]:
    """Compares results and gradients with float64; returns what failed.

    Args:
        isa: one instruction set, or None for all that this machine runs.
    """
    harness = importlib.import_module("bench.harness")
    failures, worst = [], 0.0
    for case in cases:
        try:
            worst = max(worst, harness.check_forward(case, isa))
            if case.grad and not case.speed and harness.has_gradient(case):
                harness.check_gradient(case)
        except AssertionError as error:
            failures.append(str(error))
            print(f"FAILED {error}")
    print(
        f"{len(cases)} cases on {isa or ', '.join(harness.isas())}: {len(failures)} failed; "
        f"largest error {worst:.2f} of the allowed\n"
    )
    return failures


def measure(family: str, cases: list, options) -> dict:
    """Times the cases and prints them; returns the same as data."""
    measuring = importlib.import_module("bench.measure")
    table = importlib.import_module("bench.table")
    libraries = measuring.LIBRARIES if options.peers == [] else options.peers or ()
    setting = measuring.Setting(
        options.threads, _core.isa(), options.kernel, options.seconds, options.by, options.clock,
        options.rounds, libraries, options.peer_python, options.batch,
    )  # fmt: skip
    width = max([len(case.name) for case in cases], default=10)

    def show(report: dict, row: dict) -> None:
        if len(report["rows"]) == 1:
            print(table.heading(report, width))
        print(table.line(report, row, width), flush=True)

    report = measuring.report(family, cases, setting, show)
    print(table.closing(report, setting))
    return report
