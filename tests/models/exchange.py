"""Models for the exchange of files between backends. As a script it is the other backend's side:

    exchange.py FOLDER

loads what FOLDER/native holds, saves its own models to FOLDER/other, and leaves in both what they
predict and, where the backend trains, the losses of going on with training.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__" and os.environ["KERAS_BACKEND"] == "numpy":
    # Keras's NumPy backend imports JAX for operations that no model here has.
    sys.path.append(str(Path(__file__).parents[1] / "packaging"))
    import fake_jax  # noqa: F401
import keras
import numpy as np
from keras import layers as L


def sequential():
    return keras.Sequential(
        [L.Input((6,)), L.Dense(8, "gelu"), L.LayerNormalization(), L.Dense(3, "softmax")]
    )


def functional():
    inputs = L.Input((5, 4))
    x = L.BatchNormalization()(inputs)
    x = L.LSTM(7)(x)
    x = L.Concatenate()([x, L.Flatten()(inputs)])
    return keras.Model(inputs, [L.Dense(2, name="first")(x), L.Dense(1, name="second")(x)])


def compiled():
    model = keras.Sequential(
        [L.Input((6,)), L.Dense(8, "tanh"), L.BatchNormalization(), L.Dropout(0.0), L.Dense(3)]
    )
    optimizer = keras.optimizers.Adam(1e-2, amsgrad=True, clipnorm=1.0)
    model.compile(optimizer, "mse", metrics=["mae"])
    optimizer.build(model.trainable_variables)
    return model


MODELS = {make.__name__: make for make in (sequential, functional, compiled)}
RNG = np.random.default_rng(7)
X = {
    "sequential": RNG.standard_normal((9, 6)).astype("float32"),
    "functional": RNG.standard_normal((9, 5, 4)).astype("float32"),
    "compiled": RNG.standard_normal((9, 6)).astype("float32"),
}
Y = RNG.standard_normal((9, 3)).astype("float32")
TRAINS = keras.backend.backend() != "numpy"


def save(folder: Path) -> None:
    """Writes every model in both formats, and what it predicts."""
    folder.mkdir()
    keras.utils.set_random_seed(3)
    for name, make in MODELS.items():
        model = make()
        # Statistics and optimiser state away from their initial values, on NumPy as well.
        rng = np.random.default_rng(11)
        for v in [v for v in model.weights if v.dtype == "float32"]:
            v.assign(np.abs(np.array(v) + 0.3 * rng.standard_normal(v.shape)))
        if name == "compiled":
            for v in model.optimizer.variables[2:]:
                v.assign(1e-2 * rng.random(v.shape))
            model.optimizer.iterations.assign(5)
            if TRAINS:
                model.train_on_batch(X[name], Y)
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")
        np.savez(folder / f"{name}.saved.npz", **record(model, name))


def load(folder: Path) -> None:
    """Reads every model in both formats, and writes what each predicts."""
    keras.utils.set_random_seed(4)
    for name, make in MODELS.items():
        whole = keras.saving.load_model(folder / f"{name}.keras")
        weights = make()
        weights.load_weights(folder / f"{name}.weights.h5")
        np.savez(folder / f"{name}.keras.npz", **record(whole, name))
        np.savez(folder / f"{name}.h5.npz", **record(weights, name))


def record(model, name) -> dict[str, np.ndarray]:
    """Predictions, optimiser state, and the losses of a step of training and of what follows."""
    outputs = model.predict_on_batch(X[name])
    result = dict(enumerate(outputs if isinstance(outputs, (list, tuple)) else [outputs]))
    if name == "compiled":
        for i, v in enumerate(model.optimizer.variables):
            result[f"optimizer{i}"] = np.array(v)
        if TRAINS:
            result["losses"] = [model.train_on_batch(X[name], Y)[0] for _ in range(2)]
    return {str(key): np.asarray(value) for key, value in result.items()}


if __name__ == "__main__":
    root = Path(sys.argv[1])
    load(root / "native")
    save(root / "other")
