"""Small versions of models from Keras's guides, on made-up data; run as a script it trains each for
some steps on the backend of the environment and prints the losses as JSON: {model: [losses]}.

Each function returns (model, inputs, targets, loss): a model that builds its own loss has None.
"""

import functools
import json
import sys

import numpy as np
import zoo
from zoo import L, keras

ops = keras.ops
STEPS = 8
BATCH = 6
RNG = np.random.default_rng(0)


def _normal(*dims):
    return RNG.standard_normal((BATCH, *dims)).astype("float32")


def _integers(count, *dims):
    return RNG.integers(0, count, (BATCH, *dims)).astype("int32")


def unet():
    """Segmentation: separable convolutions with residuals down, transposed ones up."""
    x = inputs = L.Input((16, 16, 3))
    x = before = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(8, 3, 2, padding="same")(x)))
    for filters in (8, 12):
        for _ in range(2):
            x = L.SeparableConv2D(filters, 3, padding="same")(L.Activation("relu")(x))
            x = L.BatchNormalization()(x)
        x = L.MaxPooling2D(3, strides=2, padding="same")(x)
        x = before = x + L.Conv2D(filters, 1, strides=2, padding="same")(before)
    for filters in (12, 8, 8):
        for _ in range(2):
            x = L.Conv2DTranspose(filters, 3, padding="same")(L.Activation("relu")(x))
            x = L.BatchNormalization()(x)
        x = L.UpSampling2D(2)(x)
        x = before = x + L.Conv2D(filters, 1, padding="same")(L.UpSampling2D(2)(before))
    outputs = L.Conv2D(3, 3, activation="softmax", padding="same")(x)
    loss = "sparse_categorical_crossentropy"
    return keras.Model(inputs, outputs), _normal(16, 16, 3), _integers(3, 16, 16), loss


class Quantizer(L.Layer):
    """The nearest of a table of vectors; the gradient goes straight through."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def build(self, shape):
        self.table = self.add_weight((shape[-1], self.count), "random_uniform", name="table")

    def call(self, x):
        flat = ops.reshape(x, (-1, ops.shape(x)[-1]))
        distances = (
            ops.sum(flat**2, axis=1, keepdims=True)
            + ops.sum(self.table**2, axis=0)
            - 2 * ops.matmul(flat, self.table)
        )
        chosen = ops.one_hot(ops.argmin(distances, axis=1), self.count)
        found = ops.reshape(ops.matmul(chosen, ops.transpose(self.table)), ops.shape(x))
        self.add_loss(0.25 * ops.mean((ops.stop_gradient(found) - x) ** 2))
        self.add_loss(ops.mean((found - ops.stop_gradient(x)) ** 2))
        return x + ops.stop_gradient(found - x)


def vq_vae():
    inputs = L.Input((12, 12, 1))
    x = L.Conv2D(8, 3, activation="relu", strides=2, padding="same")(inputs)
    x = L.Conv2D(4, 1, padding="same")(L.Conv2D(8, 3, 2, padding="same", activation="relu")(x))
    x = Quantizer(10)(x)
    x = L.Conv2DTranspose(8, 3, activation="relu", strides=2, padding="same")(x)
    x = L.Conv2DTranspose(8, 3, activation="relu", strides=2, padding="same")(x)
    outputs = L.Conv2DTranspose(1, 3, padding="same")(x)
    x = _normal(12, 12, 1)
    return keras.Model(inputs, outputs), x, x, "mse"


class MaskedConv2D(L.Layer):
    """A convolution that sees what is above and to the left."""

    def __init__(self, filters, size, centre):
        super().__init__()
        self.convolution = L.Conv2D(filters, size, padding="same")
        self.size, self.centre = size, centre

    def build(self, shape):
        self.convolution.build(shape)
        seen = np.zeros(self.convolution.kernel.shape, "float32")
        middle = self.size // 2
        seen[:middle] = 1
        seen[middle, : middle + self.centre] = 1
        self.seen = ops.convert_to_tensor(seen)

    def call(self, x):
        kernel = self.convolution.kernel * self.seen
        return ops.conv(x, kernel, padding="same") + self.convolution.bias


def pixel_cnn():
    """The prior of codes of a VQ-VAE."""
    inputs = L.Input((6, 6), dtype="int32")
    x = ops.one_hot(inputs, 5)
    x = ops.relu(MaskedConv2D(12, 5, False)(x))
    for _ in range(2):
        x = x + ops.relu(MaskedConv2D(12, 3, True)(ops.relu(L.Conv2D(12, 1)(x))))
    codes = _integers(5, 6, 6)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.Model(inputs, L.Conv2D(5, 1)(x)), codes, codes, loss


def _time_embedding(width, steps):
    frequencies = np.exp(np.arange(width // 2) * -(np.log(1e4) / (width // 2 - 1)))
    angles = ops.cast(steps, "float32")[:, None] * frequencies.astype("float32")
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


class SpatialAttention(L.Layer):
    """Attention of each place of an image to all others, by einsum."""

    def __init__(self, units):
        super().__init__()
        self.norm = L.GroupNormalization(4)
        self.query, self.key, self.value, self.out = (L.Dense(units) for _ in range(4))
        self.units = units

    def call(self, x):
        height, width = x.shape[1:3]
        y = self.norm(x)
        query, key, value = self.query(y), self.key(y), self.value(y)
        scores = ops.einsum("bhwc,bHWc->bhwHW", query, key) * self.units**-0.5
        scores = ops.reshape(scores, (-1, height, width, height * width))
        scores = ops.reshape(ops.softmax(scores), (-1, height, width, height, width))
        return x + self.out(ops.einsum("bhwHW,bHWc->bhwc", scores, value))


def _residual(x, time, units):
    shortcut = x if x.shape[-1] == units else L.Conv2D(units, 1)(x)
    x = L.Conv2D(units, 3, padding="same")(ops.silu(L.GroupNormalization(4)(x)))
    x = x + L.Dense(units)(ops.silu(time))[:, None, None, :]
    return shortcut + L.Conv2D(units, 3, padding="same")(ops.silu(L.GroupNormalization(4)(x)))


def ddpm():
    """Denoising diffusion: a network that is told the time and predicts the noise."""
    noised, steps = L.Input((8, 8, 2)), L.Input((), dtype="int32")
    time = L.Dense(16, "silu")(L.Lambda(functools.partial(_time_embedding, 8))(steps))
    x = L.Conv2D(8, 3, padding="same")(noised)
    skips = [x]
    for level, units in enumerate((8, 12)):
        x = _residual(x, time, units)
        x = SpatialAttention(units)(x) if level else x
        skips.append(x)
        x = L.Conv2D(units, 3, strides=2, padding="same")(x)
    x = _residual(SpatialAttention(12)(_residual(x, time, 12)), time, 12)
    for units in (12, 8):
        x = L.Conv2D(units, 3, padding="same")(L.UpSampling2D(2, interpolation="nearest")(x))
        x = _residual(ops.concatenate([x, skips.pop()], axis=-1), time, units)
    outputs = L.Conv2D(2, 3, padding="same")(ops.silu(L.GroupNormalization(4)(x)))
    noise, when = _normal(8, 8, 2), _integers(50)
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 50))[when][:, None, None, None]
    x = (np.sqrt(kept) * _normal(8, 8, 2) + np.sqrt(1 - kept) * noise).astype("float32")
    return keras.Model([noised, steps], outputs), [x, when], noise, "mse"


class Critic(keras.Model):
    """A Wasserstein GAN's critic: its loss has the norm of its own gradient by the input."""

    def _slope(self, x):
        def total(x):
            return ops.sum(self(x))

        if keras.backend.backend() == "jax":
            import jax

            return jax.grad(total)(x)
        import keras_native

        return keras_native.grad(total)(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        slope = self._slope((x + y) / 2)
        norm = ops.sqrt(ops.sum(ops.square(slope), axis=(1, 2, 3)))
        penalty = 10.0 * ops.mean(ops.square(norm - 1.0))
        return ops.mean(self(y)) - ops.mean(y_pred) + penalty


def wgan_gp():
    x = inputs = L.Input((8, 8, 2))
    for filters in (6, 8):
        x = L.LeakyReLU(0.2)(L.Conv2D(filters, 5, strides=2, padding="same")(x))
    outputs = L.Dense(1)(L.Flatten()(x))
    return Critic(inputs, outputs), _normal(8, 8, 2), _normal(8, 8, 2), None


class Flow(keras.Model):
    """RealNVP: couplings whose Jacobian is known; the loss is the likelihood."""

    def __init__(self):
        super().__init__()
        self.masks = np.array([[0, 1], [1, 0]] * 2, "float32")
        self.scales = [self._net("tanh") for _ in self.masks]
        self.shifts = [self._net(None) for _ in self.masks]

    @staticmethod
    def _net(activation):
        return keras.Sequential([L.Dense(12, "relu"), L.Dense(2, activation)])

    def build(self, shape):
        for net in (*self.scales, *self.shifts):
            net.build((None, 2))

    def call(self, x):
        logarithm = 0.0
        for mask, scale, shift in zip(self.masks, self.scales, self.shifts):
            seen = x * mask
            s, t = scale(seen) * (1 - mask), shift(seen) * (1 - mask)
            x = seen + (1 - mask) * (x * ops.exp(-s) - t * ops.exp(-s))
            logarithm = logarithm - ops.sum(s, axis=1)
        return x, logarithm

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        z, logarithm = y_pred
        return ops.mean(0.5 * ops.sum(z**2, axis=1) - logarithm)


def real_nvp():
    model = Flow()
    model.build((None, 2))
    return model, _normal(2), None, None


def vit():
    """Patches of an image as a sequence, a class token before them."""

    class Prepend(L.Layer):
        def build(self, shape):
            self.token = self.add_weight((1, 1, shape[-1]), name="token")
            self.places = L.Embedding(shape[1] + 1, shape[-1])
            self.places.build(())

        def call(self, x):
            token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
            x = ops.concatenate([token, x], axis=1)
            return x + self.places(ops.expand_dims(ops.arange(x.shape[1]), 0))

    inputs = L.Input((12, 12, 3))
    patches = ops.image.extract_patches(inputs, 4)
    x = Prepend()(L.Dense(8)(ops.reshape(patches, (-1, 9, 48))))
    for _ in range(2):
        y = L.LayerNormalization(epsilon=1e-6)(x)
        x = L.Add()([L.MultiHeadAttention(2, 4)(y, y), x])
        y = L.Dense(16, keras.activations.gelu)(L.LayerNormalization(epsilon=1e-6)(x))
        x = L.Add()([L.Dense(8)(y), x])
    outputs = L.Dense(4)(L.LayerNormalization(epsilon=1e-6)(x)[:, 0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.Model(inputs, outputs), _normal(12, 12, 3), _integers(4), loss


class WindowAttention(L.Layer):
    """Attention within windows of an image, shifted by rolling, with biases by distance."""

    def __init__(self, size, shift, heads=2):
        super().__init__()
        self.size, self.shift, self.heads = size, shift, heads

    def build(self, shape):
        size, units = self.size, shape[-1]
        self.qkv, self.out = L.Dense(3 * units), L.Dense(units)
        self.qkv.build(shape)
        self.out.build(shape)
        self.bias = self.add_weight(((2 * size - 1) ** 2, self.heads), name="bias")
        at = np.stack(np.meshgrid(range(size), range(size), indexing="ij")).reshape(2, -1)
        apart = at[:, :, None] - at[:, None, :] + size - 1
        self.apart = apart[0] * (2 * size - 1) + apart[1]

    def call(self, x):
        _, height, width, units = x.shape
        size, places = self.size, self.size**2
        x = ops.roll(x, (-self.shift, -self.shift), (1, 2))
        x = ops.reshape(x, (-1, height // size, size, width // size, size, units))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, places, units))
        qkv = ops.reshape(self.qkv(x), (-1, places, 3, self.heads, units // self.heads))
        query, key, value = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * units**-0.5
        bias = ops.reshape(ops.take(self.bias, self.apart.ravel(), axis=0), (places, places, -1))
        scores = ops.softmax(scores + ops.transpose(bias, (2, 0, 1))[None])
        x = ops.reshape(ops.transpose(ops.matmul(scores, value), (0, 2, 1, 3)), (-1, places, units))
        x = ops.reshape(self.out(x), (-1, height // size, width // size, size, size, units))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height, width, units))
        return ops.roll(x, (self.shift, self.shift), (1, 2))


def swin():
    inputs = L.Input((8, 8, 3))
    x = L.Dense(8)(inputs)
    for shift in (0, 2):
        x = x + WindowAttention(4, shift)(L.LayerNormalization()(x))
        x = x + L.Dense(8)(L.Dense(16, "gelu")(L.LayerNormalization()(x)))
    x = ops.concatenate([x[:, i::2, j::2] for j in range(2) for i in range(2)], axis=-1)
    outputs = L.Dense(4)(L.GlobalAveragePooling2D()(L.Dense(8, use_bias=False)(x)))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    y = np.eye(4, dtype="float32")[_integers(4)]
    return keras.Model(inputs, outputs), _normal(8, 8, 3), y, loss


def super_resolution():
    """Efficient sub-pixel convolutions."""
    x = inputs = L.Input((6, 6, 1))
    for filters in (12, 8, 9):
        x = L.Conv2D(filters, 3, padding="same", activation="tanh")(x)
    x = ops.reshape(x, (-1, 6, 6, 3, 3, 1))
    outputs = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 18, 18, 1))
    return keras.Model(inputs, outputs), _normal(6, 6, 1), _normal(18, 18, 1), "mse"


class Orthogonal(keras.regularizers.Regularizer):
    def __call__(self, x):
        x = ops.reshape(x, (-1, 3, 3))
        square = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        return 0.001 * ops.sum(ops.square(square - ops.eye(3)))


def point_net():
    """Sets of points, turned by a matrix that is learnt."""

    def block(x, kind, units):
        return L.Activation("relu")(L.BatchNormalization(momentum=0.0)(kind(units)(x)))

    def convolution(units):
        return L.Conv1D(units, 1)

    inputs = L.Input((20, 3))
    x = L.GlobalMaxPooling1D()(block(inputs, convolution, 8))
    x = L.Dense(9, activity_regularizer=Orthogonal())(block(x, L.Dense, 8))
    x = L.Dot(axes=(2, 1))([inputs, L.Reshape((3, 3))(x)])
    x = L.GlobalMaxPooling1D()(block(block(x, convolution, 8), convolution, 12))
    outputs = L.Dense(4, "softmax")(block(x, L.Dense, 8))
    loss = "sparse_categorical_crossentropy"
    return keras.Model(inputs, outputs), _normal(20, 3), _integers(4), loss


def captcha():
    """Convolutions, a reshape into a sequence, LSTMs both ways, and CTC."""
    inputs = L.Input((16, 8, 1))
    x = L.Conv2D(6, 3, activation="relu", padding="same")(inputs)
    x = L.Dense(8, "relu")(L.Reshape((8, 24))(L.MaxPooling2D(2)(x)))
    x = L.Bidirectional(L.LSTM(6, return_sequences=True))(x)
    outputs = L.Dense(5)(x)
    y = 1 + _integers(4, 3)
    return keras.Model(inputs, outputs), _normal(16, 8, 1), y, keras.losses.CTC()


class GraphAttention(L.Layer):
    """Attention of nodes to their neighbours, by sums over segments."""

    def __init__(self, edges, units):
        super().__init__()
        self.edges, self.units = edges, units

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], self.units), name="kernel")
        self.attend = self.add_weight((2 * self.units, 1), name="attend")

    def call(self, x):
        count = x.shape[0]
        x = ops.matmul(x, self.kernel)
        ends = ops.reshape(ops.take(x, self.edges, axis=0), (len(self.edges), -1))
        scores = ops.squeeze(ops.leaky_relu(ops.matmul(ends, self.attend)), -1)
        scores = ops.exp(ops.clip(scores, -2, 2))
        sums = ops.segment_sum(scores, self.edges[:, 0], count)
        scores = scores / ops.take(sums, self.edges[:, 0])
        x = ops.take(x, self.edges[:, 1], axis=0) * scores[:, None]
        return ops.segment_sum(x, self.edges[:, 0], count)


def graph_attention():
    edges = np.concatenate([np.stack([np.arange(BATCH)] * 2, 1), RNG.integers(0, BATCH, (14, 2))])
    inputs = L.Input(batch_shape=(BATCH, 7))
    x = ops.elu(GraphAttention(edges.astype("int32"), 8)(L.Dense(8, "relu")(inputs)))
    outputs = L.Dense(3)(ops.elu(GraphAttention(edges.astype("int32"), 8)(x) + x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.Model(inputs, outputs), _normal(7), _integers(3), loss


def next_frame():
    inputs = L.Input((None, 6, 6, 1))
    x = inputs
    for size in (3, 1):
        x = L.ConvLSTM2D(4, size, padding="same", return_sequences=True, activation="relu")(x)
        x = L.BatchNormalization()(x)
    outputs = L.Conv3D(1, 3, activation="sigmoid", padding="same")(x)
    x = 1 / (1 + np.exp(-_normal(5, 6, 6, 1)))
    return keras.Model(inputs, outputs), x[:, :-1], x[:, 1:], "binary_crossentropy"


class Siamese(keras.Model):
    """Three pictures through one network: what is alike shall be near."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        near, far = y_pred
        return ops.mean(ops.maximum(near - far + 0.5, 0.0))


def triplets():
    embed = keras.Sequential(
        [L.Conv2D(6, 3, 2, activation="relu"), L.Flatten(), L.Dense(8), L.UnitNormalization()]
    )
    inputs = [L.Input((8, 8, 1), name=name) for name in ("anchor", "positive", "negative")]
    anchor, positive, negative = map(embed, inputs)
    near, far = (ops.sum(ops.square(anchor - other), -1) for other in (positive, negative))
    return Siamese(inputs, [near, far]), [_normal(8, 8, 1) for _ in range(3)], None, None


GUIDES = [
    unet, vq_vae, pixel_cnn, ddpm, wgan_gp, real_nvp, vit, swin, super_resolution, point_net,
    captcha, graph_attention, next_frame, triplets,
]  # fmt: skip


def compiled(guide, **kwargs):
    """The model of a guide with weights and data that depend on the guide alone, ready to train.

    Returns:
        model, inputs, targets.
    """
    global RNG
    RNG = np.random.default_rng(len(guide.__name__))
    model, x, y, loss = guide()
    zoo.draw_weights(model, RNG)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss, **kwargs)
    return model, x, y


def losses(guide) -> list[float]:
    """The losses of some steps of training."""
    model, x, y = compiled(guide)
    return [float(model.train_on_batch(x, y)) for _ in range(STEPS)]


if __name__ == "__main__":
    wanted = sys.argv[1:]
    chosen = [g for g in GUIDES if not wanted or g.__name__ in wanted]
    print(json.dumps({g.__name__: losses(g) for g in chosen}, indent=1))
