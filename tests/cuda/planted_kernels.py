"""Faults planted in kernels of the project, each by one edit of one source: the sources with a
fault in a namespace of their own, so that one run of nvcc compiles many."""

import dataclasses
import functools
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from nvcc import compile_ptx
from ptxkernel import _cuda

KERNELS = Path(__file__).resolve().parents[2] / "cuda" / "kernels"
HEADERS = ("stdint.h", "type_traits")
# In an order in which each needs those before it alone.
MATRIX_FILES = [
    "types.h",
    "divisor.h",
    "../../csrc/kernels/activation.h",
    "device.cuh",
    "tensor_map.h",
    "pack.cuh",
    "activation.cuh",
    "gemm/params.h",
    "gemm/tiles.h",
    "gemm/operand.cuh",
    "gemm/epilogue.cuh",
    "gemm/pipeline.cuh",
]
GEMM_FILES = [*MATRIX_FILES, "gemm/exact.cuh", "gemm/tensor.cuh"]
# Products and convolutions are tried with relu: the long activations, in which no fault is planted,
# would be compiled for each kernel.
LONG_ACTIVATION = re.compile(r"    case Activation::\w+:\n      return in_turn\(.*\);\n")


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
        if name == "gemm/epilogue.cuh":
            text, found = LONG_ACTIVATION.subn("", text)
            assert found
        whole += re.sub(r"^#(pragma once|include .*)$", "", text, flags=re.MULTILINE)
    return whole


def unit(name, family, files, entry, fault=None, params="Params", threads=None, before="") -> str:
    """One kernel of a family, with the body `entry`, in a namespace of its own; `threads`: of its
    only block on a multiprocessor; `before`: what the body needs."""
    bounds = f"__launch_bounds__({threads}, 1)" if threads else ""
    return f"""{texts(files, fault).replace("namespace native", f"namespace {name}_space")}
namespace {name}_space::cuda::{family} {{
{before}
extern "C" __global__ void {bounds} {name}(const __grid_constant__ {params} p) {{ {entry} }}
}}
"""


def compiled(units, folder, architecture=80) -> tuple[str, ...]:
    """The PTX of all units, in pieces: nvcc is one thread."""

    def piece(k):
        source = folder / f"faults_{k}.cu"
        included = [f"#include <{header}>" for header in HEADERS]
        source.write_text("\n".join(included + units[k::pieces]))
        return compile_ptx(source, "-std=c++20", "-w", architecture=architecture)

    pieces = min(len(os.sched_getaffinity(0)), len(units))
    with ThreadPoolExecutor(pieces) as pool:
        return tuple(pool.map(piece, range(pieces)))


class Modules:
    """Modules as one."""

    def __init__(self, texts):
        self.modules = [(_cuda.Module(text), text) for text in texts]

    def kernel(self, name):
        """The kernel of that name, from the module that has it."""
        (module,) = (m for m, text in self.modules if f".entry {name}(" in text)
        return module.kernel(name)


def units(one, sound, faults, conflicts=()) -> list[str]:
    """sound_<kernel>, fault_<number> and conflict_<number>, each made by `one(name, kernel,
    fault)`."""
    made = [one(f"sound_{kernel}", kernel) for kernel in sound]
    made += [one(f"fault_{k}", f.kernel, f) for k, f in enumerate(faults)]
    return made + [one(f"conflict_{k}", f.kernel, f) for k, f in enumerate(conflicts)]


def fixtures(one, sound, faults, conflicts=(), architecture=80):
    """The fixtures `text` and `module` of a file of tests of those units."""

    @pytest.fixture(scope="module")
    def text(tmp_path_factory):
        """The PTX of all."""
        made = units(one, sound, faults, conflicts)
        return compiled(made, tmp_path_factory.mktemp("faults"), architecture)

    load = functools.cache(Modules)

    @pytest.fixture
    def module(text):
        """The modules, loaded once."""
        return load(text)

    return text, module


def outcome(launch):
    """What `launch` gives, None where the emulator ended it, and the names of what that found."""
    try:
        result = launch()
    except RuntimeError:
        assert _cuda.reports()
        result = None
    found = {report["fault"] for report in _cuda.reports()}
    _cuda.clear_reports()
    return result, found


def assert_found(fault, right, found):
    """By the emulator, or, where that is enough, by a wrong result."""
    assert found if fault.reported else found or not right


def assert_conflicts(fault, number, check):
    """The emulator counts conflicts of banks where the fault is, and none where it is not;
    `check(name)` launches a kernel and says whether its results are right, and what was found."""
    for name, expected in ((f"sound_{fault.kernel}", False), (f"conflict_{number}", True)):
        _cuda.clear_counts()
        right, found = check(name)
        assert right and not found
        assert any(row["conflicts"] for row in _cuda.counts(name)) == expected
