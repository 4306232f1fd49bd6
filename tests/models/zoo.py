"""A dozen small models for the parity test; run as a script it trains each for ten steps on the
backend
of the environment and prints the losses as JSON: {model: [losses]}."""

import json
import os
import sys

if os.environ.get("KERAS_BACKEND") == "native":
    import keras_native  # noqa: F401
import keras
import numpy as np
from keras import layers as L


def mlp():
    return [L.Input((12,)), L.Dense(16, "relu"), L.Dense(16, "tanh"), L.Dense(4)]


def activations():
    names = ["gelu", "silu", "elu", "selu", "softplus", "leaky_relu", "mish", "hard_sigmoid"]
    return [L.Input((12,)), *[L.Dense(8, name) for name in names], L.Dense(4)]


def normalised():
    return [
        L.Input((6, 12)),
        L.LayerNormalization(),
        L.Dense(8),
        L.RMSNormalization(),
        L.GroupNormalization(2),
        L.Flatten(),
        L.BatchNormalization(),
        L.Dense(4),
    ]


def convnet():
    return [
        L.Input((10, 10, 3)),
        L.Conv2D(8, 3, activation="relu"),
        L.BatchNormalization(),
        L.MaxPooling2D(2),
        L.Conv2D(8, 3, strides=2, padding="same"),
        L.GlobalAveragePooling2D(),
        L.Dense(4),
    ]


def mobile():
    return [
        L.Input((12, 12, 3)),
        L.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
        L.BatchNormalization(),
        L.ReLU(6.0),
        L.DepthwiseConv2D(3, padding="same"),
        L.SeparableConv2D(8, 3, padding="same"),
        L.AveragePooling2D(2),
        L.Flatten(),
        L.Dense(4),
    ]


def autoencoder():
    return [
        L.Input((8, 8, 2)),
        L.Conv2D(6, 3, strides=2, padding="same", activation="relu"),
        L.Conv2DTranspose(4, 3, strides=2, padding="same"),
        L.UpSampling2D(2),
        L.ZeroPadding2D(1),
        L.Flatten(),
        L.Dense(4),
    ]


def sequence():
    return [
        L.Input((12, 4)),
        L.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="relu"),
        L.MaxPooling1D(2),
        L.GlobalMaxPooling1D(),
        L.Dense(4),
    ]


def lstm():
    return [L.Input((7,), dtype="int32"), L.Embedding(20, 6), L.LSTM(8), L.Dense(4)]


def gru():
    return [L.Input((7, 5)), L.Bidirectional(L.GRU(6)), L.Dense(4)]


def volume():
    return [
        L.Input((6, 6, 6, 2)),
        L.Conv3D(4, 3, activation="relu"),
        L.MaxPooling3D(2),
        L.Flatten(),
        L.Dense(4),
    ]


def _transformer(causal):
    x = inputs = L.Input((6, 8))
    y = L.LayerNormalization(epsilon=1e-5)(x)
    x = x + L.MultiHeadAttention(2, 4)(y, y, use_causal_mask=causal)
    x = x + L.Dense(8)(L.Dense(16, activation="gelu")(L.LayerNormalization()(x)))
    return keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling1D()(x)))


def transformer():
    return _transformer(False)


def causal_transformer():
    return _transformer(True)


def residual():
    x = inputs = L.Input((8, 8, 4))
    for _ in range(2):
        y = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x)))
        x = L.Add()([x, y])
    x = L.Concatenate()([x, inputs])
    return keras.Model(inputs, L.Dense(4)(L.Flatten()(x)))


def channels_first():
    options = {"padding": "same", "data_format": "channels_first"}
    x = inputs = L.Input((4, 8, 8))
    for strides in (1, 2):
        y = L.Conv2D(6, 3, strides, activation="relu", **options)(x)
        y = L.Activation("relu")(L.BatchNormalization(axis=1)(y))
        scale = L.GlobalAveragePooling2D(data_format="channels_first", keepdims=True)(y)
        x = y * L.Conv2D(6, 1, activation="sigmoid", **options)(scale)
    y = L.Conv2DTranspose(2, 3, 2, **options)(x)
    y = L.MaxPooling2D(2, data_format="channels_first")(y)
    x = L.Concatenate(axis=1)([x, L.Conv2D(3, 3, use_bias=False, **options)(y)])
    return keras.Model(inputs, L.Dense(4)(L.Flatten()(x)))


MODELS = [
    mlp, activations, normalised, convnet, mobile, autoencoder, sequence, lstm, gru, volume,
    transformer, causal_transformer, residual, channels_first,
]  # fmt: skip


def draw_weights(model, rng) -> None:
    """Weights that depend on the generator alone, whatever the backend."""
    for w in model.weights:
        if "seed" not in w.path and "variance" not in w.path:
            fan = max(1, int(np.prod(w.shape[:-1])))
            w.assign(
                rng.standard_normal(w.shape) / np.sqrt(fan) if w.ndim > 1 else 0.1 + 0 * np.array(w)
            )


def losses(make, steps: int = 10) -> list[float]:
    """Ten losses of training from weights and data that depend on the model alone."""
    made = make()
    model = keras.Sequential(made) if isinstance(made, list) else made
    rng = np.random.default_rng(len(make.__name__))
    draw_weights(model, rng)
    shape = (16, *model.input_shape[1:])
    x = (
        rng.integers(0, 20, shape)
        if model.inputs[0].dtype == "int32"
        else rng.standard_normal(shape)
    )
    x = x.astype(model.inputs[0].dtype)
    y = rng.integers(0, 4, 16)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss)
    return [float(model.train_on_batch(x, y)) for _ in range(steps)]


if __name__ == "__main__":
    wanted = sys.argv[1:]
    results = {m.__name__: losses(m) for m in MODELS if not wanted or m.__name__ in wanted}
    print(json.dumps(results))
