"""The face is tested with the backend chosen: Keras reads its name once, at the first import."""

import os

os.environ["KERAS_BACKEND"] = "native"

import keras  # noqa: E402, F401
