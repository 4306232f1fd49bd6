"""How a fault is planted in a kernel, and pieces that such kernels are made of."""

import dataclasses


@dataclasses.dataclass
class Planted:
    """A kernel with a hole {x}: what stands there rightly, and wrongly. Two parameters: 128 words
    to
    read, all zero, and 1024 to write. `at` is (thread's x, offset of the address in its memory)."""

    id: str
    fault: str
    body: str
    right: str
    wrong: str
    at: tuple | None = None
    block: int = 32
    grid: int = 1
    outer: str = ""
    shared: int = 0
    target: str = ""
    maps: int = 0  # of tensors: see planted_hopper
    also: str = ""  # found in its place where warps run in another order


SHARED = ".shared .align 16 .b8 s[512]; mov.u32 %r30, s; mad.lo.u32 %r31, %thread, 4, %r30;"
LOCAL = ".local .align 16 .b8 l[32]; mov.u64 %rd30, l;"
ROW = "mad.lo.u32 %r31, %thread, 16, %r30;"
FILL = "st.shared.u32 [%r31], %thread;"
NEXT = "xor.b32 %r1, %thread, {k}; mad.lo.u32 %r1, %r1, 4, %r30;"
OUT = "add.u64 %rd9, %p1, %off4; st.global.u32 [%rd9], {v};"
COPY = "add.u64 %rd20, %p0, %off4; cp.async.ca.shared.global [%r31], [%rd20], 4;"
