"""Passes and recognition: graphs before and after, and the same values with each pass switched
off."""

import numpy as np
import pytest

from keras_native import _core
from keras_native.engine import transforms
from keras_native.engine.primitives import (
    conv,
    matmul,
    norm_batch,
    pool,
    reduce,
    shape,
    shape_slice,
    softmax,
)
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import random as rn
from keras_native.engine.tensor import from_numpy

RNG = np.random.default_rng(0)


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32"))


def stages(fn, *args) -> dict[str, str]:
    text = transforms.jit(fn).graph(*args)
    parts = [part.split("\n", 1) for part in text.split("== ")[1:]]
    return dict(parts)


def final(fn, *args) -> str:
    return list(stages(fn, *args).values())[-1]


def ops(text: str) -> list[str]:
    return [
        line.split(" = ")[1].split("(")[0]
        for line in text.splitlines()
        if "(%" in line or "= full" in line
    ]


def dense(x, w, b):
    return ew.relu(ew.add(matmul.matmul(x, w), b))


def projected(x, w, b):
    return ew.add(shape.reshape(matmul.matmul(x, w), (5, 2, 3)), b)


def spelled_layer_norm(x, gamma, beta):
    mean, variance = reduce.moments(x, (1,), True)
    inv = ew.mul(ew.rsqrt(ew.add(variance, 1e-3)), gamma)
    return ew.add(ew.mul(x, inv), ew.add(ew.mul(ew.neg(mean), inv), beta))


def spelled_rms_norm(x, gamma):
    mean = reduce.reduce_mean(ew.square(x), (1,), True)
    return ew.mul(ew.mul(x, ew.rsqrt(ew.add(mean, 1e-6))), gamma)


def spelled_batch_norm(x, gamma, beta):
    mean, variance = reduce.moments(x, (0, 1, 2))
    return norm_batch.batch_norm_inference(x, mean, variance, gamma, beta, 1e-3)


def spelled_attention(q, k, v, key):
    mask = from_numpy(np.tri(6, dtype=bool)[None, None])
    q = ew.mul(q, 0.5)
    scores = matmul.matmul(shape.transpose(k, (0, 2, 1, 3)), shape.transpose(q, (0, 2, 3, 1)))
    scores = ew.select(mask, shape.transpose(scores, (0, 1, 3, 2)), -1e9)
    p = ew.select(mask, softmax.softmax(scores, 3), 0.0)
    p = rn.random_bernoulli_scale(p, key, 0.25)
    return shape.transpose(matmul.matmul(p, shape.transpose(v, (0, 2, 1, 3))), (0, 2, 1, 3))


def chain(x, w, b):
    y = ew.tanh(ew.add(ew.mul(x, w), b))
    return ew.mul(y, ew.sub(1.0, y)), reduce.reduce_sum(y, (1,))


def channels_first(x, w, gamma, beta):
    """Convolution, batch norm, relu and a sum, with images that have their channels first."""

    def last(t):
        return shape.transpose(t, (0, 2, 3, 1))

    def first(t):
        return shape.transpose(t, (0, 3, 1, 2))

    x = first(conv.conv(last(x), w, 1, (1, 1, 1, 1)))
    mean, variance = reduce.moments(last(x), (0, 1, 2))
    y = norm_batch.batch_norm_inference(last(x), mean, variance, gamma, beta, 1e-3)
    y = ew.mul(ew.relu(first(y)), ew.sigmoid(shape.reshape(beta, (1, 4, 1, 1))))
    y = ew.add(ew.mul(0.5, y), first(conv.conv(last(y), w, 1, (1, 1, 1, 1))))
    return ew.mul(y, reduce.reduce_max(y, (2, 3), True)), reduce.reduce_mean(y, (2, 3))


KEY = from_numpy(np.array([3, 4], "uint32"))
CASES = {
    # name: (function, arguments, primitive expected at the end, primitives expected to be gone)
    "dense": (dense, (tensor(5, 4), tensor(4, 6), tensor(6)), "linear", ["add", "relu", "matmul"]),
    "heads": (projected, (tensor(5, 4), tensor(4, 6), tensor(2, 3)), "linear", ["add", "matmul"]),
    "conv": (
        lambda x, w, b: ew.relu(ew.add(conv.conv(x, w, 1, None), shape.reshape(b, (1, 1, 1, 3)))),
        (tensor(2, 6, 6, 4), tensor(3, 3, 4, 3), tensor(3)),
        "conv_bias_act",
        ["add", "relu"],
    ),
    "residual": (
        lambda x, w, b, r: ew.relu(ew.add(r, ew.add(conv.conv(x, w, 1, None), b))),
        (tensor(2, 6, 6, 4), tensor(3, 3, 4, 3), tensor(3), tensor(2, 4, 4, 3)),
        "conv_bias_act",
        ["add", "relu"],
    ),
    "transposes": (
        lambda a, b: matmul.matmul(shape.transpose(a, (1, 0)), shape.transpose(b, (1, 0))),
        (tensor(4, 5), tensor(6, 4)),
        "matmul",
        ["transpose"],
    ),
    "layer_norm": (
        spelled_layer_norm, (tensor(5, 8), tensor(8), tensor(8)), "layer_norm", ["moments",
        "rsqrt"],
    ),
    "rms_norm": (spelled_rms_norm, (tensor(5, 8), tensor(8)), "rms_norm", ["rsqrt", "square"]),
    "rms_norm by x x, without gamma": (
        lambda x: spelled_rms_norm(ew.mul(ew.add(x, 1.0), 2.0), 3.0),
        (tensor(5, 8),),
        "rms_norm",
        ["rsqrt", "square"],
    ),
    "batch_norm": (
        spelled_batch_norm,
        (tensor(2, 3, 3, 4), tensor(4), tensor(4)),
        "batch_norm_train",
        ["moments", "batch_norm_inference"],
    ),
    "batch_norm with relu6": (
        lambda *args: ew.relu6(spelled_batch_norm(*args)),
        (tensor(2, 3, 3, 4), tensor(4), tensor(4)),
        "batch_norm_train",
        ["relu6", "moments"],
    ),
    "batch_norm with a residual": (
        lambda r, *args: ew.relu(ew.add(r, spelled_batch_norm(*args))),
        (tensor(2, 3, 3, 4), tensor(2, 3, 3, 4), tensor(4), tensor(4)),
        "batch_norm_train",
        ["add", "relu", "moments", "fused_elementwise"],
    ),
    "attention": (
        spelled_attention,
        (tensor(2, 6, 2, 4), tensor(2, 6, 2, 4), tensor(2, 6, 2, 4), KEY),
        "attention",
        ["softmax", "matmul", "random_bernoulli_scale"],
    ),
    "channels_first": (
        channels_first,
        (tensor(2, 4, 5, 6), tensor(3, 3, 4, 4), tensor(4), tensor(4)),
        "batch_norm_train",
        ["moments", "relu"],
    ),
    "repeated rows": (
        lambda x, w: matmul.matmul(shape.broadcast_to(x, (3, 7, 4)), w),
        (tensor(3, 1, 4), tensor(4, 6)),
        "broadcast_to",
        [],
    ),
    "elementwise": (
        chain, (tensor(5, 8), tensor(5, 8), tensor(8)), "fused_elementwise", ["tanh", "sub"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_graph_after_all_passes(name):
    fn, args, expected, gone = CASES[name]
    found = ops(final(fn, *args))
    assert expected in found
    assert not set(gone) & set(found)


def test_repeated_rows_are_multiplied_once():
    fn, args, _, _ = CASES["repeated rows"]
    (line,) = [line for line in final(fn, *args).splitlines() if "= matmul" in line]
    assert "float32[3, 1, 6]" in line


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_eager_chain(name):
    fn, args, _, _ = CASES[name]

    def loss(*tensors):
        result = fn(*tensors)
        parts = result if isinstance(result, tuple) else (result,)
        total = reduce.reduce_sum(ew.square(parts[0]), None)
        for part in parts[1:]:
            total = ew.add(total, reduce.reduce_sum(part, None))
        return total

    count = len([a for a in args if a.dtype == "float32"])
    both = transforms.value_and_grad(loss, tuple(range(count)))
    value, grads = both(*args)
    compiled_value, compiled_grads = transforms.jit(both)(*args)
    np.testing.assert_allclose(compiled_value.numpy(), value.numpy(), rtol=1e-4)
    for a, b in zip(grads, compiled_grads):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-3, atol=1e-4)


def test_transposes_of_channels_first_meet():
    fn, args, _, _ = CASES["channels_first"]
    grad = transforms.grad(lambda *t: reduce.reduce_sum(ew.square(fn(*t)[1]), None), (0, 1, 2, 3))
    for text in (final(fn, *args), final(grad, *args)):
        assert ops(text).count("transpose") == 2  # the image, and what is returned


@pytest.mark.parametrize("dims", [(5, 5, 5), (1, 5, 5, 5), (2, 5, 1, 5)])
def test_what_is_spread_over_fewer_sizes_stays_aligned_with_the_last_ones(dims):
    x, w = tensor(2, 5, 5, 5), tensor(*(d if i == len(dims) - 3 else 1 for i, d in enumerate(dims)))

    def fn(x):
        last = shape.transpose(x, (0, 2, 3, 1))
        first = shape.transpose(ew.mul(last, last), (0, 3, 1, 2))
        return ew.add(first, shape.broadcast_to(w, dims))

    np.testing.assert_allclose(transforms.jit(fn)(x).numpy(), fn(x).numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "batch_norm", "attention"])
def test_recognition_comes_before_differentiation(name):
    fn, args, _, gone = CASES[name]
    grad = transforms.grad(lambda *t: reduce.reduce_sum(ew.square(fn(*t)), None))
    found = ops(final(grad, *args))
    assert any(op.endswith("_grad") for op in found)
    assert not {"softmax_grad", "moments", "rsqrt"} & set(found)


@pytest.mark.parametrize("clip", [ew.relu, ew.relu6])
@pytest.mark.parametrize("gamma, beta", [(True, True), (False, True), (True, False)])
def test_the_mask_of_relu_goes_into_batch_norm(clip, gamma, beta):
    x, w = tensor(4, 3, 3, 20), tensor(4, 3, 3, 20)
    scale, shift = tensor(20) if gamma else None, tensor(20) if beta else None

    def loss(x):
        y = clip(norm_batch.batch_norm_train(ew.mul(x, 3.0), scale, shift)[0])
        return reduce.reduce_sum(ew.mul(y, w), None)

    grad = transforms.grad(loss)
    text = final(grad, x)
    assert "batch_norm_train_grad" in text and not {"gt", "select"} & set(ops(text))
    assert text.count(f"activation='{clip.name}'") == 2 and "gt" not in text
    # A mask that differs by one element would show at the size of w.
    got, want = transforms.jit(grad)(x).numpy(), grad(x).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axes", [(1,), (0,), (0, 1)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_products_of_repeated_rows_are_of_each_of_them(axes, transposed, flat):
    """The gradient of a mean over positions, behind a linear layer."""
    x, w = tensor(5, 9, 8), tensor(*((6, 8) if transposed else (8, 6)))
    dims = (45, 8) if flat else (5, 9, 8)

    def loss(x, w):
        y = matmul.matmul(shape.reshape(ew.tanh(x), dims), w, transpose_b=transposed)
        return reduce.reduce_sum(ew.square(reduce.reduce_mean(shape.reshape(y, (5, 9, 6)), axes)))

    grad = transforms.grad(loss, (0, 1))
    products = [
        line for line in stages(grad, x, w)["broadcast_products"].splitlines() if "matmul(" in line
    ]
    assert len(products) == 3
    assert [line for line in products if "[45" in line or "[5, 9" in line] == products[:1]
    for got, want in zip(transforms.jit(grad)(x, w), grad(x, w)):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-6)


def test_repeated_rows_may_be_cast_in_between():
    """Mixed precision: a mean of float32 over what a product of bfloat16 gave."""
    x, w = tensor(5, 9, 8), ew.cast(tensor(8, 6), "bfloat16")

    def loss(x):
        y = ew.cast(matmul.matmul(ew.cast(x, "bfloat16"), w), "float32")
        return reduce.reduce_sum(ew.square(reduce.reduce_mean(y, (1,))))

    grad = transforms.grad(loss)
    text = stages(grad, x)["broadcast_products"]
    assert [line for line in text.splitlines() if "matmul(" in line and "[5, 1, 8]" in line]
    np.testing.assert_array_equal(transforms.jit(grad)(x).numpy(), grad(x).numpy())


@pytest.mark.parametrize(
    "source, between, left", [("bfloat16", "float32", 0), ("float16", "float64", 0),
    ("float32", "bfloat16", 2), ("float16", "bfloat16", 2), ("int32", "float32", 2)],
)  # fmt: skip
def test_casts_to_a_wider_float_and_back_are_left_out(source, between, left):
    x = ew.cast(ew.mul(tensor(5, 8), 1000.0), source)

    def fn(x):
        return reduce.reduce_max(ew.cast(ew.cast(x, between), source), (1,))

    assert stages(fn, x)["simplify"].count("cast(") == left
    np.testing.assert_array_equal(transforms.jit(fn)(x).numpy(), fn(x).numpy())


def test_sums_of_narrow_rows_are_not_rounded_before_the_product():
    x, w = ew.cast(tensor(5, 9, 8), "bfloat16"), ew.cast(tensor(8, 6), "bfloat16")
    grad = transforms.grad(
        lambda x, w: reduce.reduce_sum(ew.square(reduce.reduce_mean(matmul.matmul(x, w), (1,)))), 1
    )
    full = [ew.cast(t, "float32") for t in (x, w)]
    sums = [
        stages(grad, *args)["broadcast_products"].count("= reduce_sum") for args in ((x, w), full)
    ]
    assert sums[1] == sums[0] + 1


@pytest.mark.parametrize("others", range(0, 40, 3))
def test_repeated_rows_that_were_cast(others):
    """By how many other values there are: sizes were read from where they had been before."""
    x, a, e = ew.cast(tensor(5, 1, 8), "bfloat16"), tensor(45, 6), tensor(3)

    def fn(x, a, e):
        rows = ew.cast(shape.broadcast_to(x, (5, 9, 8)), "float32")
        y = matmul.matmul(a, shape.reshape(rows, (45, 8)), transpose_a=True)
        return [y, *(ew.tanh(ew.add(e, float(i))) for i in range(others))]

    np.testing.assert_allclose(
        transforms.jit(fn)(x, a, e)[0].numpy(), fn(x, a, e)[0].numpy(), rtol=1e-5, atol=1e-5
    )


def test_rows_of_nothing_are_not_repeated():
    x, w = tensor(3, 1, 0), tensor(0, 6)

    def fn(x, w):
        rows = shape.broadcast_to(x, (3, 7, 0))
        return matmul.matmul(shape.reshape(rows, (5, 0)), w)

    np.testing.assert_array_equal(transforms.jit(fn)(x, w).numpy(), np.zeros((5, 6)))


def test_what_batch_norm_adds_may_depend_on_its_statistics():
    x, gamma, beta = tensor(4, 3, 3, 6), tensor(6), tensor(6)

    def fn(x):
        y, mean, _ = norm_batch.batch_norm_train(x, gamma, beta)
        return ew.relu(ew.add(y, ew.mul(x, mean)))

    np.testing.assert_allclose(transforms.jit(fn)(x).numpy(), fn(x).numpy(), rtol=1e-5, atol=1e-5)


def test_the_mask_of_a_sum_stays_outside_of_batch_norm():
    x, r, w = tensor(4, 3, 3, 6), tensor(4, 3, 3, 6), tensor(4, 3, 3, 6)

    def loss(x):
        y = ew.relu(ew.add(norm_batch.batch_norm_train(x)[0], r))
        return reduce.reduce_sum(ew.mul(y, w), None)

    grad = transforms.grad(loss)
    np.testing.assert_allclose(
        transforms.jit(grad)(x).numpy(), grad(x).numpy(), rtol=1e-4, atol=1e-5
    )


def test_a_bias_in_front_of_batch_norm_has_no_gradient():
    x, b, gamma, beta, w = tensor(4, 3, 3, 6), tensor(6), tensor(6), tensor(6), tensor(4, 3, 3, 6)

    def loss(b, beta):
        y = norm_batch.batch_norm_train(ew.add(x, b), gamma, beta)[0]
        return reduce.reduce_sum(ew.mul(y, w), None)

    grad = transforms.grad(loss, (0, 1))
    assert not [
        line
        for line in final(grad, b, beta).splitlines()
        if "= reduce_sum" in line and "float32[6]" in line
    ]
    (db, _), (want, _) = transforms.jit(grad)(b, beta), grad(b, beta)
    np.testing.assert_array_equal(db.numpy(), 0)
    np.testing.assert_allclose(want.numpy(), 0, atol=1e-5)


@pytest.mark.parametrize("clip", [ew.relu, ew.relu6])
@pytest.mark.parametrize("padding", [None, ((1, 1), (0, 1))])
def test_the_mask_of_relu_goes_through_max_pooling(clip, padding):
    x, b, w = tensor(2, 9, 8, 5), tensor(5), tensor(2, 5, 4, 5)

    def loss(x, b):
        y = clip(ew.add(ew.mul(x, 4.0), b))
        y = pool.max_pool(y, 2 if padding is None else 3, 2, padding)
        return reduce.reduce_sum(ew.mul(y, shape_slice.slice(w, (0,) * 4, y.dims)), None)

    grad = transforms.grad(loss, (0, 1))
    text = stages(grad, x, b)["relu_gradients"]
    assert "float32[2, 9, 8, 5]" not in "".join(
        line for line in text.splitlines() if "= select" in line
    )
    dx, db = transforms.jit(grad)(x, b)
    want_x, want_b = grad(x, b)
    np.testing.assert_array_equal(dx.numpy(), want_x.numpy())
    np.testing.assert_allclose(db.numpy(), want_b.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("stride, padding", [(2, None), (1, None), (2, ((1, 1), (0, 1)))])
def test_a_maximum_tells_its_gradient_where_it_was(dtype, stride, padding, monkeypatch):
    values = RNG.integers(-2, 3, (2, 9, 8, 21)).astype(dtype)
    values[0, 3, 4, 5], values[1, 2, :3, 2], values[0, :5, :5, 1] = np.nan, np.inf, -np.inf
    x, v = from_numpy(values), from_numpy(RNG.standard_normal(values.shape).astype(dtype))

    def loss(x):
        y = pool.max_pool(x, 3, stride, padding)
        return reduce.reduce_sum(ew.mul(y, shape_slice.slice(v, (0,) * 4, y.dims)), None)

    grad = transforms.grad(loss)
    found = ops(final(grad, x))
    assert "max_pool_places" in found and "max_pool_scatter" in found
    assert not {"max_pool", "max_pool_grad"} & set(found)
    got, want = transforms.jit(grad)(x).numpy(), grad(x).numpy()
    np.testing.assert_array_equal(got, want)
    monkeypatch.setenv("NATIVE_DISABLE_PASSES", "pool_places")
    assert "max_pool_grad" in ops(final(grad, x))


def test_one_maximum_serves_two_gradients_of_its_kind():
    x, v = tensor(2, 9, 8, 5), tensor(2, 4, 4, 5)

    def both(x, v):
        y = pool.max_pool(x, 2)
        return [pool.max_pool_grad(x, y, ct, 2) for ct in (v, ew.square(v))], y

    found = ops(final(both, x, v))
    assert found.count("max_pool_places") == 1 and found.count("max_pool_scatter") == 2
    (a, b), y = transforms.jit(both)(x, v)
    (want_a, want_b), want_y = both(x, v)
    for got, want in ((a, want_a), (b, want_b), (y, want_y)):
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    # Of something else than what was pooled nothing is known.
    other = ops(final(lambda x, v: pool.max_pool_grad(ew.neg(x), pool.max_pool(x, 2), v, 2), x, v))
    assert "max_pool_grad" in other and "max_pool_places" not in other


@pytest.mark.parametrize("name", _core.passes())
def test_any_pass_can_be_left_out(name, monkeypatch):
    fn, args, _, _ = CASES["dense"]
    expected = transforms.jit(fn)(*args).numpy()
    monkeypatch.setenv("NATIVE_DISABLE_PASSES", name)
    assert name not in stages(fn, *args)
    np.testing.assert_allclose(transforms.jit(fn)(*args).numpy(), expected, rtol=1e-5)


def test_a_product_that_is_read_twice_keeps_its_value():
    def fn(x, w, b):
        y = matmul.matmul(x, w)
        return ew.relu(ew.add(y, b)), y

    args = CASES["dense"][1]
    first, second = transforms.jit(fn)(*args)
    x, w, b = (a.numpy() for a in args)
    np.testing.assert_allclose(second.numpy(), x @ w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.numpy(), np.maximum(x @ w + b, 0), rtol=1e-5, atol=1e-6)


def test_a_scale_made_from_the_moments_is_not_fused_with_them():
    def fn(x, gamma, beta):
        mean, variance = reduce.moments(x, (0,))
        gamma = ew.mul(gamma, transforms.stop_gradient(ew.sqrt(variance)))
        return norm_batch.batch_norm_inference(x, mean, variance, gamma, beta, 1e-3)

    args = CASES["batch_norm"][1]
    args = [t if t.ndim == 1 else shape.reshape(t, (-1, t.dims[-1])) for t in args]
    grad = transforms.grad(lambda *t: reduce.reduce_sum(ew.square(fn(*t)), None))
    assert "batch_norm_train" not in ops(final(grad, *args))
    np.testing.assert_allclose(
        transforms.jit(grad)(*args).numpy(), grad(*args).numpy(), rtol=1e-3, atol=1e-4
    )


def test_a_masked_chain_that_may_mask_everything_is_left_alone():
    def fn(q, k, v, mask):
        scores = matmul.matmul(shape.transpose(k, (0, 2, 1, 3)), shape.transpose(q, (0, 2, 3, 1)))
        scores = ew.select(mask, shape.transpose(scores, (0, 1, 3, 2)), -1e9)
        p = ew.select(mask, softmax.softmax(scores, 3), 0.0)
        return shape.transpose(matmul.matmul(p, shape.transpose(v, (0, 2, 1, 3))), (0, 2, 1, 3))

    q = tensor(1, 3, 1, 4)
    mask = from_numpy(np.zeros((1, 1, 3, 3), bool))
    assert not transforms.jit(fn)(q, q, q, mask).numpy().any()


def test_graphs_are_written_to_a_folder(tmp_path, monkeypatch):
    fn, args, _, _ = CASES["dense"]
    monkeypatch.setenv("NATIVE_DUMP", str(tmp_path / "graphs"))
    transforms.jit(fn)(*args)
    (file,) = (tmp_path / "graphs").iterdir()
    assert "-dense-" in file.name
    text = file.read_text()
    assert text.startswith("== recorded\n") and "== fuse_elementwise\n" in text
    assert "matmul(" in text and "linear(" in text
