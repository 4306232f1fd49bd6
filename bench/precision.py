"""Times whole Keras models in bfloat16 and int8 beside float32 and beside the peers.

    python bench/precision.py --peer-python PYTHON --out bench/results/precision.jsonl
    python bench/precision.py --only transformer        one model
    python bench/precision.py --table FILE              a results file as Markdown

What is measured, each in a process of its own:
    float32     training steps and predictions
    mixed       the same under Keras's policy mixed_bfloat16
    bfloat16    predictions after `keras_native.set_inference_dtype("bfloat16")`; OpenVINO computes
                so unasked
    int8        predictions after `model.quantize("int8")`
One JSON line for each: the least and the median of wall time in seconds, and the least processor
time of all threads, which other work on the machine disturbs less, each the better of the rounds;
of training also the losses of the first steps on one batch; of int8 the bytes of all weights.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings

from models import MODELS, machine

# Peers beside this backend, by what is measured.
PEERS = {"float32": (), "mixed": ("torch",), "bfloat16": ("openvino",), "int8": ()}
TRAINED = ("transformer", "resnet50")
QUANTISED = ("transformer",)
STEPS = 20


def cases(only):
    """(model, variant, backend), those that are compared one after the other."""
    for model in MODELS:
        if only and model not in only:
            continue
        for variant, peers in PEERS.items():
            if variant == "mixed" and model not in TRAINED:
                continue
            if variant == "int8" and model not in QUANTISED:
                continue
            for backend in ("native", *peers):
                yield model, variant, backend


def timed(call, seconds):
    """The least and median of wall time, and the least processor time."""
    for _ in range(3):
        call()
    wall, processor, end = [], [], time.perf_counter() + seconds
    while len(wall) < 5 or time.perf_counter() < end:
        start, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    wall.sort()
    return {"least": wall[0], "median": wall[len(wall) // 2], "processor": min(processor)}


def measure(name, variant, seconds):
    """One model on the backend of the environment."""
    native = os.environ["KERAS_BACKEND"] == "native"
    if native:
        import keras_native
    import keras
    import numpy as np

    if variant == "mixed":
        keras.config.set_dtype_policy("mixed_bfloat16")
    keras.utils.set_random_seed(0)
    make, batch = MODELS[name]
    made = make(keras.layers)
    model = keras.Sequential(made) if isinstance(made, list) else made
    rng = np.random.default_rng(0)
    shape = (batch, *model.input_shape[1:])
    integers = "int" in model.inputs[0].dtype
    x = rng.integers(0, 5000, shape) if integers else rng.standard_normal(shape)
    x = x.astype("int32" if integers else "float32")
    y = rng.integers(0, 10, batch)
    result = {"model": name, "variant": variant, "backend": keras.backend.backend(), "batch": batch}
    if variant == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result["weights_before"] = size_of(model)
            model.quantize("int8")
            result["weights"] = size_of(model)
    if native and variant == "bfloat16":
        keras_native.set_inference_dtype("bfloat16")
    result["predict_s"] = timed(lambda: model.predict_on_batch(x), seconds)
    if variant in ("float32", "mixed") and name in TRAINED:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.Adam(1e-4), loss=loss)
        result["losses"] = [round(float(model.train_on_batch(x, y)), 4) for _ in range(STEPS)]
        result["fit_s"] = timed(lambda: model.train_on_batch(x, y), seconds)
    return result


def size_of(model):
    import keras

    return sum(keras.ops.convert_to_numpy(w).nbytes for w in model.weights)


def run(model, variant, backend, args):
    python = sys.executable if backend == "native" else args.peer_python
    command = [python, __file__, "--one", model, variant, "--seconds", str(args.seconds)]
    environment = dict(os.environ, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3")
    done = subprocess.run([*args.prefix, *command], env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"model": model, "variant": variant, "backend": backend, "error": done.stderr[-500:]}
    return json.loads(lines[-1])


def better(rounds):
    """One row of several, the lowest of each time."""
    row = dict(rounds[0])
    for key in ("predict_s", "fit_s"):
        if all(key in r for r in rounds):
            row[key] = {name: round(min(r[key][name] for r in rounds), 6) for name in row[key]}
    return row


def table(path):
    with open(path) as file:
        head, *rows = (json.loads(line) for line in file)
    lines = [
        f"Milliseconds, {head['threads']} threads of {head['machine']}: least wall time, and "
        "processor time of both threads in brackets.",
        "",
        "| model (batch) | computed in | backend | training step | predict |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"{1e3 * row[k]['least']:.3g} ({1e3 * row[k]['processor']:.3g})" if k in row else "-"
            for k in ("fit_s", "predict_s")
        ]
        label = f"{row['model']} ({row['batch']}) | {row['variant']} | {row['backend']}"
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="MODEL")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--rounds", type=int, default=1, help="the better one of each figure")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--prefix", nargs="+", default=[], help="a command that runs each process")
    parser.add_argument("--out", metavar="FILE")
    parser.add_argument("--table", metavar="FILE")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.table:
        print(table(args.table))
        return 0
    if args.one:
        print(json.dumps(measure(*args.one, args.seconds)))
        return 0
    rows = []
    for case in cases(args.only):
        rows.append(better([run(*case, args) for _ in range(args.rounds)]))
        print(json.dumps(rows[-1]), flush=True)
    if args.out:
        head = {"machine": machine(), "threads": len(os.sched_getaffinity(0))}
        with open(args.out, "w") as file:
            file.write("".join(json.dumps(row) + "\n" for row in [head, *rows]))
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
