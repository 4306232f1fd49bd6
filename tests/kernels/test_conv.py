"""Convolution: the table of cases, random geometries, wrong input."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import conv as table
from keras_native import _core
from keras_native.engine.primitives import conv
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)
WIDE = _core.isa() not in ("generic", "avx2")  # choices of a kernel depend on it


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.grad and c.inputs[0][1] == "float32"], ids=str
)
def test_gradient(case):
    harness.check_gradient(case)


def test_kernels_take_every_case():
    full = [c for c in CASES if all(0 not in dims for dims, _ in c.inputs)]
    own = [c for c in full if c.inputs[0][1] in ("float32", "float64")]
    hosts = [c for c in own if harness.kernel_of(c) is None]
    assert not hosts


@st.composite
def geometries(draw):
    rank = draw(st.integers(1, 3))
    most = (40, 14, 7)[rank - 1]

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    groups = draw(st.sampled_from((1, 1, 2, 3)))
    cin, cout = (groups * draw(st.integers(1, 40)) for _ in range(2))
    if draw(st.integers(0, 4)) == 0:
        groups, cout = cin, cin
    sizes, kernel, strides, dilation = each(1, most), each(1, 4), each(1, 3), each(1, 2)
    pad = tuple(draw(st.integers(-1, 3)) for _ in range(2 * rank))
    for i, size in enumerate(sizes):
        assume(size + min(pad[2 * i], 0) + min(pad[2 * i + 1], 0) > 0)
        assume(size + pad[2 * i] + pad[2 * i + 1] > (kernel[i] - 1) * dilation[i])
    more = {"strides": strides, "pad": pad, "dilation": dilation, "groups": groups}
    return (draw(st.integers(0, 4)), sizes, cin, cout, kernel), more


@settings(max_examples=60, deadline=None)
@given(geometries())
def test_random_geometries(geometry):
    positional, more = geometry
    for case in table.cases(*positional, **more):
        harness.check_forward(case, threads=(2,))
    harness.check_forward(table.fused(*positional, "relu", **more), threads=(2,))


def _kernel_by_weights(batch, size, cin, cout, kernel, **more):
    (case,) = table.cases(batch, (size, size), cin, cout, kernel, ops="w", **more)
    return harness.kernel_of(case)


@pytest.mark.parametrize(
    "problem, taken",
    [
        ((1, 48, 3, 96, 2), WIDE),
        ((1, 48, 8, 64, 2), WIDE),
        ((1, 48, 3, 64, 2), False),  # few terms for 64 columns
        ((1, 48, 3, 192, 16), False),  # 9 windows
        ((1, 64, 3, 8192, 16), True),  # more weights than the second-level cache holds
    ],
)
def test_patches_by_the_weights_are_products_where_these_gain(problem, taken):
    found = _kernel_by_weights(*problem, strides=problem[-1])
    assert found == ("pointwise" if taken else "direct")


@pytest.mark.parametrize(
    "kind, cin, cout, kernel, taken",
    [
        ("w", 64, 32, 1, not WIDE),
        ("w", 64, 40, 1, True),
        ("f", 8, 30, 1, not WIDE),  # 49 windows
        ("f", 8, 24, 1, False),
        ("f", 8, 50, 1, True),
        ("f", 3, 16, 8, not WIDE),
        ("f", 3, 16, 7, False),
    ],
)
def test_pixels_apart_are_copied_together_where_the_product_gains(kind, cin, cout, kernel, taken):
    strides = max(2, kernel)
    (case,) = table.cases(1, (7 * strides,) * 2, cin, cout, kernel, strides=strides, ops=kind)
    assert harness.kernel_of(case) == ("pointwise" if taken else "direct")


@pytest.mark.parametrize(
    "problem, taken",
    [
        ((2, 20, 64, 3, 3), True),
        ((2, 20, 8, 1, 3), True),
        ((2, 20, 24, 15, 3), False),  # a vector holds both
        ((2, 20, 3, 3, 3), False),
        ((2, 9, 256, 8, 9), False),  # a sum of one pixel each, turned of all that x has
    ],
)
def test_few_output_channels_are_turned_by_the_weights(problem, taken):
    assert _kernel_by_weights(*problem) == ("turned" if taken else "direct")
    assert _kernel_by_weights(*problem, strides=2) == "direct"


@pytest.mark.parametrize("kind", "fd")
@pytest.mark.parametrize("cout, taken", [(150, True), (140, False)])
def test_patches_are_products_where_weights_are_most_of_the_bytes(kind, cout, taken):
    (case,) = table.cases(2, (10, 10), 20, cout, 2, strides=2, ops=kind)
    assert harness.kernel_of(case) == ("pointwise" if taken else "direct")


@pytest.mark.skipif(WIDE, reason="AVX-512 always has slabs")
@pytest.mark.parametrize(
    "size, channels, strides, taken",
    [(56, 144, 2, True), (28, 240, 2, False), (14, 384, 1, True), (7, 960, 1, False)],
)
def test_depthwise_sums_over_parts_of_rows_from_memory(size, channels, strides, taken):
    more = {"strides": strides, "pad": 1, "groups": channels}
    found = _kernel_by_weights(8, size, channels, channels, 3, **more)
    assert found == ("depthwise-slab" if taken else "depthwise")


@pytest.mark.skipif("avx512" not in harness.isas(), reason="needs AVX-512")
@pytest.mark.parametrize(
    "batch, size, channels, kernel",
    [
        (8, 28, 240, 5),
        (8, 112, 64, 7),
        (8, 112, 64, 5),  # from memory
        (8, 14, 512, 5),  # pixels fall on two sets of a cache
    ],
)
def test_strided_depthwise_sums_over_slabs(batch, size, channels, kernel):
    _core.set_isa("avx512")
    more = {"strides": 2, "pad": kernel // 2, "groups": channels}
    found = _kernel_by_weights(batch, size, channels, channels, kernel, **more)
    assert found == "depthwise-slab"


def test_second_derivatives_are_the_other_convolutions():
    """The derivative of <conv(x, w), c> by x, then by w, is conv_weight_grad of the direction."""
    rng = np.random.default_rng(0)
    x, w = (from_numpy(rng.standard_normal(s)) for s in ((2, 6, 5, 4), (3, 2, 4, 6)))
    ct = from_numpy(rng.standard_normal((2, 2, 4, 6)))
    attrs = {"strides": (2, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    dx, _ = conv.conv_p.vjp(ct, None, x, w, **attrs)
    direction = from_numpy(rng.standard_normal(dx.dims))
    _, by_w = conv.conv_input_grad_p.vjp(direction, dx, ct, w, input_dims=(6, 5), **attrs)
    along = conv.conv_weight_grad(direction, ct, (3, 2), strides=(2, 1))
    np.testing.assert_allclose(by_w.numpy(), along.numpy(), rtol=1e-12)


def _tensor(*shape, dtype="float32"):
    return from_numpy(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    "error, call",
    [
        (TypeError, lambda: conv.conv(_tensor(1, 5, 5, 3), _tensor(3, 3, 3, 4, dtype="float64"))),
        (ValueError, lambda: conv.conv(_tensor(1, 5, 5, 3), _tensor(3, 3, 4, 4))),
        (ValueError, lambda: conv.conv(_tensor(1, 5, 5, 3), _tensor(3, 3, 4))),
        (ValueError, lambda: conv.conv(_tensor(1, 5, 5, 3), _tensor(6, 3, 3, 4))),
        (ValueError, lambda: conv.conv(_tensor(1, 5, 5, 3), _tensor(3, 3, 3, 4), strides=0)),
        (ValueError, lambda: conv.conv(_tensor(1, 5, 5, 4), _tensor(3, 3, 2, 3), groups=2)),
        (
            ValueError,
            lambda: conv.conv(_tensor(1, 5, 5, 3), _tensor(3, 3, 3, 4), padding=((1, 1),)),
        ),
        (
            ValueError,
            lambda: conv.conv_input_grad(_tensor(1, 3, 3, 4), _tensor(3, 3, 3, 4), (7, 7)),
        ),
        (
            ValueError,
            lambda: conv.conv_weight_grad(_tensor(1, 5, 5, 3), _tensor(1, 4, 4, 4), (3, 3)),
        ),
        (
            ValueError,
            lambda: conv.conv_bias_act(_tensor(1, 5, 5, 3), _tensor(3, 3, 3, 4), _tensor(5)),
        ),
        (
            ValueError,
            lambda: conv.conv_bias_act(
                _tensor(1, 5, 5, 3), _tensor(3, 3, 3, 4), _tensor(4), activation="maximum"
            ),
        ),
        (
            ValueError,
            lambda: conv.conv_bias_act(
                _tensor(1, 5, 5, 3), _tensor(3, 3, 3, 4), _tensor(4), residual=_tensor(1, 5, 5, 4)
            ),
        ),
    ],
)
def test_wrong_input_is_named(error, call):
    with pytest.raises(error, match="conv"):
        call()
