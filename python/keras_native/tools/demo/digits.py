"""A convolutional network on scikit-learn's 1,797 handwritten digits."""

from typing import NamedTuple

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_native.tools.demo.result import Result

TITLE = "Handwritten digits, convolutional network"
BATCH = 64


class Size(NamedTuple):
    """How much is trained: the whole, and what the emulated GPU does in three minutes."""

    epochs: int
    images: int
    width: int
    rate: float
    accuracy: float


FULL = Size(epochs=30, images=1797, width=32, rate=2e-3, accuracy=0.98)
SMALL = Size(epochs=4, images=800, width=8, rate=5e-3, accuracy=0.5)


def load(count: int):
    """Train and test images (8x8x1, in 0..1) and labels; a stratified quarter is held out."""
    digits = load_digits()
    images = (digits.images[:count] / 16.0).astype("float32")[..., None]
    labels = digits.target[:count]
    return train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)


def build(width: int, rate: float) -> keras.Model:
    """About 100,000 weights at a width of 32."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(width, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(2 * width, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(2 * width, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ],
        name="digits",
    )
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train(progress, small: bool = False) -> Result:
    """Trains and tests the model.

    Args:
        progress: makes the callback that shows progress, from the number of epochs and steps.
        small: a narrow network on some of the images.
    """
    size = SMALL if small else FULL
    train_x, test_x, train_y, test_y = load(size.images)
    model = build(size.width, size.rate)
    history = model.fit(
        train_x,
        train_y,
        batch_size=BATCH,
        epochs=size.epochs,
        validation_data=(test_x, test_y),
        verbose=0,
        callbacks=[progress(size.epochs, -(-len(train_x) // BATCH))],
    ).history
    accuracy = model.evaluate(test_x, test_y, verbose=0, return_dict=True)["accuracy"]
    return Result(
        title=TITLE,
        model=model,
        examples=test_x,
        step=(train_x[:BATCH], train_y[:BATCH]),
        curves={"training": history["loss"], "held out": history["val_loss"]},
        lines=[
            f"accuracy on the {len(test_x)} held out: {accuracy:.2%} "
            f"(at least {size.accuracy:.0%} expected)"
        ],
        passed=accuracy >= size.accuracy,
    )
