// Vector functions of float32 and float64 that belong to the normal distribution: erf, erfc, GELU. Errors as in
// math.h. Included by *.simd.cpp units only.
#pragma once

#include "simd/math.h"
#include "simd/math_normal_pieces.h"

namespace native {
namespace {

// Coefficients of `scale` times the polynomial in `factor` x.
template <class T, int N>
struct Rescaled {
  T c[N];
};
template <class T, class From, int N>
static constexpr Rescaled<T, N> rescaled(const From (&c)[N], long double factor, long double scale) {
  Rescaled<T, N> result{};
  for (int i = 0; i < N; ++i, scale *= factor) result.c[i] = static_cast<T>(c[i] * scale);
  return result;
}

constexpr long double kRoot2 = 1.414213562373095048802L, kRootPi = 1.772453850905516027298L;

// erfc(a) exp(a^2), or P(X > a) exp(a^2 / 2) for a standard normal X: as q / (height + a (slope q + p)), height 1
// or 2 and q = 1 + a (...), so that what q is wrong by hardly shows.
template <class V, bool erfc>
static inline Pair<V> normal_tail_ratio(V a) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  constexpr long double factor = erfc ? kRoot2 : 1, slope = erfc ? kRootPi : kRoot2 * kRootPi;
  static constexpr auto p = rescaled<T>(C::kMillsP, factor, slope);
  static constexpr auto q = rescaled<T>(C::kMillsQ, factor, factor);
  const Pair<V> above = precise_sum(a, polynomial(a, q.c), T(1));
  const V rest = polynomial(a, p.c), sum = above.high * T(slope) + rest;
  V sum_low = fused(above.high, splat(T(slope)), -sum) + rest;
  if (erfc || sizeof(T) == 8) sum_low += above.high * T(slope - T(slope));
  const Pair<V> below = precise_sum(a, sum, T(erfc ? 1 : 2));
  const V inverse = quick_inverse(below.high), ratio = above.high * inverse;
  V lost = fused(-ratio, below.high, above.high) - ratio * (below.low + a * sum_low);
#if !defined(__FMA__)
  // With FMA the sum is rounded once, which is little enough.
  lost += above.low * (T(1) - a * T(slope) * ratio);
#endif
  return {ratio, lost * inverse};
}

// 2^kSpare factor exp(-scale a^2), scale 1 or 1/2. The rounding error of a^2, which exp would magnify, is not lost.
template <class V>
static inline V scaled_gauss(V a, ElementOf<V> scale, const Pair<V>& factor) {
  using C = Constants<ElementOf<V>>;
  const V square = a * a;
  const auto y = reduce_by_ln2(square * -scale, fused(a, a, -square) * -scale);
  const V g = growth(y.r);
  return (factor.high + (factor.high * g + (factor.low * g + factor.low))) * power_of_2(y.shifted, C::kSpare);
}

template <class V>
static inline V verfc(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  const V a = vmin(splat(C::kErfcHigh), vabs(x));
  const V tail = scaled_gauss(a, T(1), normal_tail_ratio<V, true>(a)) * C::kSpareInverse;
  return x < T(0) ? T(2) - tail : tail;
}

template <class V>
static inline V verf(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  const V a = vabs(x);
  const V near = a * polynomial(a * a, C::kErfNear) + a;
  const auto y = reduce_by_ln2(polynomial(vmin(splat(C::kErfHigh), a), C::kErfFar));
  const V s = power_of_2(y.shifted, 0);
  return vcopysign(a < T(1) ? near : (T(1) - s) - s * growth(y.r), x);
}

// x P(X < x) for a standard normal X: x or 0 less the tail, scaled back last, so that only the result is rounded
// to the few bits of a subnormal number. NaN at -inf, as -inf times 0 is.
template <class V>
static inline V gelu_anywhere(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  const V a = vmin(splat(C::kGeluHigh), vabs(x));
  const Pair<V> ratio = normal_tail_ratio<V, false>(a);
  const V product = a * ratio.high;
  const V tail = scaled_gauss(a, T(0.5), Pair<V>{product, fused(a, ratio.high, -product) + a * ratio.low});
  return nan_at_minus_infinity(x, vmax(V{}, x) - tail * C::kSpareInverse);
}

// The derivative of x P(X < x): the distribution function and x times the density, which share their exponential.
// Errors are relative to 1 where the sum crosses zero, at -0.75. 0 at -inf.
template <class V>
static inline V gelu_slope_anywhere(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  const V a = vmin(splat(C::kGeluHigh), vabs(x));
  const Pair<V> ratio = normal_tail_ratio<V, false>(a);
  const V density = a * T(1 / (kRoot2 * kRootPi)), difference = ratio.high - density;
  const V tail = scaled_gauss(a, T(0.5), Pair<V>{difference, ratio.low}) * C::kSpareInverse;
  return x < T(0) ? tail : T(1) - tail;
}

// vgelu and vgelu_slope: these two, or by pieces where all lanes are in reach of them.
#if NATIVE_MASKS
template <vf32 (*anywhere)(vf32)>
[[gnu::noinline]] static vf32 below_pieces(vf32 x, vf32 y) {
  return x < -kPiecesEnd ? anywhere(x) : y;
}
#endif
template <class V>
static inline V vgelu(V x) {
#if NATIVE_MASKS
  if constexpr (sizeof(ElementOf<V>) == 4) {
    const V y = vmax(V{}, x) - in_pieces(kGeluTail, vmin(splat(kPiecesEnd), vabs(x)));
    return any_below(x, -kPiecesEnd) ? below_pieces<gelu_anywhere<V>>(x, y) : y;
  }
#endif
  return gelu_anywhere(x);
}
template <class V>
static inline V vgelu_slope(V x) {
#if NATIVE_MASKS
  if constexpr (sizeof(ElementOf<V>) == 4) {
    const V tail = in_pieces(kGeluSlopeTail, vmin(splat(kPiecesEnd), vabs(x)));
    const V y = x < 0.0f ? tail : 1.0f - tail;
    return any_below(x, -kPiecesEnd) ? below_pieces<gelu_slope_anywhere<V>>(x, y) : y;
  }
#endif
  return gelu_slope_anywhere(x);
}

// The same with an error of 1e-4 of the result (and of 1e-38), for results that are rounded to bfloat16.
static inline vf32 vgelu_brief(vf32 x) {
  const vf32 a = vmin(splat(13.0f), vabs(x));
  // P(X > a) exp(a^2 / 2) and 2^r, fitted.
  const vf32 above = (0.12329175f * a + 0.55322374f) * a + 1.0f;
  const vf32 below = ((0.30867908f * a + 1.3972296f) * a + 2.7032636f) * a + 2.0f;
  const vf32 u = a * a * -0.72134752f;
  const auto power = rounded(u, 1.0f);
  const vf32 r = u - power.n;
  const vf32 gauss = ((0.055170947f * r + 0.24261051f) * r + 0.69326103f) * r + 0.99992811f;
  const vf32 tail = a * above * quick_inverse(below) * scaled(gauss, power.shifted, power.n);
  return nan_at_minus_infinity(x, vmax(vf32{}, x) - tail);
}

}  // namespace
}  // namespace native
