"""Products launched kernel by kernel, past the choice of kernels and tiles.

The structures are those of cuda/kernels/gemm/params.h, the tiles those of tiles.h.
"""

import ml_dtypes
import numpy as np
from ptxkernel import Buffer, _cuda

OPERAND = np.dtype([("data", "u8"), ("row", "i8"), ("aligned", "i4")], align=True)
BATCH = np.dtype(
    [("dims", "i4"), ("size", "i4", 6), ("a", "i8", 6), ("b", "i8", 6)],
    align=True,
)
EPILOGUE = np.dtype(
    [("bias", "u8"), ("residual", "u8")]
    + [("bias_type", "i4"), ("out_type", "i4"), ("activation", "i4")],
    align=True,
)
PARAMS = np.dtype(
    [("a", OPERAND), ("b", OPERAND), ("c", "u8")]
    + [(name, "i4") for name in ("m", "n", "k", "depth", "products", "turned_a", "turned_b")]
    + [("batch", BATCH), ("epilogue", EPILOGUE)],
    align=True,
)
TYPES = {
    "exact": (np.float32, 0),
    "tf32": (np.float32, 0),
    "f16": (np.float16, 1),
    "bf16": (ml_dtypes.bfloat16, 2),
}
# kind, size -> threads, side of the tile, bytes of shared memory
TILES = {
    "large": {
        "exact": (256, 128, 3 * 16896),
        "bf16": (128, 128, 4 * 16384),
        "tf32": (256, 128, 3 * 16384),
    },
    "small": {
        "exact": (128, 64, 4 * 8704),
        "bf16": (128, 64, 4 * 8192),
        "tf32": (128, 64, 4 * 8192),
    },
    "wide": {"exact": (128, 128, 3 * 16896)},
}
TRANSPOSES = ("nn", "nt", "tn", "tt")
# Kind, size and transposes of each kernel.
KERNELS = [
    (kind, size, transposes)
    for size in TILES
    for kind in (TYPES if size != "wide" else ["exact"])
    for transposes in (TRANSPOSES if size != "wide" else ("nn", "tn"))
]


def kernel_name(kind, size, transposes):
    """All but exact ones learn how operands lie when they are launched."""
    return f"gemm_{kind}_{size}" + (f"_{transposes}" if kind == "exact" else "")


def operands(m, k, n, kind, transposes, seed=0):
    """A and B of small integers, which every kind multiplies without an error, as they lie."""
    rng = np.random.default_rng(seed)
    dtype = TYPES[kind][0]
    a = rng.integers(-4, 5, (k, m) if transposes[0] == "t" else (m, k)).astype(dtype)
    b = rng.integers(-4, 5, (n, k) if transposes[1] == "t" else (k, n)).astype(dtype)
    return a, b


def product(a, b, transposes):
    """A B in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a.T if transposes[0] == "t" else a) @ (b.T if transposes[1] == "t" else b)


def launch(module, kind, size, transposes, a, b, bias=None, activation=0, *, name=None):
    """C in float32, as the kernel of that name in a module computes it."""
    k, m = a.shape if transposes[0] == "t" else a.shape[::-1]
    n = b.shape[0] if transposes[1] == "t" else b.shape[1]
    threads, side, shared = TILES[size]["bf16" if kind == "f16" else kind]
    on_a, on_b, out = Buffer(a), Buffer(b), Buffer.empty((m, n), np.float32)
    on_bias = None if bias is None else Buffer(bias)
    p = np.zeros((), PARAMS)
    for field, x, there in (("a", a, on_a), ("b", b, on_b)):
        aligned = x.shape[1] * x.itemsize % 16 == 0
        p[field] = there.memory.address, x.shape[1], aligned
    p["c"], p["m"], p["n"], p["k"], p["products"] = out.memory.address, m, n, k, 1
    p["depth"] = -(-k // 32) * 32
    p["turned_a"], p["turned_b"] = (letter == "t" for letter in transposes)
    p["epilogue"] = on_bias.memory.address if on_bias else 0, 0, TYPES[kind][1], 0, activation
    kernel = module.kernel(name or kernel_name(kind, size, transposes))
    tiles = -(-m // side) * -(-n // side)
    kernel.launch([tiles], [threads], [p.tobytes()], shared=shared)
    _cuda.synchronize()
    return out.get()
