"""Faults planted in the products are found, by the emulator or by a wrong result; none in what they
were planted in."""

import numpy as np
import pytest
from gemm_faults import CONFLICTS, FAULTS
from gemm_launch import TYPES, launch, operands, product
from planted_kernels import (
    GEMM_FILES,
    assert_conflicts,
    assert_found,
    fixtures,
    outcome,
    unit,
)

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


text, module = fixtures(one, SOUND, FAULTS, CONFLICTS)


def run(module, name, kernel, m=150, k=200, n=101):
    """Whether all results are right, and the names of what the emulator found. Three by two tiles
    with remainders on all sides; relu of the product and a bias."""
    kind, transposes = kernel.split("_")
    a, b = operands(m, k, n, kind, transposes)
    bias = np.arange(-n // 2, n - n // 2)[:n].astype(TYPES[kind][0])
    want = np.maximum(product(a, b, transposes) + bias.astype(np.float64), 0)
    got, found = outcome(
        lambda: launch(module, kind, "small", transposes, a, b, bias, 1, name=name)
    )
    return got is not None and (got == want).all(), found


@pytest.mark.parametrize("kernel", SOUND)
def test_sound_kernels(module, kernel):
    assert run(module, f"sound_{kernel}", kernel) == (True, set())


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f.id for f in FAULTS])
def test_fault_is_found(module, number):
    fault = FAULTS[number]
    sizes = {"m": 152, "n": 104} if fault.chunks else {}
    assert_found(fault, *run(module, f"fault_{number}", fault.kernel, k=fault.k, **sizes))


@pytest.mark.parametrize("number", range(len(CONFLICTS)), ids=[f.id for f in CONFLICTS])
def test_conflicts_are_counted(module, number):
    fault = CONFLICTS[number]
    assert_conflicts(fault, number, lambda name: run(module, name, fault.kernel, 128, 96, 128))
