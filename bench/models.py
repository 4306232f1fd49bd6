"""Times whole Keras models on several backends, one process for each model and backend.

    python bench/models.py --backends native tensorflow jax torch --out bench/results/models.jsonl
    python bench/models.py ... --peer-python PYTHON    where the peers are installed
    python bench/models.py ... --rounds 2              interleaved; the better one of each figure
    python bench/models.py --table FILE                every figure of a results file, as Markdown
    python bench/models.py --device gpu ...            on a GPU, which JAX and PyTorch take as well

Prints and writes one JSON line for each, medians in seconds: a training step (`fit_s`), one within
`fit` (`fit_loop_step_s`, a mean over two epochs), a prediction on the batch (`predict_s`) and on
one example (`predict1_s`), `model.predict` of one (`predict_api1_s`), the model called on one
without compiling (`call1_s`), the time from compile to the end of the first training step
(`first_fit_step_s`); and the peak memory of the process in MB (`peak_mb`). OpenVINO predicts in
bfloat16 where the processor has it, and does not train.
The first line names the machine. A ratio between backends holds within one run only, and only as
far as the machine was the same: `gflops` (of registers) and `round_trip_ns` (of a cache line
between two threads) are what it gave right before and right after each process.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import models_report, zoo  # noqa: E402


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


def lstm(layers):
    inputs = layers.Input((80,), dtype="int32")
    return [inputs, layers.Embedding(5000, 128), layers.LSTM(128), layers.Dense(10)]


# How to build each, and its batch.
MODELS = {
    "mlp": (mlp, 128),
    "convnet": (convnet, 128),
    "transformer": (transformer, 16),
    "lstm": (lstm, 64),
    "mobilenetv2": (zoo.application("MobileNetV2"), 8),
    "resnet50": (zoo.application("ResNet50"), 8),
}
ALL = MODELS | zoo.MODELS
# They predict and do not train.
INFERENCE_ONLY = ("openvino",)


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


def build(name: str) -> tuple:
    """A model, and a batch for it: one operand or a list, and classes for each of its results."""
    import keras
    import numpy as np

    make, batch = ALL[name]
    made = make(keras.layers)
    model = keras.Sequential(made) if isinstance(made, list) else made
    rng = np.random.default_rng(0)
    x = []
    for operand in model.inputs:
        shape = (batch, *operand.shape[1:])
        if "int" in operand.dtype:
            x.append(rng.integers(0, zoo.VOCABULARY, shape).astype("int32"))
        else:
            x.append(rng.standard_normal(shape, dtype="float32"))
    *sites, classes = model.output_shape[1:]
    y = rng.integers(0, classes, (batch, *sites))
    return model, x[0] if len(x) == 1 else x, y


def first_example(x):
    """The first example of what `build` gives as a batch."""
    return [one[:1] for one in x] if isinstance(x, list) else x[:1]


def compile_model(model) -> None:
    """With the loss and the optimiser that all are trained with."""
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)


def measure(name: str, seconds: float) -> dict:
    """One model on the backend of the environment."""
    if os.environ.get("KERAS_BACKEND") == "native":
        import keras_native  # noqa: F401
    import keras

    keras.utils.set_random_seed(0)
    model, x, y = build(name)
    result = {"backend": keras.backend.backend(), "model": name, "batch": len(y)}
    result["predict_s"] = median(lambda: model.predict_on_batch(x), seconds)
    one = first_example(x)
    for key, step in {
        "predict1_s": lambda: model.predict_on_batch(one),
        "predict_api1_s": lambda: model.predict(one, verbose=0),
        "call1_s": lambda: keras.ops.convert_to_numpy(model(one, training=False)),
    }.items():
        result[key] = median(step, seconds / 2)
    if result["backend"] not in INFERENCE_ONLY:
        result |= measure_training(model, x, y, seconds)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in result.items()}


def measure_training(model, x, y, seconds: float) -> dict:
    """The first training step, with compiling, and the median of those that follow."""
    start = time.perf_counter()
    compile_model(model)
    model.train_on_batch(x, y)
    first = time.perf_counter() - start
    step = median(lambda: model.train_on_batch(x, y), seconds)
    return {
        "first_fit_step_s": first,
        "fit_s": step,
        "fit_loop_step_s": loop_step(model, x, y, step),
    }


def loop_step(model, x, y, step: float) -> float:
    """Seconds of a step within `fit`, whose beginning two epochs of at least a tenth of a second
    each share, as a model's first ones would."""
    import numpy as np

    batches = max(2, min(20, round(0.1 / step)))
    many = [np.concatenate([one] * batches) for one in (x if isinstance(x, list) else [x])]
    data = {"x": many if isinstance(x, list) else many[0], "y": np.concatenate([y] * batches)}
    model.fit(**data, batch_size=len(y), epochs=1, verbose=0)
    start = time.perf_counter()
    model.fit(**data, batch_size=len(y), epochs=2, verbose=0)
    return (time.perf_counter() - start) / 2 / batches


def main() -> int:
    """Measures every model on every backend; 0 if all of them ran."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", nargs="+", default=["native"])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of this backend")
    parser.add_argument("--out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--table", metavar="FILE", help="print a results file as Markdown")
    args = parser.parse_args()
    if args.table:
        print(models_report.table(*models_report.read(args.table)))
        return 0
    if args.one:
        print(json.dumps(measure(args.one, args.seconds)))
        return 0
    os.environ["NATIVE_DEVICE"] = args.device
    rows = []
    for name in args.models:
        for _ in range(args.rounds):
            for backend in args.backends:
                rows.append(run(name, backend, args))
                print(json.dumps(rows[-1]), flush=True)
    if args.out:
        head = {"machine": machine(), "threads": len(os.sched_getaffinity(0))}
        if args.device == "gpu":
            from keras_native import _cuda

            head["gpu"] = _cuda.device()["name"]
        lines = [{**head, "rounds": args.rounds}, *best(rows)]
        with open(args.out, "w") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
    return int(any("predict_s" not in row for row in rows))


def run(model: str, backend: str, args: argparse.Namespace) -> dict:
    """What a process of that backend measures; without figures if it failed."""
    python = sys.executable if backend == "native" else args.peer_python
    before = machine_gives()
    done = subprocess.run(
        [python, __file__, "--one", model, "--seconds", str(args.seconds)],
        env=dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
    )
    row = json.loads(done.stdout or json.dumps({"backend": backend, "model": model}))
    after = machine_gives()
    return row | {key: [before[key], after[key]] for key in before}


def machine_gives() -> dict:
    """What a shared or virtual machine gives at the moment, which changes in the course of a run;
    nothing where this backend is not installed."""
    try:
        from keras_native import _core
    except ImportError:
        return {}
    return {
        "gflops": round(_core.measure_peak() / 1e9),
        "round_trip_ns": round(_core.measure_round_trip() * 1e9),
    }


def best(rows: list[dict]) -> list[dict]:
    """One row for each model and backend: the lowest of each figure over the rounds."""
    found = {}
    for row in rows:
        kept = found.setdefault((row["model"], row["backend"]), dict(row))
        for key, value in row.items():
            if isinstance(value, float):
                kept[key] = min(value, kept.get(key, value))
    return list(found.values())


def machine() -> str:
    """The processor's name, with family and model, which tell it apart."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = (line.split(":", 1) for line in file if ":" in line)
            facts = {name.strip(): value.strip() for name, value in list(lines)[:30]}
        return f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
