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


def resnet20(layers):
    """The residual network for 32x32 images."""
    import keras

    def unit(x, width, strides=1):
        x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = layers.Input((32, 32, 3))
    x = layers.ReLU()(unit(inputs, 16))
    for width in (16, 32, 64):
        for i in range(3):
            strides = 2 if width > 16 and i == 0 else 1
            y = unit(layers.ReLU()(unit(x, width, strides)), width)
            if x.shape[-1] != width:
                x = layers.Conv2D(width, 1, strides)(x)
            x = layers.ReLU()(x + y)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def gan(layers):
    """A generator of images, and what tells them from others, in a row."""
    body = [layers.Input((128,)), layers.Dense(8 * 8 * 128), layers.Reshape((8, 8, 128))]
    for width in (256, 128, 64):
        body += [layers.Conv2DTranspose(width, 4, 2, padding="same", use_bias=False)]
        body += [layers.BatchNormalization(), layers.LeakyReLU(0.2)]
    body += [layers.Conv2D(3, 5, padding="same", activation="sigmoid")]
    for width in (64, 128, 128):
        body += [layers.Conv2D(width, 4, 2, padding="same"), layers.LeakyReLU(0.2)]
    return [*body, layers.Flatten(), layers.Dropout(0.2), layers.Dense(10)]


def super_resolution(layers):
    """Residual blocks without norms, then channels become pixels."""
    import keras

    inputs = layers.Input((48, 48, 3))
    x = first = layers.Conv2D(64, 3, padding="same")(inputs)
    for _ in range(6):
        y = layers.Conv2D(64, 3, padding="same", activation="relu")(x)
        x = x + layers.Conv2D(64, 3, padding="same")(y)
    x = layers.Conv2D(4 * 64, 3, padding="same")(x + first)
    x = layers.Permute((1, 3, 2, 4, 5))(layers.Reshape((48, 48, 2, 2, 64))(x))
    x = layers.Reshape((96, 96, 64))(x)
    return keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(x))


def deeplab(layers):
    """Segmentation: dilated convolutions side by side, upsampling between pixels."""
    import keras

    def unit(x, width, size=3, strides=1, rate=1):
        options = {"dilation_rate": rate, "padding": "same", "use_bias": False}
        x = layers.Conv2D(width, size, strides, **options)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    inputs = layers.Input((128, 128, 3))
    low = unit(unit(inputs, 32, strides=2), 64, strides=2)
    x = unit(unit(low, 128, strides=2), 128)
    for rate in (2, 4):
        x = x + unit(unit(x, 128, rate=rate), 128, rate=rate)
    pooled = unit(layers.GlobalAveragePooling2D(keepdims=True)(x), 128, 1)
    pooled = layers.UpSampling2D(16, interpolation="bilinear")(pooled)
    branches = [unit(x, 128, 1), *[unit(x, 128, rate=rate) for rate in (3, 6, 9)], pooled]
    x = unit(layers.Concatenate()(branches), 128, 1)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = unit(unit(layers.Concatenate()([x, unit(low, 48, 1)]), 128), 128)
    x = layers.UpSampling2D(4, interpolation="bilinear")(x)
    return keras.Model(inputs, layers.Conv2D(10, 1)(x))


def convlstm(layers):
    """Keras's example of the next frame, smaller."""
    body = []
    for size in (5, 3, 1):
        body += [layers.ConvLSTM2D(32, size, padding="same", return_sequences=True)]
        body += [layers.BatchNormalization()]
    return [layers.Input((10, 32, 32, 1)), *body, layers.Conv3D(2, 3, padding="same")]


def audio(layers):
    """Separable convolutions over a spectrogram."""
    body = [layers.Input((400, 64)), layers.Conv1D(128, 5, 2, padding="same")]
    for width in (128, 192, 256):
        body += [layers.SeparableConv1D(width, 9, padding="same", use_bias=False)]
        body += [layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling1D(2)]
    return [*body, layers.GlobalAveragePooling1D(), layers.Dropout(0.2), layers.Dense(10)]


def dropped_lstm(layers):
    """Two recurrent layers over masked text, with both dropouts."""
    options = {"dropout": 0.2, "recurrent_dropout": 0.2}
    return [
        layers.Input((80,), dtype="int32"),
        layers.Embedding(VOCABULARY, 128, mask_zero=True),
        layers.LSTM(128, return_sequences=True, **options),
        layers.LSTM(128, **options),
        layers.Dense(10),
    ]


def translation(layers):
    """An encoder's last state starts a decoder."""
    import keras

    source, target = (layers.Input((30,), dtype="int32") for _ in range(2))
    x, y = (layers.Embedding(VOCABULARY, 128, mask_zero=True)(t) for t in (source, target))
    _, *state = layers.LSTM(256, return_state=True)(x)
    y = layers.LSTM(256, return_sequences=True)(y, initial_state=state)
    return keras.Model([source, target], layers.Dense(VOCABULARY)(y))


def graph(layers):
    """A network over a graph: sums of what neighbours send; classes of edges."""
    import keras

    class Network(layers.Layer):
        def __init__(self):
            super().__init__()
            self.nodes = layers.Embedding(VOCABULARY, 64)
            self.sends, self.gets = ([layers.Dense(64, "relu") for _ in range(2)] for _ in "sg")

        def call(self, edges):
            ops, source, target = keras.ops, edges[:, 0], edges[:, 1]
            x = self.nodes(ops.arange(VOCABULARY))
            for send, get in zip(self.sends, self.gets):
                sent = ops.take(send(x), source, axis=0)
                got = ops.segment_sum(sent, target, num_segments=VOCABULARY)
                x = get(ops.concatenate([x, got], axis=1))
            return ops.concatenate([ops.take(x, at, axis=0) for at in (source, target)], axis=1)

    edges = layers.Input((2,), dtype="int32")
    return keras.Model(edges, layers.Dense(10)(Network()(edges)))


def vae(layers):
    """Keras's variational autoencoder; a layer draws and adds the divergence."""
    import keras

    class Draw(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed = keras.random.SeedGenerator(0)

        def call(self, mean, log_variance):
            ops = keras.ops
            divergence = ops.exp(log_variance) + ops.square(mean) - 1 - log_variance
            self.add_loss(0.5 * ops.mean(ops.sum(divergence, axis=1)))
            noise = keras.random.normal(ops.shape(mean), seed=self.seed)
            return mean + ops.exp(0.5 * log_variance) * noise

    x = inputs = layers.Input((28, 28, 1))
    for width in (32, 64):
        x = layers.Conv2D(width, 3, 2, padding="same", activation="relu")(x)
    x = layers.Dense(16, "relu")(layers.Flatten()(x))
    x = Draw()(layers.Dense(2)(x), layers.Dense(2)(x))
    x = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64, "relu")(x))
    for width in (64, 32):
        x = layers.Conv2DTranspose(width, 3, 2, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv2DTranspose(2, 3, padding="same")(x))


def values(layers):
    """What a policy asks for each of its steps, one state at a time."""
    return [layers.Input((4,)), *[layers.Dense(64, "relu") for _ in range(2)], layers.Dense(2)]


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
    "vgg16": (application("VGG16"), 4),
    "inceptionv3": (application("InceptionV3"), 4),
    "mobilenetv3small": (application("MobileNetV3Small"), 8),
    "mobilenetv3large": (application("MobileNetV3Large"), 8),
    "nasnetmobile": (application("NASNetMobile"), 8),
    "efficientnetv2b0": (application("EfficientNetV2B0"), 8),
    "resnet20": (resnet20, 128),
    "gan": (gan, 32),
    "super_resolution": (super_resolution, 8),
    "deeplab": (deeplab, 8),
    "convlstm": (convlstm, 8),
    "audio": (audio, 32),
    "dropped_lstm": (dropped_lstm, 64),
    "translation": (translation, 64),
    "graph": (graph, 16384),
    "vae": (vae, 128),
    "values": (values, 1),
}
