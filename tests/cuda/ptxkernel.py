"""Small kernels in PTX, run on the emulator. Importing this skips a file of tests where the GPU
part is
not built."""

import dataclasses
import os

import ml_dtypes
import numpy as np
import pytest

_cuda = pytest.importorskip(
    "keras_native._cuda", reason="the GPU part is not built (-DNATIVE_CUDA=ON)"
)

ON_GPU = bool(os.environ.get("NATIVE_TEST_GPU"))  # as conftest.py has it
# Some instructions, bfloat16's mostly, came with sm_90; the emulator takes them for sm_80 as well.
TARGET = "sm_90" if ON_GPU else "sm_80"
HEADER = f".version 8.5\n.target {TARGET}\n.address_size 64\n"
# A type's array, its register, and how it is loaded and stored.
DTYPES = {
    "u8": (np.uint8, "b16", "u8"),
    "s8": (np.int8, "b16", "s8"),
    "u16": (np.uint16, "b16", "u16"),
    "s16": (np.int16, "b16", "s16"),
    "b16": (np.uint16, "b16", "u16"),
    "f16": (np.float16, "b16", "b16"),
    "bf16": (ml_dtypes.bfloat16, "b16", "b16"),
    "u32": (np.uint32, "b32", "u32"),
    "s32": (np.int32, "b32", "s32"),
    "b32": (np.uint32, "b32", "u32"),
    "f32": (np.float32, "f32", "f32"),
    "tf32": (np.float32, "b32", "b32"),
    "f16x2": (np.uint32, "b32", "b32"),
    "bf16x2": (np.uint32, "b32", "b32"),
    "u64": (np.uint64, "b64", "u64"),
    "s64": (np.int64, "b64", "s64"),
    "b64": (np.uint64, "b64", "u64"),
    "f64": (np.float64, "f64", "f64"),
}


def source(
    body: str,
    params: int,
    *,
    name: str = "k",
    outer: str = "",
    launch: str = "",
    target: str = "",
    maps: int = 0,
) -> str:
    """The text of a module with one kernel of `params` 64-bit parameters and `maps` tensor maps.

        Before `body` stand: the parameters' values in %p0, %p1, ..., the maps' generic addresses
    in %m0, ...; %lane, %thread (of the block's row), %gid (of
        the grid's row), %off4 and %off8 (%gid times 4 and 8, 64 bits);
    registers %r, %rd, %h, %f, %fd, %q (pred).
    """
    parts = [f".param .u64 a{k}" for k in range(params)]
    parts += [f".param .align 64 .b8 map{k}[128]" for k in range(maps)]
    declared = ", ".join(parts)
    header = HEADER.replace(TARGET, target).replace("8.5", "8.6") if target else HEADER
    places = "".join(f"mov.u64 %m{k}, map{k}; cvta.param.u64 %m{k}, %m{k};\n" for k in range(maps))
    loads = "".join(f"ld.param.u64 %p{k}, [a{k}];\n" for k in range(params))
    return f"""{header}{outer}
.visible .entry {name}({declared}) {launch} {{
.reg .b64 %p<{max(params, 1)}>, %m<{maps + 1}>, %off4, %off8, %rd<64>;
.reg .b32 %lane, %thread, %gid, %threads, %block, %r<64>;
.reg .b16 %h<32>; .reg .f32 %f<64>; .reg .f64 %fd<32>; .reg .pred %q<16>;
{loads}{places}mov.u32 %lane, %laneid;
mov.u32 %thread, %tid.x;
mov.u32 %threads, %ntid.x;
mov.u32 %block, %ctaid.x;
mad.lo.u32 %gid, %block, %threads, %thread;
mul.wide.u32 %off4, %gid, 4;
mul.wide.u32 %off8, %gid, 8;
{body}
ret;
}}
"""


class Buffer:
    """An array on the device."""

    def __init__(self, array: np.ndarray, cuda=_cuda):
        array = np.ascontiguousarray(array)
        self.shape, self.dtype = array.shape, array.dtype
        self.memory = cuda.DeviceArray(array.nbytes)
        self.memory.copy_in(array.reshape(-1).view(np.uint8))

    @classmethod
    def empty(cls, shape, dtype) -> "Buffer":
        """Memory that nothing was written to."""
        self = cls.__new__(cls)
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.memory = _cuda.DeviceArray(int(np.prod(shape)) * self.dtype.itemsize)
        return self

    def get(self) -> np.ndarray:
        """The array as it is now; waits for what was launched."""
        return self.memory.copy_out().view(self.dtype).reshape(self.shape)


def loaded(text: str):
    """The module; a form that the emulator takes and the driver does not is skipped on a GPU."""
    try:
        return _cuda.Module(text)
    except RuntimeError as error:
        if ON_GPU and "INVALID_PTX" in str(error):
            pytest.skip("the driver has no such form")
        raise


def launch(text: str, *arguments, grid=(1,), block=(32,), shared=0, name="k"):
    """Loads the module and launches its kernel;
    returns the kernel. Nothing has run until somebody waits."""
    kernel = loaded(text).kernel(name)
    values = [a.memory if isinstance(a, Buffer) else a for a in arguments]
    kernel.launch(list(grid), list(block), values, shared=shared)
    return kernel


def run(body: str, *arguments, grid=(1,), block=(32,), shared=0, **parts):
    """Runs a kernel of that body to its end, and demands that nothing was found wrong.

    Arguments that are bytes are tensor maps, the last ones."""
    maps = sum(isinstance(a, bytes) for a in arguments)
    text = source(body, len(arguments) - maps, maps=maps, **parts)
    name = parts.get("name", "k")
    kernel = launch(text, *arguments, grid=grid, block=block, shared=shared, name=name)
    _cuda.synchronize()
    assert _cuda.reports() == []
    return kernel


@dataclasses.dataclass
class Elementwise:
    """One instruction over arrays.

        `text` has {d} for the result and {a}, {b}, {c}, {e} for the operands;
    `out` and `ins` are PTX types, a
        result "pred" comes back as uint32 0 or 1.
    """

    text: str
    out: str
    ins: tuple[str, ...]

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """The instruction's results, one for each element."""
        count = len(arrays[0])
        regs, loads, names = "", "", {"d": "%d"}
        for k, (kind, letter) in enumerate(zip(self.ins, "abce")):
            dtype, register, load = DTYPES[kind]
            assert arrays[k].dtype == dtype, (kind, arrays[k].dtype)
            names[letter] = f"%{letter}"
            regs += f".reg .{register} %{letter};\n"
            loads += f"mad.wide.u32 %rd1, %gid, {np.dtype(dtype).itemsize}, %p{k + 2};\n"
            loads += f"ld.global.{load} %{letter}, [%rd1];\n"
        if self.out == "pred":
            dtype, store = np.uint32, "selp.u32 %r1, 1, 0, %d;\nst.global.u32 [%rd2], %r1;"
            regs += ".reg .pred %d;\n"
        else:
            dtype, register, load = DTYPES[self.out]
            regs += f".reg .{register} %d;\n"
            store = f"st.global.{load.replace('s', 'u')} [%rd2], %d;"
        out = Buffer.empty(count, dtype)
        body = f"""{{ {regs}
cvt.u32.u64 %r0, %p1;
setp.ge.u32 %q0, %gid, %r0;
@%q0 ret;
{loads}
mad.wide.u32 %rd2, %gid, {np.dtype(dtype).itemsize}, %p0;
{self.text.format(**names)}
{store} }}"""
        inputs = [Buffer(a) for a in arrays]
        run(body, out, np.uint64(count), *inputs, grid=(-(-count // 128),), block=(128,))
        return out.get()
