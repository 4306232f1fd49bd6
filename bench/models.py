"""Times whole Keras models on several backends, one process for each model and backend.

    python bench/models.py --backends native tensorflow jax torch --out bench/results/models.jsonl
    python bench/models.py ... --peer-python PYTHON    where the peers are installed
    python bench/models.py --table FILE                the results as the README's table

Prints and writes one JSON line for each: medians in seconds of a training step (`fit_s`), a
prediction on the batch (`predict_s`) and on one example (`predict1_s`), the time from compile to
the end of the first training step (`first_fit_step_s`), and the peak memory of the process in MB.
The first line names the machine. A ratio between backends holds within one run only.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time


def mlp(layers):
    return [layers.Input((784,)), *[layers.Dense(512, "relu") for _ in range(2)], layers.Dense(10)]


def convnet(layers):
    return [
        layers.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10),
    ]


def transformer(layers):
    import keras

    x = inputs = layers.Input((128, 256))
    for _ in range(4):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(8, 32)(y, y, use_causal_mask=True)
        y = layers.LayerNormalization()(x)
        x = x + layers.Dense(256)(layers.Dense(1024, activation="gelu")(y))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


MODELS = {"mlp": (mlp, 128), "convnet": (convnet, 128), "transformer": (transformer, 16)}


def median(run, seconds: float) -> float:
    """Median seconds of a call, after three that are not counted."""
    for _ in range(3):
        run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(name: str, seconds: float) -> dict:
    """One model on the backend of the environment."""
    if os.environ.get("KERAS_BACKEND") == "native":
        import keras_native  # noqa: F401
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    make, batch = MODELS[name]
    made = make(keras.layers)
    model = keras.Sequential(made) if isinstance(made, list) else made
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *model.input_shape[1:]), dtype="float32")
    y = rng.integers(0, 10, batch)
    result = {"backend": keras.backend.backend(), "model": name, "batch": batch}
    result["predict_s"] = median(lambda: model.predict_on_batch(x), seconds)
    result["predict1_s"] = median(lambda: model.predict_on_batch(x[:1]), seconds / 2)
    start = time.perf_counter()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
    model.train_on_batch(x, y)
    result["first_fit_step_s"] = time.perf_counter() - start
    result["fit_s"] = median(lambda: model.train_on_batch(x, y), seconds)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in result.items()}


def main() -> int:
    """Measures every model on every backend; 0 if all of them ran."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", default=["native"])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--table", help="a results file to print as a Markdown table")
    args = parser.parse_args()
    if args.table:
        print(table(args.table))
        return 0
    if args.one:
        print(json.dumps(measure(args.one, args.seconds)))
        return 0
    lines = [json.dumps({"machine": machine(), "threads": len(os.sched_getaffinity(0))})]
    failed = 0
    for name in args.models:
        for backend in args.backends:
            python = sys.executable if backend == "native" else args.peer_python
            done = subprocess.run(
                [python, __file__, "--one", name, "--seconds", str(args.seconds)],
                env=dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3"),
                capture_output=True,
                text=True,
            )
            failed += done.returncode != 0
            lines.append(done.stdout.strip() or json.dumps({"backend": backend, "model": name}))
            print(lines[-1], flush=True)
    if args.out:
        with open(args.out, "w") as file:
            file.write("\n".join(lines) + "\n")
    return int(failed > 0)


def table(path: str) -> str:
    """A results file as Markdown: milliseconds, and memory in MB."""
    with open(path) as file:
        head, *rows = (json.loads(line) for line in file)
    columns = ["fit_s", "predict_s", "predict1_s", "first_fit_step_s"]
    lines = [
        f"Milliseconds, {head['threads']} threads of {head['machine']}, float32, medians, one run.",
        "",
        "| model (batch) | backend | training step | predict | predict 1 | first step | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "fit_s" in row:
            cells = " | ".join(f"{1e3 * row[c]:.3g}" for c in columns)
            label = f"{row['model']} ({row['batch']}) | {row['backend']}"
            lines.append(f"| {label} | {cells} | {row['peak_mb']:.0f} |")
    return "\n".join(lines)


def machine() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
