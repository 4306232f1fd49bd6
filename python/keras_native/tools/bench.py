"""Checks and times the kernels of a family, beside other libraries and the machine's peak."""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys

from keras_native import _core

PEERS = ("numpy", "torch", "jax")

EXAMPLES = """\
examples:
  bench matmul                      the speed table: time, GFLOP/s, share of the FMA peak, GB/s
  bench matmul --check              first compare every small case with float64, and gradients
  bench matmul --peers              the same cases in NumPy, PyTorch and JAX, a process each
  bench matmul --peers --peer-python ~/peers/bin/python
  bench matmul --device gpu --check the GPU's kernels, with --peers beside cuBLAS and cuDNN; on the
                                    emulator (NATIVE_CUDA_DRIVER=emulator) counts instead of times
"""


def main(arguments: list[str]) -> int:
    """Runs the tool; returns the exit status, 1 where a check failed."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_native bench",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("family", nargs="?", help="a file of bench/cases")
    parser.add_argument("--check", action="store_true", help="results and gradients, then speed")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=_core.threads())
    parser.add_argument("--isa", default=_core.isa(), help=f"one of {', '.join(_core.isas())}")
    parser.add_argument("--peers", action="store_true", help="time other libraries as well")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has them")
    parser.add_argument("--filter", default="", metavar="TEXT", help="cases whose name has TEXT")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each case")
    parser.add_argument("--json", metavar="FILE", help="write what was measured")
    options = parser.parse_args(arguments)
    root = find_checkout()
    if root is None:
        print(
            "The cases are not part of the wheel: run this from a checkout of the project "
            "(a folder with bench/cases), or from a folder inside one."
        )
        return 2
    families = sorted(p.stem for p in (root / "bench/cases").glob("[a-z]*.py"))
    if options.family not in families:
        print(f"usage: {parser.prog} FAMILY ...; families: {', '.join(families)}")
        return 2
    sys.path.insert(0, str(root))
    cases = importlib.import_module("bench.harness").load_cases(options.family)
    cases = [case for case in cases if options.filter in str(case)]
    if options.device == "gpu":
        from keras_native.tools import bench_gpu

        return bench_gpu.run(cases, options, root)
    failures = check(cases) if options.check else []
    before = _core.isa(), _core.threads()
    try:
        _core.set_isa(options.isa)
        _core.set_threads(options.threads)
        report = measure(cases, options, root)
    finally:
        _core.set_isa(before[0])
        _core.set_threads(before[1])
    if options.json:
        report["failures"] = failures
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failures else 0


def find_checkout() -> pathlib.Path | None:
    """The nearest folder upwards, from here or from this package, that has bench/cases."""
    for start in (pathlib.Path.cwd(), pathlib.Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "bench/cases").is_dir() and (folder / "bench/harness.py").is_file():
                return folder
    return None


def check(cases) -> list[str]:
    """Compares results and gradients of the small cases; returns what failed."""
    harness = importlib.import_module("bench.harness")
    failures, worst, count = [], 0.0, 0
    for case in harness.test_cases(cases):
        count += 1
        try:
            worst = max(worst, harness.check_forward(case))
            if case.grad and harness.has_gradient(case):
                harness.check_gradient(case)
        except AssertionError as error:
            failures.append(str(error))
            print(f"FAILED {error}")
    print(
        f"{count} cases on {', '.join(harness.isas())}: {len(failures)} failed; "
        f"largest error {worst:.2f} of the allowed\n"
    )
    return failures


def measure(cases, options, root) -> dict:
    """Times the speed cases and prints them; returns the same as data."""
    harness = importlib.import_module("bench.harness")
    cases = [case for case in cases if case.speed]
    peak = _core.measure_peak()
    peers = time_peers(PEERS, options, root)
    print(
        f"{options.isa}, {options.threads} threads, FMA peak {peak / 1e9:.0f} GFLOP/s in float32"
        + "".join(f"; {p['library']} {p['version']}" for p in peers)
        + (" (times faster than it)" if peers else "")
    )
    width = max([len(str(case)) for case in cases], default=10)
    print(f"{'case':{width}} {'us':>10} {'GFLOP/s':>8} {'peak':>5} {'GB/s':>6}", end="")
    print("".join(f" {p['library']:>8}" for p in peers))
    rows = []
    for case in cases:
        try:
            seconds = harness.time_case(case, options.seconds)
        except LookupError:
            print(f"{str(case):{width}} {'no kernel':>10}")
            continue
        row = {"case": str(case), "kernel": harness.kernel_of(case), "seconds": seconds}
        line = f"{str(case):{width}} {seconds * 1e6:10.1f}"
        line += f" {case.flops / seconds / 1e9:8.1f} {case.flops / seconds / peak:5.0%}"
        line += f" {case.bytes / seconds / 1e9:6.1f}"
        for peer in peers:
            other = peer["seconds"].get(str(case))
            line += f" {other / seconds:8.2f}" if other else f" {'-':>8}"
            row[peer["library"]] = other
        print(line, flush=True)
        rows.append(row)
    return {"isa": options.isa, "threads": options.threads, "peak": peak, "rows": rows}


def time_peers(names, options, root) -> list[dict]:
    """The times of those libraries that are there, where they are asked for; says which are not."""
    peers = [time_peer(name, options, root) for name in names] if options.peers else []
    for peer in peers:
        if "seconds" not in peer:
            print(f"{peer['library']}: {peer.get('missing', 'failed')}")
    return [peer for peer in peers if peer.get("seconds")]


def time_peer(library: str, options, root) -> dict:
    """One library's times, from a process of its own."""
    command = [options.peer_python, "-m", "bench.peers", options.family, library]
    command += ["--threads", str(options.threads), "--filter", options.filter]
    command += ["--seconds", str(options.seconds), "--device", options.device]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        tail = done.stderr.strip().splitlines()[-1:] or ["no output"]
        return {"library": library, "missing": tail[0]}
