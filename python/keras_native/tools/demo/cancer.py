"""A small network on scikit-learn's breast-cancer data, in cross-validation."""

from typing import NamedTuple

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from keras_native.tools.demo.result import Result

TITLE = "Breast cancer, cross-validation"
BATCH = 32


class Size(NamedTuple):
    """How much is trained: the whole, and what the emulated GPU does in half a minute."""

    folds: int
    epochs: int
    accuracy: float


FULL = Size(folds=5, epochs=40, accuracy=0.96)
SMALL = Size(folds=2, epochs=4, accuracy=0.85)


def build() -> keras.Model:
    """30 measurements in, the probability of a benign tumour out."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((30,)),
            layers.Dense(32, activation="gelu", kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.Dropout(0.3),
            layers.Dense(16, activation="gelu", kernel_regularizer=keras.regularizers.L2(1e-3)),
            layers.Dense(1, activation="sigmoid"),
        ],
        name="cancer",
    )
    model.compile(keras.optimizers.Adam(2e-3), "binary_crossentropy", metrics=["accuracy"])
    return model


def train(progress, small: bool = False) -> Result:
    """Trains one model a fold and compares it with logistic regression on the same folds.

    Args:
        progress: makes the callback that shows progress, from the number of epochs and steps.
        small: fewer folds and epochs.
    """
    size = SMALL if small else FULL
    data = load_breast_cancer()
    x, y = data.data.astype("float32"), data.target.astype("float32")[:, None]
    folds = list(StratifiedKFold(size.folds, shuffle=True, random_state=0).split(x, y[:, 0]))
    bar = progress(size.folds * size.epochs, -(-len(folds[0][0]) // BATCH))
    accuracies, baseline, losses = [], [], []
    for train_rows, test_rows in folds:
        scaler = StandardScaler().fit(x[train_rows])
        train_x, test_x = (scaler.transform(x[rows]) for rows in (train_rows, test_rows))
        model = build()
        history = model.fit(
            train_x,
            y[train_rows],
            batch_size=BATCH,
            epochs=size.epochs,
            validation_data=(test_x, y[test_rows]),
            verbose=0,
            callbacks=[bar],
        ).history
        predictions = model.predict(test_x, verbose=0)
        accuracies.append(float(np.mean((predictions > 0.5) == y[test_rows])))
        losses.append((history["loss"], history["val_loss"]))
        logistic = LogisticRegression().fit(train_x, y[train_rows, 0])
        baseline.append(logistic.score(test_x, y[test_rows, 0]))
    curves = np.mean(losses, axis=0)
    accuracy = float(np.mean(accuracies))
    return Result(
        title=TITLE,
        model=model,
        examples=test_x,
        step=(train_x[:BATCH], y[train_rows][:BATCH]),
        curves={"training": list(curves[0]), "held out": list(curves[1])},
        lines=[
            f"accuracy, mean of {size.folds} folds: {accuracy:.2%} "
            f"(at least {size.accuracy:.0%} expected)",
            f"logistic regression on the same folds: {np.mean(baseline):.2%}",
        ],
        passed=accuracy >= size.accuracy,
    )
