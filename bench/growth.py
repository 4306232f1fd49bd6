"""How a Transformer's times and memory grow with length, batch and depth.

    python bench/growth.py --out bench/results/growth.jsonl
    python bench/growth.py --table FILE     a results file as Markdown

One JSON line for each size: the least processor time of a training step and of a prediction
(`fit_s`, `predict_s`), the same over the arithmetic they need (`fit_gflops`: what goes with length
squared counts as causal attention does it), memory of the step's intermediate values (`arena_mb`),
and the time from compile to the end of the first training step without that of a step (`trace_s`).
Linear growth shows as a rate that stays.
"""

import argparse
import json
import os
import sys
import time

os.environ.setdefault("KERAS_BACKEND", "native")
import keras_native  # noqa: F401, I001
import keras
import numpy as np

from keras_native import _core
from models import machine

WIDTH, HEADS, CLASSES = 128, 4, 10
# (length, batch, depth) with one of them growing.
SIZES = {
    "length": [(n, 2, 2) for n in (128, 256, 512, 1024, 2048, 4096)],
    "batch": [(64, n, 2) for n in (1, 2, 8, 32, 128, 512)],
    "depth": [(64, 4, n) for n in (2, 4, 8, 16, 32, 48)],
}


def transformer(length: int, depth: int) -> keras.Model:
    layers = keras.layers
    x = inputs = layers.Input((length, WIDTH))
    for _ in range(depth):
        y = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        x = x + attention(y, y, use_causal_mask=True)
        y = layers.LayerNormalization()(x)
        x = x + layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, activation="gelu")(y))
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def operations(length: int, batch: int, depth: int) -> float:
    """Multiplications and additions of a prediction; a training step does three times as many."""
    tokens = length * batch
    products = 2 * tokens * 12 * WIDTH * WIDTH
    attention = 2 * 2 * tokens * (length + 1) / 2 * WIDTH
    return depth * (products + attention)


def least(call, seconds: float) -> float:
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def measure(length: int, batch: int, depth: int, seconds: float) -> dict:
    keras.utils.set_random_seed(0)
    model = transformer(length, depth)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, length, WIDTH)).astype("float32")
    y = rng.integers(0, CLASSES, batch).astype("int32")
    start = time.process_time()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(x, y)
    first = time.process_time() - start
    fit = least(lambda: model.train_on_batch(x, y), seconds)
    model.predict_on_batch(x)
    predict = least(lambda: model.predict_on_batch(x), seconds)
    compiled, _, sizes = model.train_function.step.compiled((x, y, None))
    work = operations(length, batch, depth)
    return {
        "length": length,
        "batch": batch,
        "depth": depth,
        "fit_s": fit,
        "predict_s": predict,
        "fit_gflops": 3 * work / fit / 1e9,
        "predict_gflops": work / predict / 1e9,
        "arena_mb": compiled.arena_bytes(sizes) / 2**20,
        "trace_s": first - fit,
        "steps": compiled.steps,
    }


def table(path: str) -> str:
    with open(path) as file:
        head, *rows = (json.loads(line) for line in file)
    lines = [
        f"{head['threads']} thread(s) of {head['machine']}, float32, processor time.",
        "",
        "| grows | length | batch | depth | training step, ms | GFLOP/s | predict, ms | GFLOP/s "
        "| arena, MB | trace and passes, ms | ms a layer |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            row["grows"], row["length"], row["batch"], row["depth"], f"{1e3 * row['fit_s']:.3g}",
            f"{row['fit_gflops']:.0f}", f"{1e3 * row['predict_s']:.3g}",
            f"{row['predict_gflops']:.0f}", f"{row['arena_mb']:.1f}", f"{1e3 * row['trace_s']:.0f}",
            f"{1e3 * row['trace_s'] / row['depth']:.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", metavar="FILE")
    parser.add_argument("--table", metavar="FILE")
    args = parser.parse_args()
    if args.table:
        print(table(args.table))
        return 0
    _core.set_threads(args.threads)
    measure(16, 2, 1, 0)  # what only the first model pays
    rows = [{"machine": machine(), "threads": args.threads}]
    for axis in args.axes:
        for size in SIZES[axis]:
            rows.append({"grows": axis, **measure(*size, args.seconds)})
            print(json.dumps(rows[-1]), flush=True)
    if args.out:
        with open(args.out, "w") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
