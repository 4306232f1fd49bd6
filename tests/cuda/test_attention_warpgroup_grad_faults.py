"""Faults planted in the gradient of attention by warp groups are found, by the emulator or by a
wrong result; none in what they were planted in."""

import pytest
from attention_launch import errors, run_warpgroup_grad
from attention_warpgroup_grad_faults import FAULTS
from planted_kernels import assert_found, fixtures, outcome, unit
from test_attention_warpgroup_faults import FILES

from bench.cases.attention import attention

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("h100")]

# Two groups, three stages, few rows at once, or as many as the widest heads have.
ROWS, STAGES, THREADS = 128, 3, 384
COLUMNS = {"64": 32, "128": 64}
SOUND = sorted({(fault.kernel, fault.options) for fault in FAULTS})


def planted(name, kernel, fault=None):
    """One kernel in a namespace of its own."""
    of, width = kernel.split("_")
    tile = f"Tile{{{ROWS}, {COLUMNS[width]}, {STAGES}, {THREADS}, 1}}"
    math = f"WarpgroupMath<DataType::BF16, {tile}, {width}>"
    entry = f"warpgroup_backward<{math}, {'true' if of == 'keys' else 'false'}>(p);"
    files = [*FILES, "attention/warpgroup_backward.cuh"]
    return unit(name, "attention", files, entry, fault, "WarpgroupGradParams", THREADS)


text, module = fixtures(planted, sorted({k for k, _ in SOUND}), FAULTS, architecture="90a")


def check(module, name, kernel, options):
    """Whether all results are right, and the names of what the emulator found. Remainders on all
    sides, two heads for each of the two that keys have."""
    of, width = kernel.split("_")
    columns, size = COLUMNS[width], int(width)
    case = attention(
        1, 140, 4, size - 8, keys=150, key_heads=2, causal="causal" in options, dtype="bfloat16",
        grad=True,
    )  # fmt: skip
    shared = 2 * (ROWS + STAGES * columns) * size * 2 + STAGES * 2 * columns * 4
    shared += (STAGES + 1) * 2 * 8
    tile = ROWS, columns, THREADS
    results, found = outcome(lambda: run_warpgroup_grad(module, name, case, tile, shared, 3, of))
    parts = {"keys": (1, 2), "queries": (0,)}[of]
    return bool(results) and max(errors(case, results, parts)) < 2, found


@pytest.mark.parametrize("kernel, options", SOUND)
def test_sound_kernels(module, kernel, options):
    assert check(module, f"sound_{kernel}", kernel, options) == (True, set())


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f.id for f in FAULTS])
def test_fault_is_found(module, number):
    fault = FAULTS[number]
    assert_found(fault, *check(module, f"fault_{number}", fault.kernel, fault.options))
