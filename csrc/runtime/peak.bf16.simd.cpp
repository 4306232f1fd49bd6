#include "runtime/peak.h"

#include "simd/vec.h"

namespace native {
namespace NATIVE_ISA {
namespace {

// A multiply-add takes 4 to 5 cycles and two start in each: 10 independent sums keep both units busy.
constexpr int kSums = 10;

template <class T>
long multiply_add(long rounds, float* sink) {
  Vec<T> sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = splat(static_cast<T>(i));
  // Values read at run time, or the loop would be evaluated by the compiler.
  const Vec<T> factor = splat(static_cast<T>(sink[0])), term = splat(static_cast<T>(sink[1]));
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 10
    for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factor + term;
  }
  Vec<T> total = sums[0];
  for (int i = 1; i < kSums; ++i) total += sums[i];
  sink[2] = static_cast<float>(reduce_add<T>(total));
  return rounds * kSums * kLanes<T> * 2;
}

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
long dot_bf16(long rounds, float* sink) {
  __m512 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh factor = (__m512bh)_mm512_set1_ps(sink[0]);
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 10
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], factor, factor);
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  _mm512_storeu_ps(sink, sums[0]);
  return rounds * kSums * 32 * 2;
}

long dot_i8(long rounds, float* sink) {
  // Not __m512i, which GCC keeps in memory when it is an array.
  vi32 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = splat(i);
  const __m512i factor = _mm512_castps_si512(_mm512_set1_ps(sink[0]));
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 10
    for (int i = 0; i < kSums; ++i) sums[i] = (vi32)_mm512_dpbusd_epi32((__m512i)sums[i], factor, factor);
  }
  for (int i = 1; i < kSums; ++i) sums[0] += sums[i];
  store(reinterpret_cast<int32_t*>(sink), sums[0]);
  return rounds * kSums * 64 * 2;
}
#else
constexpr auto dot_bf16 = nullptr, dot_i8 = nullptr;
#endif

void add(const float* a, const float* b, float* c, long count) {
  for (long i = 0; i < count; i += kLanes<float>) store(c + i, load(a + i) + load(b + i));
}

}  // namespace

extern const PeakTable peak_table;
const PeakTable peak_table = {multiply_add<float>, multiply_add<double>, dot_bf16, dot_i8, add};

}  // namespace NATIVE_ISA
}  // namespace native
