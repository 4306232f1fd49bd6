// The upper tail of the normal distribution in float32 as polynomials of pieces of its argument, for vectors that can
// look coefficients up in a register (AVX-512): no exponential and no division. Included by math_normal.h only.
#pragma once

#include "simd/math_basic.h"

#if NATIVE_MASKS

namespace native {
namespace {

// A piece is a vector's lane: what is nearest to the same multiple of kPieceWidth.
constexpr int kPieces = kLanes<float>, kPieceTerms = 10;
constexpr long double kPieceWidth = 0.390625L;
constexpr float kPiecesEnd = 6.0f;  // within the last piece

// Where each piece's polynomial has its origin, and its coefficients, power by power. The origins stand at the upper
// ends (but where the functions rise), so that terms have one sign and no rounding error is magnified, and there among
// multiples of 2^-16 where both the function and its derivative are float32 numbers but for a hundredth of a unit.
struct Pieces {
  alignas(64) float origin[kPieces];
  alignas(64) float c[kPieceTerms][kPieces];
};
constexpr float kGeluOrigins[kPieces] = {0.0f,
                                         0.348846435546875f,
                                         0.74609375f,
                                         1.292938232421875f,
                                         1.7076416015625f,
                                         2.0345611572265625f,
                                         2.512908935546875f,
                                         2.926544189453125f,
                                         3.2514190673828125f,
                                         3.6256256103515625f,
                                         4.00262451171875f,
                                         4.4456024169921875f,
                                         4.8673095703125f,
                                         5.206146240234375f,
                                         5.6134490966796875f,
                                         5.9715423583984375f};
constexpr float kSlopeOrigins[kPieces] = {0.0f,
                                          0.4048614501953125f,
                                          0.737640380859375f,
                                          1.27728271484375f,
                                          1.666259765625f,
                                          2.08795166015625f,
                                          2.438995361328125f,
                                          2.841583251953125f,
                                          3.2760467529296875f,
                                          3.646942138671875f,
                                          4.0677947998046875f,
                                          4.423309326171875f,
                                          4.880035400390625f,
                                          5.2428436279296875f,
                                          5.613555908203125f,
                                          6.0485687255859375f};

// exp(-x^2 / 2) / sqrt(2 pi), x from 0 to 7.
constexpr long double normal_density(long double x) {
  // A power of a small argument's series.
  const long double y = -x * x / 64;
  long double term = 1, sum = 1;
  for (int k = 1; k < 30; ++k) sum += term *= y / k;
  for (int k = 0; k < 5; ++k) sum *= sum;
  return sum * 0.398942280401432677939946L;
}
// P(X > x) for a standard normal X: the series of its complement has positive terms.
constexpr long double normal_tail(long double x) {
  long double term = x, sum = x;
  for (int k = 3; k < 250; k += 2) sum += term *= x * x / k;
  return 0.5L - normal_density(x) * sum;
}
// What x P(X < x) and its derivative lack to x and 1.
constexpr long double gelu_tail(long double x) { return x * normal_tail(x); }
constexpr long double gelu_slope_tail(long double x) { return normal_tail(x) - x * normal_density(x); }

// Polynomials through `function` at each piece's Chebyshev points.
constexpr Pieces pieces_of(long double (*function)(long double), const float (&origins)[kPieces]) {
  constexpr long double half[kPieceTerms / 2] = {0.98768834059513772619L, 0.89100652418836786236L,
                                                 0.70710678118654752440L, 0.45399049973954679156L,
                                                 0.15643446504023086901L};
  Pieces result{};
  for (int piece = 0; piece < kPieces; ++piece) {
    result.origin[piece] = origins[piece];
    long double at[kPieceTerms]{}, difference[kPieceTerms]{}, power[kPieceTerms]{};
    for (int i = 0; i < kPieceTerms; ++i) {
      const long double node = i < kPieceTerms / 2 ? half[i] : -half[i - kPieceTerms / 2];
      const long double x = (piece + node / 2) * kPieceWidth;
      at[i] = x - origins[piece];
      difference[i] = function(x);
    }
    // Newton's form, and out of it powers.
    for (int order = 1; order < kPieceTerms; ++order)
      for (int i = kPieceTerms - 1; i >= order; --i)
        difference[i] = (difference[i] - difference[i - 1]) / (at[i] - at[i - order]);
    for (int i = kPieceTerms - 1; i >= 0; --i) {
      for (int k = kPieceTerms - 1; k > 0; --k) power[k] = power[k - 1] - at[i] * power[k];
      power[0] = difference[i] - at[i] * power[0];
    }
    power[0] = function(origins[piece]);  // exactly 0 where that is
    for (int k = 0; k < kPieceTerms; ++k) result.c[k][piece] = static_cast<float>(power[k]);
  }
  return result;
}
static constexpr Pieces kGeluTail = pieces_of(gelu_tail, kGeluOrigins);
static constexpr Pieces kGeluSlopeTail = pieces_of(gelu_slope_tail, kSlopeOrigins);

// The function at a, from 0 to kPiecesEnd.
static inline vf32 in_pieces(const Pieces& pieces, vf32 a) {
  const vf32 piece = a * static_cast<float>(1 / kPieceWidth) + Constants<float>::kMagic;
  const auto look_up = [&](const float (&table)[kPieces]) {
    return (vf32)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)piece, (__m512)load(table));
  };
  const vf32 h = a - look_up(pieces.origin);
  vf32 y = look_up(pieces.c[kPieceTerms - 1]);
#pragma GCC unroll 20
  for (int k = kPieceTerms - 2; k >= 0; --k) y = y * h + look_up(pieces.c[k]);
  return y;
}
// Whether any lane is below x.
static inline bool any_below(vf32 lanes, float x) {
  return _mm512_cmp_ps_mask((__m512)lanes, (__m512)splat(x), _CMP_LT_OQ) != 0;
}

}  // namespace
}  // namespace native

#endif
