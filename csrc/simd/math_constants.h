// What the vector functions know of float32 and float64: formats, bounds, polynomials. The functions
// themselves (math.h, math_normal.h, math_angle.h) are written once for both. Included by *.simd.cpp units only.
//
// Polynomials and quotients are minimax fits (Remez) in the weight that makes the relative error of the result
// even; coefficients stand from the constant term upwards.
#pragma once

#include "simd/vec.h"

namespace native {
namespace {

template <class V>
struct FormatOf;
template <>
struct FormatOf<vf32> {
  using Element = float;
  using Int = vi32;
  using UInt = vu32;
  using Word = uint32_t;
  static constexpr int kFraction = 23, kBias = 127;
  static constexpr uint32_t kSignBit = 0x80000000, kLeadingHalf = 0xfffff000;  // of the significand: 12 bits
};
template <>
struct FormatOf<vf64> {
  using Element = double;
  using Int = vi64;
  using UInt = vu64;
  using Word = uint64_t;
  static constexpr int kFraction = 52, kBias = 1023;
  static constexpr uint64_t kSignBit = uint64_t{1} << 63, kLeadingHalf = ~uint64_t{0x7ffffff};  // 26 bits
};
template <class V>
using ElementOf = typename FormatOf<V>::Element;
template <class V>
using IntOf = typename FormatOf<V>::Int;
template <class V>
using UIntOf = typename FormatOf<V>::UInt;

template <class T>
struct Constants;

template <>
struct Constants<float> {
  static constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float kSpacing = 0x1p-23f;   // of numbers next to 1
  static constexpr float kSmallestNormal = 1.17549435e-38f;
  static constexpr float kSubnormalScale = 8388608.0f;  // 2^23
  static constexpr uint32_t kSqrtHalfBits = 0x3f3504f3;

  // The first part of ln 2 has 9 bits, so that its products with exponents are exact without FMA.
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr float kLog10Of2High = 0.301025390625f, kLog10Of2Low = 4.60503907e-06f;

  // Arguments beyond which results are 0 or infinite.
  static constexpr float kExpLow = -104.0f, kExpHigh = 89.0f;
  static constexpr float kExp2Low = -151.0f, kExp2High = 129.0f;
  static constexpr float kExpm1Low = -18.0f, kTanhHigh = 10.0f, kCoshHigh = 89.5f;
  // A power of 2 that keeps results normal until they are scaled back, and the arguments it serves.
  static constexpr int kSpare = 64;
  static constexpr float kSpareInverse = 0x1p-64f;
  static constexpr float kLogisticLow = -131.0f, kLogisticHigh = 24.0f;
  static constexpr float kGeluTanhLow = -11.5f, kGeluTanhHigh = 5.5f;
  static constexpr float kErfHigh = 4.0f, kErfcHigh = 11.0f, kGeluHigh = 15.0f;
  static constexpr float kShort = 2048.0f;      // numbers that are multiples of its inverse have half of the bits
  static constexpr float kLargeRoot = 4096.0f;  // whose inverse square is below the spacing

  // (exp(r) - 1 - r) / r^2 for |r| up to ln 2 / 2, as precise as exp and as precise as expm1.
  static constexpr float kExp[] = {0.499999911f, 0.166664824f, 0.041668836f, 0.00837306865f, 0.00138055987f};
  static constexpr float kExpm1[] = {0.5f,           0.166666672f,   0.0416661277f,
                                     0.00833327323f, 0.00139559747f, 0.000199157803f};
  // (log(1 + f) - f + f^2 / 2) / f^3.
  static constexpr float kLog[] = {0.333333135f,  -0.250000089f, 0.200021178f,  -0.166679963f, 0.142195687f,
                                   -0.124055758f, 0.118880577f,  -0.116757512f, 0.0674698576f};
  // (tanh(x) / x - 1) / x^2 for |x| up to 0.55, (sinh(x) / x - 1) / x^2 for |x| up to 1, from x^2.
  static constexpr float kTanh[] = {-0.333333194f, 0.133326232f, -0.0538513362f, 0.021054402f, -0.0062367525f};
  static constexpr float kSinh[] = {0.166667193f, 0.00833000522f, 0.00020399518f};
  // erf(x) / x - 1 for |x| up to 1, from x^2, and log(erfc(x)) above.
  static constexpr float kErfNear[] = {0.128379151f,   -0.37612626f,     0.112835854f,   -0.0268538147f,
                                       0.00518833054f, -0.000801020244f, 7.85384982e-05f};
  static constexpr float kErfFar[] = {-0.000261188135f, -1.12770677f,    -0.636461318f,   -0.10539484f,
                                      0.0235670097f,    -0.00368570979f, 0.000352749747f, -1.53741439e-05f};
  // The inverse of sqrt(2 pi) exp(u^2 / 2) P(X > u), for a standard normal X, is
  // u + (sqrt(2 / pi) + u p(u)) / (1 + u q(u)).
  static constexpr double kMillsP[] = {0.503527423627838, 0.166426862737508, 0.029916738839256, 0.002503297473046};
  static constexpr double kMillsQ[] = {1.086507655549697, 0.566792454415902, 0.171167914642419, 0.029928741904865,
                                       0.002503061760770};
  // (sin(x) / x - 1) / x^2 and (cos(x) - 1 + x^2 / 2) / x^4 for |x| up to 0.86, from x^2.
  static constexpr float kSin[] = {-0.166666672f, 0.00833332632f, -0.000198383874f, 2.70977125e-06f};
  static constexpr float kCos[] = {0.0416666456f, -0.00138871174f, 2.43971554e-05f};
  // pi / 2 in parts, whose products with quotients are exact, and the largest angle for which they are.
#if defined(__FMA__)
  static constexpr float kHalfPi[] = {1.57079637f, -4.37113883e-08f, -1.71512451e-15f};
  static constexpr float kLargestAngle = 1e6f;
#else
  static constexpr float kHalfPi[] = {1.5703125f, 0.000483751297f, 7.54953362e-8f, 2.563282919e-12f, 6.123233996e-17f};
  static constexpr float kLargestAngle = 1500.0f;
#endif
};

template <>
struct Constants<double> {
  static constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kSpacing = 0x1p-52;
  static constexpr double kSmallestNormal = 2.2250738585072014e-308;
  static constexpr double kSubnormalScale = 4503599627370496.0;  // 2^52
  static constexpr uint64_t kSqrtHalfBits = 0x3fe6a09e667f3bcd;

  static constexpr double kLn2High = 0.693147180369123816490, kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kLog10Of2High = 0x1.34413509f6000p-2, kLog10Of2Low = 0x1.9fef311f12b36p-42;

  static constexpr double kExpLow = -746.0, kExpHigh = 710.0;
  static constexpr double kExp2Low = -1076.0, kExp2High = 1025.0;
  static constexpr double kExpm1Low = -40.0, kTanhHigh = 20.0, kCoshHigh = 710.5;
  static constexpr int kSpare = 512;
  static constexpr double kSpareInverse = 0x1p-512;
  static constexpr double kLogisticLow = -800.0, kLogisticHigh = 50.0;
  static constexpr double kGeluTanhLow = -22.0, kGeluTanhHigh = 9.0;
  static constexpr double kErfHigh = 6.0, kErfcHigh = 28.0, kGeluHigh = 40.0;
  static constexpr double kShort = 16777216.0;
  static constexpr double kLargeRoot = 268435456.0;

  static constexpr double kExp[] = {0.500000000000001,      0.16666666666666674,    0.041666666666520948,
                                    0.0083333333333221269,  0.0013888888948140007,  0.00019841269886836392,
                                    2.4801486965350888e-05, 2.7557242059340425e-06, 2.7632791582662336e-07,
                                    2.5110154340462048e-08};
  static constexpr double kExpm1[] = {0.5,
                                      0.16666666666666677,
                                      0.041666666666666505,
                                      0.0083333333333216082,
                                      0.0013888888888962917,
                                      0.00019841269886207338,
                                      2.4801587171809403e-05,
                                      2.7557244104783017e-06,
                                      2.7557402970529075e-07,
                                      2.5109081192492564e-08,
                                      2.0875318699997469e-09};
  // (2 atanh(s) / s - 2) / s^2 from s^2.
  static constexpr double kLog[] = {0.66666666666667096, 0.39999999999517177, 0.28571428730011333, 0.22222199005393076,
                                    0.1818357643089106,  0.15313030178560308, 0.14811936241135093};
  static constexpr double kTanh[] = {-0.33333333333333315,   0.13333333333328989,    -0.053968253964785017,
                                     0.021869488407222196,   -0.0088632328464252775, 0.0035920936357856518,
                                     -0.0014555485391575908, 0.00058845188220497707, -0.00023336583349605502,
                                     8.3251588538537166e-05, -1.9432163688174919e-05};
  static constexpr double kSinh[] = {0.16666666666666669,    0.0083333333333331736,  0.00019841269841425354,
                                     2.7557319156695965e-06, 2.5052123477359666e-08, 1.6057217076479519e-10,
                                     7.7604116177490284e-13};
  static constexpr double kErfNear[] = {0.12837916709551256,     -0.37612638903183521,    0.112837916709442,
                                        -0.026866170643113415,   0.005223977606130842,    -0.00085483259297662443,
                                        0.0001205529358693695,   -1.4924712439534814e-05, 1.6447132699786621e-06,
                                        -1.6206318752969208e-07, 1.3710988704190523e-08,  -7.7794629717615971e-10};
  static constexpr double kErfFar[] = {-5.1328604565228717e-07, -1.1283739912848658,     -0.63664405699120064,
                                       -0.10270228462246671,    0.018988032256764445,    0.0004135501055203449,
                                       -0.0019189598447552549,  0.00077305465874938947,  -0.0001365615852942984,
                                       -1.952008350978372e-05,  2.253177719570738e-05,   -8.5784379146931719e-06,
                                       2.1147159662592979e-06,  -3.6954981273764592e-07, 4.593107447390745e-08,
                                       -3.8898110801680633e-09, 2.0202250254567316e-10,  -4.8647829992872796e-12};
  static constexpr long double kMillsP[] = {
      0.98911175373432311667L,    0.6268954374075624828L,     0.25792091837698992249L,
      0.074815901305482720034L,   0.01575038252859666628L,    0.0024000279876381389523L,
      0.00025557090818492274993L, 0.00001735269385545205221L, 5.7923872286059517005e-7L};
  static constexpr long double kMillsQ[] = {
      1.6950973208527889959L,      1.4210745969376145859L,   0.7628454781325769967L,   0.28791325791249460318L,
      0.07951180708492592671L,     0.016258050224384542127L, 0.002434733338544424929L, 0.00025672938633256747274L,
      0.000017352693847393339675L, 5.7923872290225268423e-7L};
  static constexpr double kSin[] = {-0.16666666666666635,   0.008333333333321721,    -0.00019841269828391872,
                                    2.7557313006071267e-06, -2.5050630467496649e-08, 1.5888608307489045e-10};
  static constexpr double kCos[] = {0.04166666666666665,     -0.0013888888888881625, 2.4801587293531496e-05,
                                    -2.7557315334560011e-07, 2.0875832602624735e-09, -1.1364163756536547e-11};
#if defined(__FMA__)
  static constexpr double kHalfPi[] = {1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33};
  static constexpr double kLargestAngle = 1e6;
#else
  static constexpr double kHalfPi[] = {1.570796326734125614, 6.077100506303965977e-11, 2.022266248711166456e-21,
                                       8.478427660368899644e-32};
  static constexpr double kLargestAngle = 1500.0;
#endif
};

}  // namespace
}  // namespace native
