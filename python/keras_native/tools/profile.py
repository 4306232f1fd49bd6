"""`python -m keras_native profile model.keras`: where a predict step spends its time, node by
node."""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict

import numpy as np

from keras_native import _core


def profile_step(step, data, repeats: int = 10) -> list[tuple[str, str, str, float]]:
    """Median seconds of each node of a compiled step, as (primitive, kernel, problem, seconds).

    Args:
        step: a `StepFunction`, such as `model.train_function.step` after a training step.
        data: a batch as the step takes it, `(x, y, sample_weight)`.
    """
    compiled, arrays, sizes = step.compiled(data)
    rows = compiled.chosen(sizes)
    runs = [compiled.profile(arrays, sizes) for _ in range(repeats)]
    return [
        (op, kernel, compiled.step_text(i, sizes), statistics.median(run[i] for run in runs))
        for i, (op, kernel) in enumerate(rows)
    ]


def table(rows, top: int = 25) -> str:
    """The slowest nodes and the sum by primitive, as text."""
    total = sum(seconds for *_, seconds in rows)
    lines = [f"{total * 1e3:.3f} ms in {len(rows)} nodes"]
    by_kind = defaultdict(float)
    for op, kernel, _, seconds in rows:
        by_kind[f"{op} [{kernel}]"] += seconds
    for kind, seconds in sorted(by_kind.items(), key=lambda item: -item[1])[:15]:
        lines.append(f"{seconds * 1e3:10.3f} ms {100 * seconds / total:5.1f}%  {kind}")
    lines.append("slowest nodes:")
    for _, kernel, problem, seconds in sorted(rows, key=lambda row: -row[3])[:top]:
        lines.append(
            f"{seconds * 1e3:10.3f} ms {100 * seconds / total:5.1f}%  [{kernel}] {problem}"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Loads a saved model, predicts on random data and prints the table."""
    parser = argparse.ArgumentParser(prog="keras_native profile", description=__doc__)
    parser.add_argument("model", help="a .keras file")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--length", type=int, default=64, help="for sizes that the model leaves open"
    )
    parser.add_argument("--top", type=int, default=25)
    args = parser.parse_args(argv)

    import keras

    import keras_native  # noqa: F401  (before Keras, so that the backend is there)

    model = keras.saving.load_model(args.model)
    rng = np.random.default_rng(0)

    def sample(spec):
        shape = [args.batch, *(args.length if d is None else d for d in spec.shape[1:])]
        if "int" in spec.dtype:
            return rng.integers(0, 2, shape).astype(spec.dtype)
        return rng.standard_normal(shape).astype(spec.dtype)

    x = [sample(spec) for spec in model.inputs]
    x = x[0] if len(x) == 1 else x
    model.predict_on_batch(x)
    print(f"{args.model}: predict on {args.batch}, {_core.isa()}, {_core.threads()} threads")
    print(table(profile_step(model.predict_function.step, (x,)), args.top))
    return 0
