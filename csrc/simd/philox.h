// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, 2011) on vectors of counters. Included by *.simd.cpp units only.
#pragma once

#include "simd/vec.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace native {
namespace {

// Products of the even lanes, 64 bits each.
static inline vu64 multiply_even(vu32 a, vu32 b) {
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
  return (vu64)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__) && NATIVE_VEC_BYTES == 32
  return (vu64)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && NATIVE_VEC_BYTES == 16
  return (vu64)_mm_mul_epu32((__m128i)a, (__m128i)b);
#elif defined(__AVX2__) && NATIVE_VEC_BYTES == 64
  __m256i x[2], y[2];
  __builtin_memcpy(x, &a, 64);
  __builtin_memcpy(y, &b, 64);
  for (int i = 0; i < 2; ++i) x[i] = _mm256_mul_epu32(x[i], y[i]);
  vu64 result;
  __builtin_memcpy(&result, x, 64);
  return result;
#else
  return ((vu64)a & 0xffffffffu) * ((vu64)b & 0xffffffffu);
#endif
}

// The four words of the blocks with counters (c0, c1, c2, c3), a block a lane.
static inline void philox(vu32 c0, vu32 c1, uint32_t k0, uint32_t k1, vu32 words[4], vu32 c2 = vu32{},
                          vu32 c3 = vu32{}) {
  // Blocks of even and of odd lanes apart, a word in the lower half of 64 bits: what the upper half holds is never
  // read, so that a product is both of its words as it is.
  const vu32 start[4] = {c0, c1, c2, c3};
  vu64 c[2][4];
  for (int w = 0; w < 4; ++w) {
    c[0][w] = (vu64)start[w];
    c[1][w] = (vu64)start[w] >> 32;
  }
  const vu32 by0 = splat(0xD2511F53u), by1 = splat(0xCD9E8D57u);
  vu64 key0 = splat(static_cast<uint64_t>(k0)), key1 = splat(static_cast<uint64_t>(k1));
  for (int round = 0; round < 10; ++round) {
    for (vu64* lanes : c) {
      const vu64 product0 = multiply_even((vu32)lanes[0], by0), product1 = multiply_even((vu32)lanes[2], by1);
      lanes[0] = (product1 >> 32) ^ lanes[1] ^ key0;
      lanes[1] = product1;
      lanes[2] = (product0 >> 32) ^ lanes[3] ^ key1;
      lanes[3] = product0;
    }
    key0 += splat<uint64_t>(0x9E3779B9u);
    key1 += splat<uint64_t>(0xBB67AE85u);
  }
  const vu64 lower = splat<uint64_t>(0xffffffffu);
  for (int w = 0; w < 4; ++w) words[w] = (vu32)((c[0][w] & lower) | (c[1][w] << 32));
}

// Blocks first, first + 1, ... of a stream, one for each lane; `first` is a multiple of the lanes.
static inline void philox_at(const uint32_t* key, uint64_t first, vu32 words[4]) {
  vu32 count;
  for (uint32_t i = 0; i < static_cast<uint32_t>(kLanes<uint32_t>); ++i) count[i] = i;
  philox(splat(static_cast<uint32_t>(first)) + count, splat(static_cast<uint32_t>(first >> 32)), key[0], key[1], words);
}

// Bit i: lane i is at least `bound`.
static inline uint32_t at_least(vu32 x, uint32_t bound) {
#if defined(__AVX512F__) && NATIVE_VEC_BYTES == 64
  return _mm512_cmpge_epu32_mask((__m512i)x, _mm512_set1_epi32(static_cast<int>(bound)));
#elif defined(__AVX2__) && NATIVE_VEC_BYTES == 32
  const __m256i larger = _mm256_max_epu32((__m256i)x, _mm256_set1_epi32(static_cast<int>(bound)));
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(larger, (__m256i)x))));
#else
  uint32_t lanes[kLanes<uint32_t>], bits = 0;
  store(lanes, x);
  for (int i = 0; i < kLanes<uint32_t>; ++i) bits |= static_cast<uint32_t>(lanes[i] >= bound) << i;
  return bits;
#endif
}

// Bit i: element 64 * group + i of a stream of 32-bit elements is at least `bound`. Blocks 16 * group and on, laid out
// word by word (engine/primitives/random.py defines the order).
static inline uint64_t philox_at_least(const uint32_t* key, uint64_t group, uint64_t bound) {
  if (bound > 0xffffffffu) return 0;
  uint64_t bits = 0;
  for (int block = 0; block < 16; block += kLanes<uint32_t>) {
    vu32 words[4];
    philox_at(key, 16 * group + block, words);
    for (int w = 0; w < 4; ++w)
      bits |= static_cast<uint64_t>(at_least(words[w], static_cast<uint32_t>(bound))) << (16 * w + block);
  }
  return bits;
}

// A word w is kept by dropout at `rate` if w >= philox_threshold(rate).
static inline uint64_t philox_threshold(double rate) {
  return static_cast<uint64_t>(__builtin_nearbyint(rate * 4294967296.0));
}

}  // namespace
}  // namespace native
