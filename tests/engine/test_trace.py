"""Traces: sizes that stay open, guards, errors on host reads, host calls, the second device."""

import locale
import pickle
import platform
import struct

import numpy as np
import pytest

from keras_native import _core
from keras_native.engine import host, transforms
from keras_native.engine.dispatch import Dispatcher
from keras_native.engine.errors import TraceError
from keras_native.engine.primitive import STATE
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import matmul, reduce
from keras_native.engine.primitives.shape import full
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy


def tensor(values, dtype="float32"):
    return from_numpy(np.asarray(values, dtype))


def rows(n, width=3):
    return np.random.default_rng(n).standard_normal((n, width)).astype("float32")


def test_leading_size_stays_open():
    mean = Dispatcher(lambda x, key: reduce.reduce_mean(x, (0,)), leading=True)
    for n in (5, 2, 9, 1, 64):
        x = rows(n)
        np.testing.assert_allclose(mean("k", [tensor(x)]).numpy(), x.mean(0), rtol=1e-5)
    assert mean.traces == 1


def test_other_sizes_open_when_they_change():
    f = transforms.jit(lambda x: ew.mul(x, 2.0))
    for length in range(10, 200, 7):
        assert f(tensor(np.ones((2, length)))).dims == (2, length)
    assert f.traces == 2


def test_a_branch_on_a_size_is_guarded():
    def fn(x, key):
        return ew.add(x, 1.0) if x.dims[0] > 10 else ew.sub(x, 1.0)

    dispatcher = Dispatcher(fn, leading=True)
    for n, expected in ((4, -1), (6, -1), (20, 1), (40, 1), (3, -1)):
        assert dispatcher("k", [tensor(np.zeros(n))]).numpy()[0] == expected
    assert dispatcher.traces == 2


def test_code_that_needs_a_number_is_traced_for_it():
    def fn(x, key):
        out = x
        for _ in range(int(x.dims[0])):
            out = ew.add(out, 1.0)
        return out

    dispatcher = Dispatcher(fn, leading=True)
    assert dispatcher("k", [tensor(np.zeros(3))]).numpy()[0] == 3
    assert dispatcher("k", [tensor(np.zeros(5))]).numpy()[0] == 5
    assert dispatcher("k", [tensor(np.zeros(3))]).numpy()[0] == 3
    assert dispatcher.traces <= 4


@pytest.mark.parametrize("read", [bool, float, np.asarray, lambda t: t.numpy()])
def test_host_reads_are_errors(read):
    def fn(x):
        read(reduce.reduce_sum(x, None))
        return x

    with pytest.raises(TraceError, match="no value yet"):
        transforms.jit(fn)(tensor([1.0, 2.0]))
    assert STATE.trace is None


def test_slices_of_known_length_begin_where_a_tensor_says():
    def fn(x, i, n):
        j = i + 2
        return (
            x[:, i : i + 3],
            x[j : j + 1, None, ::2],
            x[..., i - 1 : i - 1 + n.dims[0]],
            x[i : 1 + i],
        )

    x, i, n = np.arange(30.0).reshape(5, 6), 2, 4
    expected = x[:, 2:5], x[4:5, None, ::2], x[..., 1:5], x[2:3]
    compiled = transforms.jit(fn)
    for result, array in zip(compiled(tensor(x), tensor(i, "int32"), tensor([0] * n)), expected):
        np.testing.assert_array_equal(result.numpy(), array)
    # As slices of jax.lax: moved inside.
    last = transforms.jit(lambda x, i: x[i : i + 3])(tensor(x), tensor(4, "int32"))
    np.testing.assert_array_equal(last.numpy(), x[2:])
    loss = transforms.grad(lambda x, i: reduce.reduce_sum(x[i : i + 2, 1:2]))
    slope = transforms.jit(loss)(tensor(x), tensor(1, "int32")).numpy()
    assert np.argwhere(slope).tolist() == [[1, 1], [2, 1]]


@pytest.mark.parametrize(
    "key", ["x[:i]", "x[i:]", "x[i : i + i]", "x[i : i + 4 : 2]", "x[i : j + 1]"]
)
def test_slices_of_unknown_length_are_errors(key):
    with pytest.raises(TraceError, match="no value yet"):
        transforms.jit(lambda x, i, j: eval(key))(
            tensor(rows(5)), tensor(1, "int32"), tensor(1, "int32")
        )


def test_tensors_can_be_pickled_and_traced_ones_cannot():
    for dtype in ("float32", "bfloat16", "bool", "int64"):
        again = pickle.loads(pickle.dumps(tensor([[1, 0, 2]], dtype)))
        assert (again.dtype, again.numpy().tolist()) == (
            dtype,
            tensor([[1, 0, 2]], dtype).numpy().tolist(),
        )
    with pytest.raises(TraceError, match="no value yet"):
        transforms.jit(lambda x: pickle.dumps(x))(tensor([1.0]))


def test_replay_calls_no_primitive_from_python():
    f = transforms.jit(lambda x, w: ew.tanh(matmul.matmul(x, w)))
    x, w = tensor(rows(4)), tensor(rows(3, 5))
    f(x, w)
    before = STATE.calls
    f(x, w)
    assert STATE.calls == before


def test_equal_nodes_are_merged_and_dead_ones_dropped():
    def fn(x):
        ew.exp(x)
        return ew.add(ew.sin(x), ew.sin(x))

    text = transforms.jit(fn).graph(tensor([1.0, 2.0]))
    recorded = text.split("== ")[1]
    assert recorded.count("sin(") == 1
    assert "exp(" not in recorded


def test_zeros_of_both_signs_are_two_numbers():
    """Which of them came first decides nothing: in a graph, in the caches of kernels and calls."""
    both = transforms.jit(lambda: [full((2,), zero, "float32") for zero in (0.0, -0.0)])
    for zeros in (both(), [full((2,), zero, "float32") for zero in (0.0, -0.0)]):
        assert [np.signbit(z.numpy()).tolist() for z in zeros] == [[False] * 2, [True] * 2]
    for slope, negative in ((0.0, True), (-0.0, False)):
        assert np.signbit(ew.leaky_relu(tensor([-1.0]), slope=slope).numpy()) == negative
    times = transforms.jit(lambda x, y: ew.mul(x, y))
    for zero in (0.0, -0.0):
        assert np.signbit(times(tensor([1.0]), zero).numpy()) == np.signbit(zero)


def test_a_number_that_is_none_is_traced_once():
    times = transforms.jit(lambda x, y: ew.mul(x, y))
    for _ in range(3):
        assert np.isnan(times(tensor([1.0]), float("nan")).numpy())
    assert times.traces == 1
    # Nor is it taken for the text that a number is kept as.
    same = transforms.jit(lambda x: x)
    assert [same(value) for value in ((0.5).hex(), 0.5)] == [(0.5).hex(), 0.5]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the file of a locale is its own")
@pytest.mark.parametrize("traced_with_comma", [False, True])
def test_numbers_in_programs_are_read_under_any_locale(tmp_path, monkeypatch, traced_with_comma):
    """Traced under one locale, prepared for other sizes under another, where 0.5 is 0,5."""
    # LC_NUMERIC as glibc keeps it: a magic number, how many items, where they stand, the items.
    where = (32, 34, 36, 40, 44, 48)
    items = b",\0" + b".\0" + b"\x03\x03\0\0" + struct.pack("<2I", *b",.") + b"UTF-8\0"
    folder = tmp_path / "comma"
    folder.mkdir()
    head = struct.pack("<8I", 0x20031115 ^ 1, len(where), *where)
    (folder / "LC_NUMERIC").write_bytes(head + items)
    monkeypatch.setenv("LOCPATH", str(tmp_path))
    x = rows(6)
    f = transforms.jit(lambda x: ew.leaky_relu(ew.add(ew.mul(x, 0.3), -1.5e-3), slope=0.7))
    before = locale.setlocale(locale.LC_NUMERIC)
    try:
        # The second size opens it, the third has a plan of its own and no trace.
        for n, comma in (
            (4, traced_with_comma),
            (5, traced_with_comma),
            (6, not traced_with_comma),
        ):
            locale.setlocale(locale.LC_NUMERIC, "comma" if comma else "C")
            assert locale.localeconv()["decimal_point"] == (",."[not comma])
            got = f(from_numpy(x[:n])).numpy()
            want = x[:n].astype("float64") * 0.3 - 1.5e-3
            np.testing.assert_allclose(got, np.where(want > 0, want, 0.7 * want), rtol=1e-6)
        assert f.traces == 2
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)


def test_slots_commit_together_or_not_at_all():
    a, b = Slot(tensor([1.0])), Slot(tensor([2.0]))

    def fail(x):
        if x[0] > 5:
            raise RuntimeError("host failed")
        return x

    def step(x):
        a.write(ew.add(a.read(), x))
        (y,) = host.host_call(fail, [x], [(x.dims, x.dtype)])
        b.write(ew.add(b.read(), y))
        return y

    f = transforms.jit(step)
    f(tensor([1.0]))
    assert (a.read().numpy()[0], b.read().numpy()[0]) == (2, 3)
    with pytest.raises(RuntimeError, match="host failed"):
        f(tensor([9.0]))
    assert (a.read().numpy()[0], b.read().numpy()[0]) == (2, 3)
    f(tensor([1.0]))
    assert (a.read().numpy()[0], b.read().numpy()[0]) == (3, 4)


def test_what_was_read_is_a_snapshot():
    slot = Slot(tensor([1.0]))
    f = transforms.jit(lambda x: slot.write(ew.add(slot.read(), x)))
    seen = slot.read().numpy()
    f(tensor([1.0]))
    assert seen[0] == 1 and slot.read().numpy()[0] == 2
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 7


def test_second_device_runs_a_network_and_its_gradient():
    _core.register_test_device()
    w = [tensor(rows(4, 8)), tensor(rows(8, 2))]

    def loss(x, *w):
        return reduce.reduce_sum(
            ew.square(matmul.matmul(ew.relu(matmul.matmul(x, w[0])), w[1])), None
        )

    both = transforms.value_and_grad(loss, (1, 2))
    x = tensor(rows(5, 4))
    value, grads = both(x, *w)
    there_value, there_grads = transforms.jit(both, device="test:0")(x, *w)
    assert there_value.array.device == "test:0"
    assert there_value.numpy() == value.numpy()
    for a, b in zip(grads, there_grads):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-6)


def test_unknown_device_is_named():
    with pytest.raises(ValueError, match="`device`.*'cpu:0'.*device='abacus:0'"):
        transforms.jit(lambda x: x, device="abacus:0")


def test_passes_can_be_switched_off(monkeypatch):
    def fn(x):
        return ew.mul(ew.add(x, 1.0), 3.0)

    x = tensor(rows(3))
    assert "fused_elementwise" in transforms.jit(fn).graph(x)
    fused = transforms.jit(fn)(x).numpy()
    monkeypatch.setenv("NATIVE_DISABLE_PASSES", "fuse_elementwise")
    assert "fused_elementwise" not in transforms.jit(fn).graph(x)
    np.testing.assert_array_equal(transforms.jit(fn)(x).numpy(), fused)
