"""Faults planted in the products are found, by the emulator or by a wrong result; none in what they
were planted in. All are compiled by one run of nvcc."""

import numpy as np
import pytest
from gemm_faults import CONFLICTS, FAULTS
from gemm_launch import TYPES, launch, operands, product
from planted_kernels import GEMM_FILES, compiled, unit
from ptxkernel import _cuda

pytestmark = pytest.mark.emulator

FILES = [*GEMM_FILES, "gemm/product.cuh"]
ENTRY = {
    "exact": "product<ExactLoop<kExactSmall, 8, 4, {a}, {b}>>(p);",
    "bf16": "product<TensorLoop<kTensorSmall, DataType::BF16, 32, 32, {a}, {b}>>(p);",
    "tf32": "product<TensorLoop<kWideSmall, DataType::TF32, 32, 32, {a}, {b}>>(p);",
}
SOUND = sorted({fault.kernel for fault in FAULTS + CONFLICTS})


def one(name, kernel, fault=None):
    """A kernel's unit."""
    kind, transposes = kernel.split("_")
    turned = [str(t == "t").lower() for t in transposes]
    return unit(name, "gemm", FILES, ENTRY[kind].format(a=turned[0], b=turned[1]), fault)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The PTX of all: sound_<kernel>, fault_<number>, conflict_<number>."""
    units = [one(f"sound_{kernel}", kernel) for kernel in SOUND]
    units += [one(f"fault_{k}", f.kernel, f) for k, f in enumerate(FAULTS)]
    units += [one(f"conflict_{k}", f.kernel, f) for k, f in enumerate(CONFLICTS)]
    return compiled(units, tmp_path_factory.mktemp("faults"))


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
    sizes = {"m": 152, "n": 104} if fault.chunks else {}
    right, faults = run(module, f"fault_{number}", fault.kernel, k=fault.k, **sizes)
    assert faults if fault.reported else faults or not right


@pytest.mark.parametrize("number", range(len(CONFLICTS)), ids=[f.id for f in CONFLICTS])
def test_conflicts_are_counted(module, number):
    fault = CONFLICTS[number]
    for name, expected in ((f"sound_{fault.kernel}", False), (f"conflict_{number}", True)):
        _cuda.clear_counts()
        right, faults = run(module, name, fault.kernel, 128, 96, 128)
        assert right and not faults
        assert any(row["conflicts"] for row in _cuda.counts(name)) == expected
