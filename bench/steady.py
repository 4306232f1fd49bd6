"""The memory of a process that predicts very often: it must not grow.

    python bench/steady.py --out bench/results/steady.jsonl     100,000 predictions

Batches of 1 to 199 examples by `model.predict`, as they come, over a small MLP and one over
sequences whose lengths vary too. One JSON line a model: the process's resident memory after so
many predictions, in MB. Ends with 1 where the last is more than 1 MB above that after a tenth.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "native")
import keras_native  # noqa: F401, I001
import keras
import numpy as np

from models import machine

MOST = 200  # examples of a batch, and steps of a sequence
SHARES = (0.01, 0.1, 0.25, 0.5, 1.0)


def mlp(layers) -> keras.Model:
    """Rows of 32."""
    return keras.Sequential(
        [layers.Input((32,)), layers.Dense(64, activation="relu"), layers.Dense(10)]
    )


def sequences(layers) -> keras.Model:
    """Steps of 32, any number of them."""
    inputs = layers.Input((None, 32))
    x = inputs + layers.MultiHeadAttention(2, 16)(inputs, inputs)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def resident() -> float:
    """MB of memory that the process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(build, count: int) -> dict:
    model = build(keras.layers)
    rng = np.random.default_rng(0)
    varies = model.input_shape[1] is None
    data = rng.standard_normal((MOST, *(MOST,) * varies, 32)).astype("float32")
    marks = {int(share * count) for share in SHARES}
    memory = {}
    for i in range(1, count + 1):
        batch = data[: rng.integers(1, 9 if varies else MOST)]
        if varies:
            batch = batch[:, : rng.integers(1, MOST)]
        model.predict(batch, batch_size=MOST, verbose=0)
        if i in marks:
            memory[i] = resident()
    return {"model": build.__name__, "resident_mb": memory}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--out", metavar="FILE")
    args = parser.parse_args()
    rows = [{"machine": machine()}]
    grew = False
    for build in (mlp, sequences):
        rows.append(measure(build, args.count))
        print(json.dumps(rows[-1]), flush=True)
        memory = rows[-1]["resident_mb"]
        grew |= memory[args.count] > memory[args.count // 10] + 1
    if args.out:
        with open(args.out, "w") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
    return int(grew)


if __name__ == "__main__":
    sys.exit(main())
