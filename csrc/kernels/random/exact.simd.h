// Arithmetic whose bits are the same on every instruction set: every operation is exact or rounds the same
// everywhere, and no product is contracted with a sum. Included by *.simd.cpp units only.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "simd/math_constants.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// A product that stays one: the compiler cannot look through the empty statement.
template <class V>
static inline V times(V a, V b) {
  V product = a * b;
#if defined(__x86_64__) && (NATIVE_VEC_BYTES <= 32 || defined(__AVX512F__))
  asm("" : "+v"(product));
#elif defined(__x86_64__)
  __m256 half[2];
  __builtin_memcpy(half, &product, 64);
  asm("" : "+x"(half[0]), "+x"(half[1]));
  __builtin_memcpy(&product, half, 64);
#elif defined(__aarch64__)
  asm("" : "+w"(product));
#endif
  return product;
}
template <class V>
static inline V times(V a, ElementOf<V> b) {
  return times(a, splat(b));
}

template <class V, int N>
static inline V horner(V x, const ElementOf<V> (&c)[N]) {
  V y = splat(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) y = times(y, x) + c[i];
  return y;
}

template <class V>
static inline V root(V x) {
  for (int i = 0; i < kLanes<ElementOf<V>>; ++i)
    x[i] = sizeof(x[0]) == 4 ? __builtin_sqrtf(static_cast<float>(x[i])) : __builtin_sqrt(x[i]);
  return x;
}

static inline vf64 floor_of(vf64 x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_floor(x[i]);
  return x;
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
