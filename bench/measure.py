"""Times cases, in this process or beside other libraries in processes of their own, and reports
them as data. Printing is bench.table's, drawing bench.plot's."""

from __future__ import annotations

import json
import math
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import harness
from bench.harness import Case
from bench.side import Side

LIBRARIES = ("numpy", "torch", "jax", "tensorflow")
OWN = "keras_native"
# A ratio below this one counts as behind.
BEHIND = 0.95


@dataclass(frozen=True)
class Setting:
    """How cases are timed.

    Attributes:
        threads, isa: of ours; the peers get as many threads.
        kernel: the registered kernel that must serve, or None for the registry's choice.
        seconds: for each case, library and round.
        by: "median" or "least" of the repetitions of a round; over rounds always the median of
            medians, or the least.
        clock: "wall", or "cpu": the time of the process, for one thread on a busy machine.
        rounds: fresh processes each, where libraries are timed beside ours.
        libraries: others to time; none: all is done in this process.
        python: the interpreter that has them.
        batch: of lists of networks.
        device: the libraries'.
    """

    threads: int
    isa: str
    kernel: str | None = None
    seconds: float = 0.4
    by: str = "median"
    clock: str = "wall"
    rounds: int = 3
    libraries: Sequence[str] = ()
    python: str = sys.executable
    batch: int = 8
    device: str = "cpu"


def machine(setting: Setting) -> dict:
    """The machine, what built and runs this, and the machine's limits; takes a few seconds."""
    import numpy as np

    import keras_native
    from keras_native import _core
    from keras_native.tools.info import processor

    peaks = {d: _core.measure_peak(d) for d in ("float32", "float64", "bfloat16", "int8")}
    return {
        "processor": processor(),
        "isa": setting.isa,
        "threads": setting.threads,
        "caches": list(_core.cache_sizes()),
        "peak": peaks["float32"],
        "peaks": {**peaks, "float16": peaks["float32"]},
        "stream": _core.measure_stream(),
        "compiler": _core.compiler,
        "versions": {
            "keras_native": keras_native.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "date": time.strftime("%Y-%m-%d"),
        "by": setting.by,
        "clock": setting.clock,
        "rounds": setting.rounds if setting.libraries else 1,
    }


def report(family: str, cases: Sequence[Case], setting: Setting, show=None) -> dict:
    """Measures cases and the machine.

    Args:
        show: called with (report so far, row) after each case of the last round.

    Returns:
        What `machine` says, "family", and "rows": for each case its name, kernel, seconds, work,
        shares of peak and roofline, and each library's seconds (None where it has not the work).
    """
    result = {**machine(setting), "family": family, "rows": [], "missing": {}, "timed": []}
    samples: dict[tuple[str, str], list[list[float]]] = {}
    rounds = setting.rounds if setting.libraries else 1
    for number in range(rounds):
        sides = open_sides(setting, result) if setting.libraries else {OWN: _Here()}
        try:
            for case in cases:
                for name, side in sides.items():
                    if found := side.time(family, case, setting):
                        samples.setdefault((case.name, name), []).append(found)
                if number == rounds - 1:
                    row = _row(case, setting, samples, list(sides), result)
                    result["rows"].append(row)
                    if show:
                        show(result, row)
        finally:
            for side in sides.values():
                side.close()
    return result


def open_sides(setting: Setting, result: dict, own: Sequence[str] = (OWN,)) -> dict:
    """The processes that time us and the libraries, by name; to be closed. Writes into `result`
    their versions, which of the libraries are there and why others are not."""
    sides = {}
    for name in (*own, *setting.libraries):
        side = _Process(name, setting)
        if side.missing:
            result["missing"][name] = side.missing
        else:
            sides[name] = side
            result["versions"].setdefault(name, side.version)
            result["timed"] += [] if name in (OWN, *result["timed"]) else [name]
    return sides


def _row(case: Case, setting: Setting, samples: dict, names: list[str], limits: dict) -> dict:
    def of(name: str) -> float | None:
        found = samples.get((case.name, name))
        return summary(found, setting.by) if found else None

    with harness.forced(case.op, setting.kernel):
        row = {"case": case.name, "kernel": harness.kernel_of(case), "seconds": of(OWN)}
    traffic = harness.traffic(case)
    row |= {"dtype": case.inputs[0][1], "flops": case.flops, "bytes": traffic}
    if row["seconds"]:
        peak = limits["peaks"].get(row["dtype"], limits["peak"])
        row["of_peak"] = case.flops / row["seconds"] / peak
        floor = max(case.flops / peak, traffic / limits["stream"])
        row["of_roofline"] = floor / row["seconds"]
    return row | {name: of(name) for name in names if name != OWN}


def summary(rounds: Sequence[Sequence[float]], by: str) -> float:
    """One number of the repetitions of some rounds."""
    if by == "least":
        return min(map(min, rounds))
    return statistics.median(map(statistics.median, rounds))


class _Here:
    """Ours, in this process."""

    def time(self, family: str, case: Case, setting: Setting) -> list[float]:
        with harness.forced(case.op, setting.kernel):
            try:
                return harness.sample_case(case, setting.seconds, setting.clock)
            except LookupError:
                return []

    def close(self) -> None:
        """Nothing to end."""


class _Process:
    """One library in a process of bench.peers.

    Attributes:
        version: of the library, or None.
        missing: why it cannot be timed, or None.
    """

    def __init__(self, name: str, setting: Setting):
        python = sys.executable if name == OWN else setting.python
        command = [python, "-m", "bench.peers", name, "--threads", str(setting.threads)]
        command += ["--isa", setting.isa] if name == OWN else ["--device", setting.device]
        command += ["--kernel", setting.kernel] if name == OWN and setting.kernel else []
        import keras_native

        paths = [str(pathlib.Path(keras_native.__path__[0]).parent), os.environ.get("PYTHONPATH")]
        self._side = Side(command, {"PYTHONPATH": os.pathsep.join(filter(None, paths))})
        hello = self._side.answer()
        found = json.loads(hello) if hello else {"missing": self._side.last_error()}
        self.version, self.missing = found.get("version"), found.get("missing")

    def time(self, family: str, case: Case, setting: Setting) -> list[float]:
        if self.missing:
            return []
        request = {"family": family, "text": case.name, "batch": setting.batch,
                   "seconds": setting.seconds, "clock": setting.clock}  # fmt: skip
        answer = self._side.ask(json.dumps(request))
        if not answer:
            self.missing = self._side.last_error()
            print(f"a process of bench.peers ended at {case.name}: {self.missing}", file=sys.stderr)
            return []
        return json.loads(answer).get(case.name, [])

    def close(self) -> None:
        self._side.close()


def ratios(rows: Sequence[dict], library: str) -> list[float]:
    """How many times longer the library takes, for the cases that it has."""
    return [r[library] / r["seconds"] for r in rows if r.get(library) and r["seconds"]]


def best_ratios(rows: Sequence[dict]) -> list[float]:
    """The same for the fastest library of each case."""
    found = [(r["seconds"], [r[n] for n in LIBRARIES if r.get(n)]) for r in rows]
    return [min(others) / own for own, others in found if own and others]


def geometric_mean(values: Sequence[float]) -> float:
    """0 for none."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else 0.0
