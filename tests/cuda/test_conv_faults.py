"""Faults planted in the convolutions are found, by the emulator or by a wrong result; none in what
they were planted in."""

import pytest
from conv_faults import FAULTS
from conv_launch import Convolution, launch, launch_join, launch_overlap_add
from planted_kernels import GEMM_FILES, assert_found, fixtures, outcome, unit

pytestmark = pytest.mark.emulator

FILES = [
    *GEMM_FILES,
    *("conv/params.h", "conv/sources.cuh", "conv/implicit.cuh", "conv/join.cuh"),
    *("conv/window_at.cuh", "conv/overlap_add.cuh"),
]
LOOPS = {
    "exact": "gemm::ExactLoop<gemm::kExactSmall, 8, 4, a, b>",
    "bf16": "gemm::TensorLoop<gemm::kTensorSmall, DataType::BF16, 32, 32, a, b>",
}
DIRECTIONS = {
    "forward": ("forward", "Forward"),
    "inputgrad": ("input_grad", "InputGrad"),
    "weightgrad": ("weight_grad", "WeightGrad"),
}
CONVOLUTIONS = {
    # More than a tile of pixels, with remainders; elements one by one; every attribute.
    "odd": Convolution(2, (9, 8), 10, 6, (3, 2), (2, 1), (1, 2, 0, 1), (1, 2), groups=2),
    # Chunks of 16 bytes, and more steps than stages.
    "chunks": Convolution(2, (7, 8), 16, 32, (3, 3), padding=(1, 1, 1, 1)),
}
# Kernels beside these, and what launches them.
OTHERS = {
    "join": ("join<4>(p);", "JoinParams", lambda m, name: launch_join(m, 4, 8, name=name)),
    "overlap": (
        "overlap_add(p);",
        "OverlapParams",
        lambda m, name: launch_overlap_add(m, name=name),
    ),
}
SOUND = sorted({fault.kernel for fault in FAULTS})


def one(name, kernel, fault=None):
    """A kernel's unit."""
    if kernel in OTHERS:
        entry, params, _ = OTHERS[kernel]
        return unit(name, "conv", FILES, entry, fault, params)
    kind, direction, _ = kernel.split("_")
    entry = f"convolve<Loop, Direction::{DIRECTIONS[direction][1]}>(p);"
    loop = f"template <bool a, bool b> using Loop = {LOOPS[kind]};"
    return unit(name, "conv", FILES, entry, fault, before=loop)


text, module = fixtures(one, SOUND, FAULTS)


def run(module, name, kernel):
    """Whether all results are right, and the names of what the emulator found. Forward: relu of the
    convolution, a bias and a residual."""
    if kernel in OTHERS:
        results, found = outcome(lambda: OTHERS[kernel][2](module, name))
        return results is not None and bool((results[0] == results[1]).all()), found
    kind, direction, convolution = kernel.split("_")
    forward = direction == "forward"
    options = {"activation": 1, "extra": True} if forward else {}
    direction = DIRECTIONS[direction][0]
    results, found = outcome(
        lambda: launch(
            module, kind, "small", direction, CONVOLUTIONS[convolution], name=name, **options
        )
    )
    return results is not None and bool((results[0] == results[1]).all()), found


@pytest.mark.parametrize("kernel", SOUND)
def test_sound_kernels(module, kernel):
    assert run(module, f"sound_{kernel}", kernel) == (True, set())


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[f.id for f in FAULTS])
def test_fault_is_found(module, number):
    fault = FAULTS[number]
    assert_found(fault, *run(module, f"fault_{number}", fault.kernel))
