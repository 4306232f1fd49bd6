// Vector functions of float32 and float64, with infinities, NaN and subnormal numbers as IEEE 754 has them, errors
// of at most 2 units in the last place over the whole range: exponentials, logarithms, hyperbolic and logistic
// functions. Included by *.simd.cpp units only.
#pragma once

#include "simd/math_basic.h"

namespace native {
namespace {

// x = n ln 2 + r, r within ln 2 / 2 of zero.
template <class V>
struct Reduced {
  V r, shifted, n;  // the latter as in Rounded
};
template <class V>
static inline Reduced<V> reduce_by_ln2(V x) {
  using C = Constants<ElementOf<V>>;
  const Rounded<V> power = rounded(x, ElementOf<V>(1.44269504088896340736));
  return {(x - power.n * C::kLn2High) - power.n * C::kLn2Low, power.shifted, power.n};
}
// The same of x + low, low within a unit of x.
template <class V>
static inline Reduced<V> reduce_by_ln2(V x, V low) {
  using C = Constants<ElementOf<V>>;
  const Rounded<V> power = rounded(x, ElementOf<V>(1.44269504088896340736));
  return {(x - power.n * C::kLn2High) + (low - power.n * C::kLn2Low), power.shifted, power.n};
}
// exp(r) - 1 of a reduced argument, as precise as exp(r) is.
template <class V>
static inline V growth(V r) {
  return r * r * polynomial(r, Constants<ElementOf<V>>::kExp) + r;
}

template <class V>
static inline V vexp(V x) {
  using T = ElementOf<V>;
  // The argument stands second in both, so that NaN passes.
  const auto y = reduce_by_ln2(vmax(splat(Constants<T>::kExpLow), vmin(splat(Constants<T>::kExpHigh), x)));
  return scaled(growth(y.r) + T(1), y.shifted, y.n);
}

template <class V>
static inline V vexp2(V x) {
  using T = ElementOf<V>;
  x = vmax(splat(Constants<T>::kExp2Low), vmin(splat(Constants<T>::kExp2High), x));
  const auto power = rounded(x, T(1));
  return scaled(growth((x - power.n) * T(0.693147180559945309417)) + T(1), power.shifted, power.n);
}

template <class V>
static inline V vexpm1(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  const V bounded = vmax(splat(C::kExpm1Low), vmin(splat(C::kExpHigh), x));
  const auto y = reduce_by_ln2(bounded);
  V p = y.r * y.r * polynomial(y.r, C::kExpm1);
  // What rounding took from r.
  if (sizeof(T) == 8) p += ((bounded - y.n * C::kLn2High) - y.r) - y.n * C::kLn2Low;
  p += y.r;
  // Half of 2^n, which does not overflow before the result does.
  const V s = power_of_2(y.shifted, -1);
  const V result = T(2) * (s * p + (s - T(0.5)));
  // Next to 0 the argument itself, since halving would lose a bit of it, and 0 its sign.
  return vabs(x) < T(2) * C::kSmallestNormal ? x : result;
}

// log(x) = e ln 2 + (f + y), y smaller than f.
template <class V>
struct LogParts {
  V e, f, y;
};
static inline vf32 log_rest(vf32 f) { return f * f * (f * polynomial(f, Constants<float>::kLog) - 0.5f); }
static inline vf64 log_rest(vf64 f) {
  const vf64 s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  return s * (half + z * polynomial(z, Constants<double>::kLog)) - half;
}
// The exponent in the upper bits, as a number.
static inline vf32 exponent_of(vu32 bits) { return __builtin_convertvector((vi32)bits >> 23, vf32); }
static inline vf64 exponent_of(vu64 bits) {
  // Biased to be positive, so that a logical shift will do.
  const vu64 biased = (bits + (uint64_t{2048} << 52)) >> 52;
  return (vf64)(biased + (vu64)splat(Constants<double>::kMagic)) - (Constants<double>::kMagic + 2048);
}
// Of x + 2 half_low, x positive and normal, half_low within a quarter of a unit of x. (The whole of it would want
// the inverse of the largest power of 2, which is no normal number.)
template <class V>
static inline LogParts<V> log_parts(V x, const V* half_low = nullptr) {
  using T = ElementOf<V>;
  using F = FormatOf<V>;
  constexpr auto kSqrtHalf = Constants<T>::kSqrtHalfBits;
  constexpr auto kFractionMask = (typename F::Word{1} << F::kFraction) - 1;
  const UIntOf<V> shifted = (UIntOf<V>)x - kSqrtHalf;
  V f = (V)((shifted & kFractionMask) + kSqrtHalf) - T(1);
  if (half_low) f += *half_low * (V)((UIntOf<V>)splat(T(2)) - (shifted & ~kFractionMask));
  return {exponent_of(shifted), f, log_rest(f)};
}
template <class V>
static inline V log_of(const LogParts<V>& p) {
  using C = Constants<ElementOf<V>>;
  return (p.f + (p.y + p.e * C::kLn2Low)) + p.e * C::kLn2High;
}
template <class V>
static inline V log2_of(const LogParts<V>& p) {
  constexpr auto kLog2E = ElementOf<V>(1.44269504088896340736);
  return (p.f + p.y) * kLog2E + p.e;
}
template <class V>
static inline V log10_of(const LogParts<V>& p) {
  using C = Constants<ElementOf<V>>;
  constexpr long double kLog10E = 0.43429448190325182765L;
  constexpr auto kHigh = static_cast<ElementOf<V>>(kLog10E), kLow = static_cast<ElementOf<V>>(kLog10E - kHigh);
  return ((p.f + p.y) * kHigh + (p.f * kLow + p.e * C::kLog10Of2Low)) + p.e * C::kLog10Of2High;
}

template <class V, V (*combine)(const LogParts<V>&)>
static inline V logarithm(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  const auto subnormal = x < C::kSmallestNormal;
  LogParts<V> parts = log_parts(subnormal ? x * C::kSubnormalScale : x);
  parts.e = subnormal ? parts.e - T(FormatOf<V>::kFraction) : parts.e;
  V special = x == T(0) ? -infinity<V>() : splat(T(__builtin_nan("")));
  special = x == infinity<V>() ? x : special;
  return ((x > T(0)) & (x < infinity<V>())) ? combine(parts) : special;
}
template <class V>
static inline V vlog(V x) {
  return logarithm<V, log_of<V>>(x);
}
template <class V>
static inline V vlog2(V x) {
  return logarithm<V, log2_of<V>>(x);
}
template <class V>
static inline V vlog10(V x) {
  return logarithm<V, log10_of<V>>(x);
}

// log(1 + x + low) for positive and finite 1 + x, low within a unit of x; what rounding the sum loses comes back.
template <class V>
static inline V log1p_of_finite(V x, const V* low = nullptr) {
  using T = ElementOf<V>;
  const V u = T(1) + x;
  V half_low = T(0.5) * x - T(0.5) * (u - T(1));
  if (low) half_low += T(0.5) * *low;
  return log_of(log_parts(u, &half_low));
}
template <class V>
static inline V vlog1p(V x) {
  using T = ElementOf<V>;
  V special = x == T(-1) ? -infinity<V>() : splat(T(__builtin_nan("")));
  special = x == infinity<V>() ? x : special;
  return ((x > T(-1)) & (x < infinity<V>())) ? (x == T(0) ? x : log1p_of_finite(x)) : special;
}

template <class V>
static inline V vtanh(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  const V a = vabs(x), square = a * a;
  const V near = a * square * polynomial(square, C::kTanh) + a;
  // 1 - 2 / (exp(2 a) + 1).
  const auto y = reduce_by_ln2(T(2) * vmin(splat(C::kTanhHigh), a));
  const V s = power_of_2(y.shifted, 0);
  const V far = T(1) - quotient(splat(T(2)), s * growth(y.r) + (s + T(1)));
  return vcopysign(a < T(0.55) ? near : far, x);
}

// exp(|x|) / 4, which does not overflow before cosh does.
template <class V>
static inline V quarter_exp(V x) {
  using T = ElementOf<V>;
  const auto y = reduce_by_ln2(vmin(splat(Constants<T>::kCoshHigh), vabs(x)));
  const V s = power_of_2(y.shifted, -2);
  return s * growth(y.r) + s;
}
template <class V>
static inline V vcosh(V x) {
  const V e = quarter_exp(x);
  return (e + ElementOf<V>(0.0625) / e) * ElementOf<V>(2);
}
template <class V>
static inline V vsinh(V x) {
  using T = ElementOf<V>;
  const V a = vabs(x), square = a * a, e = quarter_exp(x);
  const V near = a * square * polynomial(square, Constants<T>::kSinh) + a;
  return vcopysign(a < T(1) ? near : (e - T(0.0625) / e) * T(2), x);
}

// log(1 + small + small_low), or log(2 large) where `large` is so large that nothing beside it counts.
template <class V>
static inline V log_of_either(V small, V large, const V* small_low = nullptr) {
  using T = ElementOf<V>;
  const auto far = large > Constants<T>::kLargeRoot;
  const V u = T(1) + small;
  V half_low = T(0.5) * small - T(0.5) * (u - T(1));
  if (small_low) half_low += T(0.5) * *small_low;
  half_low = far ? V{} : half_low;
  LogParts<V> parts = log_parts(far ? large : u, &half_low);
  parts.e = far ? parts.e + T(1) : parts.e;
  return large == infinity<V>() ? large : log_of(parts);
}
template <class V>
static inline V vasinh(V x) {
  using T = ElementOf<V>;
  const V a = vabs(x), square = a * a;
  const V y = log_of_either(a + square / (T(1) + vsqrt(T(1) + square)), a);
  return vcopysign(a == T(0) ? a : y, x);
}
template <class V>
static inline V vacosh(V x) {
  using T = ElementOf<V>;
  // The sum of x - 1 and the greater root of x^2 - 1, in two parts.
  const V d = x - T(1), square = fused(x, x, splat(T(-1))), root = vsqrt(square), sum = d + root;
  const V low = ((root - sum) + d) + fused(-root, root, square) * (T(0.5) / root);
  const V y = log_of_either(sum, x, &low);
  return x >= T(1) ? (x == T(1) ? V{} : y) : splat(T(__builtin_nan("")));
}
template <class V>
static inline V vatanh(V x) {
  using T = ElementOf<V>;
  // Half of log(1 + 2 a / (1 - a)), the quotient in two parts.
  const V a = vabs(x), d = T(1) - a, inverse = T(1) / d, ratio = T(2) * a * inverse;
  const V low = (fused(-ratio, d, T(2) * a) - ratio * ((T(1) - d) - a)) * inverse;
  const V y = T(0.5) * log1p_of_finite(ratio, &low);
  return vcopysign(a < T(1) ? y : a == T(1) ? infinity<V>() : splat(T(__builtin_nan(""))), x);
}

// 2^kSpare times `factor` times the logistic function of the reduced argument, 1 / (1 + exp(-x)). The scale keeps it
// normal.
template <class V>
static inline V scaled_logistic(const Reduced<V>& y, V factor) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  // exp(-x) = (1 + growth) / 2^n.
  const V s = power_of_2(y.shifted, C::kSpare), power = s * C::kSpareInverse;
  // A power that is lost beside 1 is not beside the growth.
  const V growth_and_lost = growth(-y.r) + (power < C::kSpacing ? power : V{});
  return quotient(factor * s, (power + T(1)) + growth_and_lost);
}
template <class V>
static inline V vsigmoid(V x) {
  using C = Constants<ElementOf<V>>;
  const V bounded = vmax(splat(C::kLogisticLow), vmin(splat(C::kLogisticHigh), x));
  return scaled_logistic(reduce_by_ln2(bounded), splat(ElementOf<V>(1))) * C::kSpareInverse;
}
// NaN at -inf, as -inf times 0 is.
template <class V>
static inline V vsilu(V x) {
  using C = Constants<ElementOf<V>>;
  const V bounded = vmax(splat(C::kLogisticLow), vmin(splat(C::kLogisticHigh), x));
  const V y = scaled_logistic(reduce_by_ln2(bounded), bounded) * C::kSpareInverse;
  return x > C::kLogisticHigh ? x : nan_at_minus_infinity(x, y);
}

// log(1 + exp(x)).
template <class V>
static inline V vsoftplus(V x) {
  const V tail = log1p_of_finite(vexp(-vabs(x)));
  return vmax(V{}, x) + tail;
}

// 0.5 x (1 + tanh(...)), which is x times the logistic function of twice the argument. That is carried in two
// parts, since exp magnifies its error. NaN at -inf.
template <class V>
static inline V vgelu_tanh(V x) {
  using T = ElementOf<V>;
  using C = Constants<T>;
  constexpr long double a = 1.595769121605730711759L, b = 0.044715L * a;  // a is 2 sqrt(2 / pi)
  constexpr long double short_a = static_cast<float>(static_cast<int>(a * C::kShort)) / C::kShort;
  const V z = vmax(splat(C::kGeluTanhLow), vmin(splat(C::kGeluTanhHigh), x)), square = z * z;
  const Pair<V> slope = precise_sum(square, splat(T(b)), T(short_a));
  const V slope_low = slope.low + (fused(z, z, -square) * T(b) + (square * T(b - T(b)) + T(a - short_a)));
  const V u = z * slope.high;
  const auto y = reduce_by_ln2(u, fused(z, slope.high, -u) + z * slope_low);
  return x > C::kGeluTanhHigh ? x : nan_at_minus_infinity(x, scaled_logistic(y, z) * C::kSpareInverse);
}

constexpr long double kSeluScale = 1.0507009873554804934193349852946L, kSeluAlpha = 1.6732632423543772848170429916717L;
template <class V>
static inline V vselu(V x) {
  using T = ElementOf<V>;
  constexpr long double below = kSeluScale * kSeluAlpha;
  const V y = vexpm1(vmin(V{}, x));
  // The constant in two parts, since its rounding would count.
  return x > T(0) ? x * T(kSeluScale) : y * T(below) + y * T(below - T(below));
}

}  // namespace
}  // namespace native
