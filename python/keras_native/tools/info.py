"""What this machine and this build offer: versions, instruction sets, threads, caches, kernels."""

import os
import pathlib
import platform
import re
from importlib import metadata

import keras_native
from keras_native import _core
from keras_native.tools import command


def main(arguments: list[str]) -> None:
    """Prints the facts as one table."""
    command.parser("info", __doc__).parse_args(arguments)
    facts = collect()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {value}")


def collect() -> dict[str, str]:
    """Facts by name, in the order in which they are shown."""
    kernels = _core.kernels()
    l1, l2, l3 = (f"{size // 1024:,} KiB" for size in _core.cache_sizes())
    facts = {
        "keras-native": f"{keras_native.__version__} in {keras_native.__path__[0]}",
        "Keras": _version("keras", "keras-nightly"),
        "Python, NumPy": f"{platform.python_version()}, {_version('numpy')}",
        "processor": processor(),
        "GPU": _gpu(),
        "instruction set": f"{_core.isa()} (this build and machine: {', '.join(_core.isas())})",
        "threads": f"{_core.threads()} of {os.cpu_count()} processors",
        "caches": f"{l1} first, {l2} second, {l3} third",
        "peak": f"{_core.measure_peak() / 1e9:.0f} GFLOP/s in float32, measured",
        "hand-over": f"{_core.measure_round_trip() * 1e9:.0f} ns between two threads and back",
        "kernels": f"{len(kernels)} for {len({op for op, *_ in kernels})} primitives",
    }
    for name, value in sorted(os.environ.items()):
        if name.startswith("NATIVE_") or name.startswith("KERAS_"):
            facts[name] = value
    return facts


def _gpu() -> str:
    """What GPU, driver and kernels there are, or why there are none; opens the GPU."""
    try:
        from keras_native import _cuda
    except ImportError:
        return "no GPU part in this installation (it is the wheel keras-native-cuda13)"
    try:
        found = _cuda.device()
    except RuntimeError as error:
        return f"none: {str(error).split(' (/')[0]}"
    name = f"gpu:0, {found['name']}, compute capability {found['capability'] / 10}"
    if found["emulated"]:
        name += ": kernels run on the CPU, a million times slower than on a GPU"
    else:
        name += f", {found['memory'] / 2**30:.0f} GiB, driver of CUDA {found['driver'] / 1000:.1f}"
    if not _cuda.images():
        return f"{name}; no kernels, built without nvcc"
    _cuda.attach(_core.companion)
    kernels = _core.kernels("cuda")
    count = f"{len(kernels)} kernels for {len({op for op, *_ in kernels})} primitives"
    return f"{name}; {count}; experimental: tested on an H100 alone"


def processor() -> str:
    """The processor's name as its maker writes it, with family and model, which tell it apart."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        text = ""
    fields = dict(re.findall(r"^([\w ]+?)\s*: (.+)$", text, re.MULTILINE))
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    numbers = f"family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}"
    return f"{fields['model name'].strip()} ({numbers})"


def _version(*names: str) -> str:
    for name in names:
        try:
            return f"{metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "not installed"
