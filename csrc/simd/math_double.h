// Vector functions in float64 with errors near 1e-11, to be rounded to float32 once: for functions whose
// range reduction or cancellation float32 does not carry. Arguments are float32 numbers. Included by
// *.simd.cpp units only. Polynomials are minimax fits (Remez).
#pragma once

#include "simd/math.h"

namespace native {
namespace {

constexpr double kMagic = Constants<double>::kMagic;

static inline vf64 dround(vf64 x) { return (x + kMagic) - kMagic; }
// 2^n exp(r) for |r| up to ln 2 / 2 and integral n within [-1000, 1000].
static inline vf64 dexp_reduced(vf64 n, vf64 r) {
  constexpr double c[] = {0.50000000004622847,   0.16666666791641122,    0.041666664266020212,  0.0083332797253533528,
                          0.0013889209586240531, 0.00019910295060131743, 2.4706451818989317e-05};
  const vi64 scale = ((vi64)(n + (kMagic + 1023)) << 52);
  return (r * r * polynomial(r, c) + r + 1.0) * (vf64)scale;
}
static inline vf64 dclamp(vf64 x, double bound) { return vmax(splat(-bound), vmin(splat(bound), x)); }
static inline vf64 dexp(vf64 x) {
  x = dclamp(x, 690.0);
  const vf64 n = dround(x * 1.44269504088896340736);
  return dexp_reduced(n, (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10);
}
static inline vf64 dexp2(vf64 x) {
  x = dclamp(x, 1000.0);
  const vf64 n = dround(x);
  return dexp_reduced(n, (x - n) * 0.69314718055994530942);
}

// Natural logarithm of a positive normal number; anything where x is something else, as in lanes that dlog() replaces.
static inline vf64 dlog_of_normal(vf64 x) {
  constexpr double c[] = {0.66666666666584606, 0.40000000053710733, 0.28571416876250338,
                          0.22223390950418503, 0.18122985186456708, 0.16828089901541451};
  constexpr int64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  // Exponents fit the upper halves' arithmetic: biased to be positive, so that a logical shift will do.
  const vu64 shifted = (vu64)x - static_cast<uint64_t>(kSqrtHalf) + (static_cast<uint64_t>(2048) << 52);
  const vf64 e = (vf64)((vi64)(shifted >> 52) + (vi64)splat(kMagic)) - (kMagic + 2048);
  const vf64 m = (vf64)((vi64)(shifted & 0x000fffffffffffff) + kSqrtHalf);
  const vf64 f = m - 1.0, s = f / (m + 1.0), z = s * s;
  return (e * 1.90821492927058770002e-10 + s * z * polynomial(z, c)) + 2.0 * s + e * 0.693147180369123816490;
}
// 0 gives -inf, negative numbers NaN.
static inline vf64 dlog(vf64 x) {
  const vf64 infinity = splat(__builtin_inf());
  vf64 special = x == 0.0 ? -infinity : splat(__builtin_nan(""));
  special = x == infinity ? infinity : special;
  return ((x > 0.0) & (x < infinity)) ? dlog_of_normal(x) : special;
}
static inline vf64 dcbrt(vf64 x) {
  const vf64 a = vabs(x);
  return ((a == 0.0) | (a == __builtin_inf())) ? x : vcopysign(dexp(dlog(a) * (1.0 / 3)), x);
}

struct SinCos {
  vf64 sin, cos;
  vi64 quadrant;  // the low two bits count
};
// Sine and cosine of the remainder within pi / 4, for arguments below kLargestAngle.
constexpr double kLargestAngle = 1e6;
static inline SinCos dsincos(vf64 x) {
  constexpr double s[] = {-0.16666666640633379, 0.0083333292678016181, -0.00019839296258689147, 2.7179399905739617e-06};
  constexpr double c[] = {-0.49999999999522526, 0.04166666655791957, -0.0013888880845725905, 2.479899048456407e-05,
                          -2.7176371342421561e-07};
  const vf64 t = x * 0.63661977236758134308 + kMagic;
  const vf64 n = t - kMagic;
  // Two parts of pi / 2 of 33 bits, whose products with n are exact.
  vf64 r = x - n * 1.57079632673412561417e+00;
  r = (r - n * 6.07710050630396597660e-11) - n * 2.02226624879595063154e-21;
  const vf64 z = r * r;
  return {r * z * polynomial(z, s) + r, z * polynomial(z, c) + 1.0, (vi64)t};
}
static inline vf64 dtan(vf64 x) {
  const SinCos p = dsincos(x);
  const vi64 odd = (p.quadrant & 1) != 0;
  return (odd ? -p.cos : p.sin) / (odd ? p.sin : p.cos);
}

// asin(x) - x for |x| up to 1/2, given the square.
static inline vf64 dasin_rest(vf64 x, vf64 z) {
  constexpr double c[] = {0.16666666626573234, 0.075000050588584902, 0.044640681425000099,  0.030426953650264838,
                          0.02186195855272572, 0.020664434955627118, 0.0019341348818150735, 0.032957090483693066};
  return x * z * polynomial(z, c);
}
constexpr double kHalfPi = 1.57079632679489661923, kPi = 3.14159265358979323846;
static inline vf64 dasin(vf64 x) {
  const vf64 a = vabs(x), z = a > 0.5 ? 0.5 - 0.5 * a : a * a;
  const vf64 root = a > 0.5 ? vsqrt(z) : a;
  const vf64 y = root + dasin_rest(root, z);
  return vcopysign(a > 0.5 ? kHalfPi - 2.0 * y : y, x);
}
static inline vf64 dacos(vf64 x) {
  const vf64 a = vabs(x), z = a > 0.5 ? 0.5 - 0.5 * a : a * a;
  const vf64 root = a > 0.5 ? vsqrt(z) : a;
  const vf64 y = root + dasin_rest(root, z);
  return a > 0.5 ? (x > 0.0 ? 2.0 * y : kPi - 2.0 * y) : kHalfPi - vcopysign(y, x);
}
// atan of a within [0, 1].
static inline vf64 datan_unit(vf64 a) {
  constexpr double c[] = {-0.33333332235056895,  0.19999932187361472,   -0.14284250697927872,   0.11095201039628265,
                          -0.089887852554134298, 0.07269363953367633,   -0.054704101262886176,  0.034704189670577736,
                          -0.016471105507318132, 0.0049991682976180769, -0.00071127777652125676};
  const vf64 z = a * a;
  return a * z * polynomial(z, c) + a;
}
static inline vf64 datan(vf64 x) {
  const vf64 a = vabs(x);
  const vf64 y = datan_unit(a > 1.0 ? 1.0 / a : a);
  return vcopysign(a > 1.0 ? kHalfPi - y : y, x);
}
static inline vf64 datan2(vf64 y, vf64 x) {
  const vf64 a = vabs(y), b = vabs(x);
  const vf64 big = a > b ? a : b, small = a > b ? b : a;
  // Zero over zero counts as 0, infinity over infinity as 1.
  vf64 ratio = small / big;
  ratio = big == 0.0 ? big : ratio;
  ratio = small == __builtin_inf() ? splat(1.0) : ratio;
  vf64 angle = datan_unit(ratio);
  angle = a > b ? kHalfPi - angle : angle;
  angle = (vi64)x < 0 ? kPi - angle : angle;
  return x != x ? x : y != y ? y : vcopysign(angle, y);
}

static inline vf64 dhypot(vf64 x, vf64 y) {
  const vf64 a = vabs(x), b = vabs(y), infinity = splat(__builtin_inf());
  return ((a == infinity) | (b == infinity)) ? infinity : vsqrt(a * a + b * b);
}

// log(exp(a) + exp(b)).
static inline vf64 dlogaddexp(vf64 a, vf64 b) {
  const vf64 most = a > b ? a : b;
  vf64 gap = vabs(a - b);
  gap = a == b ? splat(0.0) : gap;  // also of two equal infinities
  const vf64 e = dexp(-gap), u = 1.0 + e;
  const vf64 y = most + (dlog(u) + (e - (u - 1.0)) / u);
  return gap == __builtin_inf() ? most : y;
}

// |x|^y for finite x other than 0.
static inline vf64 dpow_magnitude(vf64 x, vf64 y) {
  return dexp2(y * (dlog_of_normal(vabs(x)) * 1.44269504088896340736));
}

}  // namespace
}  // namespace native
