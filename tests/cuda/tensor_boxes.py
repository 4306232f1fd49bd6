"""Tensor maps, and what a box of a tensor is in shared memory, from the manual's definitions."""

import dataclasses

import ml_dtypes
import numpy as np
from ptxkernel import Buffer, _cuda

# CUtensorMapDataType.
TYPES = {
    np.dtype(np.uint8): 0,
    np.dtype(np.uint16): 1,
    np.dtype(np.int32): 3,
    np.dtype(np.int64): 5,
    np.dtype(np.float16): 6,
    np.dtype(np.float32): 7,
    np.dtype(np.float64): 8,
    np.dtype(ml_dtypes.bfloat16): 9,
}
SPANS = {"none": 0, "32": 1, "64": 2, "128": 3}  # CUtensorMapSwizzle


def swizzled(offsets, swizzle):
    """Where bytes at these shared addresses lie: bits from 4 on are changed by those from 7 on."""
    bits = SPANS[swizzle]
    return offsets ^ ((offsets >> 7 & ((1 << bits) - 1)) << 4)


@dataclasses.dataclass
class Tensor:
    """An array on the device with a map of boxes; row-major, innermost axis last, as NumPy's."""

    array: np.ndarray
    box: tuple[int, ...]
    swizzle: str = "none"

    def __post_init__(self):
        self.buffer = Buffer(self.array)
        self.map = _cuda.tensor_map(
            TYPES[self.array.dtype],
            self.buffer.memory.address,
            list(self.array.shape[::-1]),
            list(self.array.strides[-2::-1]),
            list(self.box[::-1]),
            SPANS[self.swizzle],
        )

    @property
    def bytes(self) -> int:
        """Of a box."""
        return int(np.prod(self.box)) * self.array.itemsize

    def places(self, at):
        """For each element of the box at those indices whether it is inside, and which it is."""
        index = np.meshgrid(*[np.arange(n) + a for n, a in zip(self.box, at)], indexing="ij")
        inside = np.ones(self.box, bool)
        for i, size in zip(index, self.array.shape):
            inside &= (i >= 0) & (i < size)
        return inside, tuple(np.where(inside, i, 0) for i in index)

    def box_at(self, at) -> np.ndarray:
        """The box that begins at those indices; zeros beyond the tensor."""
        inside, index = self.places(at)
        return np.where(inside, self.array[index], np.zeros((), self.array.dtype))

    def shared(self, at) -> np.ndarray:
        """The box as bytes of shared memory, from an address that the swizzle begins at."""
        box = np.ascontiguousarray(self.box_at(at)).reshape(-1).view(np.uint8)
        out = np.empty_like(box)
        out[swizzled(np.arange(box.size), self.swizzle)] = box
        return out


def coordinates(at) -> str:
    """The operand of a copy: innermost first."""
    return "{" + ", ".join(str(a) for a in reversed(at)) + "}"
