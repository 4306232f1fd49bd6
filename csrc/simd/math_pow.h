// Powers: special cases of float32 and float64, and those of float64 through a logarithm in two parts. Errors as in
// math.h. Included by *.simd.cpp units only.
#pragma once

#include "simd/math.h"

namespace native {
namespace {

// x^y, its magnitude given where x is finite and not 0.
template <class V>
static inline V pow_of_magnitude(V x, V y, V magnitude) {
  using T = ElementOf<V>;
  constexpr T kIntegers = Constants<T>::kSubnormalScale;  // all are from here on, even from twice of it
  const V a = vabs(x), size = vabs(y), half = T(0.5) * size, zero = V{};
  const auto whole = (size >= kIntegers) | ((size + kIntegers) - kIntegers == size);
  const auto odd = whole & (size < T(2) * kIntegers) & ((half + kIntegers) - kIntegers != half);
  const V extreme = ((a == zero) == (y > zero)) ? zero : infinity<V>();
  V r = ((a == zero) | (a == infinity<V>())) ? extreme : magnitude;
  const auto undefined = (x < zero) & ~whole & (a < infinity<V>());
  r = undefined ? splat(T(__builtin_nan(""))) : odd ? vcopysign(r, x) : r;
  r = ((x != x) | (y != y)) ? x + y : r;
  return ((y == zero) | (x == T(1)) | ((a == T(1)) & (size == infinity<V>()))) ? splat(T(1)) : r;
}

// log(x) of a positive finite number to 64 bits or more.
static inline Pair<vf64> precise_log(vf64 x) {
  using C = Constants<double>;
  // (2 atanh(s) / s - 2 - 2 s^2 / 3) / s^4 from s^2.
  constexpr double c[] = {0.39999999999999997, 0.28571428571432927, 0.22222222220347623, 0.1818181854720814,
                          0.15384577361097215, 0.13335587895380979, 0.11688490500894713, 0.11884001080753336};
  constexpr long double kThird2 = 0.6666666666666666666667L;
  const vi64 subnormal = x < C::kSmallestNormal;
  const LogParts<vf64> parts = log_parts(subnormal ? x * C::kSubnormalScale : x);
  const vf64 e = subnormal ? parts.e - 52.0 : parts.e, f = parts.f;
  // s = f / (2 + f), its square z, and 2 z / 3 + ..., each with what it lacks.
  const vf64 d = 2.0 + f, inverse = 1.0 / d, s = f * inverse;
  const vf64 s_low = (fused(-s, d, f) - s * (f - (d - 2.0))) * inverse;
  const vf64 z = s * s, z_low = fused(s, s, -z) + 2.0 * s * s_low;
  const vf64 t = z * double(kThird2);
  const vf64 t_low =
      fused(z, splat(double(kThird2)), -t) + (z * double(kThird2 - double(kThird2)) + z_low * double(kThird2));
  const vf64 rest = z * z * polynomial(z, c), u = t + rest, u_low = ((t - u) + rest) + t_low;
  const vf64 v = s * u, v_low = fused(s, u, -v) + (s * u_low + s_low * u);
  // e ln 2 + 2 s + v, from the largest down.
  const vf64 first = e * C::kLn2High, second = first + 2.0 * s, sum = second + v;
  const vf64 low = (((first - second) + 2.0 * s) + ((second - sum) + v)) + ((2.0 * s_low + v_low) + e * C::kLn2Low);
  const vf64 high = sum + low;
  return {high, (sum - high) + low};
}

static inline vf64 vpow(vf64 x, vf64 y) {
  using C = Constants<double>;
  const Pair<vf64> log = precise_log(vabs(x));
  const vf64 product = y * log.high, low = fused(y, log.high, -product) + y * log.low;
  const vf64 bounded = vmax(splat(C::kExpLow), vmin(splat(C::kExpHigh), product));
  const auto r = reduce_by_ln2(bounded, bounded == product ? low : vf64{});
  return pow_of_magnitude(x, y, scaled(growth(r.r) + 1.0, r.shifted, r.n));
}

}  // namespace
}  // namespace native
