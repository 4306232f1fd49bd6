"""Normalisation in mixed precision: from 16 bits to 16 bits, with parameters and statistics in
float32 (graph/passes/narrow_norms.cpp)."""

import os

import emulated  # noqa: F401  skips this file where there are no kernels
import numpy as np
import pytest
from ptxkernel import _cuda

os.environ["KERAS_BACKEND"] = "native"

import keras  # noqa: E402
from keras import layers  # noqa: E402

LAYERS = {
    "batch": (layers.BatchNormalization, "batch_norm_train"),
    "layer": (layers.LayerNormalization, "layer_norm"),
}


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def train(place, layer, steps=3):
    """Weights and losses, and the operands of the norm and of its gradient. Channels are not of
    whole packs in one, and are in the other."""
    keras.utils.set_random_seed(4)
    x = np.random.default_rng(3).standard_normal((16, 6, 5)).astype("float32")
    with keras.device(place):
        model = keras.Sequential(
            [layers.Input((6, 5)), layers.Dense(12), layer(), layers.Dense(13), layer()]
        )
        for norm in model.layers[1::2]:
            gamma = norm.trainable_variables[0]
            gamma.assign(np.linspace(-1, 2, gamma.shape[0]))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        y = np.roll(x, 1, 1)[..., :1] + np.zeros(13, "float32")
        losses = [float(model.train_on_batch(x, y)) for _ in range(steps)]
        step, _, sizes = model.train_function.step.compiled((x, y, None))
        texts = [step.step_text(k, sizes) for k, _ in enumerate(step.chosen(sizes))]
        host = [op for op, kernel in step.chosen(sizes) if kernel.startswith(("cpu:", "host"))]
    return [np.array(v) for v in model.variables], losses, texts, host


@pytest.mark.parametrize("layer, op", LAYERS.values(), ids=LAYERS)
def test_parameters_are_wider(layer, op, policy):
    there, losses, texts, host = train("gpu:0", layer)
    here, expected, *_ = train("cpu:0", layer)
    narrow = policy.removeprefix("mixed_")
    for name in (op, op + "_grad"):
        assert any(t.startswith(f"{name}({narrow}") and "float32(12,)" in t for t in texts), texts
    assert host == [] and _cuda.reports() == []
    np.testing.assert_allclose(losses, expected, rtol=2e-2)
    for a, b in zip(there, here, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-2)
