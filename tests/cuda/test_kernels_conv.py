"""Convolutions: the CPU's table on the emulator, each kernel by itself, and memory's work."""

import functools
import math

import emulated
import numpy as np
import pytest
from conv_launch import (
    DIRECTIONS,
    Convolution,
    kernel_name,
    launch,
    launch_join,
    launch_overlap_add,
)
from gemm_launch import TYPES
from ptxkernel import _cuda

from bench import harness
from bench.cases.conv import cases as conv_cases
from bench.cases.conv import fused


def is_empty(case):
    """Operands of no elements go by way of the host."""
    return any(math.prod(dims) == 0 for dims, _ in case.inputs)


# All but what is computed in float64, by way of the host.
TABLE = [
    case
    for case in harness.test_cases(harness.load_cases("conv"))
    if case.inputs[0][1] in ("float32", "bfloat16", "float16")
]
CASES = [case for case in TABLE if not is_empty(case)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_table(case):
    emulated.check(case)


# Gradients of no weights are for the reference, in Python.
BY_THE_HOST = [case for case in TABLE if is_empty(case) and case.op != "conv_weight_grad"]


@pytest.mark.parametrize("case", BY_THE_HOST, ids=str)
def test_by_the_host(case):
    emulated.check(case, own=False)


def executed(kernel):
    return any(row["executed"] for row in _cuda.counts(kernel))


# Few results of many terms, in a few parts and in many, in packs and one by one; strides leave sets
# of positions with fewer taps than others, and with none.
SPLIT = {
    "few": (conv_cases, (1, (5, 4), 90, 12, 3), {"ops": "f", "pad": 1}),
    "many": (conv_cases, (1, (3, 3), 260, 7, 3), {"ops": "f", "pad": 1}),
    "sets": (conv_cases, (1, (6, 5), 8, 150, 3), {"ops": "d", "strides": 2, "pad": 1}),
    "empty sets": (conv_cases, (1, (7,), 8, 520, 2), {"ops": "d", "strides": 3}),
    "touched alone": (conv_cases, (2, (5, 6), 12, 260, 1), {"ops": "d", "strides": 2}),
    "groups": (conv_cases, (1, (4, 3), 128, 10, 3), {"ops": "f", "pad": 1, "groups": 2}),
    "weights": (conv_cases, (5, (11, 12), 4, 5, 2), {"ops": "w"}),
    "epilogue": (fused, (1, (4, 5), 60, 8, 3, "gelu"), {"pad": 1, "residual": True}),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("make, sizes, options", SPLIT.values(), ids=SPLIT)
def test_split_terms(make, sizes, options, dtype):
    """The sums of each part, and then of the parts, with the same bits every time."""
    made = make(*sizes, dtype=dtype, **options)
    for case in made if isinstance(made, list) else [made]:
        _cuda.clear_counts()
        emulated.check(case)
        assert executed("conv_join_1") or executed("conv_join_4")
        arrays = case.arrays()
        bits = set()
        for seed in (1, 2, 3):  # orders of warps
            _cuda.set_options(seed=seed)
            bits.add(emulated.outputs(case, arrays)[0].numpy().tobytes())
        assert len(bits) == 1


@pytest.mark.parametrize("ops", ["f", "d", "w"])
def test_whole_terms(ops):
    """Few terms are not split, and what is in its place is not copied there."""
    (case,) = conv_cases(1, (9, 8), 5, 7, 3, ops=ops, pad=1)
    _cuda.clear_counts()
    emulated.check(case)
    assert not executed("conv_join_1") and not executed("conv_join_4")


@pytest.mark.parametrize("channels", [8, 6])
def test_what_no_tap_meets(channels):
    """A set of positions is written by its product, and the others are filled in by one launch."""
    (case,) = conv_cases(2, (6, 7), channels, 16, 1, ops="d", strides=(2, 3))
    _cuda.clear_counts()
    emulated.check(case)
    join = f"conv_join_{4 if channels == 8 else 1}"
    assert sum(r["sectors"] for r in _cuda.counts(join) if "ld.global" in r["opcode"]) == 0
    assert executed(join)


@pytest.mark.parametrize("shares", [1, 8])
@pytest.mark.parametrize("lanes", [1, 4])
def test_join(lanes, shares):
    """Sets of many parts, of few, of none, and one that is left alone; integers: all bits are
    known."""
    got, want = launch_join(_cuda.Module(_cuda.image_ptx("conv/join")), lanes, shares)
    assert _cuda.reports() == []
    assert (got == want).all()


WIDE = {
    "overlap": ((1, (20, 19), 3, 16, (10, 11)), {"strides": 9, "pad": 2}),
    "patches": ((1, (28, 42), 3, 24, 14), {"strides": 14}),
    "groups": ((2, (12, 30), 6, 20, 3), {"strides": (5, 14), "groups": 2}),
    "parts": ((1, (20, 19), 2, 1100, 10), {"strides": 9, "ops": "d"}),
}
MOST_SETS = 64  # cuda/kernels/conv/params.h: of positions that meet the same taps


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sizes, options", WIDE.values(), ids=WIDE)
def test_wide_strides(sizes, options, dtype):
    """More sets of positions than there are launches for: what windows give is added up where they
    overlap, with the same bits every time; the other directions have no sets."""
    for case in conv_cases(*sizes, dtype=dtype, **options):
        assert math.prod(case.attrs["strides"]) > MOST_SETS
        back = case.op == "conv_input_grad"
        assert emulated.kernel_of(case) == ("overlap-add" if back else "implicit-gemm")
        _cuda.clear_counts()
        emulated.check(case)
        assert executed("conv_overlap_add") == back
        arrays = case.arrays()
        bits = set()
        for seed in (1, 2):  # orders of warps
            _cuda.set_options(seed=seed)
            bits.add(emulated.outputs(case, arrays)[0].numpy().tobytes())
        assert len(bits) == 1


def test_as_many_sets_as_launches():
    """Are still a launch each."""
    (case,) = conv_cases(1, (17, 16), 3, 5, 9, ops="d", strides=8)
    assert math.prod(case.attrs["strides"]) == MOST_SETS
    assert emulated.kernel_of(case) == "implicit-gemm"


def test_overlap_add():
    """Parts of integers, of groups, with overlaps and gaps: all bits are known."""
    got, want = launch_overlap_add(_cuda.Module(_cuda.image_ptx("conv/join")))
    assert _cuda.reports() == []
    assert (got == want).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_pointwise(dtype):
    """By the kernels of products: terms whole and in parts, rows at odd addresses, an epilogue."""
    for split, case in [
        *((False, case) for case in conv_cases(2, (6, 7), 24, 40, 1, dtype)),
        (True, *conv_cases(1, (5, 7), 520, 9, 1, dtype, "f")),
        (True, *conv_cases(1, (5, 7), 9, 520, 1, dtype, "d")),
        (True, *conv_cases(20, (5, 7), 12, 9, 1, dtype, "w")),
        (True, fused(3, (4, 3), 515, 37, 1, "gelu", dtype, residual=True)),
        (False, fused(3, (4, 3), 15, 37, 1, "silu", dtype, residual=True)),
    ]:
        _cuda.clear_counts()
        emulated.check(case)
        assert emulated.kernel_of(case) == "pointwise"
        assert (executed("conv_join_1") or executed("conv_join_4")) == split


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_depthwise(dtype):
    """Packs of channels and single ones, several results a channel, sums over several pieces."""
    for case in [
        *conv_cases(2, (9, 11), 24, 24, 3, dtype, pad=1, groups=24),
        *conv_cases(1, (8, 9), 12, 12, (3, 5), dtype, strides=(2, 3), pad=(1, 0, 2, 3), groups=12),
        *conv_cases(2, (7, 9), 5, 15, (2, 3), dtype, dilation=(2, 1), strides=2, pad=2, groups=5),
        *conv_cases(3, (14, 13), 8, 8, 3, dtype, groups=8),
        *conv_cases(1, (37, 5), 296, 296, 3, dtype, pad=(2, 0, 0, 3), groups=296),
        fused(1, (6, 9), 8, 8, 3, "gelu", dtype, pad=1, groups=8, residual=True),
    ]:
        emulated.check(case)
        assert emulated.kernel_of(case) == "depthwise"


WALKS = ("walk_forward", "walk_weight_grad", "join")
OTHERS = ("forward_4", "input_grad_4", "weight_grad_4", "join")


@pytest.mark.parametrize("strides, kernels", [(1, WALKS), (2, OTHERS)])
def test_memory_of_depthwise(strides, kernels):
    """Channels that fill sectors: all are read and written whole, and no bank is met twice."""
    for case in conv_cases(1, (8, 16), 32, 32, 3, strides=strides, groups=32):
        _cuda.clear_counts()
        emulated.check(case)
        rows = [r for name in kernels for r in _cuda.counts(f"depthwise_{name}") if r["executed"]]
        assert any(r["sectors"] for r in rows)
        assert [r for r in rows if r["conflicts"]] == []
        assert [r for r in rows if r["sectors"] != r["ideal_sectors"]] == []


def test_tf32_when_asked_for(monkeypatch):
    """By tensor cores, with operands of 11 bits: errors of that size, and none larger."""
    monkeypatch.setenv("NATIVE_CUDA_TF32", "1")
    for case in conv_cases(2, (6, 7), 16, 24, 3, pad=1):
        arrays = case.arrays()
        (got,) = emulated.outputs(case, arrays)
        (want,) = harness.expected(case, arrays)
        error = np.abs(got.numpy() - want).max() / np.abs(want).max()
        assert 2**-16 < error < 2**-10
    assert _cuda.reports() == []


@functools.cache
def module(kind):
    """The module of a kind's kernels; counts are kept as long as it is."""
    return _cuda.Module(_cuda.image_ptx("conv/exact" if kind == "exact" else "conv/tensor"))


# With remainders on all sides and every attribute, by single elements, and by chunks of 16 bytes.
ODD = Convolution(2, (9, 8), 10, 6, (3, 2), (2, 1), (1, 2, 0, 1), (1, 2), groups=2)
CHUNKS = Convolution(2, (9, 8), 16, 80, (3, 3), (2, 2), (1, 0, -1, 2))
# Pixels, channels and taps fill tiles of both sizes, and windows lie inside.
WHOLE = Convolution(2, (10, 10), 32, 128, (3, 3))
WHOLE_BACK = Convolution(2, (8, 8), 128, 32, (3, 3), padding=(2, 2, 2, 2))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("kind", TYPES)
def test_each_kernel(kind, size, direction):
    """Integers are multiplied exactly: every element equal."""
    for convolution in (ODD, CHUNKS):
        got, want = launch(module(kind), kind, size, direction, convolution)
        assert _cuda.reports() == []
        assert (got == want).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("kind", TYPES)
def test_memory_of_each_kernel(kind, size, direction):
    """Whole tiles: no bank twice in one access, and no sector of memory in vain."""
    convolution = WHOLE_BACK if direction == "input_grad" else WHOLE
    _cuda.clear_counts()
    got, want = launch(module(kind), kind, size, direction, convolution)
    assert (got == want).all()
    rows = [r for r in _cuda.counts(kernel_name(kind, size, direction)) if r["executed"]]
    copies = [r for r in rows if r["opcode"].startswith("cp.async") and r["sectors"]]
    assert copies and sum(r["phases"] for r in rows) > 0
    assert [r for r in rows if r["conflicts"]] == []
    assert [r for r in rows if r["sectors"] != r["ideal_sectors"]] == []
    opcode = "fma.rn.f32" if kind == "exact" else "mma.sync"
    assert [r for r in rows if r["opcode"].startswith(opcode)]


def test_residues_multiply_no_zeros():
    """The gradient by the input of a strided convolution has each product once: tiles of a strided
    one's sets have no more terms than taps meet them."""
    module.cache_clear()  # whose counts go by the same names
    _cuda.clear_counts()
    (case,) = conv_cases(1, (16, 16), 32, 32, 2, ops="d", strides=2)
    emulated.check(case)
    products = sum(
        r["executed"]
        for r in _cuda.counts("conv_exact_small_input_grad")
        if r["opcode"].startswith("fma.rn.f32")
    )
    # Four sets of 64 pixels by 32 channels and one tap each, in tiles of 64 by 64, 32 lanes.
    assert products == 4 * 64 * 64 * 32 / 32


def test_infinities_reach_their_windows_alone():
    """And none beyond: what is outside an array is zero, not what lies there."""
    (case,) = conv_cases(2, (7, 6), 4, 18, 3, pad=1, ops="f")
    arrays = case.arrays()
    arrays[0][1, 3, 2, 3] = np.inf
    arrays[1][0, 0, 3, 17] = np.nan
    (result,) = emulated.outputs(case, arrays)
    harness.compare(result.numpy(), *harness.expected(case, arrays), case)
    assert _cuda.reports() == [] and math.isinf(result.numpy()[1, 3, 2, 0])
