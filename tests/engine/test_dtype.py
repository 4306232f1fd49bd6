"""The engine's promotion table is Keras's, although the engine does not import Keras."""

import itertools
import os
import random

import numpy as np
import pytest

from keras_native.engine import dtype as dtypes

OPERANDS = [name for name in dtypes.NAMES if not name.startswith("float8")]
OPERANDS += [int, float, bool, complex, None, "int"]


@pytest.fixture(scope="module")
def keras_result_type():
    os.environ.setdefault("KERAS_BACKEND", "native")
    from keras.src.backend.common.dtypes import result_type

    return result_type


@pytest.mark.parametrize("count", [1, 2])
def test_equals_keras_for_every_combination(keras_result_type, count):
    for operands in itertools.product(OPERANDS, repeat=count):
        assert dtypes.result_type(*operands) == keras_result_type(*operands), operands


def test_equals_keras_for_many_triples(keras_result_type):
    triples = list(itertools.product(OPERANDS, repeat=3))
    for operands in random.Random(0).sample(triples, 2000):
        assert dtypes.result_type(*operands) == keras_result_type(*operands), operands


@pytest.mark.parametrize("floatx", ["float16", "float64", "bfloat16"])
def test_weak_dtypes_follow_floatx(keras_result_type, floatx):
    import keras

    before = keras.config.floatx()
    keras.config.set_floatx(floatx)
    try:
        for operands in itertools.product(OPERANDS, repeat=2):
            expected = keras_result_type(*operands)
            assert dtypes.result_type(*operands, floatx=floatx) == expected, operands
    finally:
        keras.config.set_floatx(before)


def test_no_operands_and_numpy_dtypes():
    assert dtypes.result_type() == "float32"
    assert dtypes.result_type(np.dtype("int8"), np.float16) == "float16"


@pytest.mark.parametrize("bad", ["float8_e4m3fn", "float33", "string", "float"])
def test_bad_dtypes(bad):
    with pytest.raises(ValueError, match="float"):
        dtypes.result_type(bad, "float32")
