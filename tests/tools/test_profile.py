"""The profiler: a saved model's steps, node by node, and its trace file."""

import json
import sys

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
    head, *events = json.loads(trace.read_text())["traceEvents"]
    assert head["args"]["name"] == ("a training step" if fit else "predict")
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


SCRIPT = """
import sys
import keras
import keras_native
import numpy as np

x, y = np.ones((20, 6), "float32"), np.ones((20, 1), "float32")
model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(x, y, batch_size=10, epochs=3, verbose=0)
square = keras_native.jit(lambda x: keras.ops.matmul(x, keras.ops.transpose(x)))
square(keras.ops.ones((5, 7)))
assert __name__ == "__main__" and sys.argv[1:] == ["--width", "3"]
"""


def test_a_script(tmp_path, capsys):
    script, trace = tmp_path / "train.py", tmp_path / "trace.json"
    script.write_text(SCRIPT)
    assert profile.main(["--trace", str(trace), str(script), "--width", "3"]) == 0
    printed = capsys.readouterr().out
    assert ": 6 calls, " in printed and ": 1 calls, " in printed
    assert "linear(float32(10, 6), float32(6, 1), float32(1,))" in printed
    assert "matmul(float32(5, 7), float32(5, 7)" in printed
    rows = {event["tid"] for event in json.loads(trace.read_text())["traceEvents"]}
    assert rows == {0, 1}


@pytest.mark.parametrize(
    "end, error", [("raise RuntimeError('lost')", RuntimeError), ("sys.exit(3)", SystemExit)]
)
def test_a_script_that_ends_early(end, error, tmp_path, capsys):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("assert", f"{end}\nassert"))
    argv, path = list(sys.argv), list(sys.path)
    with pytest.raises(error, match="lost|3"):
        profile.main([str(script)])
    assert ": 6 calls, " in capsys.readouterr().out
    assert (sys.argv, sys.path) == (argv, path)


def test_a_script_that_ends_well(tmp_path, capsys):
    (tmp_path / "plain.py").write_text("raise SystemExit(0)")
    assert profile.main([str(tmp_path / "plain.py")]) == 0


def test_a_script_without_compiled_functions(tmp_path, capsys):
    (tmp_path / "plain.py").write_text("print(1)")
    assert profile.main([str(tmp_path / "plain.py")]) == 0
    assert "no compiled function was called" in capsys.readouterr().out
