"""The architectures of keras.applications. As a script it is a peer's side of the comparison:

    applications.py FOLDER NAME ...

builds each model on the backend of the environment, reads FOLDER/NAME.weights.h5 and writes what it
predicts to FOLDER/NAME.npy.
"""

import sys
from pathlib import Path

import keras
import numpy as np

CLASSES = 10
BATCH = 4
# The smallest pictures that an architecture takes, 32 by 32 but for some.
SMALLEST = 32
SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}
NAMES = [
    "Xception", "VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152", "ResNet50V2",
    "ResNet101V2", "ResNet152V2", "InceptionV3", "InceptionResNetV2", "MobileNet", "MobileNetV2",
    "MobileNetV3Small", "MobileNetV3Large", "DenseNet121", "DenseNet169", "DenseNet201",
    "NASNetMobile", "NASNetLarge", "EfficientNetB0", "EfficientNetB1", "EfficientNetB2",
    "EfficientNetB3", "EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7",
    "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3",
    "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L", "ConvNeXtTiny", "ConvNeXtSmall",
    "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge",
]  # fmt: skip
# Compared with another backend: at least one of each family, on pictures larger by so much, since
# normalising the one pixel that is left of the smallest ones multiplies the rounding by a thousand.
MARGIN = 64
COMPARED = [
    "Xception", "VGG16", "ResNet50", "ResNet50V2", "InceptionV3", "InceptionResNetV2", "MobileNet",
    "MobileNetV2", "MobileNetV3Small", "DenseNet121", "NASNetMobile", "EfficientNetB0",
    "EfficientNetV2B0", "ConvNeXtTiny",
]  # fmt: skip


def build(name: str, margin: int = 0) -> keras.Model:
    """The architecture with fresh weights and without a softmax, for pictures of the smallest size
    that it takes, plus `margin`."""
    size = SIZES.get(name, SMALLEST) + margin
    make = getattr(keras.applications, name)
    return make(
        weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None
    )


def pictures(model: keras.Model) -> np.ndarray:
    """A batch of pictures in the range of bytes: large patches of random colours, since noise is
    much like other noise once it has been pooled."""
    rng = np.random.default_rng(0)
    size = model.input_shape[1]
    patches = rng.uniform(0, 255, (BATCH, 4, 4, 3))
    patch = np.ones((1, -(-size // 4), -(-size // 4), 1))
    return np.kron(patches, patch)[:, :size, :size].astype("float32")


def scatter(model: keras.Model) -> None:
    """Gives every weight a random value, and statistics that keep what flows through at its size.

    As they are made, statistics are 0 and 1 and some scales as good as 0: outputs vanish, and a
    layer could be left out without anybody noticing.
    """
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization):
            for w in layer.weights:
                w.assign(_random_weight(rng, layer, w))
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(pictures(model), training=True)


def _random_weight(rng, layer, w):
    if w.name in ("gamma", "moving_variance"):
        return rng.uniform(0.7, 1.3, w.shape)
    if len(w.shape) > 1:
        summed = w.shape[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else w.shape[:-1]
        return rng.standard_normal(w.shape) * np.sqrt(1.5 / np.prod(summed))
    return 0.1 * rng.standard_normal(w.shape)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        model = build(name, MARGIN)
        model.load_weights(folder / f"{name}.weights.h5")
        np.save(folder / f"{name}.npy", model.predict_on_batch(pictures(model)))
        keras.backend.clear_session()
