"""Fast convolutions by lines of taps, one or the rows of a window: every geometry they can take,
and their errors beside the direct kernel's."""

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


@st.composite
def windows(draw):
    """Rows of taps, with any padding less than a window."""
    kernel = draw(st.tuples(st.integers(2, 7), st.integers(2, 9)).filter(lambda k: k != (3, 3)))
    pad = tuple(draw(st.integers(0, k - 1)) for k in kernel for _ in range(2))
    sizes = tuple(draw(st.integers(1, most)) for most in (14, 20))
    for i, size in enumerate(sizes):
        assume(size + pad[2 * i] + pad[2 * i + 1] >= kernel[i])
    images = draw(st.booleans())  # of a volume
    if images:
        sizes, kernel, pad = (draw(st.integers(1, 3)), *sizes), (1, *kernel), (0, 0, *pad)
    channels = draw(st.integers(1, 70)), draw(st.integers(1, 140))
    return (draw(st.integers(1, 3)), sizes, *channels, kernel), {"pad": pad}


@settings(max_examples=25, deadline=None)
@given(windows())
def test_random_windows(geometry):
    positional, more = geometry
    for case in table.cases(*positional, **more):
        check(case)
    check(table.fused(*positional, "relu", residual=True, **more))


@pytest.mark.parametrize("kind", "fdw")
def test_rows_of_a_window_give_the_same_bits_at_every_thread_count(kind):
    (case,) = table.cases(5, (23, 21), 70, 130, 5, ops=kind, pad=2)
    check(case, harness.THREADS)


@pytest.mark.parametrize("kind", "fd")
def test_infinities_and_zeros_between_columns(kind):
    """Zeros between images are nobody's pixels: an infinity reaches its own image alone."""
    (case,) = table.cases(3, (8, 9), 32, 32, 5, ops=kind, pad=2)
    arrays = case.arrays()
    arrays[0][1, 0, 0, 3] = arrays[0][1, -1, -1, 5] = np.inf
    with harness.forced(case.op, KERNEL):
        (got,) = harness.run(case, arrays)
    assert np.isfinite(got[[0, 2]]).all()
    assert not np.isfinite(got[1, 0, 0]).any()


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
    [((20,), 4, {"strides": 5}), ((20, 20), 3, {}), ((20, 20), 5, {"strides": (2, 1)}),
     ((20, 20), 5, {"dilation": (1, 2)}), ((20, 20), 5, {"pad": (0, -1, 2, 2)}),
     ((20, 20), 5, {"pad": (5, 0, 0, 0)}), ((4, 20, 20), (2, 5, 5), {}),
     ((4, 20, 20), (1, 5, 5), {"pad": (1, -1, 2, 2, 2, 2)}),
     ((20, 20), (2, 33), {"pad": 9}),
     ((20,), 3, {"strides": 2, "dilation": 2}),
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
     ("8x1024x64-64:9:d4", True), ("8x28x28x32-64:5x5", True), ("1x35x35x48-64:5x5", True),
     ("8x17x17x128-192:7x7", True), ("8x28x28x3-64:5x5", False), ("2x2x2x64-64:5x5", False),
     ("1x30x128-128:3", False), ("64x200x16-128:7", False)],
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
@pytest.mark.parametrize("taps", [2, 3, 7, (5, 5), (2, 7)])
@pytest.mark.parametrize("kind", "fdw")
def test_errors_are_about_those_of_the_direct_kernel(isa, kind, taps):
    """At most a tenth larger; from three taps on usually smaller, as sums are of fewer terms."""
    sizes = (120,) if isinstance(taps, int) else (12, 14)
    (case,) = table.cases(4, sizes, 64, 64, taps, ops=kind)
    with harness.using_isa(isa):
        assert rms(case, KERNEL) <= 1.1 * rms(case, "direct")
