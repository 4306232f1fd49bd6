#include "emulator/number.h"

#include <bit>
#include <cstring>
#include <limits>

namespace native::emulator {
namespace {

constexpr double power_of_two(int exponent) { return std::bit_cast<double>(uint64_t(exponent + 1023) << 52); }
// Of a normal number; below those of the narrow formats for others.
int exponent_of(double value) { return int(std::bit_cast<uint64_t>(value) >> 52 & 0x7FF) - 1023; }

struct FloatFormat {
  int fraction, least, most;  // fraction bits, exponents of normal numbers

  constexpr double largest() const { return (2.0 - power_of_two(-fraction)) * power_of_two(most); }
};
constexpr FloatFormat kHalfFormat{10, -14, 15}, kBfloatFormat{7, -126, 127}, kTf32Format{10, -126, 127};

// `value` to a multiple of the last place that the format has at its size; infinity beyond the largest.
double round_to(double value, const FloatFormat& f, Rounding rounding) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int places = f.fraction - std::max(exponent_of(value), f.least);
  const double scaled = value * power_of_two(places);  // exact
  const double low = std::floor(scaled), rest = scaled - low;
  bool up = false;
  switch (rounding) {
    case Rounding::Nearest:
      up = rest > 0.5 || (rest == 0.5 && (int64_t(low) & 1));
      break;
    case Rounding::NearestAway:
      up = rest > 0.5 || (rest == 0.5 && value > 0);
      break;
    case Rounding::Zero:
      up = rest > 0 && value < 0;
      break;
    case Rounding::Down:
      break;
    case Rounding::Up:
      up = rest > 0;
      break;
  }
  const double result = (low + up) * power_of_two(-places), largest = f.largest();
  if (std::fabs(result) <= largest) return std::copysign(result, value);
  const bool to_infinity = rounding == Rounding::Nearest || rounding == Rounding::NearestAway ||
                           (rounding == Rounding::Up && value > 0) || (rounding == Rounding::Down && value < 0);
  return std::copysign(to_infinity ? std::numeric_limits<double>::infinity() : largest, value);
}

}  // namespace

uint16_t to_half(double value, Rounding rounding) {
  if (std::isnan(value)) return 0x7FFF;
  const double r = round_to(value, kHalfFormat, rounding);
  const uint16_t sign = std::signbit(r) ? 0x8000 : 0;
  const double a = std::fabs(r);
  if (std::isinf(a)) return sign | 0x7C00;
  if (a < 0x1p-14) return sign | uint16_t(a * 0x1p24);
  return sign | uint16_t((exponent_of(a) + 15) << 10) | uint16_t(std::bit_cast<uint64_t>(a) >> 42 & 1023);
}
uint16_t to_bfloat(double value, Rounding rounding) {
  if (std::isnan(value)) return 0x7FFF;
  return uint16_t(std::bit_cast<uint32_t>(static_cast<float>(round_to(value, kBfloatFormat, rounding))) >> 16);
}
uint32_t to_tf32(float value, Rounding rounding) {
  if (std::isnan(value)) return 0x7FFFE000;  // as an H100 has it
  return std::bit_cast<uint32_t>(static_cast<float>(round_to(value, kTf32Format, rounding)));
}

double fused_to_odd(double a, double b, double c) {
  const double p = a * b, s = p + c;
  if (!std::isfinite(s)) return s;
  const double t = s - p, error = (p - (s - t)) + (c - t);  // Knuth: p + c = s + error
  if (error == 0) return s;
  uint64_t bits = std::bit_cast<uint64_t>(s);
  if (s == 0) return error;
  // Towards zero, then the last bit says that something was cut off.
  if ((error < 0) == (s > 0)) --bits;
  return std::bit_cast<double>(bits | 1);
}

}  // namespace native::emulator
