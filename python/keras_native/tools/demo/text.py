"""A causal Transformer that continues text, trained on the topics of Python's `help()`."""

from pydoc_data.topics import topics
from typing import NamedTuple

import keras
import numpy as np

from keras_native.tools.demo.result import Result

TITLE = "Text of the Python reference, causal Transformer"


class Size(NamedTuple):
    """How much is trained: the whole, and what the emulated GPU does in a minute."""

    length: int
    width: int
    heads: int
    blocks: int
    batch: int
    epochs: int
    steps: int
    warmup: int
    tested: int  # windows held out, at most
    written: int  # characters


FULL = Size(64, 128, 4, 2, 16, 10, 100, 50, 1 << 20, 240)
SMALL = Size(16, 16, 2, 1, 8, 2, 12, 5, 8, 10)


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


def build(vocabulary: int, size: Size) -> keras.Model:
    """The next character's logits at each place; about 430,000 weights in full size."""
    layers = keras.layers
    inputs = keras.Input((size.length,), dtype="int32")
    x = TokenAndPosition(vocabulary, size.length, size.width)(inputs)
    for _ in range(size.blocks):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        attention = layers.MultiHeadAttention(size.heads, size.width // size.heads)
        x = x + attention(y, y, use_causal_mask=True)
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        y = layers.Dense(4 * size.width, activation="gelu")(y)
        x = x + layers.Dense(size.width)(y)
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    model = keras.Model(inputs, layers.Dense(vocabulary)(x), name="text")
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4,
        size.epochs * size.steps - size.warmup,
        alpha=0.05,
        warmup_target=3e-3,
        warmup_steps=size.warmup,
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


class Windows(keras.utils.PyDataset):
    """Random windows of a text and the same shifted by one character; new ones in every epoch."""

    def __init__(self, codes, size: Size):
        super().__init__()
        self.codes = codes
        self.size = size
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return self.size.steps

    def __getitem__(self, index):
        length = self.size.length
        starts = self.rng.integers(0, len(self.codes) - length - 1, self.size.batch)
        windows = self.codes[starts[:, None] + np.arange(length + 1)]
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
    length = model.input_shape[1]
    codes = [characters.index(character) for character in prompt]
    for _ in range(count):
        window = codes[-length:]
        padded = np.zeros((1, length), "int32")
        padded[0, : len(window)] = window
        logits = model.predict_on_batch(padded)[0, len(window) - 1] / 0.7
        p = np.exp(logits - logits.max())
        codes.append(int(rng.choice(len(p), p=p / p.sum())))
    return "".join(characters[code] for code in codes)


def train(progress, small: bool = False) -> Result:
    """Trains the model, compares it with a trigram model, and lets it write.

    Args:
        progress: makes the callback that shows progress, from the number of epochs and steps.
        small: a narrow model for a few steps, of which it is only asked that it learns.
    """
    size = SMALL if small else FULL
    train_codes, test_codes, characters = load()
    model = build(len(characters), size)
    count = min((len(test_codes) - 1) // size.length, size.tested)
    test_x = test_codes[: count * size.length].reshape(count, size.length)
    test_y = test_codes[1 : count * size.length + 1].reshape(count, size.length)
    windows = Windows(train_codes, size)
    history = model.fit(
        windows,
        epochs=size.epochs,
        validation_data=(test_x[::4], test_y[::4]),
        validation_batch_size=size.batch,
        verbose=0,
        callbacks=[progress(size.epochs, size.steps)],
    ).history
    loss = model.evaluate(test_x, test_y, batch_size=size.batch, verbose=0)
    if small:
        rival, ahead, name = float(np.log(len(characters))), 0.5, "guessing"
    else:
        rival, ahead = trigram_loss(train_codes, test_codes, len(characters)), 0.25
        name = "a trigram model on the same"
    written = sample(model, characters, "The statement ", size.written)
    return Result(
        title=TITLE,
        model=model,
        examples=test_x[: size.batch],
        step=windows[0],
        curves={"training": history["loss"], "held out": history["val_loss"]},
        lines=[
            f"loss on held-out text: {loss:.3f} nats a character",
            f"{name}: {rival:.3f} (at least {ahead} more expected)",
            "it writes:",
            *("    " + line for line in written.splitlines()),
        ],
        passed=loss < rival - ahead,
    )
