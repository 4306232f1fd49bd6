"""From how many bytes results are stored past the caches."""

import os
import subprocess
import sys

import pytest

from keras_native import _core

ADDS = """
import numpy as np
from keras_native import _core
from keras_native.engine.primitives.elementwise import add
from keras_native.engine.tensor import from_numpy
x = from_numpy(np.ones(3, "float32"))
try:
    add(x, x)
    print(_core.far_bytes())
except ValueError as error:
    print(error)
"""


def with_variable(value: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", ADDS],
        env={**os.environ, "NATIVE_FAR_BYTES": value},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return found.stdout.strip()


@pytest.mark.parametrize("value", ["0", "4096"])
def test_the_variable(value):
    assert with_variable(value) == value


def test_no_value_is_half_of_the_last_level():
    assert with_variable("") == str(_core.cache_sizes()[2] // 2)


@pytest.mark.parametrize("value", ["much", "8M", "-1", "99999999999999999999"])
def test_what_is_no_number_of_bytes(value):
    assert with_variable(value).startswith(f"NATIVE_FAR_BYTES is '{value}'")


def test_less_than_none():
    before = _core.far_bytes()
    with pytest.raises(ValueError, match="-1 bytes"):
        _core.set_far_bytes(-1)
    assert _core.far_bytes() == before
