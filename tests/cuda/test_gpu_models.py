"""Models of tests/models/zoo.py train on the emulated gpu:0 as on the CPU: by kernels of its own,
and by the CPU's by way of the host."""

import os
import sys
import warnings
from pathlib import Path

import emulated  # noqa: F401  skips this file where there are no kernels
import pytest
from ptxkernel import _cuda

os.environ["KERAS_BACKEND"] = "native"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))

import keras  # noqa: E402
import zoo  # noqa: E402

ALL = bool(os.environ.get("NATIVE_TEST_ALL"))
SOME = {"mlp", "normalised", "convnet", "lstm", "transformer"}


@pytest.mark.parametrize(
    "make", [make for make in zoo.MODELS if ALL or make.__name__ in SOME], ids=lambda m: m.__name__
)
def test_training(make):
    here = zoo.losses(make, 4 if not ALL else 10)
    with warnings.catch_warnings(), keras.device("gpu:0"):
        warnings.simplefilter("ignore")
        there = zoo.losses(make, 4 if not ALL else 10)
    assert max(abs(a - b) for a, b in zip(here, there)) < 1e-4
    assert len(set(here)) == len(here)  # it learns
    assert _cuda.reports() == []
