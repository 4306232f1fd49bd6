"""A convolutional network on scikit-learn's 1,797 handwritten digits."""

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_native.tools.demo.result import Result

TITLE = "Handwritten digits, convolutional network"
EPOCHS = 30
BATCH = 64


def load():
    """Train and test images (8x8x1, in 0..1) and labels; a stratified quarter is held out."""
    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., None]
    return train_test_split(
        images, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )


def build() -> keras.Model:
    """About 100,000 weights."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(32, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ],
        name="digits",
    )
    model.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train(progress) -> Result:
    """Trains and tests the model.

    Args:
        progress: makes the callback that shows progress, from the number of epochs and steps.
    """
    train_x, test_x, train_y, test_y = load()
    model = build()
    history = model.fit(
        train_x,
        train_y,
        batch_size=BATCH,
        epochs=EPOCHS,
        validation_data=(test_x, test_y),
        verbose=0,
        callbacks=[progress(EPOCHS, -(-len(train_x) // BATCH))],
    ).history
    accuracy = model.evaluate(test_x, test_y, verbose=0, return_dict=True)["accuracy"]
    return Result(
        title=TITLE,
        model=model,
        examples=test_x,
        step=(train_x[:BATCH], train_y[:BATCH]),
        curves={"training": history["loss"], "held out": history["val_loss"]},
        lines=[f"accuracy on the {len(test_x)} held out: {accuracy:.2%} (at least 98% expected)"],
        passed=accuracy >= 0.98,
    )
