"""Any part of the face may be the first import of a program."""

import os
import subprocess
import sys

import pytest

CHECK = """
import importlib, sys
first = importlib.import_module("keras_native.src.{part}")
import keras, keras_native.src
from keras_native.src.variable import Variable
assert sys.modules[first.__name__] is first
assert keras_native.src.Variable is Variable
assert issubclass(keras.src.backend.Variable, Variable)
assert float(keras.ops.sum(keras.random.uniform((3,), seed=1))) > 0
"""


@pytest.mark.parametrize("part", ["ops.core", "trainer"])
def test_a_part_before_keras(part):
    done = subprocess.run(
        [sys.executable, "-c", CHECK.format(part=part)],
        env=dict(os.environ, KERAS_BACKEND="native"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
