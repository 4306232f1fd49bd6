// Division by a number that is known when a kernel is launched: a multiplication and a shift.
#pragma once

#include <stdint.h>

namespace native::cuda {

// For numerators from 0 to 2^31 - 1.
struct Divisor {
  uint32_t value, multiplier;
  int shift;
  bool operator==(const Divisor&) const = default;
};

// The multiplier is 2^shift / d, rounded up. Its error, below 1, times the numerator stays below 2^shift / d,
// as the shift is 31 + log2(d) or more: no quotient changes.
inline Divisor divisor(int64_t d) {
  const uint32_t value = static_cast<uint32_t>(d > 0 ? d : 1);
  int shift = 31;
  while (uint64_t{1} << (shift - 31) < value) ++shift;
  const uint64_t power = uint64_t{1} << shift;
  return {value, static_cast<uint32_t>((power + value - 1) / value), shift};
}

}  // namespace native::cuda
