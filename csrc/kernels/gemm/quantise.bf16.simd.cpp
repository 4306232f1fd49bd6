// Rows of float32 as int8, each by a scale of its own.
#include "kernels/gemm/words.simd.h"

#if NATIVE_WORDS

namespace native {
namespace NATIVE_ISA {

void quantise_rows(const float* x, int64_t rows, int64_t k, float top, float least, int8_t* out, float* scales) {
  const __m512 high = _mm512_set1_ps(top), low = _mm512_set1_ps(-top);
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  for (int64_t i = 0; i < rows; ++i, x += k, out += k) {
    // Bits of magnitudes have the order of their numbers, and a NaN is above all of them.
    __m512i peak = _mm512_setzero_si512();
    for (int64_t p = 0; p < k; p += kLanes32) {
      const auto mask = static_cast<__mmask16>(first_bits(k - p, kLanes32));
      peak = _mm512_max_epu32(peak, _mm512_and_si512(magnitude, _mm512_maskz_loadu_epi32(mask, x + p)));
    }
    const uint32_t bits = _mm512_reduce_max_epu32(peak);
    float largest;
    __builtin_memcpy(&largest, &bits, sizeof largest);
    scales[i] = top / (largest + least);
    const __m512 scale = _mm512_set1_ps(scales[i]);
    for (int64_t p = 0; p < k; p += kLanes32) {
      const auto mask = static_cast<__mmask16>(first_bits(k - p, kLanes32));
      const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + p), scale);
      const __m512i whole = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(scaled, high), low));
      _mm512_mask_cvtsepi32_storeu_epi8(out + p, mask, whole);
    }
  }
}

}  // namespace NATIVE_ISA
}  // namespace native

#endif
