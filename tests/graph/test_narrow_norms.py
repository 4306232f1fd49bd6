"""Norms that compute in float32 between casts read and write the narrow type themselves."""

import numpy as np
import pytest

from keras_native.engine import transforms
from keras_native.engine.primitives import elementwise as ew
from keras_native.engine.primitives import norm, norm_batch, reduce
from keras_native.engine.tensor import from_numpy

RNG = np.random.default_rng(0)
NARROW = ("bfloat16", "float16")
EPS = {"bfloat16": 2**-7, "float16": 2**-10}


def tensor(*dims):
    return from_numpy(RNG.standard_normal(dims).astype("float32"))


def narrow_tensor(dtype, *dims):
    return ew.cast(tensor(*dims), dtype)


def batch(x, gamma, beta):
    return norm_batch.batch_norm_train(x, gamma, beta)[0]


NORMS = {
    "batch_norm_train": batch,
    "layer_norm": norm.layer_norm,
    "rms_norm": lambda x, gamma, beta: norm.rms_norm(x, gamma),
}


def lines_of(text, op):
    return [line for line in text.splitlines() if f" = {op}(" in line]


def last_stage(fn, *args):
    return transforms.jit(fn).graph(*args).split("== ")[-1]


def without(monkeypatch, fn, *args):
    with monkeypatch.context() as patch:
        patch.setenv("NATIVE_DISABLE_PASSES", "narrow_norms")
        text = last_stage(fn, *args)
        return text, [t.numpy() for t in transforms.jit(fn)(*args)]


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("clip", [None, ew.relu, ew.relu6])
@pytest.mark.parametrize("channels", [37, 64])
def test_norm_and_gradient_are_narrow(name, dtype, clip, channels, monkeypatch):
    dims = (6, 5, 7, channels)
    x, w = narrow_tensor(dtype, *dims), narrow_tensor(dtype, *dims)
    gamma, beta = tensor(channels), tensor(channels)

    def loss(x, gamma, beta):
        y = NORMS[name](ew.cast(ew.mul(x, 3.0), "float32"), gamma, beta)
        y = ew.cast(y, dtype)
        y = clip(y) if clip else y
        return reduce.reduce_sum(ew.cast(ew.mul(y, w), "float32"), None), y

    def fn(x, gamma, beta):
        grads = transforms.grad(lambda *a: loss(*a)[0], (0, 1, 2))(x, gamma, beta)
        return [*(g for g in grads if g is not None), loss(x, gamma, beta)[1]]

    text, spelled = last_stage(fn, x, gamma, beta), ", ".join(map(str, dims))
    for op in (name, f"{name}_grad"):
        (line,) = lines_of(text, op)
        assert f"{dtype}[{spelled}]" in line and f"float32[{spelled}]" not in line
    before, expected = without(monkeypatch, fn, x, gamma, beta)
    assert all(f"float32[{spelled}]" in line for line in lines_of(before, name))
    for got, want in zip(transforms.jit(fn)(x, gamma, beta), expected, strict=True):
        # Rows are summed in the same order, columns not: blocks of rows have a size in bytes. Of
        # elements that fill no vector the compiler may make a product and a sum, or one operation.
        slack = 1e-5 if name == "batch_norm_train" or channels == 37 else 0
        unit = EPS[dtype] if got.dtype == dtype and slack else 0
        got, want = got.numpy().astype("float32"), want.astype("float32")
        np.testing.assert_allclose(got, want, rtol=slack + unit, atol=slack)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_result_that_rounds_to_a_bound_of_the_clip_passes_no_gradient(dtype, monkeypatch):
    """Results within a few units of 6, and about the least subnormal number."""
    x = ew.cast(from_numpy(np.linspace(-1, 1, 512, dtype="float32").reshape(512, 1)), dtype)
    w = narrow_tensor(dtype, 512, 1)
    for scale, shift in ((0.03, 6.0), (3e-3, 6.0), (1e-7, 0.0), (1e-39, 0.0), (1e-40, 1e-40)):
        gamma, beta = (from_numpy(np.array([v], "float32")) for v in (scale, shift))

        def fn(x, gamma=gamma, beta=beta):
            def loss(x):
                y = ew.cast(batch(ew.cast(x, "float32"), gamma, beta), dtype)
                return reduce.reduce_sum(ew.cast(ew.mul(ew.relu6(y), w), "float32"), None)

            return [transforms.grad(loss)(x)]

        _, (want,) = without(monkeypatch, fn, x)
        assert "activation='relu6'" in lines_of(last_stage(fn, x), "batch_norm_train_grad")[0]
        got = transforms.jit(fn)(x)[0].numpy()
        np.testing.assert_array_equal(got, want)


def test_a_result_that_is_read_in_float32_stays():
    x, gamma, beta = narrow_tensor("bfloat16", 6, 9, 5), tensor(5), tensor(5)

    def fn(x):
        y = batch(ew.cast(x, "float32"), gamma, beta)
        return [ew.cast(y, "bfloat16"), reduce.reduce_sum(y, (0, 1))]

    (line,) = lines_of(last_stage(fn, x), "batch_norm_train")
    assert "float32[6, 9, 5]" in line
    got, want = transforms.jit(fn)(x), fn(x)
    np.testing.assert_array_equal(got[0].numpy(), want[0].numpy())
