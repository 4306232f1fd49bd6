// Narrow floating formats, and rounding into them.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "emulator/decode.h"

namespace native::emulator {

// The value of 16 bits; exact.
inline double half_value(uint16_t bits) {
  const uint64_t exponent = bits >> 10 & 31, fraction = bits & 1023;
  constexpr uint64_t kBias = 1023 - 15;
  const double v = exponent == 0 ? static_cast<double>(fraction) * 0x1p-24
                   : exponent == 31
                       ? fraction ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity()
                       : std::bit_cast<double>((exponent + kBias) << 52 | fraction << 42);
  return bits & 0x8000 ? -v : v;
}
inline double bfloat_value(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

// Rounds once, to 16 bits (half, bfloat) or to a float's bits (tf32). NaN gives the canonical NaN.
uint16_t to_half(double value, Rounding rounding = Rounding::Nearest);
uint16_t to_bfloat(double value, Rounding rounding = Rounding::Nearest);
uint32_t to_tf32(float value, Rounding rounding);

// a * b + c where a * b is exact in double: the sum rounded to odd, so that one more rounding to 51 bits or
// fewer is as good as a single one.
double fused_to_odd(double a, double b, double c);

// What a float32 operation gives that has no number to give; float64 has no such rule.
template <class T>
T canonical_nan() {
  if constexpr (sizeof(T) == 4)
    return std::bit_cast<T>(0x7FFFFFFF);
  else
    return std::numeric_limits<T>::quiet_NaN();
}

// min and max of PTX: a NaN loses unless `nan`; -0 is below +0.
template <class T>
T smaller(T a, T b, bool nan) {
  if (std::isnan(a) || std::isnan(b)) {
    if (nan || (std::isnan(a) && std::isnan(b))) return std::numeric_limits<T>::quiet_NaN();
    return std::isnan(a) ? b : a;
  }
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}
template <class T>
T larger(T a, T b, bool nan) {
  if (std::isnan(a) || std::isnan(b)) return smaller(a, b, nan);
  if (a == b) return std::signbit(a) ? b : a;
  return a < b ? b : a;
}

}  // namespace native::emulator
