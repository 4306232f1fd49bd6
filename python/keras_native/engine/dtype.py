"""Dtypes by Keras's names, their NumPy counterparts and the promotion table."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np

from keras_native import _core

# In the order of csrc/core/dtype.h.
NAMES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "float8_e4m3fn",
    "float8_e5m2",
]

_EXTENSION = {
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}
NUMPY = {name: np.dtype(_EXTENSION.get(name, name)) for name in NAMES}
_BY_NUMPY = {dtype: name for name, dtype in NUMPY.items()}
_core.set_numpy_dtypes([NUMPY[name] for name in NAMES])

FLOATS = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
PARTS = {"complex64": "float32", "complex128": "float64"}
COMPLEX = tuple(PARTS)
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED


def from_numpy(dtype: np.dtype) -> str:
    """Keras's name of a NumPy dtype.

    Raises:
        TypeError: the dtype has no counterpart (objects, strings, dates).
    """
    try:
        return _BY_NUMPY[np.dtype(dtype)]
    except KeyError:
        raise TypeError(f"no tensor dtype for NumPy's {np.dtype(dtype)}") from None


def wrapped(value: int, dtype: str) -> int:
    """A Python int as an integer dtype holds it: modulo 2**bits, as casts do."""
    bits = 8 * NUMPY[dtype].itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype in SIGNED and value >> (bits - 1) else value


def part(dtype: str) -> str:
    """The dtype of a number's real part."""
    return PARTS.get(dtype, dtype)


def is_float(dtype: str) -> bool:
    """Real floating point, float8 included."""
    return dtype in FLOATS


def is_differentiable(dtype: str) -> bool:
    """Floating point or complex: only such tensors have cotangents."""
    return dtype in FLOATS or dtype in COMPLEX


# Promotion: a lattice in which each dtype points to those just above it. "int" and "float" are the
# weak dtypes of Python scalars. float8 takes no part: nothing promotes to or from it.
_ABOVE = {
    "bool": ["int"],
    "uint8": ["int16", "uint16"],
    "uint16": ["int32", "uint32"],
    "uint32": ["int64", "uint64"],
    "uint64": ["float"],
    "int": ["uint8", "int8", "complex64"],
    "int8": ["int16"],
    "int16": ["int32"],
    "int32": ["int64"],
    "int64": ["float"],
    "float": ["bfloat16", "float16"],
    "bfloat16": ["float32"],
    "float16": ["float32"],
    "float32": ["float64", "complex64"],
    "float64": ["complex128"],
    "complex64": ["complex128"],
    "complex128": [],
}
_PYTHON = {bool: "bool", int: "int32", float: "float32", complex: "complex64", "int": "int32"}
# Promotion results are 32-bit at most; 64-bit dtypes appear only where they are asked for by name.
_NARROW = {
    "int64": "int32",
    "uint64": "uint32",
    "float64": "float32",
    "complex128": "complex64",
}


def _upper_bounds() -> dict[str, frozenset[str]]:
    bounds: dict[str, frozenset[str]] = {}

    def visit(name: str) -> frozenset[str]:
        if name not in bounds:
            bounds[name] = frozenset({name}).union(*(visit(above) for above in _ABOVE[name]))
        return bounds[name]

    for name in _ABOVE:
        visit(name)
    return bounds


_UPPER_BOUNDS = _upper_bounds()


def _least_upper_bound(names: set[str]) -> str:
    common = frozenset.intersection(*(_UPPER_BOUNDS[name] for name in names))
    least = [name for name in common if common <= _UPPER_BOUNDS[name]]
    if len(least) != 1:
        raise ValueError(
            f"dtypes {tuple(sorted(names))} have no common promotion; cast one of them first"
        )
    return least[0]


def standardize(dtype, floatx: str = "float32") -> str:
    """The name of a dtype given as a name, a Python type, a NumPy dtype or None (`floatx`).

    Raises:
        ValueError: it names no tensor dtype.
    """
    if dtype is None:
        return floatx
    if isinstance(dtype, type) or dtype == "int":
        name = _PYTHON.get(dtype) or getattr(dtype, "__name__", None)
    else:
        name = getattr(dtype, "name", dtype)
    if name not in NUMPY:
        raise ValueError(f"invalid dtype: {dtype!r}; expected one of {NAMES}")
    return name


@functools.lru_cache(maxsize=4096)
def result_type(*dtypes, floatx: str = "float32") -> str:
    """The dtype that operands of these dtypes promote to.

    Args:
        *dtypes: names, Python types or NumPy dtypes. The types `int` and `float` (not the names of
            dtypes) are weak: they take the width of the other operands, or of `floatx` if all are
            weak. None stands for `floatx`.
        floatx: the default float dtype.

    Raises:
        ValueError: a dtype is unknown, or a float8, which promotes with nothing.
    """
    if not dtypes:
        return floatx
    names = [standardize(dtype, floatx) for dtype in dtypes]
    weak = [dtype is int or dtype is float for dtype in dtypes]
    if any(name.startswith("float8") for name in names):
        raise ValueError(f"float8 dtypes are not promoted; cast them first. Received: {dtypes}")
    if len(set(names)) == 1:
        out, out_is_weak = names[0], all(weak)
    elif all(weak):
        out, out_is_weak = _least_upper_bound(set(names)), True
    else:
        out = _least_upper_bound(
            {
                name.rstrip("0123456789") if is_weak else name
                for name, is_weak in zip(names, weak, strict=True)
            }
        )
        out_is_weak = out in ("int", "float")
    if out_is_weak:
        out = ("int" if out.startswith("int") else "float") + floatx[-2:]
    return _NARROW.get(out, out)
