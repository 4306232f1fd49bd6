"""Faults planted in kernels of the project, each by one edit of one source: the sources with a
fault in a namespace of their own, so that one run of nvcc compiles all."""

import dataclasses
import re
from pathlib import Path

from nvcc import compile_ptx

KERNELS = Path(__file__).resolve().parents[2] / "cuda" / "kernels"
HEADERS = ("cuda_bf16.h", "cuda_fp16.h", "stdint.h", "type_traits")
# In an order in which each needs those before it alone.
GEMM_FILES = [
    "types.h",
    "divisor.h",
    "../../csrc/kernels/activation.h",
    "device.cuh",
    "pack.cuh",
    "activation.cuh",
    "gemm/params.h",
    "gemm/tiles.h",
    "gemm/operand.cuh",
    "gemm/epilogue.cuh",
    "gemm/pipeline.cuh",
    "gemm/exact.cuh",
    "gemm/tensor.cuh",
]


@dataclasses.dataclass(frozen=True)
class Planted:
    """`old`, which stands once in kernels/`file`, becomes `new`. `kernel` says which kernel it is
    planted in; `reported`: the emulator must say so itself, whatever the results are."""

    id: str
    file: str
    old: str
    new: str
    kernel: str
    reported: bool = False


def texts(files, fault=None) -> str:
    """The sources in one, as they are or with a fault."""
    whole = ""
    for name in files:
        text = (KERNELS / name).read_text()
        if fault is not None and fault.file == name:
            assert text.count(fault.old) == 1, f"{fault.id}: stands {text.count(fault.old)} times"
            text = text.replace(fault.old, fault.new)
        whole += re.sub(r"^#(pragma once|include .*)$", "", text, flags=re.MULTILINE)
    return whole


def unit(name, family, files, entry, fault=None) -> str:
    """One kernel of a family, with the body `entry`, in a namespace of its own."""
    return f"""{texts(files, fault).replace("namespace native", f"namespace {name}_space")}
namespace {name}_space::cuda::{family} {{
extern "C" __global__ void {name}(const __grid_constant__ Params p) {{ {entry} }}
}}
"""


def compiled(units, folder) -> str:
    """The PTX of all units."""
    source = folder / "faults.cu"
    source.write_text("\n".join([f"#include <{header}>" for header in HEADERS] + units))
    return compile_ptx(source, "-std=c++20", "-w")
