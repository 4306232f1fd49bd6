"""cvt from and to pairs of 8-bit floats, against ml_dtypes on clamped numbers, and the formats'
definitions."""

import inputs
import ml_dtypes
import numpy as np
import pytest
from ptxkernel import Elementwise

# Format -> its type, the largest number, the bits of the canonical NaN.
FORMATS = {"e4m3": (ml_dtypes.float8_e4m3fn, 448), "e5m2": (ml_dtypes.float8_e5m2, 57344)}
NAN = 0x7F


def narrow(values, name, relu):
    """The bytes that the manual asks for: clamped, to nearest even, one NaN."""
    dtype, most = FORMATS[name]
    values = values.astype(np.float64)
    if relu:
        values = np.where(values > 0, values, np.where(np.isnan(values), values, 0.0))
    with np.errstate(all="ignore"):
        # Through float32, which holds every tie of the 8-bit formats, and no others are made.
        clamped = np.clip(values, -most, most).astype(np.float32)
    return np.where(np.isnan(values), np.uint8(NAN), clamped.astype(dtype).view(np.uint8))


def edges(name):
    """Every number of the format, what lies halfway to the next, and beside that."""
    dtype, most = FORMATS[name]
    grid = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
    grid = np.unique(grid[np.isfinite(grid)])
    middles = (grid[1:] + grid[:-1]) / 2
    near = np.concatenate([middles * (1 + 2.0**-20), middles * (1 - 2.0**-20)])
    more = [most * 1.03, most * 2, -most * 9, np.inf, -np.inf, np.nan, -0.0, 1e-30]
    return np.concatenate([grid, middles, near, more]).astype(np.float32)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_from_singles(name, relu):
    a = np.concatenate([edges(name), inputs.of("f32", 500, np.random.default_rng(0))])
    b = np.random.default_rng(1).permutation(a)
    text = f"cvt.rn.satfinite{'.relu' if relu else ''}.{name}x2.f32 {{d}}, {{a}}, {{b}};"
    got = Elementwise(text, "b16", ("f32", "f32"))(a, b)
    upper, lower = (narrow(x, name, relu).astype(np.uint16) for x in (a, b))
    inputs.same(got, upper << 8 | lower, [a, b])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_from_halves(name, relu):
    """All 65,536 of them in either half."""
    lower = np.arange(1 << 16, dtype=np.uint32)
    upper = lower[::-1]
    text = f"cvt.rn.satfinite{'.relu' if relu else ''}.{name}x2.f16x2 {{d}}, {{a}};"
    got = Elementwise(text, "b16", ("f16x2",))(upper << 16 | lower)
    parts = [narrow(x.astype(np.uint16).view(np.float16), name, relu) for x in (upper, lower)]
    inputs.same(got, parts[0].astype(np.uint16) << 8 | parts[1], [lower])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_to_halves(name, relu):
    """Every pair of bytes, exactly; a NaN is the canonical one."""
    pairs = np.arange(1 << 16, dtype=np.uint16)
    text = f"cvt.rn{'.relu' if relu else ''}.f16x2.{name}x2 {{d}}, {{a}};"
    got = Elementwise(text, "f16x2", ("b16",))(pairs)

    def half(bytes_):
        values = bytes_.astype(np.uint8).view(FORMATS[name][0]).astype(np.float64)
        if relu:
            values = np.where(values <= 0, 0.0, values)
        bits = values.astype(np.float16).view(np.uint16)
        return np.where(np.isnan(values), np.uint16(0x7FFF), bits).astype(np.uint32)

    inputs.same(got, half(pairs >> 8) << 16 | half(pairs & 255), [pairs])
