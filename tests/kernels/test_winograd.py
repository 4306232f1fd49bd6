"""Winograd's convolutions F(2, 3) and F(4, 3), of three dimensions too, against float64, within
bounds that follow from their transforms' norms.

With Y = A' [sum of (G w G') * (B' d B)] A, a result is wrong by at most n u times the same
expression of magnitudes, where n is the number of roundings on the way of a term and u = 2^-24; and
roundings that are independent of each other grow by sqrt(n) and the sums of squares instead.
"""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import conv as table
from keras_native import _core
from keras_native.tools import tune

UNIT = 2.0**-24
KERNELS = {2: "winograd", 4: "winograd4"}
POINTS = {2: (1.0,), 4: (0.5**0.5, 2.0**0.5)}
# Roundings of constants, products and sums on a term's way through a transform of one dimension.
INPUT, WEIGHT, OUTPUT = 4, 5, 5


def matrices(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A', B' and G of Toom and Cook's algorithm at 0, each point and its negative, and infinity."""
    points = [0.0, *(s * p for p in POINTS[side] for s in (1, -1))]
    infinite = np.eye(1, side + 2, side + 1)
    a = np.array([[p**i for i in range(side)] for p in points] + [[0.0] * (side - 1) + [1.0]]).T
    rows, g = [], []
    for p in points:
        others = [q for q in points if q != p]
        # The polynomial that vanishes at the others, from the constant term on.
        rows.append([*np.poly(others)[::-1], 0.0])
        g.append([p**i / np.prod([p - q for q in others]) for i in range(3)])
    rows.append(np.poly(points)[::-1])
    return a, np.array(rows), np.array([*g, infinite[0, -3:]])


def along(matrix, x, axes) -> np.ndarray:
    """The matrix times x along each of the axes."""
    for axis in axes:
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


def tiles(x, side: int, step: int, out: tuple[int, ...]) -> np.ndarray:
    """[n, tiles of results, side in each dimension, c] of an image with its border."""
    rank = len(out)
    counts = [-(-size // step) for size in out]
    padded = np.zeros((x.shape[0], *(n * step + side - step for n in counts), x.shape[-1]))
    padded[(slice(None), *(slice(size) for size in x.shape[1:-1]))] = x
    view = np.lib.stride_tricks.sliding_window_view(padded, (side,) * rank, range(1, rank + 1))
    view = view[(slice(None), *(slice(None, None, step),) * rank)]
    return np.moveaxis(view, rank + 1, -1)


def forward(x, w, side: int, magnitudes: bool = False) -> np.ndarray:
    """Convolution without padding, by way of the transforms; or what bounds its terms."""
    a, b, g = (abs(m) if magnitudes else m for m in matrices(side))
    x, w = (abs(x), abs(w)) if magnitudes else (x, w)
    rank = x.ndim - 2
    out, inner = tuple(size - 2 for size in x.shape[1:-1]), range(rank + 1, 2 * rank + 1)
    values, weights = along(b, tiles(x, side + 2, side, out), inner), along(g, w, range(rank))
    products = np.einsum(
        "tpc,pco->tpo",
        values.reshape(-1, (side + 2) ** rank, x.shape[-1]),
        weights.reshape(-1, *w.shape[-2:]),
        optimize=True,
    )
    y = along(a, products.reshape(*values.shape[:-1], w.shape[-1]), inner)
    # Each dimension's place in a tile beside the tile's own.
    order = [0, *(axis for i in range(1, rank + 1) for axis in (i, i + rank)), 2 * rank + 1]
    whole = (y.shape[0], *(n * side for n in y.shape[1 : rank + 1]), y.shape[-1])
    y = y.transpose(order).reshape(whole)
    return y[(slice(None), *(slice(size) for size in out))]


def weight_gradient(x, ct, side: int, magnitudes: bool = False) -> np.ndarray:
    """The same of the gradient by the weights, whose transforms are the adjoint ones."""
    a, b, g = (abs(m) if magnitudes else m for m in matrices(side))
    x, ct = (abs(x), abs(ct)) if magnitudes else (x, ct)
    rank, out = x.ndim - 2, ct.shape[1:-1]
    inner, positions = range(rank + 1, 2 * rank + 1), (side + 2) ** rank
    values = along(b, tiles(x, side + 2, side, out), inner)
    cotangents = along(a.T, tiles(ct, side, side, out), inner)
    products = np.einsum(
        "tpc,tpo->pco",
        values.reshape(-1, positions, x.shape[-1]),
        cotangents.reshape(-1, positions, ct.shape[-1]),
        optimize=True,
    )
    products = products.reshape(*(side + 2,) * rank, x.shape[-1], ct.shape[-1])
    return along(g.T, products, range(rank))


def padded(x) -> np.ndarray:
    return np.pad(x, ((0, 0), *((1, 1),) * (x.ndim - 2), (0, 0)))


def turned(w) -> np.ndarray:
    return np.flip(w, range(w.ndim - 2)).swapaxes(-1, -2)


# By kind: the terms, what bounds them, and how many roundings a term meets.
def exact(kind: str, arrays, side: int, magnitudes: bool = False) -> np.ndarray:
    first, second = (np.asarray(a, "float64") for a in arrays)
    if kind == "w":
        return weight_gradient(padded(first), second, side, magnitudes)
    return forward(padded(first), second if kind == "f" else turned(second), side, magnitudes)


def roundings(kind: str, arrays, side: int) -> int:
    ways = (arrays[0].ndim - 2) * (INPUT + WEIGHT + OUTPUT)
    if kind != "w":
        return ways + arrays[0].shape[-1]
    n, *sizes, _ = arrays[1].shape
    return ways + n * math.prod(-(-size // side) for size in sizes)


def growth(side: int, rank: int = 2) -> float:
    """Of independent roundings over independent terms of equal size."""
    a, b, g = (m**2 for m in matrices(side))
    return ((a @ (b.sum(1) * g.sum(1))).max() / 3) ** (rank / 2)


def case_of(kind: str, sizes, cin: int, cout: int, batch: int = 2):
    (case,) = table.cases(batch, sizes, cin, cout, 3, ops=kind, pad=1)
    return case


def errors(kind: str, case, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the kernel and what each may be."""
    arrays = case.arrays()
    with harness.forced(case.op, KERNELS[side]):
        assert harness.kernel_of(case) == KERNELS[side]
        (got,) = harness.run(case, arrays)
    (want,) = harness.expected(case, arrays)
    np.testing.assert_allclose(exact(kind, arrays, side), want, atol=1e-11 * abs(want).max())
    n = roundings(kind, arrays, side) * UNIT
    return got - want, n / (1 - n) * exact(kind, arrays, side, magnitudes=True)


# Sides of tiles and how many dimensions they have.
FORMS = [(2, 2), (4, 2), (2, 3)]


@settings(max_examples=20, deadline=None)
@given(
    kind=st.sampled_from("fdw"),
    form=st.sampled_from(FORMS),
    sizes=st.tuples(st.integers(1, 13), st.integers(1, 13), st.integers(1, 7)),
    cin=st.integers(1, 70),
    cout=st.integers(1, 70),
)
def test_every_result_is_within_the_bound_of_its_terms(kind, form, sizes, cin, cout):
    side, rank = form
    error, allowed = errors(kind, case_of(kind, sizes[:rank], cin, cout), side)
    assert (abs(error) <= allowed).all()


@pytest.mark.parametrize("isa", harness.isas())
@pytest.mark.parametrize("side, sizes", [(2, (14, 15)), (4, (14, 15)), (2, (6, 7, 9))], ids=str)
@pytest.mark.parametrize("kind", "fdw")
def test_errors_are_as_small_as_independent_roundings_make_them(isa, side, sizes, kind):
    with harness.using_isa(isa):
        case = case_of(kind, sizes, 64, 80, batch=4)
        error, allowed = errors(kind, case, side)
    assert (abs(error) <= allowed).all()
    arrays = case.arrays()
    (want,) = harness.expected(case, arrays)
    most = growth(side, len(sizes)) * np.sqrt(roundings(kind, arrays, side)) * UNIT
    assert np.sqrt(np.mean(error**2)) <= most * np.sqrt(np.mean(want**2))


def narrow(case):
    return dataclasses.replace(case, inputs=[(dims, "bfloat16") for dims, _ in case.inputs])


@pytest.mark.skipif(_core.isa() != "avx512_bf16", reason="no instruction for bfloat16")
@pytest.mark.parametrize("kind", "dw")
@pytest.mark.parametrize(
    "sizes, cin, cout", [((14, 15), 64, 80), ((5, 7), 37, 34), ((9, 4), 2, 66)]
)
def test_gradients_of_bfloat16_round_transformed_values_once_more(kind, sizes, cin, cout):
    case = narrow(case_of(kind, sizes, cin, cout, batch=4))
    arrays = case.arrays()
    with harness.forced(case.op, "winograd-words"):
        assert harness.kernel_of(case) == "winograd-words"
        (got,) = harness.run(case, arrays)
    (want,) = harness.expected(case, arrays)
    error, half = got.astype("float64") - want, 2.0**-9
    # Both factors of a product by half a unit of bfloat16, besides float32; and the result.
    each = 2 * half + half**2 + 2 * roundings(kind, arrays, 2) * UNIT
    bound = each * exact(kind, arrays, 2, magnitudes=True)
    assert (abs(error) <= bound + half * (abs(want) + bound)).all()
    size = np.sqrt(np.mean(want**2))
    assert np.sqrt(np.mean(error**2)) <= (growth(2) * np.sqrt(2) + 1) * half * size


@pytest.mark.skipif(_core.isa() != "avx512_bf16", reason="no instruction for bfloat16")
def test_words_serve_gradients_alone():
    chosen = {kind: harness.kernel_of(narrow(case_of(kind, (28, 28), 64, 64, 3))) for kind in "fdw"}
    assert chosen == {"f": "winograd", "d": "winograd-words", "w": "winograd-words"}
    assert harness.kernel_of(narrow(case_of("f", (7, 7), 64, 64, 8))) == "patches"


def test_the_points_of_side_4_are_better_than_the_usual_ones(monkeypatch):
    ours = growth(4)
    monkeypatch.setitem(POINTS, 4, (1.0, 2.0))
    assert ours < 0.25 * growth(4)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "silu"])
def test_bias_residual_and_activation(activation):
    case = table.fused(3, (10, 11), 37, 50, 3, activation, pad=1, residual=True)
    arrays = case.arrays()
    (want,) = harness.expected(case, arrays)
    allowed = exact("f", arrays[:2], 4, magnitudes=True)
    n = (roundings("f", arrays[:2], 4) + 8) * UNIT
    with harness.forced(case.op, "winograd4"):
        (got,) = harness.run(case, arrays)
    # Activations change no difference by more than a tenth.
    assert (abs(got - want) <= 1.1 * n * (allowed + abs(arrays[2]) + abs(arrays[3]))).all()


@pytest.mark.parametrize("kind", "fdw")
def test_side_4_is_taken_where_it_is_asked_for(monkeypatch, kind):
    case = case_of(kind, (28, 28), 64, 64, batch=3)
    problem = harness.problem_of(case)
    assert harness.kernel_of(case) == "winograd"
    assert "winograd4" not in tune.candidates(problem)
    monkeypatch.setenv("NATIVE_WINOGRAD", "4")
    assert harness.kernel_of(case) == "winograd4"
    assert tune.candidates(problem)[0] == "winograd4"
    monkeypatch.setenv("NATIVE_WINOGRAD", "2")
    assert harness.kernel_of(case) == "winograd"
    monkeypatch.setenv("NATIVE_WINOGRAD", "6")
    with pytest.raises(ValueError, match="NATIVE_WINOGRAD is '6': it may be 2 or 4"):
        harness.kernel_of(case)


@pytest.mark.parametrize("side, sizes", [(4, (14, 15)), (2, (4, 7, 9))], ids=str)
@pytest.mark.parametrize("kind", "fdw")
def test_same_bits_at_every_number_of_threads(kind, side, sizes):
    case = case_of(kind, sizes, 64, 80, batch=4)
    arrays, before, found = case.arrays(), _core.threads(), []
    try:
        with harness.forced(case.op, KERNELS[side]):
            for count in harness.THREADS:
                _core.set_threads(count)
                found.append(harness.run(case, arrays)[0].tobytes())
    finally:
        _core.set_threads(before)
    assert len(set(found)) == 1


@pytest.mark.parametrize("kind", "fdw")
def test_cubes_are_taken_where_kernels_are_cubes(kind):
    def chosen(sizes=(8, 9, 9), kernel=3, batch=4, cin=32, dtype="float32", **attrs):
        (case,) = table.cases(batch, sizes, cin, 48, kernel, dtype, ops=kind, **attrs)
        return harness.kernel_of(case)

    assert chosen() == chosen(pad=1) == chosen(pad=(0, -1, 2, 1, -1, 0)) == "winograd"
    assert chosen(dtype="bfloat16") == "winograd"
    # Planes by themselves.
    assert (
        chosen(kernel=(1, 3, 3)) == chosen(kernel=(1, 3, 3), pad=(1, 0, 1, 1, 1, 1)) == "winograd"
    )
    for other in (
        {"kernel": (3, 3, 1)},
        {"kernel": (3, 3, 2)},
        {"strides": 2},
        {"strides": (2, 1, 1)},
        {"dilation": 2},
        {"dilation": (1, 1, 2)},
        {"cin": 64, "groups": 2},
        {"cin": 8},
        {"batch": 0},
        {"dtype": "float64"},
        {"dtype": "float16"},
        # Most of each cube would lie beyond the results.
        {"sizes": (3, 3, 3), "pad": 1, "batch": 100},
    ):
        assert chosen(**other) != "winograd", other
