"""What this machine and this build offer: versions, instruction sets, threads, caches, kernels."""

import argparse
import os
import pathlib
import platform
import re
from importlib import metadata

import keras_native
from keras_native import _core


def main(arguments: list[str]) -> None:
    """Prints the facts as one table."""
    argparse.ArgumentParser(prog="python -m keras_native info", description=__doc__).parse_args(
        arguments
    )
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
        "devices": f"cpu:0; {_gpu()}",
        "instruction set": f"{_core.isa()} (this build and machine: {', '.join(_core.isas())})",
        "threads": f"{_core.threads()} of {os.cpu_count()} processors",
        "caches": f"{l1} first, {l2} second, {l3} third",
        "peak": f"{_core.measure_peak() / 1e9:.0f} GFLOP/s in float32, measured",
        "kernels": f"{len(kernels)} for {len({op for op, *_ in kernels})} primitives",
    }
    for name, value in sorted(os.environ.items()):
        if name.startswith("NATIVE_") or name.startswith("KERAS_"):
            facts[name] = value
    return facts


def _gpu() -> str:
    """What can be said of gpu:0 without opening it."""
    try:
        from keras_native import _cuda
    except ImportError:
        return "no GPU part in this build"
    images = ", ".join(_cuda.images()) or "none, built without nvcc"
    return f"gpu:0 on request, experimental: never run on hardware (kernels: {images})"


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
