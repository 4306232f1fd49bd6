"""Writes docs/ops.md: every function of keras.ops, as observed when it runs.

    python docs/make_ops_table.py

Each function is called with the random arguments of tests/keras/ops, for every dtype; what took its
primitives (a kernel of this project, or the NumPy reference on the host) is looked up as they run.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from random import Random

os.environ["KERAS_BACKEND"] = "native"
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "keras" / "ops"))

import numpy as np  # noqa: E402
from keras import tree  # noqa: E402
from opcases import OPS, Draw  # noqa: E402
from opcases.calling import function, leaves, tensors  # noqa: E402
from opcases.drawing import BOOL, COMPLEX, EVERY, FLOAT, FLOAT8, INTEGER  # noqa: E402

from keras_native.engine.primitive import STATE, Primitive  # noqa: E402
from keras_native.engine.tensor import Tensor  # noqa: E402
from keras_native.engine.trace import CompiledFunction  # noqa: E402

TARGET = ROOT / "docs" / "ops.md"
CALLS = 3
GROUPS = {"bool": BOOL, "int": INTEGER, "float": FLOAT, "complex": COMPLEX, "float8": FLOAT8}
# Conversions and new shapes of the same memory do not make a function a composition.
GLUE = {"cast", "reshape", "full", "broadcast_to"}
KERNEL, COMPOSED, HOST, NOTHING = "kernel", "composed", "host", "-"
INTRODUCTION = """\
# Every function of keras.ops

Written by `docs/make_ops_table.py`, which calls each function with random arguments of every dtype
and looks at what ran; `tests/keras/ops` checks results, dtypes and gradients over the same calls.

- **dtypes**: those taken by the first operand. `int` are all eight integer dtypes, `float` is
  float16, bfloat16, float32 and float64, `complex` complex64 and complex128, `float8` both float8.
- **gradient**: `any order` is checked by finite differences to second order, in float64 and, where
  complex numbers are taken, complex128 (by z = x + iy it is df/dx - i df/dy, as in JAX); `none`:
  constant almost everywhere, of integers, or of functions whose own gradient is what counts.
- **64 bits**: operands of one 64-bit dtype keep it. With others they promote as
  `keras.backend.result_type` says: uint64 and a signed integer are float32. (The NumPy and JAX
  backends narrow to 32 bits first, so that there these are int32.)
- **path**: `kernel`: one primitive, on a kernel of this project (conversions and new shapes are not
  counted); `composed`: several primitives, all on our kernels; `host`: at least one primitive is
  computed by NumPy, or values of the first operand are read on the host; `-`: nothing is computed,
  or a constant made. Dtypes that go another way than the others are named.
"""


@contextlib.contextmanager
def observed(parameters=()):
    """Counts primitives by name and path, and reads of values other than `parameters`."""
    seen = Counter()
    run, run_on_host, numpy = Primitive.run, Primitive.run_on_host, Tensor.numpy
    run_compiled = CompiledFunction.run

    def watched_run(self, inputs, attrs, specs):
        hosted = sum(STATE.host_calls.values())
        out = run(self, inputs, attrs, specs)
        seen[self.name, sum(STATE.host_calls.values()) > hosted] += 1
        return out

    def watched_compiled(self, arrays, sizes):
        for name, kernel in self.compiled.executed(arrays, sizes):
            seen[name, kernel == "host"] += 1
        return run_compiled(self, arrays, sizes)

    def unwatched(self, inputs, attrs, specs):
        Tensor.numpy = numpy
        try:
            return run_on_host(self, inputs, attrs, specs)
        finally:
            Tensor.numpy = watched_numpy

    def watched_numpy(self):
        if not any(self is parameter for parameter in parameters):
            seen["read", True] += 1
        return numpy(self)

    Primitive.run, Primitive.run_on_host, Tensor.numpy = watched_run, unwatched, watched_numpy
    CompiledFunction.run = watched_compiled
    try:
        yield seen
    finally:
        Primitive.run, Primitive.run_on_host, Tensor.numpy = run, run_on_host, numpy
        CompiledFunction.run = run_compiled


def path_of(seen: Counter) -> str:
    if any(on_host for _, on_host in seen):
        return HOST
    work = {key: n for key, n in seen.items() if key[0] not in GLUE}
    if sum(work.values()) > 1:
        return COMPOSED
    return KERNEL if seen else NOTHING


def observe(name: str, dtype: str, needed: bool = True) -> str | None:
    """The path of a function for a dtype, the longest that was seen.

    None if the dtype is refused, or if it is `needed` and the function takes no dtype.
    """
    op, paths = OPS[name], []
    for i in range(CALLS):
        # The same draws for every dtype: their paths are compared.
        draw = Draw(Random(f"{name} {i}"), dtype, plain=True)
        args, kwargs = op.make(draw)
        flat = tree.flatten((args, kwargs))
        if needed and dtype not in [
            x.dtype.name if isinstance(x, np.ndarray) else str(x) for x in flat
        ]:
            continue
        with contextlib.suppress(Exception):
            args, kwargs = tensors((args, kwargs))
            operands = [x for x in tree.flatten((args, kwargs)) if isinstance(x, Tensor)]
            with observed(operands[1:]) as seen:
                result = function(name)(*args, **kwargs)
                if callable(result):
                    leaves(result)
            paths.append(path_of(seen))
    return max(paths, key=(NOTHING, KERNEL, COMPOSED, HOST).index, default=None)


def names_of(dtypes) -> str:
    """Dtypes, by groups where all of a group are there."""
    left, names = list(dtypes), []
    for group, members in GROUPS.items():
        if set(members) <= set(left):
            names.append(group)
        else:
            names += [dtype for dtype in members if dtype in left]
    return ", ".join(names)


def paths_in_words(paths: dict[str, str]) -> str:
    """The path of most dtypes, then the others with their dtypes."""
    common = Counter(paths.values()).most_common()
    usual = paths.get("float32", common[0][0])
    words = [usual]
    for path, _ in common:
        if path != usual:
            words.append(f"{path}: {names_of([d for d, p in paths.items() if p == path])}")
    return "; ".join(words)


def table() -> str:
    """The page as text."""
    rows, usual = [], Counter()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(OPS):
            op = OPS[name]
            paths = {dtype: observe(name, dtype) for dtype in EVERY}
            paths = {dtype: path for dtype, path in paths.items() if path is not None}
            words = paths_in_words(paths) if paths else observe(name, "float32", needed=False)
            usual[words.split(";")[0]] += 1
            note = op.reason or (f"JAX differs: {op.jax}" if op.jax else "")
            rows.append(f"| {name} | {names_of(paths) or '-'} | {op.gradient} | {words} | {note} |")
    counts = ", ".join(f"{n} {path}" for path, n in usual.most_common())
    head = ["| function | dtypes | gradient | path | note |", "|---|---|---|---|---|"]
    total = f"{len(rows)} functions; the path in float32, or in what they take: {counts}.\n"
    return "\n".join([INTRODUCTION, total, *head, *rows]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(table())
