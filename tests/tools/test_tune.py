"""Choices of kernels by name: forced, raced, remembered, and what the tool kernels says of them."""

import json
import os
import subprocess
import sys

import pytest

from bench import choose, harness
from keras_native import _core, tuned
from keras_native.tools import kernels, tune

CASE = "96x300x70"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of choices that is forgotten at the end."""
    where = tmp_path / "folder" / "tuned.json"
    monkeypatch.setenv("NATIVE_TUNED", str(where))
    yield where
    tuned.forget()


@pytest.fixture
def problem():
    (case,) = choose.cases("matmul", [CASE])
    return harness.problem_of(case)


def choice(problem, kernel, isa=None):
    op, inputs, outputs, attrs = problem
    return tuned.Choice(op, inputs, outputs, attrs, isa or _core.isa(), kernel, 1.25)


def test_candidates(problem):
    assert tune.candidates(problem) == ["gemm", "gemm-columns", "gemm-split", "gemm-tiles"]


@pytest.mark.parametrize("family, text", [
    ("matmul", CASE), ("matmul", "8x300x70:Tb"), ("matmul", "70x2500x40:Ta"),
    ("conv", "1x7x6x40-33:3x3"), ("conv", "2x7x6x40-33:1x1/2:f"), ("conv", "1x4x4x8-8:3x3"),
])  # fmt: skip
def test_every_candidate_is_right(family, text):
    for case in choose.cases(family, [text]):
        names = tune.candidates(harness.problem_of(case))
        assert len(names) > 1
        for name in names:
            with harness.forced(case.op, name):
                assert harness.kernel_of(case) == name
                harness.check_forward(case, threads=(1, 7))


def test_a_choice_is_remembered_and_forgotten(file, problem):
    assert _core.chosen_kernel(*problem) == "gemm"
    tuned.remember(choice(problem, "gemm-tiles"))
    assert _core.chosen_kernel(*problem) == "gemm-tiles"
    tuned.remember(choice(problem, "gemm-split"))
    assert [c.kernel for c in tuned.read()] == ["gemm-split"]
    assert _core.choice_of(*problem) == ("gemm-split", False)
    assert tuned.forget() == 1 and not file.exists()
    assert _core.chosen_kernel(*problem) == "gemm"


def test_a_choice_holds_on_its_instruction_set(file, problem):
    tuned.remember(choice(problem, "gemm-tiles", "generic"))
    _core.set_isa("generic")
    assert _core.chosen_kernel(*problem) == "gemm-tiles"
    if len(_core.isas()) > 1:
        _core.set_isa(_core.isas()[1])
        assert _core.chosen_kernel(*problem) == "gemm"


def test_a_choice_that_declines_is_passed_over(file, problem):
    tuned.remember(choice(problem, "vpdpbusd"))
    assert _core.chosen_kernel(*problem) == "gemm"


def test_a_new_process_reads_the_file(file, problem):
    tuned.remember(choice(problem, "gemm-tiles"))
    code = f"""
import keras_native
from bench import choose, harness
print(harness.kernel_of(choose.cases("matmul", [{CASE!r}])[0]))
"""
    for environment, kernel in [({}, "gemm-tiles"), ({"NATIVE_TUNED": "0"}, "gemm")]:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
            env={**os.environ, **environment},
        )  # fmt: skip
        assert done.stdout.split() == [kernel]


@pytest.mark.parametrize("text", ["", "{}", '{"choices": [{"op": 1}]}', json.dumps({"choices": [
    {"op": "matmul", "inputs": [["no_type", [1]]], "outputs": [], "attrs": {}, "isa": "avx2",
     "kernel": "gemm"}]})])  # fmt: skip
def test_a_broken_file_is_ignored(file, text):
    file.parent.mkdir()
    file.write_text(text)
    with pytest.warns(UserWarning, match="is ignored"):
        assert tuned.load() == []
    file.unlink()


def test_the_file_is_of_a_version_and_a_processor(monkeypatch, tmp_path):
    monkeypatch.delenv("NATIVE_TUNED")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    import keras_native

    assert tuned.path().startswith(f"{tmp_path}/keras_native/tuned-{keras_native.__version__}-")
    assert tuned.load() == []


def test_race_and_tool(file, problem, capsys, monkeypatch):
    (case,) = choose.cases("matmul", [CASE])
    times = tune.race(case, ["gemm", "gemm-tiles"], 0.01)
    assert set(times) == {"gemm", "gemm-tiles"} and min(times.values()) > 0
    monkeypatch.setattr(tune, "race", lambda case, names, seconds: {
        name: 1e-6 if name == "gemm-split" else 2e-6 for name in names})  # fmt: skip
    assert tune.main(["gemm", CASE]) == 0
    assert "gemm-split, 2.00 times faster than gemm" in capsys.readouterr().out
    assert tune.main(["--list"]) == 0
    assert "gemm-split" in capsys.readouterr().out
    kernels.main(["matmul", "float32(96, 300)", "float32(300, 70)", "transpose_a=False",
                  "transpose_b=False"])  # fmt: skip
    out = capsys.readouterr().out
    assert "gemm-split was chosen by name: the winner of a race" in out
    assert "gemm (10) could take it" in out
    assert tune.main(["--clear"]) == 0
    assert "1 choices forgotten" in capsys.readouterr().out


def test_no_gain_changes_nothing(file, problem, capsys, monkeypatch):
    monkeypatch.setattr(tune, "race", lambda case, names, seconds: {
        name: 1.00e-6 if name == "gemm-split" else 1.02e-6 for name in names})  # fmt: skip
    assert tune.main(["gemm", CASE]) == 0
    assert "gemm stays" in capsys.readouterr().out and not file.exists()


def test_nothing_to_tune(capsys):
    assert tune.main([]) == 2
    assert tune.main(["gemm", "no_such_case"]) == 2
    assert "no_such_case" in capsys.readouterr().out


def test_what_kernels_says(capsys):
    assert kernels.main([]) == 0
    listed = capsys.readouterr().out
    assert "depthwise (20), pointwise (15), polyphase (14), overlap-add (12), direct (10)" in listed
    assert "gemm-tiles" not in listed
    assert kernels.main(["conv"]) == 0
    assert (
        "winograd (by choice only): float32 or bfloat16, 3x3 or 3x3x3 of stride 1"
        in capsys.readouterr().out
    )
    problem = ["float32(1, 7, 7, 16)", "float32(3, 3, 16, 16)", "strides=(1, 1)",
               "padding=(1, 1, 1, 1)", "dilation=(1, 1)", "groups=1"]  # fmt: skip
    assert kernels.main(["conv", *problem]) == 0
    out = capsys.readouterr().out
    assert "winograd (30) declines" in out and "direct (10) takes it" in out
    assert "winograd (by choice only) could take it" in out
    assert kernels.main(["conv", "what"]) == 1


def test_a_forced_kernel_that_declines_leaves_none(problem):
    with harness.forced("matmul", "vpdpbusd"):
        assert _core.chosen_kernel(*problem) is None
        assert _core.choice_of(*problem) == ("vpdpbusd", True)
    assert _core.chosen_kernel(*problem) == "gemm"
