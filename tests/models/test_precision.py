"""Narrow computation: mixed precision with loss scaling in the compiled step, quantised layers,
and what is trained beside frozen weights."""

import keras
import numpy as np
import pytest
from keras import layers

RNG = np.random.default_rng(5)


def small(policy, optimizer):
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(1)])
        model.compile(optimizer, "mse")
    finally:
        keras.config.set_dtype_policy("float32")
    return model


def weights_of(model):
    return [w.numpy().copy() for w in model.trainable_variables]


def test_an_overflow_skips_the_update_and_halves_the_scale_without_another_trace():
    model = small("mixed_float16", keras.optimizers.Adam(0.01))
    scaler = model.optimizer
    assert isinstance(scaler, keras.optimizers.LossScaleOptimizer)
    x, y = RNG.standard_normal((16, 6)).astype("float32"), np.zeros((16, 1), "float32")
    model.train_on_batch(x, y)
    before, scale = weights_of(model), float(scaler.dynamic_scale.numpy())
    inner = [v.numpy().copy() for v in scaler.inner_optimizer.variables]
    traces = model.train_function.step.traces
    model.train_on_batch(x * 1e30, y)
    assert float(scaler.dynamic_scale.numpy()) == scale / 2
    for a, b in zip(before, weights_of(model), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(inner, scaler.inner_optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    model.train_on_batch(x, y)
    assert any((a != b).any() for a, b in zip(before, weights_of(model), strict=True))
    assert float(scaler.dynamic_scale.numpy()) == scale / 2
    assert model.train_function.step.traces == traces


def test_the_scale_doubles_after_steps_without_overflow():
    inner = keras.optimizers.SGD(0.0)
    scaler = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0, dynamic_growth_steps=3)
    model = small("mixed_float16", scaler)
    x, y = RNG.standard_normal((16, 6)).astype("float32"), np.zeros((16, 1), "float32")
    scales = []
    for _ in range(7):
        model.train_on_batch(x, y)
        scales.append(float(scaler.dynamic_scale.numpy()))
    assert scales == [4, 4, 8, 8, 8, 16, 16]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_learns_as_float32_does(policy):
    x = RNG.standard_normal((64, 6)).astype("float32")
    y = x[:, :1] * 0.5 - x[:, 1:2]
    losses = {}
    for name in (policy, "float32"):
        optimizer = keras.optimizers.Adam(0.02)
        if name == "mixed_float16":  # the default scale is too large for the first steps
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=64.0)
        model = small(name, optimizer)
        losses[name] = model.fit(x, y, epochs=20, batch_size=32, shuffle=False, verbose=0)
    found, expected = (h.history["loss"] for h in losses.values())
    assert found[-1] < found[0] / 4
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.01)


LAYERS = {
    "dense": (lambda: layers.Dense(32), (16,), "float32"),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", (None, 8)), (5, 16), "float32"),
    "embedding": (lambda: layers.Embedding(20, 16), (6,), "int32"),
}


def model_and_inputs(kind):
    make, shape, dtype = LAYERS[kind]
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input(shape, dtype=dtype), make()])
    if dtype == "int32":
        return model, RNG.integers(0, 20, (8, *shape)).astype(dtype)
    return model, RNG.standard_normal((8, *shape)).astype(dtype)


@pytest.mark.parametrize(
    ("kind", "mode", "error"),
    [(kind, mode, error) for kind in LAYERS for mode, error in (("int8", 0.02), ("int4", 0.3))]
    + [("dense", "float8", 0.1), ("einsum", "float8", 0.1)],
)
def test_quantised_layers_compute_nearly_the_same_compiled_and_eagerly(kind, mode, error):
    model, x = model_and_inputs(kind)
    expected = model.predict(x, verbose=0)
    model.quantize(mode)
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, model(x).numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(found - expected).max() <= error * np.abs(expected).max()
    if mode != "float8":  # which scales as it trains, and leaves inference alone
        assert (found != expected).any()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("mode", [None, "int8", "int4"])
def test_lora_trains_its_own_weights_alone(kind, mode):
    model, x = model_and_inputs(kind)
    if mode:
        model.quantize(mode)
    (layer,) = model.layers
    layer.enable_lora(2)
    assert {w.name for w in model.trainable_variables} >= {"lora_kernel_a"} or kind == "embedding"
    frozen = [w.numpy().copy() for w in model.non_trainable_variables]
    before = model.predict(x, verbose=0)
    target = before + 0.1 * RNG.standard_normal(before.shape).astype("float32")
    model.compile(keras.optimizers.Adam(0.05), "mse")
    losses = model.fit(x, target, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.95 * losses[0]
    for a, b in zip(frozen, model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    np.testing.assert_allclose(model.predict(x, verbose=0), model(x).numpy(), rtol=1e-4, atol=1e-5)


def test_float8_scales_are_learnt_in_the_compiled_step():
    model, x = model_and_inputs("dense")
    model.quantize("float8")
    model.compile(keras.optimizers.SGD(0.05), "mse")
    (layer,) = model.layers
    target = RNG.standard_normal((8, 32)).astype("float32")
    losses = model.fit(x, target, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    history = layer.inputs_amax_history.numpy()
    assert history.max() == pytest.approx(np.abs(x).max())
    assert float(layer.inputs_scale.numpy()) != 1
