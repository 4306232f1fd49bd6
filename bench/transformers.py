"""Models of the Transformer kind for bench/zoo.py, in the ways in which people write them: layers
of Keras, their masks and dropout, or products and a softmax of their own."""

from __future__ import annotations

VOCABULARY = 5000


def _block(layers, x, heads: int, causal: bool = False):
    """A block of a Transformer that normalises first."""
    width = x.shape[-1]
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(heads, width // heads)(y, y, use_causal_mask=causal)
    y = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization()(x))
    return x + layers.Dense(width)(y)


def _positions(layers, x):
    """Adds an embedding of positions, which is learned."""

    class Positions(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=shape[1:], initializer="uniform")

        def call(self, x):
            return x + self.table

    return Positions()(x)


def vit(layers):
    import keras

    x = inputs = layers.Input((224, 224, 3))
    x = layers.Reshape((196, 192))(layers.Conv2D(192, 16, 16)(x))
    x = _positions(layers, x)
    for _ in range(6):
        x = _block(layers, x, 3)
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(inputs, layers.Dense(10)(x))


def gpt(layers):
    import keras

    inputs = layers.Input((128,), dtype="int32")
    x = _positions(layers, layers.Embedding(VOCABULARY, 256)(inputs))
    for _ in range(4):
        x = _block(layers, x, 8, causal=True)
    return keras.Model(inputs, layers.Dense(VOCABULARY)(layers.LayerNormalization()(x)))


def mixer(layers):
    import keras

    x = inputs = layers.Input((64, 64, 3))
    x = layers.Reshape((64, 128))(layers.Conv2D(128, 8, 8)(x))
    for _ in range(4):
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(64)(layers.Dense(256, activation="gelu")(y))
        x = x + layers.Permute((2, 1))(y)
        y = layers.LayerNormalization()(x)
        x = x + layers.Dense(128)(layers.Dense(512, activation="gelu")(y))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def _padded(tokens):
    """Zeros behind a third of the tokens up to all of them, which differs from row to row."""
    from keras import ops

    length = tokens.shape[1]
    lengths = length // 3 + tokens[:, :1] % (length - length // 3)
    return ops.where(lengths > ops.arange(length), tokens, 0)


def _dropped_block(layers, x, heads: int, normal_first: bool, **options):
    """A block with dropout wherever BERT and GPT-2 have it."""
    width = x.shape[-1]

    def residual(x, inner):
        y = inner(layers.LayerNormalization()(x) if normal_first else x)
        x = x + layers.Dropout(0.1)(y)
        return x if normal_first else layers.LayerNormalization()(x)

    attend = layers.MultiHeadAttention(heads, width // heads, dropout=0.1)
    x = residual(x, lambda y: attend(y, y, **options))
    return residual(x, lambda y: layers.Dense(width)(layers.Dense(4 * width, "gelu")(y)))


def bert(layers):
    """A mask of padded tokens, types of tokens, normalisation behind each residual."""
    import keras

    inputs = layers.Input((128,), dtype="int32")
    tokens = _padded(inputs)
    x = layers.Embedding(VOCABULARY, 256)(tokens) + layers.Embedding(2, 256)(inputs % 2)
    x = layers.Dropout(0.1)(layers.LayerNormalization()(_positions(layers, x)))
    options = {"attention_mask": (tokens != 0)[:, None, :]}
    for _ in range(4):
        x = _dropped_block(layers, x, 4, normal_first=False, **options)
    return keras.Model(inputs, layers.Dense(10)(layers.Dense(256, "tanh")(x[:, 0])))


def gpt2(layers):
    """A causal mask beside one of padding, which is given."""
    import keras

    inputs = layers.Input((128,), dtype="int32")
    tokens = _padded(inputs)
    x = layers.Dropout(0.1)(_positions(layers, layers.Embedding(VOCABULARY, 256)(tokens)))
    options = {"attention_mask": (tokens != 0)[:, None, :], "use_causal_mask": True}
    for _ in range(4):
        x = _dropped_block(layers, x, 4, normal_first=True, **options)
    return keras.Model(inputs, layers.Dense(VOCABULARY)(layers.LayerNormalization()(x)))


def _rms(layers, x):
    return layers.RMSNormalization()(x)


def _t5_bias(layers, length: int, heads: int, causal: bool):
    """A layer that adds to scores a weight for each head and each distance up to 16."""
    import numpy as np
    from keras import ops

    distance = np.arange(length)[None] - np.arange(length)[:, None]
    buckets = np.clip(distance, -16, 15).astype("int32") + 16

    class Bias(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(32, heads), initializer="uniform")

        def call(self, scores):
            bias = ops.transpose(ops.take(self.table, buckets, axis=0), (2, 0, 1))[None]
            bias = bias + np.where(distance > 0, -1e9, 0).astype("float32") if causal else bias
            return scores + bias

    return Bias()


def _t5_attention(layers, x, states, heads: int, bias=None, mask=None):
    """KerasHub's T5: scores without a scale, to which biases of positions and a mask are added."""
    from keras import ops

    width = x.shape[-1]

    def split(x):
        x = layers.Dense(width, use_bias=False)(x)
        return ops.reshape(x, (-1, x.shape[1], heads, width // heads))

    q, k, v = split(x), split(states), split(states)
    scores = ops.einsum("bqnd,bknd->bnqk", q, k)
    if bias is not None:
        scores = bias(scores)
    if mask is not None:
        scores = scores + (1.0 - ops.cast(mask, "float32")) * -1e9
    weights = layers.Dropout(0.1)(ops.softmax(scores, axis=-1))
    y = ops.reshape(ops.einsum("bnqk,bknd->bqnd", weights, v), (-1, x.shape[1], width))
    return layers.Dense(width, use_bias=False)(y)


def t5(layers):
    """An encoder and a decoder that attends to it, of 64 tokens each."""
    import keras

    inputs = layers.Input((128,), dtype="int32")
    embedding, heads = layers.Embedding(VOCABULARY, 256), 4
    source, target = _padded(inputs[:, :64]), inputs[:, 64:]
    mask = (source != 0)[:, None, None, :]

    def forward(x):
        return x + layers.Dense(256)(layers.Dense(1024, "relu")(_rms(layers, x)))

    x, bias = embedding(source), _t5_bias(layers, 64, heads, causal=False)
    for _ in range(2):
        y = _rms(layers, x)
        x = forward(x + _t5_attention(layers, y, y, heads, bias, mask))
    states = _rms(layers, x)
    x, bias = embedding(target), _t5_bias(layers, 64, heads, causal=True)
    for _ in range(2):
        y = _rms(layers, x)
        x = x + _t5_attention(layers, y, y, heads, bias)
        x = forward(x + _t5_attention(layers, _rms(layers, x), states, heads, None, mask))
    return keras.Model(inputs, layers.Dense(VOCABULARY)(_rms(layers, x)))


def _rotated(x):
    """[batch, length, heads, size] turned by angles that grow with the position."""
    import numpy as np
    from keras import ops

    _, length, _, size = x.shape
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, size, 2) / size)
    angles = np.concatenate([angles, angles], -1)[:, None].astype("float32")
    first, second = ops.split(x, 2, axis=-1)
    return x * np.cos(angles) + ops.concatenate([-second, first], -1) * np.sin(angles)


def llama(layers):
    """Rotated queries and keys, keys for groups of heads, a gate of silu, and no biases."""
    import keras
    from keras import ops

    inputs = layers.Input((128,), dtype="int32")
    x, heads, groups, size = layers.Embedding(VOCABULARY, 256)(inputs), 8, 2, 32

    def project(x, n):
        return layers.EinsumDense("bsd,dnh->bsnh", (128, n, size))(x)

    for _ in range(4):
        y = _rms(layers, x)
        q, k, v = _rotated(project(y, heads)), _rotated(project(y, groups)), project(y, groups)
        y = ops.dot_product_attention(q, k, v, is_causal=True)
        x = x + layers.EinsumDense("bsnh,nhd->bsd", (None, 256))(y)
        y = _rms(layers, x)
        gate, up = (layers.Dense(704, a, use_bias=False)(y) for a in ("silu", None))
        x = x + layers.Dense(256, use_bias=False)(gate * up)
    return keras.Model(inputs, layers.Dense(VOCABULARY, use_bias=False)(_rms(layers, x)))


def lora(layers):
    """A GPT whose dense layers and projections are trained by factors of rank 8."""
    model = gpt(layers)
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            layer.enable_lora(8)
        elif isinstance(layer, layers.MultiHeadAttention):
            for projection in (layer.query_dense, layer.value_dense):
                projection.enable_lora(8)
        else:
            layer.trainable = False
    return model


def linear(layers):
    """Performer's attention, by products of positive features, with no softmax of scores."""
    import keras
    from keras import ops

    inputs = layers.Input((512,), dtype="int32")
    x, heads, size = layers.Embedding(VOCABULARY, 128)(inputs), 4, 32
    for _ in range(4):
        y = layers.LayerNormalization()(x)
        q, k, v = (layers.EinsumDense("bsd,dnh->bsnh", (None, heads, size))(y) for _ in range(3))
        q, k = ops.relu(q) + 1e-3, ops.relu(k) + 1e-3
        values = ops.einsum("bsnh,bsnv->bnhv", k, v)
        total = ops.einsum("bsnh,bnh->bsn", q, ops.sum(k, axis=1))
        y = ops.einsum("bsnh,bnhv->bsnv", q, values) / total[..., None]
        x = x + layers.EinsumDense("bsnh,nhd->bsd", (None, 128))(y)
        y = layers.Dense(512, "gelu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(128)(y)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


# How to build each, and its batch.
MODELS = {
    "vit": (vit, 8),
    "gpt": (gpt, 8),
    "mixer": (mixer, 64),
    "bert": (bert, 16),
    "gpt2": (gpt2, 8),
    "t5": (t5, 16),
    "llama": (llama, 8),
    "lora": (lora, 8),
    "linear": (linear, 8),
}
