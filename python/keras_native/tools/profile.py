"""`python -m keras_native profile model.keras`, or a script and its arguments: where a predict or a
training step, or each compiled function that the script calls, spends its time, node by node, and
how far each node is from what the machine can do."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import pathlib
import re
import runpy
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from keras_native import _core
from keras_native.tools import command
from keras_native.tools.cost import operations


@dataclasses.dataclass
class Node:
    """One node of a compiled step: its primitive, kernel, problem as text, and median seconds."""

    op: str
    kernel: str
    problem: str
    seconds: float

    @property
    def flops(self) -> float:
        """Operations of a product, convolution or attention; 0 for the rest."""
        return operations(self.problem)

    @property
    def bytes(self) -> int:
        """Size of all operands and results: what must move if nothing is in a cache."""
        found = re.findall(r"(\w+)\(([\d, ]*)\)", self.problem.split("(", 1)[1])
        sizes = [[int(d) for d in dims.split(",") if d.strip()] for _, dims in found]
        return sum(
            _ITEM_SIZE.get(dtype, 4) * math.prod(dims) for (dtype, _), dims in zip(found, sizes)
        )


_ITEM_SIZE = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2,
    "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip


def profile_step(step, data, repeats: int = 10) -> list[Node]:
    """The nodes of a compiled step with their median seconds; variables are read and not written.

    Args:
        step: a `StepFunction`, such as `model.train_function.step` after a training step.
        data: a batch as the step takes it, `(x, y, sample_weight)`.
    """
    return _nodes(*step.compiled(data), repeats)


def _nodes(compiled, arrays, sizes, repeats: int = 10) -> list[Node]:
    rows = compiled.chosen(sizes)
    runs = [compiled.profile(arrays, sizes) for _ in range(repeats)]
    return [
        Node(op, kernel, compiled.step_text(i, sizes), statistics.median(run[i] for run in runs))
        for i, (op, kernel) in enumerate(rows)
    ]


def shortened(problem: str, length: int = 240) -> str:
    """The problem, or its beginning: one update of all variables has thousands of operands."""
    return problem if len(problem) <= length else problem[: length - 4] + " ..."


def table(nodes: list[Node], top: int = 25, peak: float | None = None) -> str:
    """The sum by primitive and the slowest nodes, as text.

    Args:
        peak: multiply-adds count as two operations of this many a second, float32.
    """
    total = sum(node.seconds for node in nodes)
    lines = [f"{total * 1e3:.3f} ms in {len(nodes)} nodes"]
    by_kind = defaultdict(float)
    for node in nodes:
        by_kind[f"{node.op} [{node.kernel}]"] += node.seconds
    for kind, seconds in sorted(by_kind.items(), key=lambda item: -item[1])[:15]:
        lines.append(f"{seconds * 1e3:10.3f} ms {100 * seconds / total:5.1f}%  {kind}")
    lines.append("slowest nodes:")
    for node in sorted(nodes, key=lambda node: -node.seconds)[:top]:
        seconds = max(node.seconds, 1e-9)
        share = f"{100 * node.flops / seconds / peak:4.0f}% of peak" if peak and node.flops else ""
        lines.append(
            f"{node.seconds * 1e3:10.3f} ms {100 * node.seconds / total:5.1f}% {share:13} "
            f"{node.bytes / seconds / 1e9:6.1f} GB/s  [{node.kernel}] {shortened(node.problem)}"
        )
    return "\n".join(lines)


def write_trace(functions: dict[str, list[Node]], path: pathlib.Path) -> None:
    """Writes the nodes of each function one after another, a function a row, in the trace event
    format, which Perfetto opens."""
    events = []
    for row, (name, nodes) in enumerate(functions.items()):
        kind = {"name": "thread_name", "ph": "M", "pid": 0, "tid": row}
        events.append({**kind, "args": {"name": name}})
        at = 0.0
        for node in nodes:
            micros = node.seconds * 1e6
            events.append(
                {
                    "name": node.op,
                    "cat": node.kernel,
                    "ph": "X",
                    "pid": 0,
                    "tid": row,
                    "ts": at,
                    "dur": micros,
                    "args": {"problem": node.problem, "flops": node.flops, "bytes": node.bytes},
                }
            )
            at += micros
    path.write_text(json.dumps({"traceEvents": events}))


@dataclasses.dataclass
class Calls:
    """Of a compiled function for operands of one size: its name, how often it was called and for
    how many seconds in all, and what takes the last call again."""

    name: str
    last: tuple
    count: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def watched() -> Iterator[dict[object, Calls]]:
    """Meanwhile every call of a compiled function is counted, of `fit`, `predict`, `evaluate` and
    `keras_native.jit` alike; tracing and compiling are not."""
    from keras_native.engine.dispatch import Dispatcher

    calls: dict[object, Calls] = {}

    def call(self, key, tensors):
        variant, sizes = self.variant(key, tensors)
        arrays = [t.array for t in tensors]
        last = (variant.compiled.compiled, arrays, sizes)
        found = calls.setdefault((variant, tuple(sizes)), Calls(self.name, last))
        found.last = last
        start = time.perf_counter()
        try:
            return variant.run(arrays, sizes)
        finally:
            found.count += 1
            found.seconds += time.perf_counter() - start

    before, Dispatcher.__call__ = Dispatcher.__call__, call
    try:
        yield calls
    finally:
        Dispatcher.__call__ = before


def sample(spec, batch: int, length: int, rng) -> np.ndarray:
    """Random data for a model's input or output; sizes that it leaves open become `length`."""
    shape = [batch, *(length if d is None else d for d in spec.shape[1:])]
    if "int" in spec.dtype:
        return rng.integers(0, 2, shape).astype(spec.dtype)
    return rng.standard_normal(shape).astype(spec.dtype)


def _targets(model, batch, length, rng):
    """Targets that the model's loss takes: classes for a sparse one, else numbers in (0, 1)."""
    if len(model.outputs) != 1:
        raise SystemExit("profile --fit: a model of one output is needed")
    y = sample(model.outputs[0], batch, length, rng)
    name = getattr(model.loss, "name", None) or str(model.loss)
    if "sparse" in name.lower():
        return np.zeros(y.shape[:-1], "int32")
    return np.abs(y) / (1 + np.abs(y))


def profile_model(args: argparse.Namespace) -> dict[str, list[Node]]:
    """Loads a saved model, runs it on random data and prints the table."""
    import keras

    model = keras.saving.load_model(args.target)
    rng = np.random.default_rng(0)
    x = [sample(spec, args.batch, args.length, rng) for spec in model.inputs]
    x = x[0] if len(x) == 1 else x
    if args.fit:
        if not model.compiled:
            model.compile("adam", "mse")
        y = _targets(model, args.batch, args.length, rng)
        model.train_on_batch(x, y)
        step, data = model.train_function.step, (x, y, None)
    else:
        model.predict_on_batch(x)
        step, data = model.predict_function.step, (x,)
    what = "a training step" if args.fit else "predict"
    print(f"{args.target}: {what} on {args.batch}, {_core.isa()}, {_core.threads()} threads")
    nodes = profile_step(step, data)
    print(table(nodes, args.top, _core.measure_peak()))
    return {what: nodes}


def run_script(path: str, arguments: list[str]) -> BaseException | None:
    """Runs a script as Python would; what ended it, if that was an error or `sys.exit`."""
    argv, folder = sys.argv, sys.path[0]
    sys.argv = [path, *arguments]
    sys.path[0] = str(pathlib.Path(path).resolve().parent)
    try:
        runpy.run_path(path, run_name="__main__")
    except (Exception, SystemExit) as end:
        return end
    finally:
        sys.argv, sys.path[0] = argv, folder
    return None


def profile_script(args: argparse.Namespace, arguments: list[str]) -> dict[str, list[Node]]:
    """Runs a script, then prints a table for each compiled function that it called, those that took
    longest first; also where an error ended it, which goes on after that."""
    start = time.perf_counter()
    with watched() as calls:
        end = run_script(args.target, arguments)
        took = time.perf_counter() - start
    print(f"{args.target}: {took:.3f} s, {_core.isa()}, {_core.threads()} threads")
    if not calls:
        print("no compiled function was called")
    functions, peak = {}, _core.measure_peak()
    for found in sorted(calls.values(), key=lambda found: -found.seconds)[: args.functions]:
        print(
            f"\n{found.name}: {found.count} calls, {found.seconds:.3f} s "
            f"({found.seconds / took:.1%} of the script); the last one again:"
        )
        nodes = _nodes(*found.last)
        print(table(nodes, args.top, peak))
        functions[f"{found.name} {len(functions)}"] = nodes
    if end is not None and not (isinstance(end, SystemExit) and not end.code):
        raise end
    return functions


def main(argv: list[str]) -> int:
    """Profiles a saved model or a script."""
    parser = command.parser("profile", __doc__)
    parser.add_argument(
        "target", help="a .keras file, or a script, behind which stand its arguments"
    )
    parser.add_argument("--fit", action="store_true", help="a training step, not a prediction")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--length", type=int, default=64, help="for sizes that the model leaves open"
    )
    parser.add_argument("--top", type=int, default=25, help="how many nodes are shown")
    parser.add_argument(
        "--functions", type=int, default=4, help="how many functions of a script are shown"
    )
    parser.add_argument("--trace", metavar="FILE", type=pathlib.Path, help="for Perfetto")
    # What stands behind a script is the script's.
    end = next((i for i, word in enumerate(argv, 1) if word.endswith(".py")), len(argv))
    args = parser.parse_args(argv[:end])

    import keras_native  # noqa: F401  (before Keras, so that the backend is there)

    script = args.target.endswith(".py")
    functions = profile_script(args, argv[end:]) if script else profile_model(args)
    if args.trace:
        write_trace(functions, args.trace)
        print(f"wrote {args.trace}, for Perfetto")
    return 0
