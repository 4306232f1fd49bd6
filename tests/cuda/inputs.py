"""Inputs of every type: edges, all of their pairs, and random bits."""

import itertools

import ml_dtypes
import numpy as np

FLOATS = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32, "f64": np.float64}
BITS = {"f16": np.uint16, "bf16": np.uint16, "f32": np.uint32, "f64": np.uint64}


def floats(kind: str) -> np.ndarray:
    """Zeros, ones, subnormals, the largest, infinities, NaN, neighbours of one and of a half."""
    info = ml_dtypes.finfo(FLOATS[kind])
    tiny, small, most = float(info.smallest_normal), float(info.smallest_subnormal), float(info.max)
    eps = float(info.eps)
    values = [0, 1, 0.5, 1 + eps, 1 - eps / 2, 1.5, 2.5, 3.5, 3, 1e-3, small, 3 * small, tiny]
    values += [
        tiny - small,
        tiny + small,
        most,
        most / 2,
        np.inf,
        np.nan,
        0.75,
        100.25,
        127.5,
        255.5,
    ]
    with np.errstate(all="ignore"):
        array = np.array(values, np.float64).astype(FLOATS[kind])
    return np.concatenate([array, -array])


def integers(dtype) -> np.ndarray:
    """Zero, ones, the ends, powers of two and their neighbours."""
    info = np.iinfo(dtype)
    values = {0, 1, 2, 3, 31, 32, 33, 63, 64, info.max, info.max - 1, info.min, info.min + 1}
    values |= {(1 << k) + d for k in range(0, info.bits, 5) for d in (-1, 0, 1)}
    values |= {-v for v in values if info.min <= -v}
    return np.array(sorted(v for v in values if info.min <= v <= info.max), dtype)


def of(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random bits of the type; the floats among them are of all sizes."""
    if kind in FLOATS:
        bits = rng.integers(0, 2 ** (8 * np.dtype(BITS[kind]).itemsize), count, BITS[kind], False)
        return bits.view(FLOATS[kind])
    from ptxkernel import DTYPES

    dtype = DTYPES[kind][0]
    if kind == "tf32":
        return of("f32", count, rng)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, count, dtype, endpoint=True)


def near_one(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of ordinary size, whose sums and products do not overflow."""
    return (rng.standard_normal(count) * 2.0 ** rng.integers(-3, 4, count)).astype(FLOATS[kind])


def cases(kinds, seed: int = 0, count: int = 256) -> list[np.ndarray]:
    """One array for each operand: every combination of two edges, then random ones."""
    rng = np.random.default_rng(seed)
    edges = [floats(k) if k in FLOATS else None for k in kinds]
    from ptxkernel import DTYPES

    edges = [
        integers(DTYPES[k][0]) if e is None and k != "tf32" else e for e, k in zip(edges, kinds)
    ]
    edges = [floats("f32") if e is None else e for e in edges]
    pairs = list(itertools.product(*edges[:2]))
    if len(pairs) > 900:
        pairs = [pairs[k] for k in rng.choice(len(pairs), 900, replace=False)]
    columns = []
    for k, kind in enumerate(kinds):
        if k < 2:
            edge = np.array([p[k] for p in pairs], edges[k].dtype)
        else:
            edge = rng.choice(edges[k], len(pairs))
        parts = [edge, of(kind, count, rng)]
        if kind in FLOATS:
            parts.append(near_one(kind, count, rng))
        columns.append(np.concatenate(parts))
    shortest = min(map(len, columns))
    return [c[:shortest] for c in columns]


def same(got: np.ndarray, expected: np.ndarray, inputs) -> None:
    """Equal bit by bit, except that any NaN is as good as another; shows the first difference."""
    assert got.dtype == expected.dtype, (got.dtype, expected.dtype)
    unsigned = f"u{got.dtype.itemsize}"
    equal = got.view(unsigned) == expected.view(unsigned)
    if got.dtype.kind not in "iub":
        equal |= np.isnan(got.astype(np.float64)) & np.isnan(expected.astype(np.float64))
    if not equal.all():
        k = int(np.argmin(equal))
        shown = [f"{v[k]!r}" for v in inputs]
        raise AssertionError(
            f"{int((~equal).sum())} of {equal.size} differ; at {k}: {shown} "
            f"gave {got[k]!r}, expected {expected[k]!r}"
        )
