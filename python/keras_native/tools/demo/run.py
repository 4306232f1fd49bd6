"""Runs the parts of the demonstration one after another and reports on them."""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from keras_native.tools import cost, gpu
from keras_native.tools.demo import cancer, curves, digits, text

PARTS = {"digits": digits, "text": text, "cancer": cancer}

# Run in a fresh process: nothing of the training is left but the files.
CHECK = """
import pathlib, sys
import keras_native, keras, numpy as np
import keras_native.tools.demo.text
for name in sys.argv[2:]:
    folder = pathlib.Path(sys.argv[1])
    model = keras.models.load_model(folder / f"{name}.keras")
    saved = np.load(folder / f"{name}.npz")
    again = model.predict(saved["examples"], verbose=0)
    same = again.tobytes() == saved["predictions"].tobytes()
    print("equal" if same else "differ", f"{again.size:,}", flush=True)
"""


def main(arguments: list[str]) -> int:
    """Trains, checks, reports; 0 if every part did what is expected of it."""
    parser = argparse.ArgumentParser(prog="python -m keras_native demo", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--output", default="keras_native_demo", help="folder for what is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--small", action="store_true", help="small models, trained for seconds")
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.device == "gpu" and not open_device(options):
        return 2
    folder = pathlib.Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False)
    start = time.perf_counter()
    console.print(f"[bold]keras-native demo[/] on Keras {keras.__version__}, {cost.machine()}\n")
    results = {}
    with keras.device(f"{options.device}:0"):
        for name in options.parts or PARTS:
            keras.utils.set_random_seed(options.seed)
            results[name] = result = run_part(PARTS[name], options.small, console)
            report(result, options.device, console)
        same = check_saved(results, options.device, folder, console)
    picture = curves.draw({r.title: r.curves for r in results.values()}, folder)
    console.print(f"models and {picture.name} are in {folder}{os.sep}")
    console.print(f"all of it took {time.perf_counter() - start:.0f} s")
    return 0 if same and all(result.passed for result in results.values()) else 1


def open_device(options) -> bool:
    """Opens the GPU and says what it is; False, and why, if the run makes no sense there."""
    try:
        emulated = gpu.open_gpu()["emulated"]
    except RuntimeError as error:
        print(f"demo --device gpu: {error}")
        return False
    if emulated and not options.small:
        print("The whole demonstration would take days there: add --small.")
    return options.small or not emulated


def report(result, device: str, console) -> None:
    """Prints what a part found and what a step of it costs."""
    mark = "[green]passed[/]" if result.passed else "[red]failed[/]"
    console.print(f"[bold]{result.title}[/]: {mark}, {result.seconds:.1f} s")
    costs = cost.on_gpu if device == "gpu" else cost.report
    for line in [*result.lines, *costs(result.model, *result.step)]:
        console.print("  " + line, markup=False, soft_wrap=True)
    console.print()


def run_part(part, small: bool, console):
    """Trains one model with a progress bar; its Result with the seconds filled in."""
    start = time.perf_counter()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps  {task.fields[logs]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        result = part.train(lambda epochs, steps: Bar(progress, part.TITLE, epochs * steps), small)
    result.seconds = time.perf_counter() - start
    return result


class Bar(keras.callbacks.Callback):
    """Shows steps done and the latest logs; several calls of `fit` may share one."""

    def __init__(self, progress, title, total):
        super().__init__()
        self.progress = progress
        self.task = progress.add_task(title, total=total, logs="")

    def on_train_batch_end(self, batch, logs=None):
        self.progress.advance(self.task)

    def on_epoch_end(self, epoch, logs=None):
        shown = ("loss", "val_loss", "val_accuracy")
        text = ", ".join(f"{name} {logs[name]:.4f}" for name in shown if name in logs)
        self.progress.update(self.task, logs=text)


def check_saved(results, device, folder, console) -> bool:
    """Saves each model, loads it in a fresh process; whether all predictions are the same bits."""
    for name, result in results.items():
        result.model.save(folder / f"{name}.keras")
        predictions = result.model.predict(result.examples, verbose=0)
        np.savez(folder / f"{name}.npz", examples=result.examples, predictions=predictions)
    done = subprocess.run(
        [sys.executable, "-c", CHECK, os.fspath(folder), *results],
        env={
            **os.environ,
            "KERAS_BACKEND": keras.backend.backend(),
            "NATIVE_DEVICE": device,
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    answers = [line.split() for line in done.stdout.splitlines()]
    for name, (verdict, count) in zip(results, answers):
        colour = "green" if verdict == "equal" else "red"
        console.print(
            f"{name}.keras, loaded in a fresh process: {count} predictions, "
            f"[{colour}]{'equal to the last bit' if verdict == 'equal' else 'not equal'}[/]",
            soft_wrap=True,
        )
    for name in results:
        with contextlib.suppress(FileNotFoundError):
            (folder / f"{name}.npz").unlink()
    return len(answers) == len(results) and all(verdict == "equal" for verdict, _ in answers)
