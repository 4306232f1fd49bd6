"""Fast convolutions along one dimension: every geometry they can take, and their errors beside the
direct kernel's."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import conv as table

KERNEL = "winograd-line"


def check(case, threads=(2,)):
    with harness.forced(case.op, KERNEL):
        assert harness.kernel_of(case) == KERNEL
        harness.check_forward(case, threads=threads)


@st.composite
def geometries(draw):
    """Taps along one of up to three dimensions, with strides or dilation."""
    rank = draw(st.integers(1, 3))
    axis = draw(st.integers(0, rank - 1))
    sizes = [draw(st.integers(1, 4)) for _ in range(rank)]
    sizes[axis] = draw(st.integers(1, 40))
    taps = draw(st.integers(2, 12))
    strides, dilation = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (1, 5)]))
    assume(strides <= taps)
    low, high = draw(st.integers(-1, 12)), draw(st.integers(-1, 12))
    size = sizes[axis]
    assume(size + min(low, 0) + min(high, 0) > 0)
    assume(size + low + high > (taps - 1) * dilation)
    along = {"kernel": taps, "strides": strides, "dilation": dilation}
    spread = {k: tuple(v if i == axis else 1 for i in range(rank)) for k, v in along.items()}
    pad = tuple(p for i in range(rank) for p in ((low, high) if i == axis else (0, 0)))
    channels = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    return (draw(st.integers(1, 3)), tuple(sizes), *channels, spread.pop("kernel")), {
        **spread,
        "pad": pad,
    }


@settings(max_examples=25, deadline=None)
@given(geometries())
def test_random_geometries(geometry):
    positional, more = geometry
    for case in table.cases(*positional, **more):
        check(case)
    check(table.fused(*positional, "relu", residual=True, **more))


@pytest.mark.parametrize("more", [{}, {"strides": 3}, {"dilation": 2}], ids=str)
@pytest.mark.parametrize("kind", "fdw")
def test_every_thread_count_gives_the_same_bits(kind, more):
    (case,) = table.cases(5, (120,), 70, 130, 7, ops=kind, pad=3, **more)
    check(case, harness.THREADS)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "tanh"])
def test_bias_and_activation(activation):
    check(table.fused(2, (50,), 40, 72, 5, activation))


@pytest.mark.parametrize(
    "sizes, kernel, more",
    [((20,), 4, {"strides": 5}), ((20, 20), (3, 2), {}), ((20,), 3, {"strides": 2, "dilation": 2}),
     ((20,), 3, {"groups": 2}), ((20,), 33, {"pad": 9}), ((20, 20), (1, 3), {"strides": (2, 1)})],
    ids=str,
)  # fmt: skip
def test_what_it_declines(sizes, kernel, more):
    for case in table.cases(2, sizes, 8, 8, kernel, ops="d", **more):
        with harness.forced(case.op, KERNEL):
            assert harness.kernel_of(case) is None


@pytest.mark.parametrize(
    "layer, taken",
    [("64x200x128-128:7:p0", True), ("64x194x128-128:7/3:p0", True), ("4x8x8x384-384:1x3", True),
     ("8x1024x64-64:9:d4", True), ("1x30x128-128:3", False), ("64x200x16-128:7", False)],
)  # fmt: skip
def test_where_it_is_taken(layer, taken):
    for case in table.parse(layer):
        assert (harness.kernel_of(case) == KERNEL) is taken


def rms(case, kernel: str) -> float:
    arrays = case.arrays()
    (want,) = harness.expected(case, arrays)
    with harness.forced(case.op, kernel):
        assert harness.kernel_of(case) == kernel
        (got,) = harness.run(case, arrays)
    return np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("taps", [2, 3, 7])
@pytest.mark.parametrize("kind", "fdw")
def test_errors_are_about_those_of_the_direct_kernel(isa, kind, taps):
    """At most a tenth larger; from three taps on usually smaller, as sums are of fewer terms."""
    (case,) = table.cases(4, (120,), 64, 64, taps, ops=kind)
    with harness.using_isa(isa):
        assert rms(case, KERNEL) <= 1.1 * rms(case, "direct")
