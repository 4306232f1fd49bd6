"""A causal Transformer that continues text, trained on the topics of Python's `help()`."""

from pydoc_data.topics import topics

import keras
import numpy as np

from keras_native.tools.demo.result import Result

TITLE = "Text of the Python reference, causal Transformer"
LENGTH = 64
WIDTH = 128
HEADS = 4
BLOCKS = 2
BATCH = 16
EPOCHS = 10
STEPS = 100


@keras.saving.register_keras_serializable("keras_native_demo")
class TokenAndPosition(keras.layers.Layer):
    """The embedding of each character plus that of its place."""

    def __init__(self, vocabulary, length, width, **kwargs):
        super().__init__(**kwargs)
        self.sizes = {"vocabulary": vocabulary, "length": length, "width": width}
        self.token = keras.layers.Embedding(vocabulary, width)
        self.place = keras.layers.Embedding(length, width)

    def build(self, input_shape):
        self.token.build(input_shape)
        self.place.build(input_shape)
        self.built = True

    def call(self, x):
        return self.token(x) + self.place(keras.ops.arange(x.shape[1]))

    def get_config(self):
        return {**super().get_config(), **self.sizes}


def load():
    """Characters as integers, for training and held out, and the characters themselves."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    characters = sorted(set(text))
    numbers = {character: i for i, character in enumerate(characters)}
    codes = np.array([numbers[character] for character in text], "int32")
    split = int(0.9 * len(codes))
    return codes[:split], codes[split:], characters


def build(vocabulary: int) -> keras.Model:
    """About 430,000 weights: the next character's logits at each of LENGTH places."""
    layers = keras.layers
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = TokenAndPosition(vocabulary, LENGTH, WIDTH)(inputs)
    for _ in range(BLOCKS):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        x = x + layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y, use_causal_mask=True)
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        y = layers.Dense(4 * WIDTH, activation="gelu")(y)
        x = x + layers.Dense(WIDTH)(y)
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    model = keras.Model(inputs, layers.Dense(vocabulary)(x), name="text")
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4, EPOCHS * STEPS - 50, alpha=0.05, warmup_target=3e-3, warmup_steps=50
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


class Windows(keras.utils.PyDataset):
    """Random windows of a text and the same shifted by one character; new ones in every epoch."""

    def __init__(self, codes):
        super().__init__()
        self.codes = codes
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        starts = self.rng.integers(0, len(self.codes) - LENGTH - 1, BATCH)
        windows = self.codes[starts[:, None] + np.arange(LENGTH + 1)]
        return windows[:, :-1], windows[:, 1:]


def trigram_loss(train_codes, test_codes, vocabulary: int) -> float:
    """Nats a character of a trigram model, interpolated with bigrams and unigrams."""
    one = np.bincount(train_codes, minlength=vocabulary) + 0.1
    two = np.zeros((vocabulary,) * 2)
    three = np.zeros((vocabulary,) * 3)
    np.add.at(two, (train_codes[:-1], train_codes[1:]), 1)
    np.add.at(three, (train_codes[:-2], train_codes[1:-1], train_codes[2:]), 1)
    a, b, c = test_codes[:-2], test_codes[1:-1], test_codes[2:]
    p = one[c] / one.sum()
    p = (two[b, c] + 5 * p) / (two[b].sum(-1) + 5)
    p = (three[a, b, c] + 5 * p) / (three[a, b].sum(-1) + 5)
    return float(-np.log(p).mean())


def sample(model, characters, prompt: str, count: int) -> str:
    """Continues the prompt by `count` characters, each drawn from the model's distribution."""
    rng = np.random.default_rng(1)
    codes = [characters.index(character) for character in prompt]
    for _ in range(count):
        window = codes[-LENGTH:]
        padded = np.zeros((1, LENGTH), "int32")
        padded[0, : len(window)] = window
        logits = model.predict_on_batch(padded)[0, len(window) - 1] / 0.7
        p = np.exp(logits - logits.max())
        codes.append(int(rng.choice(len(p), p=p / p.sum())))
    return "".join(characters[code] for code in codes)


def train(progress) -> Result:
    """Trains the model, compares it with a trigram model, and lets it write.

    Args:
        progress: makes the callback that shows progress, from the number of epochs and steps.
    """
    train_codes, test_codes, characters = load()
    model = build(len(characters))
    count = (len(test_codes) - 1) // LENGTH
    test_x = test_codes[: count * LENGTH].reshape(count, LENGTH)
    test_y = test_codes[1 : count * LENGTH + 1].reshape(count, LENGTH)
    windows = Windows(train_codes)
    history = model.fit(
        windows,
        epochs=EPOCHS,
        validation_data=(test_x[::4], test_y[::4]),
        validation_batch_size=BATCH,
        verbose=0,
        callbacks=[progress(EPOCHS, STEPS)],
    ).history
    loss = model.evaluate(test_x, test_y, batch_size=BATCH, verbose=0)
    trigram = trigram_loss(train_codes, test_codes, len(characters))
    written = sample(model, characters, "The statement ", 240)
    return Result(
        title=TITLE,
        model=model,
        examples=test_x[:BATCH],
        step=windows[0],
        curves={"training": history["loss"], "held out": history["val_loss"]},
        lines=[
            f"loss on held-out text: {loss:.3f} nats a character",
            f"a trigram model on the same: {trigram:.3f} (at least 0.25 more expected)",
            "it writes:",
            *("    " + line for line in written.splitlines()),
        ],
        passed=loss < trigram - 0.25,
    )
