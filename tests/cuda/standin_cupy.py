"""What this project uses of CuPy, on the emulated GPU: arrays are NumPy's with a place on the
device, from which they are read when they are made and to which assignment writes."""

import types

import numpy as np
from ptxkernel import Buffer, _cuda, source

from keras_native import _core

# Copies %p2 bytes from %p1 to %p0.
COPY = """cvt.u64.u32 %rd1, %gid; setp.ge.u64 %q0, %rd1, %p2; @%q0 ret;
add.u64 %rd2, %p0, %rd1; add.u64 %rd3, %p1, %rd1; ld.global.u8 %h1, [%rd3];
st.global.u8 [%rd2], %h1;"""
_kernels = []


def write(address: int, array: np.ndarray) -> None:
    """Puts bytes anywhere on the device."""
    if not _kernels:
        _kernels.append(_cuda.Module(source(COPY, 3, name="put")).kernel("put"))
    held = Buffer(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    values = [np.uint64(v) for v in (address, held.memory.address, array.nbytes)]
    _kernels[0].launch([-(-array.nbytes // 128)], [128], values)
    _cuda.synchronize()


class ndarray(np.ndarray):
    """`cupy.ndarray(shape, dtype, memptr)`."""

    address = None

    def __new__(cls, shape, dtype, memptr):
        name = np.dtype(dtype).name
        address = memptr.memory.address
        self = _core.Array.copy_of(address, name, shape, "gpu:0").numpy().copy().view(cls)
        self.address = address
        return self

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if self.address is not None:
            write(self.address, np.asarray(self))


class UnownedMemory:
    def __init__(self, address, size, owner):
        self.address, self.size, self.owner = address, size, owner


class MemoryPointer:
    def __init__(self, memory, offset):
        self.memory, self.offset = memory, offset


class ExternalStream:
    used = []

    def __init__(self, handle):
        self.handle = handle

    def use(self):
        ExternalStream.used.append(self.handle)


allocators = []
cuda = types.SimpleNamespace(
    UnownedMemory=UnownedMemory,
    MemoryPointer=MemoryPointer,
    ExternalStream=ExternalStream,
    set_allocator=allocators.append,
)
