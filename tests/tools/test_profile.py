"""The profiler: a saved model's steps, node by node, and its trace file."""

import json

import keras
import numpy as np
import pytest

from keras_native.tools import profile


@pytest.fixture
def saved(tmp_path):
    model = keras.Sequential(
        [keras.layers.Input((None, 12)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.mark.parametrize("fit", [False, True])
def test_a_saved_model(saved, fit, tmp_path, capsys):
    trace = tmp_path / "trace.json"
    options = ["--batch", "4", "--length", "5", "--trace", str(trace), *["--fit"] * fit]
    assert profile.main([str(saved), *options]) == 0
    printed = capsys.readouterr().out
    assert ("a training step" if fit else "predict") in printed
    assert "linear(float32(4, 5, 12), float32(12, 8), float32(8,))" in printed
    events = json.loads(trace.read_text())["traceEvents"]
    names = [event["name"] for event in events]
    assert ("matmul" in names) == fit  # gradients of the weights
    linear = next(event for event in events if event["name"] == "linear")
    assert linear["args"]["flops"] == 2 * 4 * 5 * 12 * 8
    assert linear["args"]["bytes"] == 4 * (4 * 5 * 12 + 12 * 8 + 8 + 4 * 5 * 8)
    ends = [event["ts"] + event["dur"] for event in events]
    np.testing.assert_allclose([event["ts"] for event in events[1:]], ends[:-1])


def test_share_of_the_peak():
    problem = "matmul(float32(10, 20), float32(20, 30)) -> float32(10, 30)"
    nodes = [profile.Node("matmul", "gemm", problem, 1e-3)]
    assert "50% of peak" in profile.table(nodes, peak=2 * 2 * 10 * 20 * 30 / 1e-3)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="not found"):
        profile.main([str(tmp_path / "none.keras")])
