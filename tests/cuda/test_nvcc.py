"""What nvcc makes of CUDA sources runs on the emulator; skipped where there is no nvcc."""

import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from nvcc import compile_ptx
from ptxkernel import Buffer, _cuda

SOURCE = Path(__file__).with_name("kernels.cu")


@pytest.fixture(scope="module")
def ptx():
    """A function that compiles the source, with macros, and gives its PTX."""
    made = {}

    def compiled(*macros: str) -> str:
        if macros not in made:
            made[macros] = compile_ptx(SOURCE, "-std=c++17", *(f"-D{m}" for m in macros))
        return made[macros]

    return compiled


def run(text, name, arguments, grid, block, shared=0):
    """Launches and waits; the names of the faults found."""
    kernel = _cuda.Module(text).kernel(name)
    values = [a.memory if isinstance(a, Buffer) else a for a in arguments]
    kernel.launch(list(grid), list(block), values, shared=shared)
    try:
        _cuda.synchronize()
    except RuntimeError:
        assert _cuda.reports()
    return {r["fault"] for r in _cuda.reports()}


def test_saxpy(ptx):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1000)).astype(np.float32)
    out = Buffer(y)
    assert (
        run(ptx(), "saxpy", [out, Buffer(x), np.float32(1.7), np.int32(1000)], (3,), (128,))
        == set()
    )
    exact = np.float64(np.float32(1.7)) * x.astype(np.float64) + y.astype(np.float64)
    assert (out.get() == exact.astype(np.float32)).all()


def test_total(ptx):
    x = np.random.default_rng(1).integers(-9, 10, 5000).astype(np.float32)
    out = Buffer(np.zeros(1, np.float32))
    assert run(ptx(), "total", [out, Buffer(x), np.int32(5000)], (4,), (256,)) == set()
    assert out.get()[0] == x.sum(dtype=np.float64)


@pytest.mark.parametrize("m, n, k", [(32, 32, 32), (37, 50, 45), (1, 65, 7)])
def test_gemm(ptx, m, n, k):
    rng = np.random.default_rng(2)
    a, b = (
        rng.standard_normal((m, k)).astype(np.float32),
        rng.standard_normal((k, n)).astype(np.float32),
    )
    out = Buffer.empty((m, n), np.float32)
    sizes = [np.int32(v) for v in (m, n, k)]
    grid = (-(-n // 32), -(-m // 32))
    assert run(ptx(), "gemm", [out, Buffer(a), Buffer(b), *sizes], grid, (256,)) == set()
    size = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    error = np.abs(out.get() - a.astype(np.float64) @ b.astype(np.float64))
    assert (error <= k * 2.0**-24 * size).all()
    conflicts = sum(r["conflicts"] for r in _cuda.counts("gemm"))
    assert conflicts == 0


@pytest.mark.parametrize("k", [16, 48, 128])
def test_tensor_cores(ptx, k):
    rng = np.random.default_rng(3)
    a = rng.integers(-3, 4, (16, k)).astype(ml_dtypes.bfloat16)
    b = rng.integers(-3, 4, (8, k)).astype(ml_dtypes.bfloat16)
    out = Buffer.empty((16, 8), np.float32)
    assert run(ptx(), "tensor", [out, Buffer(a), Buffer(b), np.int32(k)], (1,), (32,)) == set()
    assert (out.get() == a.astype(np.float64) @ b.astype(np.float64).T).all()


def test_softmax(ptx):
    x = np.random.default_rng(4).standard_normal((5, 77)).astype(np.float32) * 5
    out = Buffer.empty(x.shape, np.float32)
    assert run(ptx(), "softmax", [out, Buffer(x), np.int32(77)], (5,), (32,), 77 * 4) == set()
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(out.get(), e / e.sum(1, keepdims=True), rtol=1e-5)


def integer_quotient(v):
    t = math.trunc(float(np.float32(v) * np.float32(1000)))
    quotient = abs(t) // 7 * (1 if t >= 0 else -1)
    return math.fmod(quotient, 1000)


def bit_counts(v):
    bits = int(np.float32(v).view(np.uint32))
    lowest = (bits & -bits).bit_length()
    return bits.bit_count() + 32 - bits.bit_length() + lowest


def funnel(v):
    both = 0x12345678 << 32 | int(np.float32(v).view(np.uint32))
    return np.float32((both << 7 >> 32 & 0xFFFFFFFF) >> 8)


FUNCTIONS = {
    0: (np.sin, 1e-6),
    1: (np.tanh, 1e-6),
    2: (np.vectorize(math.erf), 1e-6),
    3: (lambda v: np.log1p(np.abs(v)), 1e-6),
    4: (lambda v: 1 / np.sqrt(np.abs(v) + 1), 1e-6),
    5: (lambda v: np.abs(v) ** np.float64(np.float32(1.7)), 1e-6),
    6: (lambda v: v / 3 + np.sqrt(np.abs(v)), 1e-7),
    7: (lambda v: v.astype(np.float16).astype(np.float64) ** 2 + 1, 2**-10),
    8: (lambda v: v.astype(ml_dtypes.bfloat16).astype(np.float64), 0),
    9: (np.vectorize(integer_quotient), 0),
    10: (np.vectorize(bit_counts), 0),
    11: (np.exp, 1e-7),
    12: (lambda v: np.fmod(v, np.float64(np.float32(0.7))), 0),
    13: (np.cbrt, 1e-6),
    14: (lambda v: np.exp(-np.abs(v.astype(np.float16).astype(np.float64))), 2**-9),
    15: (lambda v: 3 * np.exp(-np.abs(v.astype(ml_dtypes.bfloat16).astype(np.float64))), 2**-7),
    16: (lambda v: np.repeat([(v[:128] > 0).sum(), (v[128:] > 0).sum()], [128, 72]), 0),
    17: (np.vectorize(funnel), 0),
}


@pytest.mark.parametrize("which", FUNCTIONS)
def test_functions(ptx, which):
    rng = np.random.default_rng(5)
    x = (rng.standard_normal(200) * 2.0 ** rng.integers(-4, 5, 200)).astype(np.float32)
    out = Buffer.empty(200, np.float32)
    arguments = [out, Buffer(x), np.int32(200), np.int32(which)]
    assert run(ptx(), "functions", arguments, (2,), (128,)) == set()
    rule, tolerance = FUNCTIONS[which]
    np.testing.assert_allclose(
        out.get(), rule(x.astype(np.float64)), rtol=tolerance, atol=tolerance / 10
    )


def line_of(text):
    return next(k for k, line in enumerate(SOURCE.read_text().splitlines(), 1) if text in line)


@pytest.mark.emulator
def test_forgotten_barriers_are_found(ptx):
    """The same kernels without one wait: the report names the line of the source."""
    text = ptx("FORGETS_TO_WAIT")
    x = Buffer(np.ones(512, np.float32))
    faults = run(text, "total", [Buffer(np.zeros(1, np.float32)), x, np.int32(512)], (1,), (128,))
    assert "race in shared memory" in faults
    lines = {r["source"].split(" ")[0] for r in _cuda.reports() if r["fault"].startswith("race")}
    assert lines <= {
        f"kernels.cu:{line_of(t)}" for t in ("v = threadIdx.x < blockDim", "== 0) parts[")
    }
    _cuda.clear_reports()
    square = Buffer(np.ones((64, 64), np.float32))
    sizes = [np.int32(64)] * 3
    faults = run(
        text, "gemm", [Buffer.empty((64, 64), np.float32), square, square, *sizes], (2, 2), (256,)
    )
    assert faults == {"race in shared memory"}
    _cuda.clear_reports()
    halves = [Buffer(np.ones((r, 64), ml_dtypes.bfloat16)) for r in (16, 8)]
    faults = run(
        text, "tensor", [Buffer.empty((16, 8), np.float32), *halves, np.int32(64)], (1,), (32,)
    )
    assert "race with cp.async" in faults
