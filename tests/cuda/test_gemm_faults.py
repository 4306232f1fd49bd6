"""Faults planted in the products are found, by the emulator or by a wrong result; none in what they
were planted in. All are compiled by one run of nvcc."""

import re
from pathlib import Path

import numpy as np
import pytest
from gemm_faults import CONFLICTS, FAULTS
from gemm_launch import TYPES, launch, operands, product
from nvcc import compile_ptx
from ptxkernel import _cuda

KERNELS = Path(__file__).resolve().parents[2] / "cuda" / "kernels"
# In an order in which each needs those before it alone.
FILES = [
    "types.h",
    "../../csrc/kernels/activation.h",
    "device.cuh",
    "activation.cuh",
    "gemm/params.h",
    "gemm/tiles.h",
    "gemm/operand.cuh",
    "gemm/epilogue.cuh",
    "gemm/pipeline.cuh",
    "gemm/exact.cuh",
    "gemm/tensor.cuh",
]
ENTRY = {
    "exact": "exact<kExactSmall, 8, 4, {a}, {b}>(p);",
    "bf16": "tensor<kTensorSmall, DataType::BF16, 32, 32, {a}, {b}>(p);",
    "tf32": "tensor<kWideSmall, DataType::TF32, 32, 32, {a}, {b}>(p);",
}
SOUND = sorted({fault.kernel for fault in FAULTS + CONFLICTS})


def texts(fault=None):
    """The sources in one, as they are or with a fault."""
    whole = ""
    for name in FILES:
        text = (KERNELS / name).read_text()
        if fault is not None and fault.file == name:
            assert text.count(fault.old) == 1, f"{fault.id}: stands {text.count(fault.old)} times"
            text = text.replace(fault.old, fault.new)
        whole += re.sub(r"^#(pragma once|include .*)$", "", text, flags=re.MULTILINE)
    return whole


def unit(name, kernel, fault=None):
    """One kernel in a namespace of its own."""
    kind, transposes = kernel.split("_")
    entry = ENTRY[kind].format(
        a=str(transposes[0] == "t").lower(), b=str(transposes[1] == "t").lower()
    )
    return f"""{texts(fault).replace("namespace native", f"namespace {name}_space")}
namespace {name}_space::cuda::gemm {{
extern "C" __global__ void {name}(const __grid_constant__ Params p) {{ {entry} }}
}}
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The PTX of all: sound_<kernel>, fault_<number>, conflict_<number>."""
    headers = ("cuda_bf16.h", "cuda_fp16.h", "stdint.h", "type_traits")
    units = [f"#include <{header}>" for header in headers]
    units += [unit(f"sound_{kernel}", kernel) for kernel in SOUND]
    units += [unit(f"fault_{k}", f.kernel, f) for k, f in enumerate(FAULTS)]
    units += [unit(f"conflict_{k}", f.kernel, f) for k, f in enumerate(CONFLICTS)]
    folder = tmp_path_factory.mktemp("faults")
    source = folder / "faults.cu"
    source.write_text("\n".join(units))
    return compile_ptx(source, "-std=c++20", "-w")


@pytest.fixture
def module(text):
    """The module, loaded once."""
    if not hasattr(test_sound_kernels, "module"):
        test_sound_kernels.module = _cuda.Module(text)
    return test_sound_kernels.module


def run(module, name, kernel, m=150, k=200, n=101):
    """Whether all results are right, and the names of what the emulator found. Three by two tiles
    with remainders on all sides; relu of the product and a bias."""
    kind, transposes = kernel.split("_")
    a, b = operands(m, k, n, kind, transposes)
    bias = np.arange(-n // 2, n - n // 2)[:n].astype(TYPES[kind][0])
    want = np.maximum(product(a, b, transposes) + bias.astype(np.float64), 0)
    try:
        got = launch(module, kind, "small", transposes, a, b, bias, 1, name=name)
    except RuntimeError:
        assert _cuda.reports()
        got = None
    faults = {report["fault"] for report in _cuda.reports()}
    _cuda.clear_reports()
    return got is not None and (got == want).all(), faults


@pytest.mark.parametrize("kernel", SOUND)
def test_sound_kernels(module, kernel):
    assert run(module, f"sound_{kernel}", kernel) == (True, set())


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f.id for f in FAULTS])
def test_fault_is_found(module, number):
    fault = FAULTS[number]
    right, faults = run(module, f"fault_{number}", fault.kernel, k=fault.k)
    assert faults if fault.reported else faults or not right


@pytest.mark.parametrize("number", range(len(CONFLICTS)), ids=[f.id for f in CONFLICTS])
def test_conflicts_are_counted(module, number):
    fault = CONFLICTS[number]
    for name, expected in ((f"sound_{fault.kernel}", False), (f"conflict_{number}", True)):
        _cuda.clear_counts()
        right, faults = run(module, name, fault.kernel, 128, 96, 128)
        assert right and not faults
        assert any(row["conflicts"] for row in _cuda.counts(name)) == expected
