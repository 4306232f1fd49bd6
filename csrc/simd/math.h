// Vector functions of float32 in polynomials of our own, with infinities, NaN and denormals as IEEE 754 has
// them. Errors over the whole range are at most 2 units in the last place (tanh 2.2), 5 of erfc and of gelu, whose
// relative error is bounded far into the tail. Included by *.simd.cpp units only.
//
// Polynomials are minimax fits (Remez) in the weight that makes the relative error of the result even.
#pragma once

#include "simd/vec.h"

#if defined(__SSE2__)
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

// The smaller and the larger; the second where either is NaN. One instruction, which compilers do not make of
// a comparison and a choice.
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
static inline vf32 lesser(vf32 a, vf32 b) { return (vf32)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b); }
static inline vf32 greater(vf32 a, vf32 b) { return (vf32)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b); }
#elif defined(__AVX2__) && NATIVE_VEC_BYTES == 32
static inline vf32 lesser(vf32 a, vf32 b) { return (vf32)_mm256_min_ps((__m256)a, (__m256)b); }
static inline vf32 greater(vf32 a, vf32 b) { return (vf32)_mm256_max_ps((__m256)a, (__m256)b); }
#elif defined(__SSE2__) && NATIVE_VEC_BYTES == 16
static inline vf32 lesser(vf32 a, vf32 b) { return (vf32)_mm_min_ps((__m128)a, (__m128)b); }
static inline vf32 greater(vf32 a, vf32 b) { return (vf32)_mm_max_ps((__m128)a, (__m128)b); }
#else
static inline vf32 lesser(vf32 a, vf32 b) { return vmin(a, b); }
static inline vf32 greater(vf32 a, vf32 b) { return vmax(a, b); }
#endif

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
// x = n ln 2 + r.
static inline Reduced reduce_by_ln2(vf32 x) {
  const vf32 t = x * kLog2E + kRoundingMagic;
  const vf32 n = t - kRoundingMagic;
  return {(x - n * kLn2High) - n * kLn2Low, (vi32)t - (vi32)splat(kRoundingMagic)};
}
// exp(r) of a reduced argument.
static inline vf32 exp_of_reduced(vf32 r) {
  constexpr float c[] = {0.499999911f, 0.166664824f, 0.041668836f, 0.00837306865f, 0.00138055987f};
  return (r * r * polynomial(r, c) + r) + 1.0f;
}

static inline vf32 vexp(vf32 x) {
  // The argument stands second in both, so that NaN passes.
  const Reduced y = reduce_by_ln2(greater(splat(-104.0f), lesser(splat(89.0f), x)));
  return scale_by_power_of_2(exp_of_reduced(y.r), y.n);
}

static inline vf32 vexpm1(vf32 x) {
  constexpr float c[] = {0.5f, 0.166666672f, 0.0416661277f, 0.00833327323f, 0.00139559747f, 0.000199157803f};
  const Reduced y = reduce_by_ln2(greater(splat(-18.0f), lesser(splat(89.0f), x)));
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
  return ((x > 0.0f) & (x < infinity)) ? y : special;
}

static inline vf32 vlog1p(vf32 x) {
  const vf32 u = 1.0f + x;
  // What rounding 1 + x lost comes back to first order.
  const vf32 y = log_of_normal(u, vi32{}) + (x - (u - 1.0f)) / u;
  const vf32 infinity = splat(__builtin_inff());
  vf32 special = x == -1.0f ? -infinity : splat(__builtin_nanf(""));
  special = x == infinity ? infinity : special;
  return ((x > -1.0f) & (x < infinity)) ? (x == 0.0f ? x : y) : special;
}

static inline vf32 vtanh(vf32 x) {
  constexpr float c[] = {0.5f, 0.166666672f, 0.0416661277f, 0.00833327323f, 0.00139559747f, 0.000199157803f};
  const vf32 a = vabs(x);
  const Reduced y = reduce_by_ln2(greater(splat(-40.0f), -2.0f * a));
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

// 2^64 exp(-scale x^2), scale 1 or 1/2, for |x| up to 15; the factor keeps it a normal number. x^2 is split so
// that its rounding error, which exp would magnify, is not lost: the leading half of x has 12 bits and squares
// exactly.
constexpr float kTwoTo64 = 18446744073709551616.0f;
static inline vf32 scaled_exp_of_negative_square(vf32 x, float scale) {
  const vf32 high = (vf32)((vi32)x & static_cast<int32_t>(0xfffff000));
  const vf32 square = high * high * -scale;
  const vf32 rest = (x - high) * (x + high) * -scale;
  const Reduced y = reduce_by_ln2(square);
  return exp_of_reduced(y.r + rest) * (vf32)((y.n + (127 + 64)) << 23);
}

// P(X > u) exp(u^2 / 2) for a standard normal X and u within [0, 21]: a polynomial in (u - 3) / (u + 3), which is
// 1 - 6 / (u + 3), over u + 3.
static inline vf32 normal_tail_ratio(vf32 u) {
  constexpr float c[] = {0.729083717f,   -0.50933218f,   0.230017692f,     -0.0472581573f,   -0.0104622571f,
                         0.00693733571f, 0.00101638515f, -0.000946835498f, -0.000202959287f, 5.24056049e-05f};
  const vf32 inverse = 1.0f / (u + 3.0f);
  return polynomial(1.0f - 6.0f * inverse, c) * inverse;
}

constexpr float kSqrt2 = 1.41421356f;

// erf(x) / x - 1 within [-1, 1], from the square of x.
static inline vf32 erf_near(vf32 square) {
  constexpr float c[] = {0.128379151f,   -0.37612626f,     0.112835854f,   -0.0268538147f,
                         0.00518833054f, -0.000801020244f, 7.85384982e-05f};
  return polynomial(square, c);
}

// P(X > sqrt(2) a) for a >= 0, twice: erfc(a).
static inline vf32 erfc_far(vf32 a) {
  a = lesser(splat(11.0f), a);
  const vf32 ratio = normal_tail_ratio(kSqrt2 * a);
  return scaled_exp_of_negative_square(a, 1.0f) * ratio * (2.0f / kTwoTo64);
}

static inline vf32 verfc(vf32 x) {
  const vf32 a = vabs(x);
  const vf32 near = 1.0f - (x * erf_near(x * x) + x);
  const vf32 tail = erfc_far(a);
  return a < 0.46875f ? near : x < 0.0f ? 2.0f - tail : tail;
}

static inline vf32 verf(vf32 x) {
  const vf32 a = vabs(x);
  const vf32 near = a * erf_near(a * a) + a;
  return vcopysign(a < 1.0f ? near : 1.0f - erfc_far(a), x);
}

// x P(X < x) for a standard normal X.
static inline vf32 vgelu(vf32 x) {
  const vf32 a = lesser(splat(15.0f), vabs(x));
  const vf32 product = scaled_exp_of_negative_square(a, 0.5f) * normal_tail_ratio(a);
  const vf32 tail = a == 15.0f ? splat(0.0f) : product;
  // Below 0 scaled back last, so that only the result is rounded to the few bits of a denormal number.
  constexpr float kBack = 1.0f / kTwoTo64;
  return x > 0.0f ? x * (1.0f - tail * kBack) : x * tail * kBack;
}

// The same by 0.5 (1 + tanh(...)), which is a sigmoid of twice the argument.
static inline vf32 vgelu_tanh(vf32 x) { return x * vsigmoid(x * (1.59576912f + 0.0713548163f * (x * x))); }

}  // namespace
}  // namespace native
