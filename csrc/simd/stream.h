// Elements that a loop runs through once, from memory to memory: one loop serves what the caches keep and what they do
// not. Included by *.simd.cpp units only.
#pragma once

#include "simd/element.h"
#include "simd/nontemporal.h"

namespace native {
namespace {

// A far stream stores past the caches and asks ahead for what it reads: the processor's own guesses end with each page
// of 4 KB.
template <bool far>
struct Stream {
  static constexpr bool kFar = far;
  static constexpr int64_t kAheadBytes = 1024;

  template <class T>
  static inline Vec<Wide<T>> load(const T* p) {
    if constexpr (far) __builtin_prefetch(reinterpret_cast<const char*>(p) + kAheadBytes);
    return vload(p);
  }
  template <class T>
  static inline void store(T* p, Vec<Wide<T>> v) {
    if constexpr (far)
      store_nontemporal(p, v);
    else
      vstore(p, v);
  }
};

// Calls body(Stream) for rows of n elements that are written one behind the other from `to` on. The stream is far, if
// so asked, where all vectors are aligned, so that lines fill up from one row to the next; 16-bit elements, half a
// vector each, are not.
template <class T, class Body>
void with_stream(bool far, const T* to, int64_t n, const Body& body) {
  if constexpr (sizeof(T) == sizeof(Wide<T>)) {
    const bool aligned = reinterpret_cast<uintptr_t>(to) % kVecBytes == 0 && n % kLanes<T> == 0;
    if (far && aligned) return body(Stream<true>{});
  }
  body(Stream<false>{});
}

}  // namespace
}  // namespace native
