"""Models beyond the six of bench/models.py: those that people train, each small enough for a CPU.

Importing this file imports nothing of ours and no other library. `MODELS` says how to build each,
given `keras.layers`, and its batch; bench/models.py and bench/turns.py take these names as well.
"""

from __future__ import annotations

from bench import transformers
from bench.transformers import VOCABULARY


def unet(layers):
    """Keras's example of segmentation: Xception's blocks down, transposed convolutions up."""
    import keras

    def unit(x, convolution, width):
        x = convolution(width, 3, padding="same")(layers.Activation("relu")(x))
        return layers.BatchNormalization()(x)

    inputs = layers.Input((160, 160, 3))
    x = layers.Conv2D(32, 3, 2, padding="same")(inputs)
    x = before = layers.Activation("relu")(layers.BatchNormalization()(x))
    for width in (64, 128, 256):
        for _ in range(2):
            x = unit(x, layers.SeparableConv2D, width)
        x = layers.MaxPooling2D(3, 2, padding="same")(x)
        x = before = x + layers.Conv2D(width, 1, 2, padding="same")(before)
    for width in (256, 128, 64, 32):
        for _ in range(2):
            x = unit(x, layers.Conv2DTranspose, width)
        x = layers.UpSampling2D(2)(x)
        residual = layers.Conv2D(width, 1, padding="same")(layers.UpSampling2D(2)(before))
        x = before = x + residual
    return keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(x))


def autoencoder(layers):
    return [
        layers.Input((64, 64, 3)),
        *[layers.Conv2D(n, 3, 2, padding="same", activation="relu") for n in (32, 64, 128)],
        *[layers.Conv2DTranspose(n, 3, 2, padding="same", activation="relu") for n in (64, 32)],
        layers.Conv2DTranspose(3, 3, 2, padding="same"),
    ]


def wavenet(layers):
    """Causal convolutions of doubling dilation with gates, residuals and skips."""
    import keras

    inputs = layers.Input((1024, 1))
    x, skips = layers.Conv1D(32, 2, padding="causal")(inputs), []
    for i in range(8):
        options = {"padding": "causal", "dilation_rate": 2**i}
        gate = layers.Conv1D(32, 2, activation="sigmoid", **options)(x)
        y = layers.Conv1D(32, 2, activation="tanh", **options)(x) * gate
        skips.append(layers.Conv1D(32, 1)(y))
        x = x + skips[-1]
    x = layers.Conv1D(64, 1, activation="relu")(layers.Activation("relu")(layers.Add()(skips)))
    return keras.Model(inputs, layers.Conv1D(64, 1)(x))


def tcn(layers):
    import keras

    x = inputs = layers.Input((256, 16))
    for i in range(6):
        y = x
        for _ in range(2):
            y = layers.Conv1D(64, 3, padding="causal", dilation_rate=2**i, activation="relu")(y)
            y = layers.SpatialDropout1D(0.1)(layers.LayerNormalization()(y))
        x = (x if x.shape[-1] == 64 else layers.Conv1D(64, 1)(x)) + y
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def conv3d(layers):
    """Keras's example of scans, of half the size."""
    body = []
    for width in (32, 32, 64):
        body += [layers.Conv3D(width, 3, activation="relu"), layers.MaxPooling3D(2)]
        body += [layers.BatchNormalization()]
    end = [layers.GlobalAveragePooling3D(), layers.Dense(128, "relu"), layers.Dense(10)]
    return [layers.Input((40, 48, 48, 1)), *body, *end]


def textconv(layers):
    return [
        layers.Input((200,), dtype="int32"),
        layers.Embedding(VOCABULARY, 128),
        layers.Dropout(0.2),
        layers.Conv1D(128, 7, activation="relu"),
        layers.Conv1D(128, 7, strides=3, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(128, "relu"),
        layers.Dense(10),
    ]


def gru(layers):
    return [
        layers.Input((80,), dtype="int32"),
        layers.Embedding(VOCABULARY, 128),
        layers.GRU(128, return_sequences=True),
        layers.GRU(128),
        layers.Dense(10),
    ]


def bidirectional(layers):
    return [
        layers.Input((80,), dtype="int32"),
        layers.Embedding(VOCABULARY, 128),
        layers.Bidirectional(layers.LSTM(64, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(64)),
        layers.Dense(10),
    ]


def dlrm(layers):
    """Embeddings of 26 columns and products of all pairs, beside 13 numbers."""
    import keras

    numbers, columns = layers.Input((13,)), layers.Input((26,), dtype="int32")
    dense = numbers
    for width in (256, 64, 16):
        dense = layers.Dense(width, "relu")(dense)
    rows = [layers.Embedding(VOCABULARY, 16)(columns[:, i]) for i in range(26)]
    rows = keras.ops.stack([dense, *rows], axis=1)
    pairs = layers.Flatten()(layers.Dot(axes=2)([rows, rows]))
    x = layers.Concatenate()([dense, pairs])
    for width in (256, 128):
        x = layers.Dense(width, "relu")(x)
    return keras.Model([numbers, columns], layers.Dense(10)(x))


def wide_deep(layers):
    """Linear in crosses of columns, beside a network of their embeddings."""
    import keras

    numbers, columns = layers.Input((8,)), layers.Input((10,), dtype="int32")
    pairs = [(i, i + 1) for i in range(0, 10, 2)]
    crosses = [(71 * columns[:, i] + columns[:, j]) % 1000 for i, j in pairs]
    wide = [layers.Embedding(1000, 10)(cross) for cross in crosses]
    deep = [layers.Flatten()(layers.Embedding(VOCABULARY, 16)(columns)), numbers]
    x = layers.Concatenate()(deep)
    for width in (256, 128):
        x = layers.Dropout(0.2)(layers.BatchNormalization()(layers.Dense(width, "relu")(x)))
    return keras.Model([numbers, columns], layers.Add()([*wide, layers.Dense(10)(x)]))


def pointnet(layers):
    """Keras's example, with its transforms of points and of features."""
    import keras

    def unit(layer, x):
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layer(x)))

    def transform(x):
        y, size = x, x.shape[-1]
        for width in (32, 64, 512):
            y = unit(layers.Conv1D(width, 1, padding="valid"), y)
        y = layers.GlobalMaxPooling1D()(y)
        for width in (256, 128):
            y = unit(layers.Dense(width), y)
        y = layers.Dense(size * size, kernel_initializer="zeros")(y)
        return layers.Dot(axes=(2, 1))([x, layers.Reshape((size, size))(y)])

    inputs = layers.Input((2048, 3))
    x = transform(inputs)
    for width in (32, 32):
        x = unit(layers.Conv1D(width, 1), x)
    x = transform(x)
    for width in (32, 64, 512):
        x = unit(layers.Conv1D(width, 1), x)
    x = layers.GlobalMaxPooling1D()(x)
    for width in (256, 128):
        x = layers.Dropout(0.3)(unit(layers.Dense(width), x))
    return keras.Model(inputs, layers.Dense(10)(x))


def channels_first(layers):
    """A residual network whose images have their channels first."""
    import keras

    options = {"padding": "same", "data_format": "channels_first", "use_bias": False}

    def unit(x, width, strides=1):
        x = layers.Conv2D(width, 3, strides, **options)(x)
        return layers.Activation("relu")(layers.BatchNormalization(axis=1)(x))

    inputs = layers.Input((3, 64, 64))
    x = unit(inputs, 32)
    for width in (32, 64, 128):
        y = unit(unit(x, width, 1 if width == 32 else 2), width)
        x = y + layers.Conv2D(width, 1, 1 if width == 32 else 2, **options)(x)
    x = layers.MaxPooling2D(2, data_format="channels_first")(x)
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    return keras.Model(inputs, layers.Dense(10)(x))


def application(name: str, size: int = 224):
    """One of keras.applications with 10 classes and no softmax."""

    def make(layers):
        import keras

        architecture = getattr(keras.applications, name)
        options = {"weights": None, "classes": 10, "classifier_activation": None}
        return architecture(input_shape=(size, size, 3), **options)

    return make


# How to build each, and its batch.
MODELS = transformers.MODELS | {
    "unet": (unet, 8),
    "efficientnetb0": (application("EfficientNetB0"), 8),
    "densenet121": (application("DenseNet121"), 8),
    "convnext_tiny": (application("ConvNeXtTiny"), 4),
    "xception": (application("Xception", 160), 8),
    "gru": (gru, 64),
    "bidirectional": (bidirectional, 64),
    "autoencoder": (autoencoder, 64),
    "wavenet": (wavenet, 8),
    "tcn": (tcn, 32),
    "conv3d": (conv3d, 8),
    "textconv": (textconv, 64),
    "dlrm": (dlrm, 256),
    "wide_deep": (wide_deep, 256),
    "pointnet": (pointnet, 16),
    "channels_first": (channels_first, 16),
}
