"""A kernel's arguments as the command line writes them, and as the launch takes them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import ml_dtypes
import numpy as np

FILLS = ("random", "zeros", "ones", "arange", "empty")
DTYPES = {
    name: np.dtype(name)
    for name in (
        "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
        "float16", "float32", "float64",
    )
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}  # fmt: skip


class ArgumentError(ValueError):
    """What the command line says of an argument makes no sense, or does not fit the kernel."""


@dataclasses.dataclass
class Scalar:
    """A number; `dtype` is None where the parameter's type decides."""

    text: str
    value: int | float
    dtype: np.dtype | None = None


@dataclasses.dataclass
class Array:
    """Memory on the device, whose address the kernel gets.

    Attributes:
        before: its contents before the launch, None for memory that nothing was written to.
        memory: its `_cuda.DeviceArray`, once uploaded.
    """

    text: str
    shape: tuple[int, ...]
    dtype: np.dtype
    before: np.ndarray | None
    memory: object = None

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def now(self) -> np.ndarray:
        """The contents; waits for what was launched."""
        return self.memory.copy_out().view(self.dtype).reshape(self.shape)


@dataclasses.dataclass
class Struct:
    """Arguments laid out as C lays out a structure."""

    text: str
    parts: list


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A kernel's parameter as PTX declares it: `kind` is "f32", "u64", ..., "b8" for structures."""

    name: str
    kind: str
    bytes: int

    def __str__(self) -> str:
        return f"'{self.name}' (.{self.kind}, {self.bytes} bytes)"


def parse(text: str, rng: np.random.Generator):
    """One argument of the command line.

        5  -0.5  0x10          a number, of the parameter's type
        int64:5  float16:0.5   a number of that type
        x.npy                  an array with the file's elements
        float32[64,100]        an array of random numbers, or with :zeros :ones :arange :empty
        {x.npy,64,float32:2}   a structure: numbers are int32 and float32 unless they say

    Raises:
        ArgumentError: it is none of these.
    """
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        return Struct(text, [parse(part, rng) for part in _split(text[1:-1])])
    if text.endswith(".npy"):
        return _from_file(text)
    if found := re.fullmatch(r"(\w+)\[([\d,\s]*)\](?::(\w+))?", text):
        return _filled(text, *found.groups(), rng)
    dtype, number = None, text
    if ":" in text:
        name, number = text.split(":", 1)
        dtype = _dtype(name, text)
    for kind in (lambda t: int(t, 0), float):
        try:
            return Scalar(text, kind(number), dtype)
        except ValueError:
            continue
    raise ArgumentError(
        f"'{text}' is no argument: expected a number (5, int64:5), an array (x.npy, "
        f"float32[64,100], float32[64]:zeros; fills are {', '.join(FILLS)}) or a structure {{...}}"
    )


def _dtype(name: str, text: str) -> np.dtype:
    if name not in DTYPES:
        raise ArgumentError(f"'{text}': no dtype '{name}'; there are {', '.join(DTYPES)}")
    return DTYPES[name]


def _from_file(text: str) -> Array:
    try:
        array = np.ascontiguousarray(np.load(text, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"'{text}' cannot be read: {error}") from error
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:
        array = array.view(ml_dtypes.bfloat16)  # which .npy files cannot name
    if array.dtype.kind not in "biuf" and array.dtype.name not in DTYPES:
        raise ArgumentError(f"'{text}' has elements of {array.dtype}, which kernels do not take")
    return Array(text, array.shape, array.dtype, array)


def _filled(text: str, name: str, sizes: str, fill: str | None, rng) -> Array:
    dtype = _dtype(name, text)
    shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    fill = fill or "random"
    if fill not in FILLS:
        raise ArgumentError(f"'{text}': no fill '{fill}'; there are {', '.join(FILLS)}")
    if fill == "empty":
        return Array(text, shape, dtype, None)
    if fill == "random":
        values = rng.integers(0, 100, shape) if dtype.kind in "iu" else rng.standard_normal(shape)
        values = values > 0 if dtype.kind == "b" else values
    elif fill == "arange":
        values = np.arange(int(np.prod(shape))).reshape(shape)
    else:
        values = np.full(shape, fill == "ones")
    return Array(text, shape, dtype, np.asarray(values).astype(dtype))


def _split(text: str) -> list[str]:
    """At commas outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += character in "[{"
        depth -= character in "]}"
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


def entries(ptx: str) -> dict[str, list[Parameter]]:
    """The kernels of a PTX module and their parameters."""
    found = {}
    for name, declared in re.findall(r"\.entry\s+([\w$]+)\s*(?:\(([^)]*)\))?", ptx):
        found[name] = []
        for piece in filter(str.strip, declared.split(",")):
            kind = re.search(r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)", piece)
            last = re.search(r"([\w$%]+)\s*(?:\[(\d+)\])?\s*$", piece)
            size = int(re.sub(r"\D", "", kind[1]) or 0) // 8
            found[name].append(Parameter(last[1], kind[1], size * int(last[2] or 1)))
    return found


def encode(argument, parameter: Parameter, upload: Callable[[Array], int]) -> bytes:
    """The bytes that the launch takes; arrays are uploaded and become their addresses.

    Raises:
        ArgumentError: the argument does not fit the parameter.
    """
    if isinstance(argument, Array):
        if parameter.bytes != 8 or parameter.kind.startswith("f"):
            raise ArgumentError(f"'{argument.text}' is an array, and {parameter} is no pointer")
        return np.uint64(upload(argument)).tobytes()
    if isinstance(argument, Struct):
        data = _lay_out(argument, upload)
    elif parameter.kind == "b8" and parameter.bytes > 1 and argument.dtype is None:
        raise ArgumentError(f"{parameter} is a structure: write '{{...}}', not '{argument.text}'")
    else:
        data = _number(argument, argument.dtype or _dtype_of(parameter, argument)).tobytes()
    if len(data) != parameter.bytes:
        raise ArgumentError(
            f"'{argument.text}' takes {len(data)} bytes, and {parameter} {parameter.bytes}"
        )
    return data


def _dtype_of(parameter: Parameter, scalar: Scalar) -> np.dtype:
    if parameter.kind.startswith("f"):
        return np.dtype(f"f{parameter.bytes}")
    if isinstance(scalar.value, float):
        raise ArgumentError(
            f"'{scalar.text}' is no integer, and {parameter} is one; for other bits write a type, "
            f"as in float32:{scalar.text}"
        )
    return np.dtype(f"{'i' if scalar.value < 0 else 'u'}{parameter.bytes}")


def _number(scalar: Scalar, dtype: np.dtype) -> np.ndarray:
    try:
        with np.errstate(over="raise"):
            return np.array(scalar.value, dtype)
    except (OverflowError, FloatingPointError) as error:
        raise ArgumentError(f"{scalar.text} does not fit {dtype.name}") from error


def _lay_out(struct: Struct, upload) -> bytes:
    data, widest = b"", 1
    for part in struct.parts:
        if isinstance(part, Struct):
            piece, align = _lay_out(part, upload), _alignment(part)
        elif isinstance(part, Array):
            piece, align = np.uint64(upload(part)).tobytes(), 8
        else:
            usual = np.dtype("i4" if isinstance(part.value, int) else "f4")
            piece = _number(part, part.dtype or usual).tobytes()
            align = len(piece)
        data += bytes(-len(data) % align) + piece
        widest = max(widest, align)
    return data + bytes(-len(data) % widest)


def _alignment(struct: Struct) -> int:
    sizes = [1]
    for part in struct.parts:
        if isinstance(part, Struct):
            sizes.append(_alignment(part))
        elif isinstance(part, Array):
            sizes.append(8)
        else:
            sizes.append(part.dtype.itemsize if part.dtype else 4)
    return max(sizes)
