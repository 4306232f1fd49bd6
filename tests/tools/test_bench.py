"""The bench tool: what it measures, how cases are named, and what it says when it cannot."""

import builtins
import importlib
import json
import shlex
import sys
import time

import pytest

from bench import choose, harness, imbalance, measure, models, models_report, readme
from bench import turns as turns_of_models
from bench.side import Side
from keras_native import _core
from keras_native.tools import bench

SHORT = ["--seconds", "0.005", "--threads", "1"]
FAMILIES = ["attention", "conv", "elementwise", "gather", "matmul", "norm", "pool", "random",
            "reduce", "rnn", "shape", "softmax"]  # fmt: skip


def test_speed_table(tmp_path, capsys):
    file = tmp_path / "report.json"
    assert bench.main(["gemm", "128x128x128", *SHORT, "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "GFLOP/s" in out and "peak" in out and "roof" in out
    report = json.loads(file.read_text())
    (row,) = report["rows"]
    assert row["case"] == "float32:128x128x128" and row["kernel"] == "gemm"
    assert 0 < row["of_peak"] < 1.2 and 0 < row["of_roofline"] < 1.2
    assert report["compiler"] and report["processor"] and report["stream"] > 1e8
    assert report["versions"]["keras_native"] and report["peaks"]["float32"] == report["peak"]


def test_a_line_repeats_itself(capsys):
    assert bench.main(["conv", "2x8x8x16-16:3x3:fd", *SHORT, "--by", "least"]) == 0
    out = capsys.readouterr().out
    command = shlex.split(out.split("repeat a line: python -m keras_native ")[1])
    assert command[:2] == ["bench", "conv"] and "--by" in command
    assert bench.main(command[1:]) == 0
    again = capsys.readouterr().out
    name = "2x8x8x16-16:3x3:d"
    assert again.split("repeat a line")[1] == out.split("repeat a line")[1]
    assert [text.split()[0] for text in again.splitlines() if text.startswith("2x8")] == [name]


def test_check(capsys):
    assert bench.main(["matmul", "--check", "--filter", "float32:7x17x15", *SHORT]) == 0
    assert "4 cases" in capsys.readouterr().out


def test_check_of_what_was_asked_for(capsys, monkeypatch):
    assert bench.main(["conv", "2x8x8x16-16:3x3:f", "--check", *SHORT]) == 0
    assert "1 cases" in capsys.readouterr().out
    monkeypatch.setattr(harness, "expected", lambda case, arrays: (arrays[0][..., :16] * 0,))
    assert bench.main(["conv", "2x8x8x16-16:3x3:f", "--check", *SHORT]) == 1
    assert "1 failed" in capsys.readouterr().out


def test_a_forced_kernel(capsys):
    case = "1x8x8x32-32:3x3:f"
    for kernel in ("direct", "winograd"):
        assert bench.main(["conv", case, "--kernel", kernel, *SHORT]) == 0
        assert kernel in capsys.readouterr().out
    assert bench.main(["conv", case, "--kernel", "depthwise", *SHORT]) == 0
    assert "no kernel" in capsys.readouterr().out
    assert bench.main(["conv", case, "--kernel", "nonesuch"]) == 2
    assert "direct" in capsys.readouterr().out
    (case,) = choose.cases("conv", [case])
    assert harness.kernel_of(case) == "winograd"


def test_beside_a_library(tmp_path, capsys):
    """Each side in a process of its own; what is not installed is said."""
    file = tmp_path / "report.json"
    arguments = ["gemm", "64x64x64", *SHORT, "--rounds", "2", "--json", str(file)]
    assert bench.main([*arguments, "--peers", "numpy", "no_such_library"]) == 0
    out = capsys.readouterr().out
    assert "no_such_library: No module" in out and "geometric mean" in out
    report = json.loads(file.read_text())
    assert report["rounds"] == 2 and report["timed"] == ["numpy"]
    assert report["rows"][0]["numpy"] > 0 and report["rows"][0]["seconds"] > 0


def test_summary_of_rounds():
    rounds = [[3.0, 1.0, 2.0], [5.0, 5.0, 4.0], [9.0, 9.0, 9.0]]
    assert measure.summary(rounds, "median") == 5.0
    assert measure.summary(rounds, "least") == 1.0
    rows = [{"seconds": 2.0, "torch": 4.0, "jax": 3.0}, {"seconds": 1.0, "torch": None}]
    assert measure.ratios(rows, "torch") == [2.0]
    assert measure.best_ratios(rows) == [1.5]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_speed_case_is_found_by_its_name(family):
    cases = choose.cases(family)
    assert len({case.name for case in cases}) == len(cases) > 0
    for case in cases:
        (found,) = choose.cases(family, [case.name])
        assert (found.op, tuple(found.inputs), found.attrs) == (
            case.op, tuple(case.inputs), case.attrs,
        )  # fmt: skip


@pytest.mark.parametrize("family", ["conv", "matmul", "attention"])
def test_every_case_of_a_list_is_found_by_its_name(family):
    lists = harness.load_lists(family)
    assert {"conv": "mobilenetv2", "matmul": "square", "attention": "bert"}[family] in lists
    for name in lists:
        for case in choose.cases(family, [name], batch=2):
            (found,) = choose.cases(family, [case.name])
            assert (found.op, tuple(found.inputs), found.attrs) == (
                case.op, tuple(case.inputs), case.attrs,
            ), name  # fmt: skip


def test_lists_of_networks():
    first = choose.cases("conv", ["resnet50"], batch=3)
    assert first[0].inputs[0] == ((3, 224, 224, 3), "float32")
    assert any(case.attrs["groups"] == 960 for case in choose.cases("conv", ["mobilenetv2"]))


def test_any_problem_of_any_primitive(capsys):
    assert bench.main(["softmax", "softmax(float32(3, 5), axis=-1)", *SHORT]) == 0
    assert "softmax(float32(3, 5), axis=-1)" in capsys.readouterr().out


def test_listing(capsys):
    assert bench.main(["conv", "--list"]) == 0
    out = capsys.readouterr().out
    assert "resnet50: " in out and "shapes: 8x56x56x64-128:3x3" in out


@pytest.mark.parametrize("text", ["no_such_list", "3x4", "softmax(", "open('x')"])
def test_what_is_no_case(text, capsys):
    assert bench.main(["gemm", text]) == 2
    out = capsys.readouterr().out
    assert text in out and "square" in out


@pytest.mark.parametrize("text", [
    "no_primitive(float32(2))", "softmax(float32(2, 3), axis=2)", "softmax(float32(2, 3), wrong=1)",
    "matmul(float32(2, 3), float32(2, 3), transpose_a=False, transpose_b=False)",
])  # fmt: skip
def test_what_is_no_problem(text, capsys):
    assert bench.main(["gemm", text]) == 2
    assert capsys.readouterr().out.strip()


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "curve.png"
    assert bench.main(["gemm", "32x32x32", "64x64x64", *SHORT, "--plot", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")


def test_plot_of_nothing(tmp_path, capsys):
    arguments = ["softmax", "softmax(float32(3, 5), axis=-1)", *SHORT]
    assert bench.main([*arguments, "--plot", str(tmp_path / "x.png")]) == 2
    assert "nothing to draw" in capsys.readouterr().out


def test_plot_without_matplotlib(tmp_path, capsys, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ImportError("No module named 'matplotlib'")
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    assert bench.main(["gemm", "32x32x32", *SHORT, "--plot", str(tmp_path / "x.png")]) == 2
    assert "pip install keras-native[bench]" in capsys.readouterr().out


def test_axes_end_at_the_peak():
    figures = pytest.importorskip("matplotlib.figure")
    plot = importlib.import_module("bench.plot")
    rows = [{"case": f"float32:{n}x{n}x{n}", "seconds": 1e-3, "flops": 1e7, "bytes": 1e4,
             "dtype": "float32", "torch": 2e-3} for n in (64, 128)]  # fmt: skip
    report = {"peaks": {"float32": 5e10}, "peak": 5e10, "stream": 1e10, "versions": {}}
    axes = figures.Figure().subplots()
    plot._curves(axes, report, rows)
    assert axes.get_ylim() == (0, 50.0)
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[64, 128]] * 2
    assert list(axes.lines[1].get_ydata()) == [5.0, 5.0]


def test_turns_are_compared_in_each_state():
    turns = [
        {"work": "mlp/fit", "state": state, "seconds": {"native": native, "jax": jax}}
        for state, native, jax in [("near", 2, 4), ("near", 1, 3), ("near", 4, 4), ("far", 5, 5)]
    ]
    far, near = turns_of_models.summary(turns)
    assert (far["state"], far["turns"], far["of_native"]["jax"]) == ("far", 1, 1.0)
    assert (near["turns"], near["seconds"], near["of_native"]["jax"]) == (
        3,
        {"native": 2, "jax": 4},
        2.0,
    )


def test_model_of_imbalance(capsys):
    assert imbalance.makespan([3, 1, 1, 1], 2) == 3
    assert imbalance.makespan([1, 1, 1, 3], 2) == 4
    assert imbalance.efficiency([[1.0] * 4], 0.0, 2) == 1.0
    assert imbalance.efficiency([[1.0] * 4], 4.0, 4) == pytest.approx(8 / (4 * 5))
    assert imbalance.efficiency([[1.0]], 0.0, 64) == 1 / 64
    assert bench.main(["gemm", "256x256x512", "--imbalance"]) == 0
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line[0] == "float32:256x256x512" and line[-1].endswith("%")


def test_recorded_tasks_are_those_of_the_grid():
    (case,) = choose.cases("reduce", ["reduce_sum(float32(4096, 1024), axes=(1,), keepdims=False)"])
    bound = harness.bind(case)
    (grid,) = _core.task_seconds(bound.op, bound.arrays, bound.attrs, bound.outputs)
    assert len(grid) > 1 and min(grid) > 0


def test_unknown_family(capsys):
    assert bench.main(["no_such_family"]) == 2
    assert "matmul" in capsys.readouterr().out


def test_outside_a_checkout(monkeypatch, capsys):
    monkeypatch.setattr(bench, "find_checkout", lambda: None)
    assert bench.main(["matmul"]) == 2
    assert "checkout" in capsys.readouterr().out


BUSY = """
import sys, threading, time
threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "fail":
        sys.exit("no more")
    print(time.process_time(), flush=True)
"""


def test_a_side_runs_only_in_its_turns():
    side = Side([sys.executable, "-c", BUSY], {})
    assert side.answer() == "ready\n"
    before = float(side.ask("time"))
    time.sleep(0.3)
    assert float(side.ask("time")) - before < 0.15
    assert side.ask("fail") == side.ask("time") == ""
    assert side.last_error() == "no more"
    side.close()


def test_a_side_that_was_killed_is_closed():
    side = Side([sys.executable, "-c", BUSY], {})
    side.answer()
    side._process.kill()
    side._process.wait()
    assert side.ask("time") == ""
    side.close()


def test_models_are_timed_in_every_way():
    row = models.measure("mlp", seconds=0.01)
    times = [row[key] for key in models_report.FIGURES]
    assert all(0 < took < 60 for took in times)
    assert row["first_fit_step_s"] > row["fit_s"] and row["peak_mb"] > 10


def _model_rows():
    mine = {"model": "mlp", "batch": 8, "backend": "native", "fit_s": 0.001, "predict_s": 0.002,
            "peak_mb": 100}  # fmt: skip
    jax = {**mine, "backend": "jax", "fit_s": 0.003, "predict_s": 0.003}
    openvino = {"model": "mlp", "batch": 8, "backend": "openvino", "predict_s": 1e-4, "peak_mb": 9}
    return [mine, jax, openvino]


def test_the_best_peer_is_one_that_computes_the_same():
    rows = _model_rows()
    assert models_report.best_peer(rows, "mlp", "fit_s") == (3.0, "jax")
    assert models_report.best_peer(rows, "mlp", "predict_s") == (1.5, "jax")
    assert models_report.best_peer(rows, "mlp", "call1_s") is None


def test_tables_of_models():
    head = {"machine": "one", "threads": 2, "rounds": 2}
    assert "| mlp (8) | openvino | - | - | 0.1 |" in models_report.table(head, _model_rows())
    rows = [{**dict.fromkeys(models_report.FIGURES, 0.004), **row} for row in _model_rows()]
    assert "| mlp (8) | 1 (3.00 jax) |" in models_report.summary(head, rows)


def test_a_results_file_is_read_without_what_failed(tmp_path):
    file = tmp_path / "models.jsonl"
    lines = [{"machine": "one", "threads": 2}, {"model": "mlp", "backend": "torch"}, *_model_rows()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    head, rows = models_report.read(file)
    assert head["machine"] == "one" and [row["backend"] for row in rows] == [
        "native",
        "jax",
        "openvino",
    ]
    pytest.importorskip("matplotlib")
    rows = [{**dict.fromkeys(models_report.FIGURES, 0.004), **row} for row in rows]
    models_report.draw(head, rows, tmp_path / "models.png")
    assert (tmp_path / "models.png").stat().st_size > 10_000


def test_what_stands_between_marks_is_replaced():
    text = "a\n<!-- models:begin (why) -->\nold\n<!-- models:end -->\nb\n"
    new = readme.between("models", text, "new\n")
    assert new == "a\n<!-- models:begin (why) -->\nnew\n<!-- models:end -->\nb\n"
