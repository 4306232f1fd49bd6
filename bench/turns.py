"""Times steps of whole Keras models on several backends that take turns of a tenth of a second.

    python -m bench.turns mlp/fit convnet/predict --backends native jax tensorflow --seconds 30
    python -m bench.turns gru/predict1 gru/call ...    one example; the model without compiling
    python -m bench.turns ... --peer-python PYTHON     where the peers are installed
    python -m bench.turns ... --beside FOLDER          another build of keras_native, in that folder
    python -m bench.turns ... --out bench/results/turns.jsonl          added at its end

A process for each backend, all of which are stopped but one: what a shared or virtual machine gives
changes within seconds, and so falls to all alike. The rows: for each step and each state of the
machine (`near` where a cache line gets from one thread to another and back in less than 150 ns,
`far` in less than 2 us: the processors share no cache, else `busy`), how many turns, the median of
each backend's medians in seconds, and the median of its ratio to ours within a turn.

Where a model trains and predicts, the first prediction of each turn prepares the weights again.
One that takes a tenth of a second is all of its turn: time it apart from the training.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import time

from bench import models
from bench.side import Side

TURN = 0.1
FAR, BUSY = 150e-9, 2e-6


@functools.cache
def prepared(name: str) -> tuple:
    """The model, compiled, and a batch for it."""
    model, x, y = models.build(name)
    models.compile_model(model)
    return model, x, y


def make_step(work: str):
    """The step `model/what`, after some calls; what: fit, predict, predict1 (one example), call (of
    the model on the batch, without compiling)."""
    import keras

    name, what = work.split("/")
    model, x, y = prepared(name)
    one = models.first_example(x)
    step = {
        "fit": lambda: model.train_on_batch(x, y),
        "predict": lambda: model.predict_on_batch(x),
        "predict1": lambda: model.predict_on_batch(one),
        "call": lambda: keras.ops.convert_to_numpy(model(x, training=False)),
    }[what]
    for _ in range(4):
        step()
    return step


def serve(works: list[str]) -> None:
    """Answers each name of a step on standard input with the median seconds of a turn of it."""
    if os.environ["KERAS_BACKEND"] == "native":
        import keras_native  # noqa: F401
    steps = {work: make_step(work) for work in works}
    print("ready", flush=True)
    for line in sys.stdin:
        step, times = steps[line.strip()], []
        step()  # wakes its threads
        end = time.perf_counter() + TURN
        while len(times) < 2 or time.perf_counter() < end:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        print(statistics.median(times), flush=True)


class Backend(Side):
    """A process that serves steps."""

    def __init__(self, name: str, works: list[str], python: str, path: str | None = None):
        environment = {"KERAS_BACKEND": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if path:
            environment["PYTHONPATH"] = path
        super().__init__([python, "-m", "bench.turns", "--serve", *works], environment)
        self.name = name

    def wait_until_ready(self) -> None:
        if self.answer().strip() != "ready":
            raise RuntimeError(f"{self.name} ended before it had a step: {self.last_error()}")

    def turn(self, work: str) -> float:
        if line := self.ask(work):
            return float(line)
        raise RuntimeError(f"{self.name} ended at {work}: {self.last_error()}")


def state() -> str:
    from keras_native import _core

    seconds = _core.measure_round_trip()
    return "near" if seconds < FAR else "far" if seconds < BUSY else "busy"


def take_turns(backends: dict[str, Backend], works: list[str], seconds: float) -> list[dict]:
    """One entry a turn of all: the step, the state of the machine if it was one, and seconds."""
    end, turns = time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        for work in works:
            before = state()
            times = {name: backend.turn(work) for name, backend in backends.items()}
            if state() == before:
                turns.append({"work": work, "state": before, "seconds": times})
    return turns


def summary(turns: list[dict]) -> list[dict]:
    """A row for each step and state that was met."""
    rows = []
    for work, met in sorted({(turn["work"], turn["state"]) for turn in turns}):
        times = [t["seconds"] for t in turns if (t["work"], t["state"]) == (work, met)]
        medians = {name: statistics.median(t[name] for t in times) for name in times[0]}
        ratios = {name: statistics.median(t[name] / t["native"] for t in times) for name in medians}
        rows.append(
            {
                "work": work,
                "state": met,
                "turns": len(times),
                "seconds": {name: round(value, 6) for name, value in medians.items()},
                "of_native": {name: round(value, 3) for name, value in ratios.items()},
            }
        )
    return rows


def main() -> int:
    """Measures and prints one JSON line a row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("works", nargs="+", help="model/fit or model/predict")
    parser.add_argument("--backends", nargs="+", default=["native"])
    parser.add_argument("--beside", help="folder of another build of this backend")
    parser.add_argument("--seconds", type=float, default=30.0, help="of turns")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--out")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.works)
        return 0
    pythons = {"native": sys.executable}
    backends = {
        name: Backend(name, args.works, pythons.get(name, args.peer_python))
        for name in dict.fromkeys(["native", *args.backends])
    }
    if args.beside:
        backends["beside"] = Backend("native", args.works, sys.executable, args.beside)
    for backend in backends.values():
        backend.wait_until_ready()
    rows = summary(take_turns(backends, args.works, args.seconds))
    for backend in backends.values():
        backend.close()
    head = {"machine": models.machine(), "threads": len(os.sched_getaffinity(0))}
    lines = [json.dumps(row) for row in [head, *rows]]
    print("\n".join(lines))
    if args.out:
        with open(args.out, "a") as file:
            file.write("".join(line + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
