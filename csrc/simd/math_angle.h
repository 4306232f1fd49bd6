// Sine and cosine of float32 and float64 vectors, for angles up to Constants::kLargestAngle. Errors as in math.h.
// Included by *.simd.cpp units only.
#pragma once

#include "simd/math_basic.h"

namespace native {
namespace {

template <class T>
static inline bool any_above(Vec<T> x, T bound) {
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
  if constexpr (sizeof(T) == 4)
    return _mm512_cmp_ps_mask((__m512)x, (__m512)splat(bound), _CMP_GT_OQ) != 0;
  else
    return _mm512_cmp_pd_mask((__m512d)x, (__m512d)splat(bound), _CMP_GT_OQ) != 0;
#else
  return reduce_max<T>(vmax(x, splat(bound))) > bound;
#endif
}

// Both functions of the remainder from the nearest multiple of pi / 2, whose count stands in the low bits.
template <class V>
struct Quadrant {
  V sin, cos;
  UIntOf<V> count;
};
template <class V>
static inline Quadrant<V> quadrant(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  const Rounded<V> turns = rounded(x, T(0.636619772367581343076));
  V r = x;
#pragma GCC unroll 8
  for (T part : C::kHalfPi) r = r - turns.n * part;
  const V z = r * r;
  return {r * z * polynomial(z, C::kSin) + r, (z * z * polynomial(z, C::kCos) - T(0.5) * z) + T(1),
          (UIntOf<V>)turns.shifted};
}
// The one of both that is due, the sign turned in every second pair of quadrants.
template <class V>
static inline V choose(UIntOf<V> count, V even, V odd) {
  using F = FormatOf<V>;
  const V y = (count & 1) != 0 ? odd : even;
  return (V)((UIntOf<V>)y ^ (count << (F::kFraction == 23 ? 30 : 62) & F::kSignBit));
}
template <class V>
static inline V vsin(V x) {
  const Quadrant<V> q = quadrant(x);
  return x == ElementOf<V>(0) ? x : choose(q.count, q.sin, q.cos);  // keeps -0
}
template <class V>
static inline V vcos(V x) {
  const Quadrant<V> q = quadrant(x);
  return choose(q.count + 1, q.sin, q.cos);  // the sine of a quarter further
}

}  // namespace
}  // namespace native
