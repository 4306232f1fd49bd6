"""The CPU's tables of cases on the emulated GPU, and what has no kernel there yet."""

import emulated
import numpy as np
import pytest
from ptxkernel import _cuda

from bench import harness

# Dtypes of 64 bits and complex numbers go by way of the host.
NARROW = {
    "float32", "float16", "bfloat16", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32",
}  # fmt: skip
# Of the families below, what no kernel of the GPU computes.
MISSING = {
    "attention": set(),
    "elementwise": {"digamma"},
    "norm": set(),
    "reduce": set(),
    "rnn": set(),
    "softmax": set(),
    "shape": set(),
    "random": {"random_gamma", "random_binomial"},
    "conv": set(),
    "pool": set(),
    "gather": {"fused_gather_grad"},
}  # fmt: skip
FLOATS = {"float32", "float16", "bfloat16"}
# What moves elements of any dtype.
MOVES = {"randint", "gather", "gather_nd", "take_along_axis", "one_hot"}
# Dtypes of operations whose kernels take some only.
SINGLE = {"float32", "bool"}
SOME = {"pow": FLOATS, **dict.fromkeys(("lstm", "lstm_grad", "gru", "gru_grad"), SINGLE)}


def dtypes_of(case):
    given = {dtype for _, dtype in case.inputs}
    if "dtype" in case.attrs:
        given.add(case.attrs["dtype"])
    program = case.attrs.get("program", "")
    return given | {part.split("=")[0] for part in program.split(":")[1:]}


def taken(family):
    """Cases of a family that a kernel of the GPU must take."""
    cases = []
    for case in harness.test_cases(harness.load_cases(family)):
        moves = (family == "shape" and case.op != "full") or case.op in MOVES
        given = dtypes_of(case)
        if family == "gather":
            given = {case.inputs[-1][1]}  # beside indices, which may be of 64 bits
        if case.op == "cast" and case.attrs["dtype"] != "bool":
            given -= {"int64"} - {case.attrs["dtype"]}  # which can be read
        fits = moves or given <= SOME.get(case.op, NARROW)
        if case.op in MISSING[family] or not fits:
            continue
        # Nothing to reduce or to normalise is left to the CPU.
        few = family in ("norm", "reduce", "rnn", "softmax")
        if few and any(0 in shape for shape, _ in case.inputs):
            continue
        # Nor is dropping everything worth a kernel.
        if case.inputs and case.attrs.get("rate") != 1:
            cases.append(case)
    return cases


@pytest.mark.parametrize("case", taken("attention"), ids=str)
def test_attention(case):
    emulated.check(case)


@pytest.mark.parametrize("case", taken("elementwise"), ids=str)
def test_elementwise(case):
    emulated.check(case)


@pytest.mark.parametrize("case", taken("norm"), ids=str)
def test_norm(case):
    emulated.check(case)


@pytest.mark.parametrize("case", taken("reduce"), ids=str)
def test_reduce(case):
    emulated.check(case)


@pytest.mark.parametrize("case", taken("rnn"), ids=str)
def test_rnn(case):
    emulated.check(case)


@pytest.mark.parametrize("case", taken("softmax"), ids=str)
def test_softmax(case):
    emulated.check(case)


@pytest.mark.parametrize("case", taken("shape"), ids=str)
def test_shape(case):
    emulated.check(case)


@pytest.mark.parametrize("dtype", ["bool", "float16", "float32", "int64", "complex128"])
def test_transposed_copies(dtype):
    """Whole tiles and remainders; every sector whole where rows are, and no bank met twice."""
    for dims, perm in [((64, 96), (1, 0)), ((3, 41, 2, 70), (0, 3, 2, 1)), ((9, 5, 33), (2, 1, 0))]:
        _cuda.clear_counts()
        emulated.check(harness.Case("transpose", ((dims, dtype),), {"perm": perm}))
        size = np.dtype(dtype).itemsize
        counted = [r for r in _cuda.counts(f"transposed_copy_{size}") if r["executed"]]
        assert counted
        if dims == (64, 96) and size == 4:
            assert [r for r in counted if r["conflicts"]] == []
            assert [r for r in counted if r["sectors"] != r["ideal_sectors"]] == []


@pytest.mark.parametrize("case", taken("pool"), ids=str)
def test_pool(case):
    emulated.check(case)


@pytest.mark.parametrize("case", taken("gather"), ids=str)
def test_gather(case):
    emulated.check(case)


@pytest.mark.parametrize("case", taken("random"), ids=str)
def test_random(case):
    """The very bits of the CPU."""
    arrays = case.arrays()
    (got,) = emulated.outputs(case, arrays)
    (want,) = harness.run(case, arrays)
    assert got.dtype == want.dtype.name and got.numpy().tobytes() == want.tobytes()
    assert _cuda.reports() == []


@pytest.mark.parametrize("family", MISSING)
def test_what_has_no_kernel_yet(family):
    """The list above says no more than is true."""
    cases = harness.test_cases(harness.load_cases(family))
    without = {case.op for case in cases if not emulated.has_kernel(case)}
    with_one = {case.op for case in cases if emulated.has_kernel(case)}
    assert without - with_one == MISSING[family] & {case.op for case in cases}


SPECIAL = np.array(
    [
        [1, np.nan, np.inf, -np.inf, np.nan],
        [-np.inf] * 5,
        [np.inf, np.inf, 0, -0.0, 3],
        [-0.0, 0, -1, -np.inf, 2],
    ],
    np.float32,
)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    "op", ["reduce_sum", "reduce_max", "reduce_min", "argmax", "argmin", "softmax", "log_softmax"]
)
def test_infinities_and_nans(op, axis):
    """As the CPU's kernels have them."""
    attrs = {"axes": (axis,)} if op.startswith("reduce") else {"axis": axis}
    if not op.endswith("softmax"):
        attrs["keepdims"] = False
    case = harness.Case(op, ((SPECIAL.shape, "float32"),), attrs)
    (got,) = emulated.outputs(case, [SPECIAL])
    (want,) = harness.run(case, [SPECIAL])
    np.testing.assert_array_equal(got.numpy(), want)
    assert _cuda.reports() == []
