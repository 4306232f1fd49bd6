// The largest of some values and which of them it is, lane by lane. Included by *.simd.cpp units only.
#pragma once

#include "simd/vec.h"

namespace native {
namespace {

// NaN if either is. V: a vector or a single element.
template <class V>
inline V larger(V a, V b) {
  return ((a > b) | (a != a)) ? a : b;
}

// The first that is the largest, or the first NaN.
template <class V>
struct Largest {
  using Numbers = decltype((V{} > V{}) + 0);

  V value;
  Numbers number{};

  // From a value, or the largest of some, that comes later.
  inline void take(V x, Numbers its_number) {
    const auto more = ((x <= value) == 0) & (value == value);
    number = more ? its_number : number;
    value = more ? x : value;
  }
};

// Numbers as bytes.
inline void put_numbers(uint8_t* to, int number) { *to = static_cast<uint8_t>(number); }
template <class Numbers>
inline void put_numbers(uint8_t* to, Numbers numbers) {
  typedef uint8_t Bytes __attribute__((vector_size(NATIVE_VEC_BYTES / sizeof(numbers[0]))));
  const Bytes bytes = __builtin_convertvector(numbers, Bytes);
  __builtin_memcpy(to, &bytes, sizeof bytes);
}

}  // namespace
}  // namespace native
