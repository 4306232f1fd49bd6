"""Faults planted in the products of warp groups are found, by the emulator or by a wrong result;
none in what they were planted in."""

import numpy as np
import pytest
from gemm_launch import TYPES, operands, product
from planted_kernels import MATRIX_FILES, assert_found, fixtures, outcome, unit
from warpgroup_faults import FAULTS
from warpgroup_launch import launch

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("h100")]

FILES = [*MATRIX_FILES, "warpgroup.cuh", "gemm/product.cuh", "gemm/warpgroup.cuh"]
ENTRY = """extern __shared__ __align__(1024) char shared[];
WarpgroupLoop<kWarpgroupSmall, DataType::BF16>(p, shared).run();"""
SOUND = sorted({fault.kernel for fault in FAULTS})


def one(name, kernel, fault=None):
    """A kernel's unit, for operands that lie as its own do: it would have four main loops."""
    text = unit(name, "gemm", FILES, ENTRY, fault, "WarpgroupParams", 384)
    for operand, letter in zip("ab", kernel):
        text = text.replace(f"p.product.turned_{operand}", str(letter == "t").lower())
    return text


text, module = fixtures(one, SOUND, FAULTS, architecture="90a")


def run(module, name, transposes, plain=False):
    """Whether all results are right, and the names of what the emulator found. Two blocks walk over
    six tiles with remainders on all sides, of more steps than stages; relu of the product and a
    bias."""
    m, k, n = 152, 456, 264 + 7 * (transposes[1] == "t" and plain)
    a, b = operands(m, k, n, "bf16", transposes)
    dtype = TYPES["bf16"][0]
    bias = np.arange(-n // 2, n - n // 2)[:n].astype(dtype)
    want = np.maximum(product(a, b, transposes) + bias.astype(np.float64), 0).astype(dtype)
    more = {"blocks": 2, "plain": plain, "name": name}
    got, found = outcome(
        lambda: launch(module, "small", transposes, a[None], b[None], bias, 1, **more)
    )
    return got is not None and (got[0] == want).all(), found


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("kernel", SOUND)
def test_sound_kernels(module, kernel, plain):
    assert run(module, f"sound_{kernel}", kernel, plain) == (True, set())


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f.id for f in FAULTS])
def test_fault_is_found(module, number):
    fault = FAULTS[number]
    assert_found(fault, *run(module, f"fault_{number}", fault.kernel, fault.plain))
