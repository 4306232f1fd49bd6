"""The emulator as a tool: what it says of other people's kernels, and of wrong command lines."""

import json
from pathlib import Path

import numpy as np
import pytest
from ptxkernel import source

from keras_native.tools import nvidia
from keras_native.tools.emulate import arguments, estimate, main

pytestmark = pytest.mark.emulator

KERNELS = Path(__file__).with_name("kernels.cu")
# y = a x + y for n elements, without a guard when {guard} is empty.
SAXPY = """.version 8.5
.target sm_80
.address_size 64
.visible .entry saxpy(.param .u64 y, .param .u64 .ptr .align 4 x, .param .f32 a, .param .u32 n) {{
.reg .pred %p<2>; .reg .b32 %r<6>; .reg .b64 %rd<8>; .reg .f32 %f<6>;
ld.param.u64 %rd1, [y]; ld.param.u64 %rd2, [x]; ld.param.f32 %f1, [a]; ld.param.u32 %r1, [n];
mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.s32 %r5, %r2, %r3, %r4;
setp.ge.s32 %p1, %r5, %r1;
{guard}
mul.wide.s32 %rd3, %r5, 4; add.s64 %rd4, %rd2, %rd3; add.s64 %rd5, %rd1, %rd3;
ld.global.f32 %f2, [%rd4]; ld.global.f32 %f3, [%rd5]; fma.rn.f32 %f4, %f2, %f1, %f3;
st.global.f32 [%rd5], %f4;
done: ret;
}}
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The tool sets the variables of its own process."""
    monkeypatch.setenv("NATIVE_CUDA_GPU", "A100")


@pytest.fixture
def files(tmp_path):
    """A folder with the kernels and arrays for them."""
    (tmp_path / "saxpy.ptx").write_text(SAXPY.format(guard="@%p1 bra done;"))
    (tmp_path / "bad.ptx").write_text(SAXPY.format(guard=""))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 100)).astype(np.float32)
    for name, array in {"x": x, "y": y, "wanted": 2 * x + y, "other": x + y}.items():
        np.save(tmp_path / f"{name}.npy", array)
    return tmp_path


def run(files, *more, kernel="saxpy.ptx", args=None):
    given = args or [str(files / "y.npy"), str(files / "x.npy"), "2", "100"]
    command = [str(files / kernel), "saxpy", "--grid", "2", "--block", "64", *more]
    return main([*command, "--args", *given])


def test_a_right_kernel(files, capsys):
    out, report = files / "out.npy", files / "report.json"
    check = ["--check", f"0={files / 'wanted.npy'}", "--save", f"0={out}", "--json", str(report)]
    assert run(files, *check) == 0
    printed = capsys.readouterr().out
    for part in ("no GPU was used", "no faults found", "equal", "instructions of warps: 72"):
        assert part in printed
    # 18 instructions of 4 warps; two loads and a store, the last of which has 4 threads inside.
    assert "12 requests, 3.25 sectors each (3.25 at best), 1,248 bytes moved" in printed
    assert "estimate for A100" in printed
    np.testing.assert_allclose(np.load(out), np.load(files / "wanted.npy"), rtol=1e-6)
    facts = json.loads(report.read_text())
    assert facts["equal"] and facts["reports"] == []
    assert sum(row["executed"] for row in facts["counts"]) == 72


def test_a_comparison_that_fails(files, capsys):
    assert run(files, "--check", f"0={files / 'other.npy'}") == 1
    printed = capsys.readouterr().out
    assert "differ, first at (0,)" in printed and "no faults found" in printed


def test_a_fault_names_place_and_argument(files, capsys):
    assert run(files, kernel="bad.ptx") == 1
    printed = capsys.readouterr().out
    assert "FAULT out of bounds: kernel saxpy at PTX line 11 (ld.global.f32)" in printed
    assert "block (1, 0, 0) thread (36, 0, 0)" in printed
    assert f"byte 400 of argument {files / 'x.npy'}, which has 400" in printed


def test_it_runs_cuda_sources(capsys):
    if nvidia.find("nvcc") is None:
        pytest.skip("no nvcc")
    sizes = ["float32[64,64]:empty", "float32[64,64]", "float32[64,64]", "64", "64", "64"]
    command = [str(KERNELS), "gemm", "--grid", "2,2", "--block", "256", "--gpu", "H100"]
    assert main([*command, "--nvcc=-std=c++17", "--args", *sizes]) == 0
    printed = capsys.readouterr().out
    for part in ("gemm on an emulated H100", "occupancy of H100", "kernels.cu:", "0 for conflicts"):
        assert part in printed
    assert main([*command, "--nvcc=-DFORGETS_TO_WAIT", "--args", *sizes]) == 1
    assert "race in shared memory: kernel gemm at kernels.cu:" in capsys.readouterr().out


@pytest.mark.skipif(not nvidia.find("nvcc"), reason="needs nvcc")
def test_it_runs_instructions_of_one_architecture(tmp_path, capsys):
    (tmp_path / "w.cu").write_text(
        """extern "C" __global__ void w(float* y, int n) {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  if (threadIdx.x < n) y[threadIdx.x] = 1;
}"""
    )
    command = [str(tmp_path / "w.cu"), "w", "--grid", "1", "--block", "128", "--gpu", "H100"]
    assert main([*command, "--args", "float32[100]", "100"]) == 0
    found = capsys.readouterr().out
    assert "registers a thread" in found and "written" in found


def test_kernels_of_cpp_names(files, capsys):
    text = (files / "saxpy.ptx").read_text().replace("entry saxpy", "entry _Z5saxpyPfPKffi")
    (files / "saxpy.ptx").write_text(text)
    assert run(files) == 0
    assert "_Z5saxpyPfPKffi on an emulated" in capsys.readouterr().out


WRONG = {
    "count": ({"args": ["1"]}, "takes 4 arguments, got 1: 'y' (.u64, 8 bytes), 'x'"),
    "pointer": (
        {"args": ["float32[1]", "float32[1]", "float32[1]", "1"]},
        "is an array, and 'a' (.f32, 4 bytes) is no pointer",
    ),
    "fraction": (
        {"args": ["float32[1]", "float32[1]", "1", "1.5"]},
        "'1.5' is no integer, and 'n' (.u32, 4 bytes) is one",
    ),
    "size": (
        {"args": ["float32[1]", "float32[1]", "1", "int64:1"]},
        "takes 8 bytes, and 'n' (.u32, 4 bytes) 4",
    ),
    "range": ({"args": ["float32[1]", "float32[1]", "1", "5000000000"]}, "does not fit uint32"),
    "dtype": ({"args": ["float33[1]", "1", "1", "1"]}, "no dtype 'float33'"),
    "fill": ({"args": ["float32[1]:twos", "1", "1", "1"]}, "no fill 'twos'"),
    "text": ({"args": ["hello", "1", "1", "1"]}, "'hello' is no argument"),
    "array": ({"args": ["nowhere.npy", "1", "1", "1"]}, "'nowhere.npy' cannot be read"),
    "file": ({"kernel": "nowhere.ptx"}, "there is no file"),
    "kind": ({"kernel": "x.npy"}, "expected a .cu or a .ptx file"),
    "gpu": ({"more": ["--gpu", "V100"]}, "no GPU 'V100'; there are A100"),
    "grid": ({"more": ["--grid", "1,2,3,4"]}, "--grid 1,2,3,4: one to three sizes"),
    "check": ({"more": ["--check", "3=x.npy"]}, "N the place of an array"),
    "threads": ({"more": ["--block", "2000"]}, "2000 threads"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_said(files, case, capsys):
    given, message = WRONG[case]
    given = dict(given)
    status = run(files, *given.pop("more", []), **given)
    said = capsys.readouterr()
    assert status == (1 if case == "threads" else 2)
    assert message in said.err + said.out


def test_what_the_emulator_does_not_know_is_said(files, capsys):
    (files / "odd.ptx").write_text(source("vadd.u32.u32.u32 %r1, %thread, %thread;", 1))
    assert main([str(files / "odd.ptx"), "k", "--args", "0"]) == 2
    assert "the emulator does not take it" in capsys.readouterr().err
    (files / "odd.ptx").write_text("this is no PTX")
    assert main([str(files / "odd.ptx"), "k"]) == 2
    assert "no kernel 'k'; there are none" in capsys.readouterr().err


def test_structures_are_laid_out_as_in_c():
    rng = np.random.default_rng(0)
    struct = arguments.parse("{uint8:1,float32[2]:zeros,2,{int16:3},float64:4}", rng)
    (array,) = [part for part in struct.parts if isinstance(part, arguments.Array)]
    data = arguments.encode(struct, arguments.Parameter("p", "b8", 32), lambda _: 7)
    layout = np.dtype("u1, u8, i4, i2, f8", align=True)
    assert np.frombuffer(data, layout).tolist() == [(1, 7, 2, 3, 4.0)]
    assert str(array) == "float32[2]"


@pytest.mark.parametrize("dtype", arguments.DTYPES)
def test_arrays_of_every_dtype(dtype, tmp_path):
    rng = np.random.default_rng(0)
    for fill in arguments.FILLS:
        array = arguments.parse(f"{dtype}[3,4]:{fill}", rng)
        assert array.shape == (3, 4) and array.bytes == 12 * array.dtype.itemsize
        assert (array.before is None) == (fill == "empty")
    np.save(tmp_path / "x.npy", array := np.ones((2, 3), arguments.DTYPES[dtype]))
    read = arguments.parse(str(tmp_path / "x.npy"), rng)
    assert read.dtype == array.dtype and (read.before == array).all()


@pytest.mark.parametrize(
    "opcode, multiply_adds",
    [
        ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 2048),
        ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 2048),
        ("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", 2048),
        ("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16", 65536),
        ("fma.rn.f32", 0),
    ],
)
def test_work_of_tensor_cores(opcode, multiply_adds):
    assert estimate.tensor_work(opcode) == multiply_adds


def test_the_estimate_is_the_longest_part(cuda):
    """By hand, for 108 multiprocessors at 1.41 GHz and 1555 GB/s."""
    (gpu,) = [g for g in cuda.gpus() if g["name"] == "A100"]
    done = estimate.Work({"float": 4_000_000, "move": 1_000_000}, 10, 40, 40, 0, 0, 0)
    parts = estimate.least_time(done, gpu, 1000, 1280)
    clocks = 108 * 1.41e9
    assert parts["issue"] == pytest.approx(5_000_000 / 4 / clocks)
    assert parts["arithmetic in floating point"] == pytest.approx(4_000_000 * 32 / 64 / clocks)
    assert parts["memory"] == pytest.approx(1280 / 1555e9)
    assert estimate.least_time(done, gpu, 54, 1280)["issue"] == pytest.approx(2 * parts["issue"])
    text = estimate.describe(done, gpu, 1000, 1280)
    assert "limited by arithmetic in floating point" in " ".join(text)
