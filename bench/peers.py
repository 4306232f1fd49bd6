"""`python -m bench.peers FAMILY LIBRARY`: times one library on a family's cases, by itself.

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


def main(arguments: list[str]) -> int:
    """Times every case that knows the library; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("family")
    parser.add_argument("library")
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

    seconds = {}
    for case in load_cases(options.family):
        if case.speed and options.filter in str(case) and options.library in (case.peer or {}):
            call = case.peer[options.library](case.given())
            seconds[str(case)] = time_callable(call, options.seconds)
    version = getattr(library, "__version__", "?")
    print(json.dumps({"library": options.library, "version": version, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
