// Narrow floats as scalars for driver units: storage types that convert to and from float, rounding to
// nearest even. Hot loops convert whole vectors in the SIMD units instead.
#pragma once

#include <bit>
#include <cstdint>

namespace native {

struct Bf16 {
  uint16_t bits;
  Bf16() = default;
  explicit Bf16(float x) {
    const uint32_t u = std::bit_cast<uint32_t>(x);
    // A NaN keeps its upper bits, one of them set so that it stays a NaN.
    bits = static_cast<uint16_t>(x != x ? (u >> 16) | 0x40 : (u + 0x7fff + ((u >> 16) & 1)) >> 16);
  }
  operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

struct F16 {
  uint16_t bits;
  F16() = default;
  explicit F16(float x) {
    const uint32_t u = std::bit_cast<uint32_t>(x), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      bits = static_cast<uint16_t>(sign | 0x7e00 | ((magnitude >> 13) & 0x1ff));
    } else if (magnitude >= 0x477ff000) {  // 65520 and above round to infinity
      bits = static_cast<uint16_t>(sign | 0x7c00);
    } else if (magnitude < 0x38800000) {  // subnormal: adding 0.5 aligns the unit with float's last bit
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      bits = static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
    } else {
      bits = static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13));
    }
  }
  operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, rest = bits & 0x7fff;
    if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | ((rest & 0x3ff) << 13));
    if (rest < 0x400) {
      const float value = static_cast<float>(rest) * 0x1p-24f;
      return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
    }
    return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000));
  }
};

}  // namespace native
