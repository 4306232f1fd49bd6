// What vector functions are made of: bits, polynomials, products with their rounding errors, quick
// inverses, powers of 2. Included by *.simd.cpp units only.
#pragma once

#include "simd/math_constants.h"

namespace native {
namespace {

template <class V, class T, int N>
static inline V polynomial(V x, const T (&c)[N]) {
  using E = ElementOf<V>;
  V y = V{} + static_cast<E>(c[N - 1]);
#pragma GCC unroll 20
  for (int i = N - 2; i >= 0; --i) y = y * x + static_cast<E>(c[i]);
  return y;
}

template <class V>
static inline V infinity() {
  return V{} + static_cast<ElementOf<V>>(__builtin_inf());
}
// y, but for x times a function that is 0 at -inf NaN there, as NumPy and the rest have it.
template <class V>
static inline V nan_at_minus_infinity(V x, V y) {
  return x == -infinity<V>() ? splat(ElementOf<V>(__builtin_nan(""))) : y;
}
template <class V>
static inline V vabs(V x) {
  return (V)((UIntOf<V>)x & ~FormatOf<V>::kSignBit);
}
template <class V>
static inline V vcopysign(V magnitude, V sign) {
  return (V)(((UIntOf<V>)magnitude & ~FormatOf<V>::kSignBit) | ((UIntOf<V>)sign & FormatOf<V>::kSignBit));
}

// fused: a b + c rounded once, where c is 0 or cancels the product to the size of its rounding error.
// quick_inverse: an approximation of 1 / x whose error, squared, is below half a unit.
// quotient: a / b rounded but for the rarest cases, for b neither subnormal nor infinite.
// inverse_root: 1 / sqrt(x), to a unit and a half.
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
// Masked forms, since GCC 12 warns of the plain ones.
static inline vf32 fused(vf32 a, vf32 b, vf32 c) { return (vf32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
static inline vf64 fused(vf64 a, vf64 b, vf64 c) { return (vf64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
static inline vf32 vsqrt(vf32 x) { return (vf32)_mm512_maskz_sqrt_ps(0xffff, (__m512)x); }
static inline vf64 vsqrt(vf64 x) { return (vf64)_mm512_maskz_sqrt_pd(0xff, (__m512d)x); }
static inline vf32 quick_inverse(vf32 x) { return (vf32)_mm512_maskz_rcp14_ps(0xffff, (__m512)x); }
static inline vf64 quick_inverse(vf64 x) { return 1.0 / x; }
static inline vf32 quotient(vf32 a, vf32 b) {
  const vf32 inverse = quick_inverse(b), y = a * inverse;
  return y + inverse * fused(-y, b, a);
}
static inline vf64 quotient(vf64 a, vf64 b) { return a / b; }
// A root and a division take longer than a step of Newton's from 14 bits. Where these are 0 or infinite they are right.
static inline vf32 inverse_root(vf32 x) {
  const vf32 y = (vf32)_mm512_maskz_rsqrt14_ps(0xffff, (__m512)x), half = 0.5f * fused(-(x * y), y, splat(1.0f));
  const __mmask16 ends = _mm512_fpclass_ps_mask((__m512)y, 0x1e);
  return (vf32)_mm512_mask_mov_ps((__m512)(y + y * half), ends, (__m512)y);
}
#else
#if defined(__AVX2__) && NATIVE_VEC_BYTES == 32
static inline vf32 vsqrt(vf32 x) { return (vf32)_mm256_sqrt_ps((__m256)x); }
static inline vf64 vsqrt(vf64 x) { return (vf64)_mm256_sqrt_pd((__m256d)x); }
static inline vf32 fused(vf32 a, vf32 b, vf32 c) { return (vf32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
static inline vf64 fused(vf64 a, vf64 b, vf64 c) { return (vf64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
#else
#if defined(__SSE2__) && NATIVE_VEC_BYTES == 16
static inline vf32 vsqrt(vf32 x) { return (vf32)_mm_sqrt_ps((__m128)x); }
static inline vf64 vsqrt(vf64 x) { return (vf64)_mm_sqrt_pd((__m128d)x); }
#else
template <class V>
static inline V vsqrt(V x) {
  for (int i = 0; i < kLanes<ElementOf<V>>; ++i)
    x[i] = sizeof(x[0]) == 4 ? __builtin_sqrtf(static_cast<float>(x[i])) : __builtin_sqrt(x[i]);
  return x;
}
#endif
// From the halves of the significands, whose products are exact.
template <class V>
static inline V fused(V a, V b, V c) {
#if defined(__FMA__)
  for (int i = 0; i < kLanes<ElementOf<V>>; ++i)
    a[i] = sizeof(a[0]) == 4 ? __builtin_fmaf(a[i], b[i], c[i]) : __builtin_fma(a[i], b[i], c[i]);
  return a;
#else
  const V a1 = (V)((UIntOf<V>)a & FormatOf<V>::kLeadingHalf), a2 = a - a1;
  const V b1 = (V)((UIntOf<V>)b & FormatOf<V>::kLeadingHalf), b2 = b - b1;
  const V product = a * b;
  const V error = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
  return (product + c) + error;
#endif
}
#endif
static inline vf32 inverse_root(vf32 x) { return 1.0f / vsqrt(x); }
template <class V>
static inline V quick_inverse(V x) {
  return ElementOf<V>{1} / x;
}
template <class V>
static inline V quotient(V a, V b) {
  return a / b;
}
#endif

// A number and what rounding took from it.
template <class V>
struct Pair {
  V high, low;
};
// x y + c for positive operands, c a number of few bits.
template <class V>
static inline Pair<V> precise_sum(V x, V y, ElementOf<V> c) {
  const V high = x * y + c;
#if defined(__FMA__)
  return {high, fused(x, y, c - high)};
#else
  const V product = x * y;
  return {high, (product - (high - c)) + fused(x, y, -product)};
#endif
}

// Rounds x to an integer n: `shifted` holds n in its low bits, `n` as a number.
template <class V>
struct Rounded {
  V shifted, n;
};
template <class V>
static inline Rounded<V> rounded(V x, ElementOf<V> factor) {
  using C = Constants<ElementOf<V>>;
  const V shifted = x * factor + C::kMagic;
  return {shifted, shifted - C::kMagic};
}

// 2^(n + extra), which must be a normal number; n of a Rounded.
template <class V>
static inline V power_of_2(V shifted, int extra) {
  using F = FormatOf<V>;
  return (V)(((UIntOf<V>)shifted + static_cast<typename F::Word>(F::kBias + extra)) << F::kFraction);
}

// x * 2^n, rounding once, for n of a Rounded up to twice the range of normal numbers. (By value: GCC takes structures
// of structures of vectors through memory.)
template <class V>
static inline V scaled(V x, [[maybe_unused]] V shifted, [[maybe_unused]] V n) {
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
  if constexpr (sizeof(ElementOf<V>) == 4)
    return (V)_mm512_maskz_scalef_ps(0xffff, (__m512)x, (__m512)n);
  else
    return (V)_mm512_maskz_scalef_pd(0xff, (__m512d)x, (__m512d)n);
#else
  // In two steps, since 2^n itself may be no normal number.
  using F = FormatOf<V>;
  using Word = typename F::Word;
  const UIntOf<V> bits = (UIntOf<V>)shifted, half = bits >> 1;
  constexpr Word kMagicBits = __builtin_bit_cast(Word, Constants<ElementOf<V>>::kMagic);
  const V first = (V)((half + (static_cast<Word>(F::kBias) - kMagicBits / 2)) << F::kFraction);
  const V second = (V)((bits - half + (static_cast<Word>(F::kBias) - kMagicBits / 2)) << F::kFraction);
  return x * first * second;
#endif
}

}  // namespace
}  // namespace native
