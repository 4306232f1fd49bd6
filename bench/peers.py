"""`python -m bench.peers FAMILY LIBRARY`: times one library on a family's cases, by itself, on the
CPU or with `--device gpu` (PyTorch and CuPy, whose products and convolutions are cuBLAS and cuDNN).

Prints one line of JSON: {"library", "version", "seconds": {case: seconds}}. Imports nothing of ours
but the table of cases, so it runs in any interpreter that has the library.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys


def limit_threads(count: int) -> None:
    """To be called before the library is imported: XLA counts the processors it may use."""
    for name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, processors[:count])


def on_gpu(name: str, library):
    """What builds a case's call on the GPU, and what waits for it."""
    if name == "torch":
        library.set_default_device("cuda")
        # Every builder takes its operands from there.
        on_cpu = library.from_numpy
        library.from_numpy = lambda array: on_cpu(array).to("cuda")
        return (lambda case: case.peer["torch"](case.given())), library.cuda.synchronize
    # NumPy's functions hand CuPy's arrays on to CuPy.
    build = lambda case: case.peer["numpy"]([library.asarray(a) for a in case.given()])  # noqa: E731
    return build, library.cuda.Device().synchronize


def main(arguments: list[str]) -> int:
    """Times every case that knows the library; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("family")
    parser.add_argument("library")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--filter", default="")
    parser.add_argument("--seconds", type=float, default=0.4)
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    try:
        library = importlib.import_module(options.library)
    except ImportError as error:
        print(json.dumps({"library": options.library, "missing": str(error)}))
        return 0
    if options.library == "torch":
        library.set_num_threads(options.threads)
    from bench.harness import load_cases, time_callable

    build, wait = (lambda case: case.peer[options.library](case.given())), (lambda: None)
    if options.device == "gpu":
        build, wait = on_gpu(options.library, library)
    table = "numpy" if options.library == "cupy" else options.library
    seconds = {}
    for case in load_cases(options.family):
        if case.speed and options.filter in str(case) and table in (case.peer or {}):
            seconds[str(case)] = time_callable(build(case), options.seconds, wait=wait)
    version = getattr(library, "__version__", "?")
    print(json.dumps({"library": options.library, "version": version, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
