"""What more threads would make of a kernel's tasks: each is timed on one thread, then handed to the
threads of a model in the order in which the pool hands them out.

The model knows of tasks that end at different times and of what runs on one thread between grids of
tasks. It does not know of memory that many threads share, of clocks that fall, or of what waking a
thread costs: it is what the division of the work allows at most.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Sequence

from bench import harness
from bench.harness import Case

THREADS = (2, 4, 8, 16, 32, 64)


def makespan(tasks: Sequence[float], threads: int) -> float:
    """Seconds until the last task ends. A thread has an equal share of the tasks, one after the
    other; without any left it takes what the threads behind it have not begun."""
    count = len(tasks)
    shares = [
        deque(tasks[t * count // threads : (t + 1) * count // threads]) for t in range(threads)
    ]
    free, last = [(0.0, t) for t in range(threads)], 0.0
    while free:
        now, thread = heapq.heappop(free)
        last = max(last, now)
        share = next((s for s in shares[thread:] + shares[:thread] if s), None)
        if share:
            heapq.heappush(free, (now + share.popleft(), thread))
    return last


def efficiency(grids: Sequence[Sequence[float]], serial: float, threads: int) -> float:
    """Share of the threads' time that is work: 1 where all end together.

    Args:
        grids: seconds of the tasks of each grid, one grid after the other.
        serial: seconds outside of grids.
    """
    work = serial + sum(map(sum, grids))
    took = serial + sum(makespan(grid, threads) for grid in grids)
    return work / (threads * took) if took else 1.0


def measure(case: Case, repeats: int = 5) -> tuple[list[list[float]], float]:
    """Seconds of the tasks of each grid, and of what runs outside of grids: the least of some runs.

    Raises:
        LookupError: no kernel takes the problem.
    """
    from keras_native import _core

    bound = harness.bind(case)
    if bound.run() is None:
        raise LookupError(f"no kernel takes {case.name}")
    runs, serial = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        runs.append(_core.task_seconds(bound.op, bound.arrays, bound.attrs, bound.outputs))
        # Of the same run, or what else the machine does would count as serial work.
        serial.append(time.perf_counter() - start - sum(map(sum, runs[-1])))
    grids = [[min(times) for times in zip(*grid)] for grid in zip(*runs)]
    return grids, max(0.0, min(serial))


def table(cases: Sequence[Case]) -> str:
    """A line for each case: tasks of its grids, and efficiency at each number of threads."""
    width = max((len(case.name) for case in cases), default=4)
    lines = [f"{'case':{width}} {'tasks':>12}" + "".join(f" {n:>5}" for n in THREADS)]
    for case in cases:
        try:
            grids, serial = measure(case)
        except LookupError:
            lines.append(f"{case.name:{width}} {'no kernel':>12}")
            continue
        counts = "+".join(str(len(grid)) for grid in grids) or "1"
        shares = "".join(f" {efficiency(grids, serial, n):5.0%}" for n in THREADS)
        lines.append(f"{case.name:{width}} {counts:>12}{shares}")
    return "\n".join(lines)
