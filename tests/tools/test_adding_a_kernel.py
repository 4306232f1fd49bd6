"""docs/adding_a_kernel.md: its example compiles, is found, and is right."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keras_native import _core

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/adding_a_kernel.md").read_text()
COMPILER = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
PROBLEM = "reduce_sum(float32(301, 1021), axes=(1,), keepdims=False)"

_AVX512 = ["-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
ISAS = {
    "generic": (16, []),
    "avx2": (32, ["-mavx2", "-mfma"]),
    "avx512": (64, _AVX512),
    "avx512_bf16": (64, [*_AVX512, "-mavx512bf16", "-mavx512vnni"]),
}

# In the package the example is a part of _core; here it is a library beside it, which has its own
# list of registrations, runs tasks one by one, and hands its kernels over as the GPU's module does.
STANDS_IN = """
#include "runtime/companion.h"
#include "runtime/cpu.h"
#include "runtime/pool.h"
namespace native {
static std::vector<KernelEntry>& entries() { static std::vector<KernelEntry> all; return all; }
Register::Register(const char* op, const char* name, int priority, Prepare prepare, const char* problems) {
  entries().push_back({op, name, priority, prepare, "cpu", problems});
}
static Isa isa = Isa::Generic;
Isa current_isa() { return isa; }
void pool::run(int64_t tasks, void (*task)(void*, int64_t), void* context) {
  for (int64_t i = 0; i < tasks; ++i) task(context, i);
}
}  // namespace native
extern "C" int attach(const native::Companion* core, int isa) {
  native::isa = static_cast<native::Isa>(isa);
  for (const auto& entry : native::entries()) core->register_kernel(entry);
  return core->version == native::kCompanionVersion;
}
"""  # noqa: E501 (C++)

# What follows is run in a process of its own, as a kernel once registered stays.
LOAD = """
import ctypes, sys
sys.path.insert(0, {root!r})
from keras_native import _core
get = ctypes.pythonapi.PyCapsule_GetPointer
get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
companion = get(_core.companion, b"keras_native.companion")
attach = ctypes.CDLL({library!r}).attach
attach.argtypes = [ctypes.c_void_p, ctypes.c_int]
def use(isa):
    _core.set_isa(isa)
    return attach(companion, ["generic", "avx2", "avx512", "avx512_bf16"].index(isa))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The page's three files and what they need, as a shared library."""
    if COMPILER is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs a C++ compiler, and an x86 processor for the flags below")
    folder = tmp_path_factory.mktemp("kernel")
    files = re.findall(r"```cpp\n// (csrc/\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert [Path(name).name for name, _ in files] == [
        "row_sum.h", "row_sum.simd.cpp", "row_sum.cpp"
    ]  # fmt: skip
    for name, text in files:
        file = folder / name.removeprefix("csrc/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "stands_in.cpp").write_text(STANDS_IN)
    common = [COMPILER, "-std=c++20", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-psabi",
              "-I", str(folder), "-I", str(ROOT / "csrc")]  # fmt: skip
    unit, driver = folder / "kernels/reduce/row_sum.simd.cpp", folder / "kernels/reduce/row_sum.cpp"
    objects = []
    for isa, (size, flags) in ISAS.items():
        objects.append(str(folder / f"{isa}.o"))
        named = [f"-DNATIVE_ISA={isa}", f"-DNATIVE_VEC_BYTES={size}", "-ffp-contract=fast"]
        compile_([*common, *named, *flags, "-c", str(unit), "-o", objects[-1]])
        symbols = subprocess.run(["nm", objects[-1]], capture_output=True, text=True, check=True)
        assert not re.search(r" [WVu] ", symbols.stdout), symbols.stdout
    result = folder / "library.so"
    core = [str(ROOT / f"csrc/core/{name}.cpp") for name in ("attrs", "dtype", "shape")]
    compile_([*common, "-shared", str(folder / "stands_in.cpp"), str(driver), *core, *objects,
              "-o", str(result)])  # fmt: skip
    return result


def compile_(command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(library, code):
    """What the code prints in a process that has the kernel."""
    load = LOAD.format(root=str(ROOT), library=str(library))
    done = subprocess.run(
        [sys.executable, "-c", load + code], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NATIVE_TUNED": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("isa", [isa for isa in _core.isas() if isa in ISAS])
def test_it_is_right(library, isa):
    code = f"""
assert use({isa!r})
from bench import harness
from bench.cases import reduce as table
for shape in [(1, 64), (3, 65), (301, 1021), (7, 4099)]:
    case = table.reduction("reduce_sum", shape, (1,))
    assert harness.kernel_of(case) == "row-sum"
    print(harness.check_forward(case, {isa!r}))
"""
    assert len(run(library, code).split()) == 4


def test_it_declines_what_is_not_its_own(library):
    code = """
use("generic")
from bench import harness
from bench.cases import reduce as table
for shape, axes, dtype in [((4, 63), (1,), "float32"), ((64, 64), (0,), "float32"),
                           ((64, 64), (1,), "float64"), ((0, 64), (1,), "float32")]:
    print(harness.kernel_of(table.reduction("reduce_sum", shape, axes, dtype)))
"""
    assert "row-sum" not in run(library, code)


def test_the_tools_know_it(library, tmp_path):
    file = tmp_path / "report.json"
    code = f"""
use(_core.isa())
from keras_native.tools import bench, kernels
kernels.main(["reduce_sum"])
kernels.main(["reduce_sum", "float32(301, 1021)", "axes=(1,)", "keepdims=False"])
arguments = ["reduce", {PROBLEM!r}, "--seconds", "0.01"]
assert bench.main([*arguments, "--check", "--kernel", "row-sum", "--json", {str(file)!r}]) == 0
assert bench.main([*arguments, "--kernel", "blocked"]) == 0
assert bench.main([*arguments, "--imbalance"]) == 0
"""
    printed = run(library, code)
    assert "row-sum (20): rows of a float32 matrix, from 64 columns on" in printed
    assert "row-sum (20) takes it" in printed and "blocked (0) could take it" in printed
    (row,) = json.loads(file.read_text())["rows"]
    assert row["kernel"] == "row-sum" and row["seconds"] > 0
