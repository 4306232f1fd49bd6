"""`python -m bench.peers LIBRARY`: times one library, ours included, in a process of its own. With
`--device gpu` PyTorch and CuPy on a GPU, where products and convolutions are cuBLAS's and cuDNN's.
`torch:flash` is PyTorch with no attention but flash-attention 2, where it would take cuDNN's.

Reads lines of JSON, {"family", "text", "batch", "seconds", "clock"}, `text` being what bench.choose
reads; answers each with a line {case: seconds of one run after the other}. Its first line says
{"library", "version"}, or {"library", "missing"}. For another library nothing of ours is imported
but the tables of cases, so it runs in any interpreter that has it.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import sys


def limit_threads(count: int) -> None:
    """To be called before the library is imported: XLA counts the processors it may use."""
    for name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, processors[:count])


def torch_tensor(array, make=None):
    """An array as PyTorch's tensor of the same memory, made by `make`, `torch.from_numpy`."""
    import numpy as np
    import torch

    make = make or torch.from_numpy
    if array.dtype == "bfloat16":  # a dtype of NumPy's that PyTorch does not know
        return make(array.view(np.int16)).view(torch.bfloat16)
    return make(array)


def load(name: str, threads: int) -> str:
    """Imports a library, as `peers LIBRARY` names it, for that many threads; returns its version.

    Raises:
        ImportError: it is not installed.
    """
    name, _, way = name.partition(":")
    library = importlib.import_module(name)
    if way == "flash":
        for other in ("cudnn", "mem_efficient", "math"):
            getattr(library.backends.cuda, f"enable_{other}_sdp")(False)
    if name == "torch":
        library.set_num_threads(threads)
        # Cases make their operands by this, bfloat16 too.
        library.from_numpy = functools.partial(torch_tensor, make=library.from_numpy)
    if name == "tensorflow":
        library.config.threading.set_intra_op_parallelism_threads(threads)
        library.config.threading.set_inter_op_parallelism_threads(1)
    return getattr(library, "__version__", "?")


def on_gpu(name: str, library):
    """What builds a case's call on the GPU, and what waits for it."""
    if name == "torch":
        library.set_default_device("cuda")
        # float32 exactly, as ours; PyTorch would let cuDNN round to tf32.
        library.backends.cudnn.allow_tf32 = False
        # Every builder takes its operands from there.
        on_cpu = library.from_numpy
        library.from_numpy = lambda array: on_cpu(array).to("cuda")
        return (lambda case: case.peer["torch"](case.given())), library.cuda.synchronize
    # NumPy's functions hand CuPy's arrays on to CuPy.
    build = lambda case: case.peer["numpy"]([library.asarray(a) for a in case.given()])  # noqa: E731
    return build, library.cuda.Device().synchronize


def main(arguments: list[str]) -> int:
    """Answers until its input ends; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("library")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="of the others")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", help="of ours")
    parser.add_argument("--kernel", help="of ours")
    options = parser.parse_args(arguments)
    limit_threads(options.threads)
    # What a library prints must not stand between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    own = options.library == "keras_native"

    def answer(value: dict) -> None:
        print(json.dumps(value), file=answers, flush=True)

    try:
        version = load(options.library, options.threads)
    except ImportError as error:
        answer({"library": options.library, "missing": str(error)})
        return 0
    answer({"library": options.library, "version": version})
    from bench import choose, harness

    if own:
        harness.set_up(options.threads, options.isa)
    name = options.library.partition(":")[0]
    build, wait = (lambda case: case.peer[name](case.given())), (lambda: None)
    if options.device == "gpu":
        build, wait = on_gpu(name, importlib.import_module(name))
    table = "numpy" if name == "cupy" else name
    for line in sys.stdin:
        request = json.loads(line)
        seconds, clock = request["seconds"], request["clock"]
        found = {}
        for case in choose.cases(request["family"], [request["text"]], request["batch"]):
            if own:
                with harness.forced(case.op, options.kernel):
                    found[case.name] = harness.sample_case(case, seconds, clock)
            elif table in (case.peer or {}):
                try:
                    found[case.name] = harness.sample(build(case), seconds, clock=clock, wait=wait)
                except (RuntimeError, TypeError, ValueError) as error:
                    print(f"{options.library} at {case.name}: {error}", file=sys.stderr)
        answer(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
