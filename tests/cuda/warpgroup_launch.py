"""Products by warp groups launched kernel by kernel, past the choice of kernels and tiles.

The structures are those of cuda/kernels/gemm/params.h, the tiles those of tiles.h.
"""

import functools

import numpy as np
from gemm_launch import PARAMS, TYPES
from ptxkernel import Buffer, _cuda

WARPGROUP = np.dtype(
    [
        ("maps", "u8", (3, 16)),
        ("tiles", "i4"),
        ("copied", "i4"),
        ("product", PARAMS),
    ]
)
# Rows, columns and stages.
TILES = {"large": (128, 256, 4), "small": (128, 128, 6), "narrow": (128, 64, 8)}
# CUtensorMapDataType, and that of kernels/types.h.
MAPPED = {"f16": 6, "bf16": 9}
KINDS = {np.dtype(dtype): kind for kind, (dtype, _) in TYPES.items() if kind in MAPPED}
SWIZZLED = 64  # elements of a row in shared memory


def encoded(kind, buffer, box) -> np.ndarray:
    """The map of a row-major array of three axes, for boxes of so many rows of 64."""
    sizes = list(buffer.shape[::-1])
    strides = [2 * sizes[0], 2 * sizes[0] * sizes[1]]
    text = _cuda.tensor_map(
        MAPPED[kind], buffer.memory.address, sizes, strides, [SWIZZLED, box, 1], 3
    )
    return np.frombuffer(text, np.uint64)


def launch(
    module,
    size,
    transposes,
    a,
    b,
    bias=None,
    activation=0,
    *,
    out=None,
    products=1,
    batch=(),
    blocks=3,
    plain=False,
    name=None,
):
    """C [products, m, n] of type `out`, of A and B [matrices, rows, columns] as they lie.

    `batch`: for each of its axes the size and the steps in A and B, in matrices. `plain`: results
    are not copied in bulk where they could be. Few blocks walk over many tiles.
    """
    kind, out = KINDS[a.dtype], np.dtype(out or a.dtype)
    rows, columns, stages = TILES[size]
    k, m = a.shape[1:] if transposes[0] == "t" else a.shape[:0:-1]
    n = b.shape[1] if transposes[1] == "t" else b.shape[2]
    on_a, on_b, c = Buffer(a), Buffer(b), Buffer.empty((products, m, n), out)
    on_bias = None if bias is None else Buffer(bias)
    p = np.zeros((), WARPGROUP)
    p["maps"][0] = encoded(kind, on_a, SWIZZLED if transposes[0] == "t" else rows)
    p["maps"][1] = encoded(kind, on_b, columns if transposes[1] == "t" else SWIZZLED)
    p["copied"] = out == a.dtype and n % 8 == 0 and not plain
    if p["copied"]:
        p["maps"][2] = encoded(kind, c, 16)
    p["tiles"] = -(-m // rows) * -(-n // columns) * products
    q = p["product"]
    q["c"], q["m"], q["n"], q["k"], q["products"] = c.memory.address, m, n, k, products
    q["turned_a"], q["turned_b"] = (t == "t" for t in transposes)
    q["batch"]["dims"] = len(batch)
    for d, (count, of_a, of_b) in enumerate(batch):
        for field, value in (("size", count), ("a", of_a), ("b", of_b)):
            q["batch"][field][d] = value
    out_type = 0 if out == np.float32 else TYPES[kind][1]
    address = on_bias.memory.address if on_bias else 0
    q["epilogue"] = address, 0, TYPES[kind][1], out_type, activation
    kernel = module.kernel(name or f"gemm_warpgroup_{kind}_{size}")
    shared = stages * ((rows + columns) * SWIZZLED * 2 + 16) + rows // 16 * 4096
    kernel.launch([min(int(p["tiles"]), blocks)], [384], [p.tobytes()], shared=shared)
    _cuda.synchronize()
    return c.get()


@functools.cache
def built():
    """The module of the kernels that are built in."""
    return _cuda.Module(_cuda.image_ptx("gemm/warpgroup"))
