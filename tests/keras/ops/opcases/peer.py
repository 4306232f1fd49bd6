"""Peers: other backends of Keras in worker processes, and comparison with their results."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np

from opcases.drawing import COMPLEX, FLOAT, FLOAT8, Op, numpy_dtype

FOLDER = Path(__file__).resolve().parents[1]
# NumPy does not know their NaN.
SMALL = [numpy_dtype(name) for name in ("bfloat16", *FLOAT8)]
_NARROW = {"float64": "float32", "complex128": "complex64", "int64": "int32", "uint64": "uint32"}


class Peer:
    """A worker with another backend.

    Args:
        backend: "numpy" or "jax".
        python: the interpreter, by default this one.
    """

    def __init__(self, backend: str, python: str = sys.executable):
        self.backend = backend
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(FOLDER),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        }
        self.process = subprocess.Popen(
            [python, str(FOLDER / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def wait(self) -> None:
        """Until the worker has imported its backend; EOFError if it cannot."""
        pickle.load(self.process.stdout)

    def __call__(self, name, args, kwargs, wide=False, seed=None):
        """(leaves, or gradients if there is a seed; None), or (None, error) as a text."""
        pickle.dump((name, args, kwargs, wide, seed), self.process.stdin)
        self.process.stdin.flush()
        return pickle.load(self.process.stdout)

    def close(self) -> None:
        self.process.kill()  # it holds nothing, and on a busy machine an orderly end takes its time
        self.process.communicate()


def narrowed(dtype):
    """The 32-bit dtype of the kind: the peers narrow what this backend keeps in 64 bits."""
    return _NARROW.get(dtype, dtype)


def check(found, expected, op: Op, what: str, slack: float = 1, arrays=(), dtypes=True) -> None:
    """Asserts that results agree: number, dtypes, shapes, NaN and infinities, values."""
    assert len(found) == len(expected), f"{what}: {len(found)} results, not {len(expected)}"
    sixty_four = any(a.dtype.itemsize // (1 + (a.dtype.kind == "c")) == 8 for a in arrays)
    for (dtype, value), (wanted_dtype, wanted) in zip(found, expected, strict=True):
        if dtype is None or wanted_dtype is None:
            if not dtypes:
                continue
            if getattr(value, "dtype", None) in SMALL:
                value, wanted = value.astype("float32"), wanted.astype("float32")
            np.testing.assert_array_equal(value, wanted, err_msg=what)
            continue
        if dtypes:
            same = (
                narrowed(dtype) == narrowed(wanted_dtype) if sixty_four else dtype == wanted_dtype
            )
            assert same, f"{what}: dtype {dtype}, not {wanted_dtype}"
        assert value.shape == wanted.shape, f"{what}: shape {value.shape}, not {wanted.shape}"
        if op.values and (op.oracle or dtype == wanted_dtype):
            check_values(value, wanted, dtype, op, what, slack, arrays)


def coarsest(dtype: str, op: Op, slack: float, arrays) -> float:
    """The epsilon to measure by: a peer (unlike the oracle) rounds as coarsely as its inputs."""
    names = [dtype, *(["float32"] if op.narrow else [])]
    if slack > 1:
        names += [a.dtype.name for a in arrays if a.dtype.name in FLOAT + COMPLEX]
    return max(float(ml_dtypes.finfo(numpy_dtype(name)).eps) for name in names)


def check_values(value, wanted, dtype, op, what, slack, arrays) -> None:
    """Asserts that values agree within the bound of the operation and dtype."""
    inexact = dtype in FLOAT + COMPLEX + FLOAT8
    with np.errstate(all="ignore"):
        wanted = wanted.astype(value.dtype)
    if not inexact:
        np.testing.assert_array_equal(value, wanted, err_msg=what)
        return
    wide = np.complex128 if dtype in COMPLEX else np.float64
    value, wanted = value.astype(wide), wanted.astype(wide)
    finite = np.isfinite(wanted)
    if dtype in COMPLEX:
        assert (np.isfinite(value) == finite).all(), f"{what}: {value}, not {wanted}"
    else:
        np.testing.assert_array_equal(
            np.where(finite, 0, wanted),
            np.where(np.isfinite(value), 0, value),
            err_msg=f"{what}: NaN or infinity",
        )
    largest = [
        np.abs(a.astype(wide)) for a in (*arrays, wanted) if a.dtype.kind in "fcV" and a.size
    ]
    largest = max((float(a[np.isfinite(a)].max(initial=0)) for a in largest), default=0)
    info = ml_dtypes.finfo(numpy_dtype(dtype))
    eps = coarsest(dtype, op, slack, arrays)
    allowed = slack * op.bound * eps * (np.abs(wanted) + op.level * max(largest, 1))
    allowed = allowed + 4 * float(info.smallest_subnormal)
    wrong = finite & ~(np.abs(np.where(finite, value - wanted, 0)) <= allowed)
    if wrong.any():
        excess = np.abs(value - wanted)[wrong] / (np.abs(wanted) + largest)[wrong] / eps
        raise AssertionError(
            f"{what}: {value[wrong][:4]}, not {wanted[wrong][:4]}; {float(excess.max()):.3g} eps"
        )
