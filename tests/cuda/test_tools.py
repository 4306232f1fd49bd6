"""The tools on gpu:0: bench, info and the demonstration, and what they say without a GPU."""

import json
import os
import subprocess
import sys

import emulated  # noqa: F401  skips this file where there are no kernels
import numpy as np
import pytest

from bench import gpu, harness
from keras_native.tools import bench, bench_gpu, info


def python(*arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NATIVE_")}
    return subprocess.run(
        [sys.executable, *arguments],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.emulator
def test_bench_counts_and_checks(tmp_path, capsys):
    file = tmp_path / "report.json"
    command = ["matmul", "--device", "gpu", "--check", "--filter", "float32:7x17x15"]
    assert bench.main([*command, "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "EMULATED A100: no GPU is used" in printed and " 0 failed" in printed
    report = json.loads(file.read_text())
    assert report["failures"] == [] and report["device"]["emulated"]
    assert len(report["rows"]) == 4
    for row in report["rows"]:
        assert row["classes"]["float"] > 0 and row["kernel"]
        assert row["phases"] > row["conflicts"] and row["sectors"] >= row["ideal_sectors"] > 0


def test_bench_says_what_fails(monkeypatch, capsys):
    (case,) = harness.test_cases(harness.load_cases("matmul"))[:1]
    monkeypatch.setattr(harness, "expected", lambda case, arrays: (np.zeros((1, 1)),))
    (failure,) = bench_gpu.check(gpu, [case])
    assert failure.startswith(case.name)
    assert "1 failed" in capsys.readouterr().out


# Arrays of NumPy's stand for CuPy's: what is multiplied, timed and waited for is the same.
CUPY = """
from numpy import array as asarray
__version__ = "stand-in"
class cuda:
    waited = 0
    class Device:
        def synchronize(self):
            cuda.waited += 1
"""


def test_bench_times_beside_cupy(tmp_path, capsys, monkeypatch):
    """What a real GPU will run, on the emulator, whose times say nothing."""
    (tmp_path / "cupy.py").write_text(CUPY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    options = bench.parser_of().parse_args(["--peers", "cupy", "--seconds", "0.001"])
    cases = [c for c in harness.load_cases("matmul") if "float32:7x17x15" in str(c)][:1]
    (row,) = bench_gpu.measure(gpu, "matmul", cases, options)
    assert row["seconds"] > 0 and row["cupy"] > 0 and row["kernel"]
    assert "cupy stand-in" in capsys.readouterr().out


@pytest.mark.emulator
def test_info_names_the_emulated_gpu():
    found = info.collect()["GPU"]
    for part in ("emulated A100", "compute capability 8.0", "experimental", "kernels for"):
        assert part in found


def test_info_says_why_there_is_none():
    code = "from keras_native.tools import info; print(info.collect()['GPU'])"
    done = python("-c", code, NATIVE_CUDA_DRIVER="/nowhere/libcuda.so.1")
    assert "none: no NVIDIA driver" in done.stdout, done.stderr


def test_without_a_driver_the_tools_say_so_and_emulate():
    """Unless the environment names a driver: then that one is meant."""
    command = [
        "-m",
        "keras_native",
        "bench",
        "softmax",
        "--device",
        "gpu",
        "--filter",
        "float32[1]",
    ]
    if (done := python(*command)).stdout.startswith("gpu:0 is"):
        pytest.skip("this machine has a GPU")
    assert done.returncode == 0, done.stderr
    assert "No GPU can be used: no NVIDIA driver" in done.stdout
    assert "EMULATED A100: no GPU is used" in done.stdout
    done = python(*command, NATIVE_CUDA_DRIVER="/nowhere/libcuda.so.1")
    assert done.returncode == 2 and "no NVIDIA driver" in done.stdout


def test_the_whole_demonstration_is_refused_on_the_emulator(tmp_path):
    command = ["-m", "keras_native", "demo", "--device", "gpu", "--output", str(tmp_path / "out")]
    done = python(*command, NATIVE_CUDA_DRIVER="emulator", KERAS_BACKEND="native")
    assert done.returncode == 2, done.stderr
    assert "EMULATED A100" in done.stdout and "add --small" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif("NATIVE_TEST_ALL" not in os.environ, reason="takes a minute")
def test_the_small_demonstration(tmp_path):
    command = ["-m", "keras_native", "demo", "cancer", "--device", "gpu", "--small"]
    command += ["--output", str(tmp_path)]
    done = python(*command, NATIVE_CUDA_DRIVER="emulator", KERAS_BACKEND="native")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "EMULATED A100" in done.stdout and "equal to the last bit" in done.stdout
