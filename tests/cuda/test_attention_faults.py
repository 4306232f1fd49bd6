"""Faults planted in attention are found, by the emulator or by a wrong result; none in what they
were planted in."""

import dataclasses

import pytest
from attention_faults import CONFLICTS, FAULTS
from attention_launch import run
from planted_kernels import (
    GEMM_FILES,
    assert_conflicts,
    assert_found,
    fixtures,
    outcome,
    unit,
)

from bench import harness
from bench.cases.attention import attention

pytestmark = pytest.mark.emulator

FILES = [
    *GEMM_FILES,
    "philox.cuh",
    *(f"attention/{name}" for name in ("params.h", "tiles.h", "tensor.cuh", "exact.cuh")),
    *(f"attention/{name}.cuh" for name in ("scores", "forward", "backward")),
]
MATH = {
    "bf16": "TensorMath<DataType::BF16, {tile}, 32>",
    "plain": "TensorMath<DataType::BF16, {tile}, 32>",
    "exact": "ExactMath<{tile}, 32>",
}
# Half of the columns that are built in: the code for a tile's scores is most of what is compiled.
FORWARD = {
    "bf16": "Tile{128, 32, 1, 128, 3}",
    "plain": "Tile{128, 64, 1, 128, 2}",
    "exact": "Tile{64, 32, 1, 128, 3}",
}
GRAD = {"bf16": "kTensorGrad32", "exact": "kExactGrad32"}
ENTRY = {
    "forward": "forward<{math}, {plain}>(p);",
    "keys": "backward<{math}, true>(p);",
    "queries": "backward<{math}, false>(p);",
}
# Rows of a tile, and bytes of shared memory, by kind and whether it is a gradient.
TILES = {
    ("bf16", False): (128, (128 + 2 * 32) * 32 * 2),
    ("plain", False): (128, (128 + 2 * 64) * 32 * 2),
    ("bf16", True): (64, (2 * 64 + 4 * 32) * 32 * 2 + 2 * 3 * 32 * 4),
    ("exact", False): (64, (64 + 2 * 32) * 32 * 4 + 64 * 32 * 4),
    ("exact", True): (64, (2 * 64 + 2 * 32) * 32 * 4 + 3 * 32 * 4 + 64 * 32 * 4),
}
SOUND = sorted({(fault.kernel, fault.options) for fault in FAULTS + CONFLICTS})


def planted(name, kernel, fault=None):
    """One kernel in a namespace of its own."""
    kind, of = kernel.split("_")
    math = MATH[kind].format(tile=(FORWARD if of == "forward" else GRAD)[kind])
    entry = ENTRY[of].format(math=math, plain="true" if kind == "plain" else "false")
    return unit(name, "attention", FILES, entry, fault)


text, module = fixtures(planted, sorted({k for k, _ in SOUND}), FAULTS, CONFLICTS)


def check(module, name, kernel, options, whole=False):
    """Whether all results are right, and the names of what the emulator found. Heads of 24 in a
    tile of 32, remainders on all sides, two heads for each of the two that keys have."""
    kind, of = kernel.split("_")
    queries, keys, size = (64, 64, 32) if whole else (140, 150, 24)
    case = attention(
        1, queries, 4, size, keys=keys, key_heads=2, causal="causal" in options,
        mask=(queries, keys) if "mask" in options else None,
        dropout=0.5 if "dropout" in options else 0.0,
        dtype="float32" if kind == "exact" else "bfloat16", grad=of != "forward",
    )  # fmt: skip
    if "mask" in options:
        case = with_dead_queries(case)
    rows, shared = TILES[kind, of != "forward"]
    results, found = outcome(lambda: run(module, name, case, (rows, 128), shared, of))
    return bool(results) and right(case, of, results), found


def with_dead_queries(case):
    """The same, some queries having no keys."""
    make = case.make

    def dead(rng):
        arrays = make(rng)
        arrays[3][::7] = False
        return arrays

    return dataclasses.replace(case, make=dead)


def right(case, of, results):
    """Whether results are within the table's bounds."""
    arrays = case.arrays()
    parts = {"forward": (0, 1), "keys": (1, 2), "queries": (0,)}[of]
    wanted, terms = harness.expected(case, arrays), case.terms(arrays)
    try:
        for part, result in zip(parts, results):
            harness.compare(result, wanted[part], case, terms=terms[part])
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("kernel, options", SOUND)
def test_sound_kernels(module, kernel, options):
    assert check(module, f"sound_{kernel}", kernel, options) == (True, set())


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f.id for f in FAULTS])
def test_fault_is_found(module, number):
    fault = FAULTS[number]
    assert_found(fault, *check(module, f"fault_{number}", fault.kernel, fault.options))


@pytest.mark.parametrize("number", range(len(CONFLICTS)), ids=[f.id for f in CONFLICTS])
def test_conflicts_are_counted(module, number):
    fault = CONFLICTS[number]
    assert_conflicts(fault, number, lambda name: check(module, name, fault.kernel, (), whole=True))
