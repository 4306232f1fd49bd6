"""Weights that a step does not write are brought into a kernel's form once."""

import ml_dtypes
import numpy as np
import pytest
import scipy.special

from keras_native import _core
from keras_native.engine.errors import UnsupportedError
from keras_native.engine.primitives import conv, matmul, reduce, shape
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.slot import Slot
from keras_native.engine.tensor import from_numpy
from keras_native.engine.trace import CompiledFunction

RNG = np.random.default_rng(0)
SAME = ((1, 1), (1, 1))
SAME3 = ((1, 1),) * 3
needs_words = pytest.mark.skipif(
    _core.isa() != "avx512_bf16", reason="no dot instructions for narrow elements"
)
needs_panels = pytest.mark.skipif(
    _core.isa() not in ("generic", "avx2"), reason="wide panels are read where they lie"
)


def tensor(*dims, dtype="float32"):
    return from_numpy(RNG.standard_normal(dims).astype(dtype))


def compiled(fn, x):
    """The function of one tensor compiled, and the names of what it runs each time."""
    stages = {}
    made = CompiledFunction(lambda t: [fn(t)], [(x.dims, x.dtype)], observer=stages.__setitem__)
    text = list(stages.values())[-1]
    ops = [line.split(" = ")[1].split("(")[0] for line in text.splitlines() if "(%" in line]
    return made, ops


def run(made, x):
    return made.run([x.array], [])[0].numpy()


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * abs(expected).max(initial=0))


def check_once_for_each_value(fn, x, w, op):
    """`op` takes what is made of w's value once, and again when w has another."""
    made, ops = compiled(fn, x)
    assert ops == [op]
    for runs in (1, 2):
        for _ in range(2):
            close(run(made, x), fn(x).numpy())
        assert made.compiled.once_runs == runs
        w.write(tensor(*w.read().dims))


TAILS = {
    "plain": lambda y, b, r: y,
    "bias": lambda y, b, r: ew.add(y, b),
    "relu": lambda y, b, r: ew.relu(ew.add(y, b)),
    "silu": lambda y, b, r: ew.silu(ew.add(y, b)),
    "residual": lambda y, b, r: ew.relu(ew.add(ew.add(y, b), r)),
}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    "cin, cout, sizes",
    [
        (32, 48, (7, 6)),
        (33, 160, (5, 9)),
        (64, 64, (1, 2)),
        (32, 48, (3, 7, 6)),
        (33, 80, (4, 5, 5)),
    ],
)
def test_the_weights_are_transformed_once_for_each_value(tail, cin, cout, sizes):
    kernel, same = (3,) * len(sizes), ((1, 1),) * len(sizes)
    w, b = Slot(tensor(*kernel, cin, cout)), Slot(tensor(cout))
    x, r = tensor(2, *sizes, cin), tensor(2, *sizes, cout)

    def fn(t):
        return TAILS[tail](conv.conv(t, w.read(), 1, same), b.read(), r)

    check_once_for_each_value(fn, x, w, "winograd_conv")


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    "kernel, cin, cout, sizes, strides, dilation",
    [
        ((1, 7), 35, 90, (5, 16), 1, 1),
        ((7, 1), 64, 48, (17, 6), 1, 1),
        ((3, 1), 70, 83, (18, 6), 1, 1),
        ((5,), 64, 64, (30,), 1, 3),
        ((9,), 64, 64, (40,), 2, 1),
        ((1, 31, 1), 32, 32, (2, 12, 3), 1, 1),
        ((5, 5), 40, 48, (11, 12), 1, 1),
        ((2, 7), 64, 70, (9, 16), 1, 1),
    ],
)
def test_weights_of_lines_of_taps_are_transformed_once_for_each_value(
    kernel, cin, cout, sizes, strides, dilation, tail
):
    def pads(k, s, stride):
        total = max(0, (-(-s // stride) - 1) * stride + (k - 1) * dilation + 1 - s)
        return (total // 2, total - total // 2)

    step = [strides if k > 1 else 1 for k in kernel]
    padding = tuple(map(pads, kernel, sizes, step))
    w, b = Slot(tensor(*kernel, cin, cout)), Slot(tensor(cout))
    x = tensor(2, *sizes, cin)
    r = tensor(2, *(-(-s // k) for s, k in zip(sizes, step)), cout)

    def fn(t):
        y = conv.conv(t, w.read(), step, padding, [dilation if k > 1 else 1 for k in kernel])
        return TAILS[tail](y, b.read(), r)

    check_once_for_each_value(fn, x, w, "line_conv")


def test_larger_squares_where_they_are_asked_for(monkeypatch):
    monkeypatch.setenv("NATIVE_WINOGRAD", "4")
    w, b = Slot(tensor(3, 3, 32, 48)), Slot(tensor(48))
    x = tensor(2, 7, 6, 32)

    def fn(t):
        return ew.relu(ew.add(conv.conv(t, w.read(), 1, SAME), b.read()))

    made, ops = compiled(fn, x)
    assert ops == ["winograd_conv"]
    # 36 positions instead of 16, and their sums' order.
    monkeypatch.delenv("NATIVE_WINOGRAD")
    other, _ = compiled(fn, x)
    assert run(made, x).tobytes() != run(other, x).tobytes()
    close(run(made, x), fn(x).numpy())


@pytest.mark.parametrize("kernel, pads", [((3, 3), SAME), ((7, 1), ((3, 3), (0, 0)))])
def test_batches_of_every_size(kernel, pads):
    w = Slot(tensor(*kernel, 64, 160))
    for batch in (0, 1, 5):
        x = tensor(batch, 9, 9, 64)
        made, ops = compiled(lambda t: conv.conv(t, w.read(), 1, pads), x)
        assert ops != ["conv"]
        expected = conv.conv(x, w.read(), 1, pads).numpy()
        np.testing.assert_allclose(run(made, x), expected, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("kernel, pads", [((3, 3), SAME), ((7, 1), ((3, 3), (0, 0)))])
def test_same_bits_at_every_number_of_threads(kernel, pads):
    w = Slot(tensor(*kernel, 64, 160))
    x = tensor(1, 7, 7, 64)
    made, _ = compiled(lambda t: conv.conv(t, w.read(), 1, pads), x)
    before, found = _core.threads(), []
    try:
        for count in (1, 2, 7):
            _core.set_threads(count)
            found.append(run(made, x).tobytes())
    finally:
        _core.set_threads(before)
    assert found[0] == found[1] == found[2]


def test_layers_that_share_weights_share_what_is_made_of_them():
    w = Slot(tensor(3, 3, 32, 32))
    x = tensor(1, 6, 6, 32)

    def fn(t):
        return conv.conv(conv.conv(t, w.read(), 1, SAME), w.read(), 1, SAME)

    made, ops = compiled(fn, x)
    assert ops == ["winograd_conv"] * 2
    close(run(made, x), fn(x).numpy())


@pytest.mark.parametrize(
    "dims, arguments, dtype",
    [
        ((3, 3, 16, 64), (1, SAME), "float32"),
        ((3, 3, 32, 40), (1, SAME), "float32"),
        ((3, 3, 32, 64), (2, SAME), "float32"),
        ((3, 3, 32, 64), (1, SAME, 2), "float32"),
        ((3, 3, 32, 64), (1, SAME, 1, 2), "float32"),
        ((1, 3, 32, 64), (1, SAME), "float32"),
        ((1, 3, 64, 64), (1, ((0, 0), (1, 1))), "float64"),
        ((1, 3, 24, 64), (1, ((0, 0), (1, 1))), "float32"),
        ((3, 3, 32, 64), (1, SAME), "float64"),
        ((3, 3, 32, 64), (1, SAME), "float16"),
        ((1, 3, 3, 32, 64), (1, SAME3), "float32"),
        ((3, 3, 3, 32, 64), (2, SAME3), "float32"),
        ((3, 3, 3, 32, 64), (1, SAME3, 2), "float32"),
        ((3, 3, 3, 32, 64), (1, SAME3), "float16"),
    ],
)
def test_others_stay(dims, arguments, dtype):
    groups = arguments[3] if len(arguments) > 3 else 1
    w, x = (
        Slot(tensor(*dims, dtype="float32")),
        tensor(1, *(8,) * (len(dims) - 2), dims[-2] * groups),
    )
    w, x = (ew.cast(t, dtype) for t in (w.read(), x))
    slot = Slot(w)
    _, ops = compiled(lambda t: conv.conv(t, slot.read(), *arguments), x)
    assert ops == ["conv"]


def test_weights_that_the_step_writes_or_is_given_stay():
    w = Slot(tensor(3, 3, 32, 32))
    x = tensor(1, 6, 6, 32)

    def trains(t):
        y = conv.conv(t, w.read(), 1, SAME)
        w.write(ew.mul(w.read(), 0.5))
        return y

    _, ops = compiled(trains, x)
    assert "conv" in ops and "winograd_conv" not in ops
    _, ops = compiled(
        lambda t: conv.conv(t, conv.conv(t, w.read(), 1, SAME), 1, SAME), tensor(3, 3, 32, 32)
    )
    assert ops == ["winograd_conv", "conv"]


def test_the_pass_can_be_left_out(monkeypatch):
    w = Slot(tensor(3, 3, 32, 32))
    x = tensor(1, 6, 6, 32)
    monkeypatch.setenv("NATIVE_DISABLE_PASSES", "prepare_weights")
    _, ops = compiled(lambda t: conv.conv(t, w.read(), 1, SAME), x)
    assert ops == ["conv"]


@needs_words
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("tail", ["plain", "gelu"])
@pytest.mark.parametrize(
    "rows, k, n",
    [((1,), 784, 512), ((1, 1), 65, 33), ((7,), 65, 70), ((3, 67), 129, 200), ((5, 40), 2500, 65)],
)
def test_weights_of_products_are_packed_once_for_each_value(rows, k, n, tail, transposed):
    w = Slot(tensor(*((n, k) if transposed else (k, n)), dtype=ml_dtypes.bfloat16))
    b = Slot(tensor(n, dtype=ml_dtypes.bfloat16))
    x = tensor(*rows, k, dtype=ml_dtypes.bfloat16)

    def fn(t):
        if tail == "plain":
            return matmul.matmul(t, w.read(), transpose_b=transposed, out_dtype="float32")
        return matmul.linear(t, w.read(), b.read(), activation="gelu", transpose_w=transposed)

    made, ops = compiled(fn, x)
    assert ops == ["packed_linear"]
    for runs in (1, 2):
        got = run(made, x)
        a, m, bias = (t.astype("float64") for t in (x.numpy(), w.read().numpy(), b.read().numpy()))
        want = a @ (m.T if transposed else m)
        if tail == "plain":
            np.testing.assert_allclose(got, want, rtol=0, atol=3e-6 * k**0.5 * abs(want).max())
        else:
            want = scipy.special.ndtr(want + bias) * (want + bias)
            np.testing.assert_allclose(
                got.astype("float64"), want, rtol=2**-8, atol=3e-6 * k**0.5 * abs(want).max()
            )
        assert made.compiled.once_runs == runs
        w.write(ew.mul(w.read(), 0.5))


def pointwise(t, w, transposed):
    return conv.conv(t, shape.reshape(w, (1,) * (len(t.dims) - 2) + w.dims))


PRODUCTS = {
    "matmul": lambda t, w, transposed: matmul.matmul(t, w, transpose_b=transposed),
    "1x1": pointwise,
}
SHAPES = [
    ((1,), 784, 512),
    ((1, 1), 65, 33),
    ((7,), 65, 70),
    ((2, 5, 10), 130, 97),
    ((1, 15, 20), 40, 200),
    ((1, 1, 30), 2500, 65),
    ((0, 3, 3), 64, 64),
]


@needs_panels
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    "product, transposed", [("matmul", False), ("matmul", True), ("1x1", False)]
)
@pytest.mark.parametrize("rows, k, n", SHAPES)
def test_weights_of_products_are_put_in_panels_once_for_each_value(
    rows, k, n, product, transposed, tail, threads
):
    rows = (*(1,) * (3 - len(rows)), *rows) if product == "1x1" else rows
    w, b = Slot(tensor(*((n, k) if transposed else (k, n)))), Slot(tensor(n))
    x, r = tensor(*rows, k), tensor(*rows, n)

    def fn(t):
        return TAILS[tail](PRODUCTS[product](t, w.read(), transposed), b.read(), r)

    made, ops = compiled(fn, x)
    assert ops[0] == "packed_linear"
    before = _core.threads()
    try:
        _core.set_threads(threads)
        for runs in (1, 2):
            for _ in range(2):
                close(run(made, x), fn(x).numpy())
            assert made.compiled.once_runs == runs
            w.write(ew.mul(w.read(), 0.5))
    finally:
        _core.set_threads(before)


@needs_panels
def test_products_of_panels_in_turn_run_rows_by_rows():
    first, bias, second = Slot(tensor(200, 300)), Slot(tensor(300)), Slot(tensor(300, 80))
    x = tensor(100, 200)

    def fn(t):
        hidden = ew.relu(ew.add(matmul.matmul(t, first.read()), bias.read()))
        return matmul.matmul(hidden, second.read())

    made, ops = compiled(fn, x)
    assert ops == ["packed_linear"] * 2
    assert made.compiled.row_chains([]) == [(0, 2)]
    found = run(made, x)
    wide = x.numpy().astype("float64") @ first.read().numpy() + bias.read().numpy()
    close(found, np.maximum(wide, 0) @ second.read().numpy())
    before = _core.threads()
    try:
        for count in (1, 2, 3):
            _core.set_threads(count)
            assert run(made, x).tobytes() == found.tobytes()
    finally:
        _core.set_threads(before)


@needs_panels
@pytest.mark.parametrize(
    "fn, x, w",
    [
        (lambda t, w: matmul.matmul(t, w), (4, 100), (100, 31)),
        (lambda t, w: matmul.matmul(t, w), (4, 10), (10, 40)),
        (lambda t, w: matmul.matmul(t, w, transpose_a=True), (100, 4), (100, 64)),
        (lambda t, w: matmul.matmul(t, w), (3, 4, 100), (3, 100, 64)),
        (lambda t, w: conv.conv(t, w, 2), (1, 6, 6, 64), (1, 1, 64, 64)),
        (lambda t, w: conv.conv(t, w, 1, SAME), (1, 6, 6, 64), (1, 1, 64, 64)),
        (lambda t, w: conv.conv(t, w, 1, groups=2), (1, 6, 6, 128), (1, 1, 64, 64)),
    ],
)
def test_other_products_stay(fn, x, w):
    w = Slot(tensor(*w))
    _, ops = compiled(lambda t: fn(t, w.read()), tensor(*x))
    assert "packed_linear" not in ops


@needs_panels
def test_panels_of_another_instruction_set_are_refused():
    w, x = Slot(tensor(64, 72)), tensor(7, 64)
    made, ops = compiled(lambda t: matmul.matmul(t, w.read()), x)
    assert ops == ["packed_linear"]
    before = _core.isa()
    others = [i for i in ("generic", "avx2", "wide") if i in _core.isas() and i != before]
    try:
        for isa in others:
            _core.set_isa(isa)
            with pytest.raises(UnsupportedError, match="pack_panels"):
                run(made, x)
    finally:
        _core.set_isa(before)
    close(run(made, x), x.numpy() @ w.read().numpy())


def test_lines_of_images_of_two_sizes_share_their_weights():
    w = Slot(tensor(7, 1, 64, 64))
    x = tensor(1, 33, 6, 64)
    pads = ((3, 3), (0, 0))

    def fn(t):
        y = conv.conv(t, w.read(), 1, pads)
        return conv.conv(shape.reshape(y, (3, 11, 6, 64)), w.read(), 1, pads)

    stages = {}
    made = CompiledFunction(lambda t: [fn(t)], [(x.dims, x.dtype)], observer=stages.__setitem__)
    assert stages["steady, once"].count("line_weights(") == 1
    assert stages["steady, each run"].count("line_conv(") == 2
    close(run(made, x), fn(x).numpy())


@needs_panels
def test_products_of_weights_alone_are_not_packed_for():
    a, b = Slot(tensor(80, 60)), Slot(tensor(60, 96))
    x = tensor(80, 96)
    made, ops = compiled(lambda t: ew.add(t, matmul.matmul(a.read(), b.read())), x)
    stages = {}
    CompiledFunction(
        lambda t: [ew.add(t, matmul.matmul(a.read(), b.read()))], [(x.dims, x.dtype)],
        observer=stages.__setitem__,
    )  # fmt: skip
    assert "pack_panels" not in stages["steady, once"]
    close(run(made, x), (x.numpy() + a.read().numpy() @ b.read().numpy()))


@needs_words
@pytest.mark.parametrize("rows, k, n", [((1,), 784, 512), ((128,), 784, 512), ((3, 131), 129, 200)])
def test_what_is_rounded_for_a_product_alone_is_rounded_by_it(rows, k, n):
    w = Slot(tensor(k, n, dtype=ml_dtypes.bfloat16))
    x = tensor(*rows, k)

    def alone(t):
        return matmul.matmul(ew.cast(t, "bfloat16"), w.read())

    def twice(t):
        y = ew.cast(t, "bfloat16")
        return ew.mul(matmul.matmul(y, w.read()), ew.cast(reduce.reduce_max(y), "bfloat16"))

    made, ops = compiled(alone, x)
    assert ops == ["packed_linear"]
    narrow = from_numpy(x.numpy().astype(ml_dtypes.bfloat16))
    given, _ = compiled(lambda t: matmul.matmul(t, w.read()), narrow)
    np.testing.assert_array_equal(run(made, x), run(given, narrow))
    assert "cast" in compiled(twice, x)[1]


@needs_words
@pytest.mark.parametrize("m, k, n", [(1, 784, 512), (9, 131, 77), (300, 5000, 64)])
def test_weights_of_int8_products_are_packed(m, k, n):
    w = Slot(from_numpy(RNG.integers(-128, 128, (k, n), "int8")))
    x = from_numpy(RNG.integers(-128, 128, (m, k), "int8"))
    made, ops = compiled(lambda t: matmul.matmul(t, w.read(), out_dtype="int32"), x)
    assert ops == ["packed_linear"]
    want = x.numpy().astype("int64") @ w.read().numpy().astype("int64")
    np.testing.assert_array_equal(run(made, x), want)


@needs_words
def test_products_by_few_weights_or_by_batches_of_them_take_them_as_they_are():
    weights = (Slot(tensor(*d, dtype=ml_dtypes.bfloat16)) for d in ((40, 10), (3, 64), (3, 40, 64)))
    for w in weights:
        x = tensor(3, 5, w.dims[-2], dtype=ml_dtypes.bfloat16)
        _, ops = compiled(lambda t, w=w: matmul.matmul(t, w.read()), x)
        assert ops == ["matmul"]
