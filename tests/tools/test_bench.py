"""The bench tool: what it measures, and what it says when there is nothing to measure."""

import json

from keras_native.tools import bench


def test_speed_table(tmp_path, capsys):
    file = tmp_path / "report.json"
    arguments = ["matmul", "--filter", "float32:128x128x128", "--seconds", "0.01"]
    assert bench.main([*arguments, "--threads", "1", "--json", str(file)]) == 0
    assert "GFLOP/s" in capsys.readouterr().out
    (row,) = json.loads(file.read_text())["rows"]
    assert row["kernel"] == "gemm" and row["seconds"] > 0


def test_check(capsys):
    assert bench.main(["matmul", "--check", "--filter", "float32:7x17x15"]) == 0
    assert "4 cases" in capsys.readouterr().out


def test_unknown_family(capsys):
    assert bench.main(["no_such_family"]) == 2
    assert "matmul" in capsys.readouterr().out


def test_outside_a_checkout(monkeypatch, capsys):
    monkeypatch.setattr(bench, "find_checkout", lambda: None)
    assert bench.main(["matmul"]) == 2
    assert "checkout" in capsys.readouterr().out
