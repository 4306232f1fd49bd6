// Functions of float32 computed in float64 (simd/math_double.h) and rounded once.
#include "kernels/elementwise/loops.simd.h"
#include "kernels/elementwise/tables.h"
#include "simd/math_double.h"
#include "simd/math_pow.h"

namespace native {
namespace NATIVE_ISA {
namespace {

typedef float HalfVector __attribute__((vector_size(NATIVE_VEC_BYTES / 2)));
typedef float LooseHalf __attribute__((vector_size(NATIVE_VEC_BYTES / 2), aligned(4), may_alias));

vf64 widen(const void* p, int i) {
  const float* x = static_cast<const float*>(p) + i;
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
  // GCC 12 converts halves by themselves.
  return (vf64)_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(x));
#else
  return __builtin_convertvector(*reinterpret_cast<const LooseHalf*>(x), vf64);
#endif
}
void narrow(void* p, int i, vf64 x) {
  *reinterpret_cast<LooseHalf*>(static_cast<float*>(p) + i) = __builtin_convertvector(x, HalfVector);
}

template <vf64 (*function)(vf64)>
[[gnu::flatten]] void map_widened(void* out, const void* a, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; i += kLanes<double>) narrow(out, i, function(widen(a, i)));
}
template <vf64 (*function)(vf64, vf64)>
[[gnu::flatten]] void map_widened2(void* out, const void* a, const void* b, const void*, int n, const double*) {
  for (int i = 0; i < n; i += kLanes<double>) narrow(out, i, function(widen(a, i), widen(b, i)));
}

// Magnitudes in halves of a vector, special cases in whole ones.
[[gnu::flatten]] void map_pow(void* out, const void* a, const void* b, const void*, int n, const double*) {
  float magnitude[kTile];
  for (int first = 0; first < n; first += kTile) {
    const int end = n - first < kTile ? n : first + kTile;
    for (int i = first; i < end; i += kLanes<double>)
      narrow(magnitude, i - first, dpow_magnitude(widen(a, i), widen(b, i)));
    for (int i = first; i < end; i += kLanes<float>) {
      const vf32 x = load(static_cast<const float*>(a) + i), y = load(static_cast<const float*>(b) + i);
      store(static_cast<float*>(out) + i, pow_of_magnitude(x, y, load(magnitude + i - first)));
    }
  }
}

bool any(vi64 mask) {
  int64_t all = 0;
  for (int i = 0; i < kLanes<double>; ++i) all |= mask[i];
  return all != 0;
}

// Angles too large for the short reduction are rare; libm takes their vectors.
void map_tan(void* out, const void* a, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; i += kLanes<double>) {
    const vf64 x = widen(a, i);
    vf64 y = dtan(x);
    if (any(vabs(x) > kLargestAngle))
      for (int j = 0; j < kLanes<double>; ++j) y[j] = __builtin_tan(x[j]);
    narrow(out, i, y);
  }
}

// Quotient and remainder towards zero, exact while the quotient has at most 29 bits more than float32's 24
// (then its product with the divisor is exact); the caller looks at `large`.
struct Division {
  vf64 quotient, remainder;
  vi64 large;
};
Division divide(vf64 a, vf64 b) {
  const vf64 x = vabs(a), y = vabs(b);
  const vf64 approximate = x / y;
  const vi64 large = ~(approximate < 268435456.0);
  vf64 q = dround(approximate);
  vf64 r = x - q * y;
  const vi64 above = r < 0.0;
  q = above ? q - 1.0 : q;
  r = above ? r + y : r;
  return {vcopysign(q, (vf64)((vi64)a ^ (vi64)b)), vcopysign(r, a), large};
}
double exact_fmod(double a, double b) { return __builtin_fmod(a, b); }
double exact_mod(double a, double b) {
  const double r = __builtin_fmod(a, b);
  if (r == 0) return __builtin_copysign(0.0, b);
  return (r < 0) != (b < 0) ? r + b : r;
}
vf64 fmod_small(const Division& d, vf64) { return d.remainder; }
vf64 mod_small(const Division& d, vf64 b) {
  const vf64 shifted = ((vi64)d.remainder ^ (vi64)b) < 0 ? d.remainder + b : d.remainder;
  return d.remainder == 0.0 ? vcopysign(splat(0.0), b) : shifted;
}

template <vf64 (*small)(const Division&, vf64), double (*exact)(double, double)>
void map_remainders(void* out, const void* a, const void* b, const void*, int n, const double*) {
  for (int i = 0; i < n; i += kLanes<double>) {
    const vf64 x = widen(a, i), y = widen(b, i);
    const Division d = divide(x, y);
    vf64 r = small(d, y);
    if (any(d.large))
      for (int j = 0; j < kLanes<double>; ++j) r[j] = exact(x[j], y[j]);
    narrow(out, i, r);
  }
}

constexpr TileOps make_table() {
  TileOps table{};
  auto set = [&table](Opcode code, TileOp op) { table.op[static_cast<int>(code)][static_cast<int>(Class::F32)] = op; };
  set(Opcode::cbrt, map_widened<dcbrt>);
  set(Opcode::tan, map_tan);
  set(Opcode::asin, map_widened<dasin>);
  set(Opcode::acos, map_widened<dacos>);
  set(Opcode::atan, map_widened<datan>);
  set(Opcode::atan2, map_widened2<datan2>);
  set(Opcode::hypot, map_widened2<dhypot>);
  set(Opcode::pow, map_pow);
  set(Opcode::logaddexp, map_widened2<dlogaddexp>);
  set(Opcode::fmod, map_remainders<fmod_small, exact_fmod>);
  set(Opcode::mod, map_remainders<mod_small, exact_mod>);
  return table;
}

}  // namespace

extern const TileOps by_double_ops;
constexpr TileOps by_double_ops = make_table();

}  // namespace NATIVE_ISA
}  // namespace native
