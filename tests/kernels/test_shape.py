"""Moving elements: the table of cases, random shapes of every dtype, wrong input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import harness
from bench.cases import shape as table
from keras_native.engine.primitives import shape as ops
from keras_native.engine.primitives import shape_slice as ss
from keras_native.engine.tensor import from_numpy

CASES = harness.test_cases(table.CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward(case):
    harness.check_forward(case)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.grad and c.inputs[0][1] == "float32"], ids=str
)
def test_gradient(case):
    harness.check_gradient(case)


def test_kernels_take_every_case():
    assert not [c for c in CASES if harness.kernel_of(c) is None]


_DTYPES = ["bool", "int8", "uint16", "float32", "int64", "complex128"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_shapes(data):
    dims = tuple(data.draw(st.lists(st.integers(0, 21), min_size=1, max_size=4)))
    dtype = data.draw(st.sampled_from(_DTYPES))
    x = np.random.default_rng(0).integers(0, 2, dims).astype(dtype)
    x = x if dtype == "bool" else (np.arange(x.size).reshape(dims) % 120).astype(dtype)
    t = from_numpy(x)
    perm = tuple(data.draw(st.permutations(range(len(dims)))))
    np.testing.assert_array_equal(ops.transpose(t, perm).numpy(), x.transpose(perm))
    edge = st.none() | st.integers(-25, 25)
    step = st.integers(-4, 4).filter(bool)
    cut = [slice(data.draw(edge), data.draw(edge), data.draw(step)) for _ in dims]
    got = ss.slice(t, *zip(*((c.start, c.stop, c.step) for c in cut)))
    np.testing.assert_array_equal(got.numpy(), x[tuple(cut)])
    axes = tuple(data.draw(st.sets(st.integers(0, len(dims) - 1))))
    np.testing.assert_array_equal(ops.flip(t, axes).numpy(), np.flip(x, axes))
    repeats = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    np.testing.assert_array_equal(ops.tile(t, repeats).numpy(), np.tile(x, repeats))
    axis = data.draw(st.integers(0, len(dims) - 1))
    np.testing.assert_array_equal(
        ops.concat([t, got if got.dims == t.dims else t], axis).numpy(),
        np.concatenate([x, x[tuple(cut)] if got.dims == t.dims else x], axis),
    )
    np.testing.assert_array_equal(ops.stack([t, t], axis).numpy(), np.stack([x, x], axis))
    np.testing.assert_array_equal(ops.repeat(t, 3, axis).numpy(), np.repeat(x, 3, axis))


def test_reshape_infers_one_size():
    x = from_numpy(np.zeros((4, 6), np.float32))
    assert ops.reshape(x, (-1, 8)).dims == (3, 8)
    assert ops.reshape(x, (4, -1, 2)).dims == (4, 3, 2)
    assert ops.squeeze(ops.expand_dims(x, (0, -1))).dims == (4, 6)


def test_constants_of_every_dtype():
    for dtype in ("bool", "uint8", "int64", "float16", "float64", "complex64"):
        np.testing.assert_array_equal(ops.full((2, 3), 1, dtype).numpy(), np.full((2, 3), 1, dtype))
    assert ops.full((), 2**64 - 1, "uint64").numpy() == np.uint64(2**64 - 1)
    assert np.isnan(ops.full((2,), float("nan"), "bfloat16").numpy().astype(np.float32)).all()


X = from_numpy(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: ops.reshape(X, (4, 2)), ValueError, r"reshape.*float32\(2, 3\).*\(4, 2\)"),
        (lambda: ops.reshape(X, (-1, 4)), ValueError, "reshape"),
        (lambda: ops.transpose(X, (0, 0)), ValueError, "transpose.*permute"),
        (lambda: ops.broadcast_to(X, (2, 4)), ValueError, "broadcast_to.*float32"),
        (lambda: ops.concat([X, ops.transpose(X)], 0), ValueError, "concat.*differ"),
        (
            lambda: ops.concat([X, ops.full((2, 3), 0, "int32")], 0),
            TypeError,
            r"concat.*int32\(2, 3\)",
        ),
        (lambda: ss.pad(X, (1, 0), (0, -1), ops.zeros((), "float32")), ValueError, "negative"),
        (lambda: ss.pad(X, (1, 0), (0, 0), ops.zeros((), "int32")), TypeError, "pad.*dtype"),
        (lambda: ss.slice(X, (0,), (1,)), ValueError, "slice"),
        (lambda: ops.flip(X, 2), ValueError, "flip: axis 2"),
        (lambda: ss.dynamic_slice(X, ops.iota(2), (3, 3)), ValueError, "dynamic_slice.*sizes"),
        (lambda: ops.squeeze(X, 0), ValueError, "squeeze"),
        (lambda: ops.full((2, -1), 0, "int32"), ValueError, "full"),
    ],
)
def test_wrong_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
