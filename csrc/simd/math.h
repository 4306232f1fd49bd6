// Vector functions of float32 in polynomials of our own: at most 2 units in the last place over the whole
// range, with infinities, NaN and denormals as IEEE 754 has them. Included by *.simd.cpp units only.
//
// Polynomials are minimax fits (Remez) in the weight that makes the relative error of the result even.
#pragma once

#include "simd/vec.h"

#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
#include <immintrin.h>
#endif

namespace native {
namespace {

template <class V, class T, int N>
static inline V polynomial(V x, const T (&c)[N]) {
  V y = V{} + c[N - 1];
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) y = y * x + c[i];
  return y;
}

static inline vf32 vabs(vf32 x) { return (vf32)((vi32)x & 0x7fffffff); }
static inline vf32 vcopysign(vf32 magnitude, vf32 sign) {
  return (vf32)(((vi32)magnitude & 0x7fffffff) | ((vi32)sign & static_cast<int32_t>(0x80000000)));
}

// x * 2^n for |n| <= 252, rounding once. n is integral.
static inline vf32 scale_by_power_of_2(vf32 x, vi32 n) {
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
  // The masked form, since GCC 12 warns of the plain one.
  return (vf32)_mm512_maskz_scalef_ps(0xffff, (__m512)x, (__m512) __builtin_convertvector(n, vf32));
#else
  // In two steps, since 2^n itself may be no normal number.
  const vi32 half = n >> 1;
  return x * (vf32)((half + 127) << 23) * (vf32)((n - half + 127) << 23);
#endif
}

// Adding it rounds to an integer, which then stands in the low bits.
constexpr float kRoundingMagic = 12582912.0f;  // 1.5 * 2^23
constexpr float kLog2E = 1.44269504f;
// ln 2 in two parts; the first has 9 bits, so that its products with exponents are exact without FMA.
constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

struct Reduced {
  vf32 r;  // within ln 2 / 2 of zero
  vi32 n;
};
// high + low = n ln 2 + r.
static inline Reduced reduce_by_ln2(vf32 high, vf32 low) {
  const vf32 t = (high + low) * kLog2E + kRoundingMagic;
  const vf32 n = t - kRoundingMagic;
  return {((high - n * kLn2High) - n * kLn2Low) + low, (vi32)t - (vi32)splat(kRoundingMagic)};
}

// exp(high + low) for a sum within [-104, 89], low small.
static inline vf32 exp_of_sum(vf32 high, vf32 low) {
  constexpr float c[] = {0.499999911f, 0.166664824f, 0.041668836f, 0.00837306865f, 0.00138055987f};
  const Reduced x = reduce_by_ln2(high, low);
  return scale_by_power_of_2((x.r * x.r * polynomial(x.r, c) + x.r) + 1.0f, x.n);
}

static inline vf32 vexp(vf32 x) {
  // The argument stands last in both comparisons, so that NaN passes.
  x = vmin(splat(89.0f), x);
  x = vmax(splat(-104.0f), x);
  return exp_of_sum(x, splat(0.0f));
}

static inline vf32 vexpm1(vf32 x) {
  constexpr float c[] = {0.5f, 0.166666672f, 0.0416661277f, 0.00833327323f, 0.00139559747f, 0.000199157803f};
  const vf32 clamped = vmax(splat(-18.0f), vmin(splat(89.0f), x));
  const Reduced y = reduce_by_ln2(clamped, splat(0.0f));
  const vf32 p = y.r * y.r * polynomial(y.r, c) + y.r;
  // Half of 2^n, which does not overflow before the result does.
  const vf32 s = (vf32)((y.n + 126) << 23);
  const vf32 result = 2.0f * (s * p + (s - 0.5f));
  return x == 0.0f ? x : result;  // keeps -0
}

// log(m 2^e) with the small addend `low`: the core of log and log1p, for positive normal x.
static inline vf32 log_of_normal(vf32 x, vi32 exponent_bias) {
  constexpr float c[] = {0.333333135f,  -0.250000089f, 0.200021178f,  -0.166679963f, 0.142195687f,
                         -0.124055758f, 0.118880577f,  -0.116757512f, 0.0674698576f};
  constexpr int32_t kSqrtHalf = 0x3f3504f3;
  const vi32 shifted = (vi32)x - kSqrtHalf;
  const vf32 e = __builtin_convertvector((shifted >> 23) + exponent_bias, vf32);
  const vf32 f = (vf32)((shifted & 0x7fffff) + kSqrtHalf) - 1.0f;
  const vf32 square = f * f;
  vf32 y = f * square * polynomial(f, c) + e * kLn2Low;
  y = y - 0.5f * square;
  return (f + y) + e * kLn2High;
}

static inline vf32 vlog(vf32 x) {
  const vi32 denormal = x < 1.17549435e-38f;
  const vf32 y = log_of_normal(denormal ? x * 8388608.0f : x, denormal & -23);
  const vf32 infinity = splat(__builtin_inff());
  vf32 special = x == 0.0f ? -infinity : splat(__builtin_nanf(""));
  special = x == infinity ? infinity : special;
  return (x > 0.0f) & (x < infinity) ? y : special;
}

static inline vf32 vlog1p(vf32 x) {
  const vf32 u = 1.0f + x;
  // What rounding 1 + x lost comes back to first order.
  const vf32 y = log_of_normal(u, vi32{}) + (x - (u - 1.0f)) / u;
  const vf32 infinity = splat(__builtin_inff());
  vf32 special = x == -1.0f ? -infinity : splat(__builtin_nanf(""));
  special = x == infinity ? infinity : special;
  return (x > -1.0f) & (x < infinity) ? (x == 0.0f ? x : y) : special;
}

static inline vf32 vtanh(vf32 x) {
  constexpr float c[] = {0.5f, 0.166666672f, 0.0416661277f, 0.00833327323f, 0.00139559747f, 0.000199157803f};
  const vf32 a = vabs(x);
  const Reduced y = reduce_by_ln2(vmax(splat(-40.0f), -2.0f * a), splat(0.0f));
  const vf32 p = y.r * y.r * polynomial(y.r, c) + y.r;
  const vf32 s = (vf32)((y.n + 127) << 23);
  const vf32 e = s * p + s;           // exp(-2 a)
  const vf32 t = s * p + (s - 1.0f);  // the same less 1
  // Below 0.55 the quotient itself, above it the quotient's distance from 1: what is small is exact.
  const vi32 far = a > 0.55f;
  const vf32 q = (far ? 2.0f * e : -t) / (t + 2.0f);
  return vcopysign(a == 0.0f ? a : far ? 1.0f - q : q, x);
}

// exp(-|x|) and the logistic function of x.
struct Logistic {
  vf32 e, y;
};
static inline Logistic logistic(vf32 x) {
  // exp of the negative magnitude neither overflows nor cancels.
  const vf32 e = vexp(-vabs(x));
  const vf32 d = 1.0f + e;
  const vi32 negative = x < 0.0f;
  const vf32 y = (negative ? e : splat(1.0f)) / d;
  // What rounding 1 + e lost, to first order.
  const vf32 lost = e - (d - 1.0f);
  return {e, y - y * lost * (negative ? 1.0f - y : y)};
}
static inline vf32 vsigmoid(vf32 x) { return logistic(x).y; }
static inline vf32 vsilu(vf32 x) { return x * logistic(x).y; }

// log(1 + exp(x)).
static inline vf32 vsoftplus(vf32 x) {
  const vf32 tail = vlog1p(vexp(-vabs(x)));
  return (x > 0.0f ? x : splat(0.0f)) + tail;
}

// exp(-scale x^2), scale a power of 2. x^2 is split so that its rounding error, which exp would magnify, is
// not lost: the leading half of x has 12 bits and squares exactly.
static inline vf32 exp_of_negative_square(vf32 x, float scale) {
  x = vmin(splat(15.0f), vabs(x));
  const vf32 high = (vf32)((vi32)x & static_cast<int32_t>(0xfffff000));
  const vf32 square = high * high * -scale;
  const vf32 rest = (x - high) * (x + high) * -scale;
  const vi32 vanishes = square < -104.0f;
  return vanishes ? splat(0.0f) : exp_of_sum(square, rest);
}

// P(X > u) exp(u^2 / 2) for a standard normal X and u >= 0: a polynomial in (u - 4) / (u + 4) over 1 + u.
static inline vf32 normal_tail_ratio(vf32 u) {
  constexpr float c[] = {0.4720532f,      -0.0967034698f,   0.0139995962f,   0.0285999812f,
                         -0.0321972705f,  0.0179402027f,    -0.00500438223f, -0.000303760229f,
                         0.000692859176f, -6.05564346e-05f, -7.16110881e-05f};
  u = vmin(splat(21.0f), u);
  return polynomial((u - 4.0f) / (u + 4.0f), c) / (u + 1.0f);
}

constexpr float kSqrt2 = 1.41421356f;

// erf(x) / x - 1 within [-1, 1], from the square of x.
static inline vf32 erf_near(vf32 square) {
  constexpr float c[] = {0.128379151f,   -0.37612626f,     0.112835854f,   -0.0268538147f,
                         0.00518833054f, -0.000801020244f, 7.85384982e-05f};
  return polynomial(square, c);
}

static inline vf32 verfc(vf32 x) {
  const vf32 a = vabs(x);
  const vf32 near = 1.0f - (x * erf_near(x * x) + x);
  const vf32 tail = 2.0f * exp_of_negative_square(x, 1.0f) * normal_tail_ratio(kSqrt2 * a);
  return a < 0.46875f ? near : x < 0.0f ? 2.0f - tail : tail;
}

static inline vf32 verf(vf32 x) {
  const vf32 a = vabs(x);
  const vf32 near = a * erf_near(a * a) + a;
  const vf32 far = 1.0f - 2.0f * exp_of_negative_square(x, 1.0f) * normal_tail_ratio(kSqrt2 * a);
  return vcopysign(a < 1.0f ? near : far, x);
}

// x P(X < x) for a standard normal X.
static inline vf32 vgelu(vf32 x) {
  const vf32 tail = exp_of_negative_square(x, 0.5f) * normal_tail_ratio(vabs(x));
  return x * (x > 0.0f ? 1.0f - tail : tail);
}

// The same by 0.5 (1 + tanh(...)), which is a sigmoid of twice the argument.
static inline vf32 vgelu_tanh(vf32 x) { return x * vsigmoid(x * (1.59576912f + 0.0713548163f * (x * x))); }

}  // namespace
}  // namespace native
