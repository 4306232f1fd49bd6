"""Tests of whole models run Keras on this backend."""

import os

os.environ["KERAS_BACKEND"] = "native"
