"""Faults planted in attention by warp groups are found, by the emulator or by a wrong result; none
in what they were planted in."""

import pytest
from attention_launch import run_warpgroup
from attention_warpgroup_faults import FAULTS
from planted_kernels import assert_found, fixtures, outcome, unit
from test_attention_faults import right

from bench.cases.attention import attention

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("h100")]

FILES = [
    "types.h",
    "divisor.h",
    "device.cuh",
    "tensor_map.h",
    "warpgroup.cuh",
    "philox.cuh",
    "../../csrc/kernels/activation.h",
    "gemm/params.h",
    *(f"attention/{name}" for name in ("params.h", "tiles.h")),
    *(f"attention/{name}.cuh" for name in ("scores", "forward", "warpgroup")),
]
# Two groups, few keys at once, three stages.
ROWS, COLUMNS, STAGES, THREADS = 128, 32, 3, 384
SOUND = sorted({(fault.kernel, fault.options) for fault in FAULTS})


def planted(name, kernel, fault=None):
    """One kernel in a namespace of its own."""
    tile = f"Tile{{{ROWS}, {COLUMNS}, {STAGES}, {THREADS}, 1}}"
    entry = f"warpgroup_forward<WarpgroupMath<DataType::BF16, {tile}, {kernel}>>(p);"
    return unit(name, "attention", FILES, entry, fault, "WarpgroupParams", THREADS)


text, module = fixtures(planted, sorted({k for k, _ in SOUND}), FAULTS, architecture="90a")


def check(module, name, kernel, options):
    """Whether all results are right, and the names of what the emulator found. Remainders on all
    sides, two heads for each of the two that keys have, more blocks of queries than of the grid."""
    width = int(kernel)
    case = attention(
        1, 140, 4, width - 8, keys=150, key_heads=2, causal="causal" in options, dtype="bfloat16"
    )
    shared = (2 * ROWS + STAGES * COLUMNS) * width * 2 + (STAGES + 1) * 2 * 8
    tile = ROWS, COLUMNS, THREADS
    results, found = outcome(lambda: run_warpgroup(module, name, case, tile, shared, 3, 3))
    return bool(results) and right(case, "forward", results), found


@pytest.mark.parametrize("kernel, options", SOUND)
def test_sound_kernels(module, kernel, options):
    assert check(module, f"sound_{kernel}", kernel, options) == (True, set())


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f.id for f in FAULTS])
def test_fault_is_found(module, number):
    fault = FAULTS[number]
    assert_found(fault, *check(module, f"fault_{number}", fault.kernel, fault.options))
