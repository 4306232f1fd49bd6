// Logarithms, powers and cosines of float64 with the same bits on every instruction set. Their polynomials are
// Taylor's, as long as float64 asks. Included by *.simd.cpp units only.
#pragma once

#include "kernels/random/exact.simd.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// ln 2 in two parts, the first of few bits: its products with exponents are exact.
constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 0x1.a39ef35793c76p-33;
constexpr double kMagic = 0x1.8p52;  // adding it rounds to an integer
constexpr int64_t kMagicBits = 0x4338000000000000;

struct LogPair {
  vf64 high, low;
};

// The natural logarithm of a positive normal number in two parts; anything where x is something else, as in lanes of
// trials that are refused.
static inline LogPair log_pair(vf64 x) {
  constexpr int64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  constexpr double c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11,
                          2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
  const vi64 shifted = (vi64)((vu64)x - static_cast<uint64_t>(kSqrtHalf));
  const vf64 e = (vf64)((shifted >> 52) + kMagicBits) - kMagic;
  const vf64 f = (vf64)((shifted & 0xfffffffffffff) + kSqrtHalf) - 1.0;
  // log(1 + f) is 2 atanh(s); all but f itself is small.
  const vf64 s = f / (f + 2.0), square = times(s, s), half = times(times(f, f), 0.5);
  const vf64 rest = times(s, half + times(square, horner(square, c))) - half;
  const vf64 whole = times(e, kLn2High), sum = whole + f;
  const vf64 low = ((whole - sum) + f) + (rest + times(e, kLn2Low)), high = sum + low;
  return {high, (sum - high) + low};
}
static inline vf64 log_of(vf64 x) { return log_pair(x).high; }

// log(1 + x) for x > -1: what rounding 1 + x lost is added to the first order.
static inline vf64 log_of_one_more(vf64 x) {
  const vf64 sum = x + 1.0;
  return log_of(sum) + (x - (sum - 1.0)) / sum;
}

// log(1 - p) for p in [0, 1 / 2].
static inline vf64 log_of_complement(vf64 p) {
  constexpr double c[] = {1.0,      1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11, 1.0 / 13, 1.0 / 15,
                          1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23, 1.0 / 25, 1.0 / 27, 1.0 / 29, 1.0 / 31};
  const vf64 s = p / (2.0 - p);
  return times(times(s, -2.0), horner(times(s, s), c));
}

// exp(x + low) for x up to 709, `low` small beside 1.
static inline vf64 exp_of(vf64 x, vf64 low = vf64{}) {
  constexpr double c[] = {
      1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
      1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
  const vf64 shifted = times(vmax(x, splat(-1400.0)), 0x1.71547652b82fep0) + kMagic, n = shifted - kMagic;
  const vf64 r = ((x - times(n, kLn2High)) - times(n, kLn2Low)) + low;
  // 2^n in two steps, since n goes below the exponents of normal numbers.
  const vi64 bits = (vi64)shifted - kMagicBits, half = bits >> 1;
  const vf64 first = (vf64)((half + 1023) << 52), second = (vf64)((bits - half + 1023) << 52);
  return x < -1400.0 ? vf64{} : times(times(horner(r, c), first), second);
}

// u^power for u in (0, 1], power >= 1.
static inline vf64 power_of(vf64 u, vf64 power) {
  const LogPair log = log_pair(u);
  const vf64 y = times(log.high, power);
  // What rounding the product lost, from the halves of its factors.
  const auto upper = [](vf64 a) { return (vf64)((vi64)a & ~int64_t{0x7ffffff}); };
  const vf64 a = upper(log.high), b = log.high - a, p = upper(power), q = power - p;
  const vf64 lost = ((times(a, p) - y) + times(a, q) + times(b, p)) + times(b, q);
  return y < -760.0 ? vf64{} : exp_of(y, lost + times(log.low, power));
}

// cos(pi t) for t in [0, 2].
static inline vf64 cosine_of_half_turns(vf64 t) {
  constexpr double c[] = {1.0,
                          -1.0 / 2,
                          1.0 / 24,
                          -1.0 / 720,
                          1.0 / 40320,
                          -1.0 / 3628800,
                          1.0 / 479001600,
                          -1.0 / 87178291200,
                          1.0 / 20922789888000};
  constexpr double s[] = {1.0,          -1.0 / 6,        1.0 / 120,        -1.0 / 5040,
                          1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000};
  const vf64 shifted = times(t, 2.0) + kMagic;
  const vf64 x = times(t - times(shifted - kMagic, 0.5), 3.141592653589793);
  const vf64 square = times(x, x);
  const vi64 quarter = (vi64)shifted;
  const vf64 y = (quarter & 1) != 0 ? times(x, horner(square, s)) : horner(square, c);
  return (vf64)((vi64)y ^ (((quarter + 1) & 2) << 62));
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native
