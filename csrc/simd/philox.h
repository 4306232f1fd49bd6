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

// Low and high halves of the products by one number, little-endian lanes.
static inline void multiply_wide(vu32 a, uint32_t by, vu32* low, vu32* high) {
  const vu32 b = splat(by);
  const vu64 even = multiply_even(a, b), odd = multiply_even((vu32)((vu64)a >> 32), b);
  const vu64 lower = splat<uint64_t>(0xffffffffu);
  *low = (vu32)((even & lower) | (odd << 32));
  *high = (vu32)((even >> 32) | (odd & ~lower));
}

// The four words of the blocks with counters (c0, c1, c2, c3), a block a lane.
static inline void philox(vu32 c0, vu32 c1, uint32_t k0, uint32_t k1, vu32 words[4], vu32 c2 = vu32{},
                          vu32 c3 = vu32{}) {
  for (int round = 0; round < 10; ++round) {
    vu32 low0, high0, low1, high1;
    multiply_wide(c0, 0xD2511F53u, &low0, &high0);
    multiply_wide(c2, 0xCD9E8D57u, &low1, &high1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// Blocks first, first + 1, ... of a stream, one for each lane.
static inline void philox_at(const uint32_t* key, uint64_t first, vu32 words[4]) {
  uint32_t low[kLanes<uint32_t>], high[kLanes<uint32_t>];
  for (int i = 0; i < kLanes<uint32_t>; ++i) {
    low[i] = static_cast<uint32_t>(first + i);
    high[i] = static_cast<uint32_t>((first + i) >> 32);
  }
  philox(load(low), load(high), key[0], key[1], words);
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
