// The two kinds of words and what the units of one instruction set share about them. Included by *.simd.cpp
// units only. NATIVE_WORDS: this instruction set has the dot instructions.
#pragma once

#include "kernels/gemm/words.h"

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define NATIVE_WORDS 1

#include <immintrin.h>

#include "simd/vec.h"

namespace native {
namespace NATIVE_ISA {

// See gemm::WordKernels and gemm::WordTable for their meaning.
void dots_bf16(const gemm::WordBlock& block);
void dots_i8(const gemm::WordBlock& block);
void stream_bf16(const gemm::WordBlock& block);
void stream_i8(const gemm::WordBlock& block);
void quantise_rows(const float* x, int64_t rows, int64_t k, float top, float least, int8_t* out, float* scales);
void row_start_i8(int64_t m, int64_t k, const char* a, int64_t a_row, int64_t a_column, int32_t* start);

namespace {

constexpr int kLanes32 = 16;

inline uint32_t load_word(const char* p) {
  typedef uint32_t Loose __attribute__((aligned(1), may_alias));
  return *reinterpret_cast<const Loose*>(p);
}
// The first n of up to `lanes` bits, n of any size.
inline uint64_t first_bits(int64_t n, int lanes) { return n <= 0 ? 0 : ~uint64_t{0} >> (64 - (n < lanes ? n : lanes)); }

struct Brain {
  using Sum = float;
  using Vector = __m512;
  static constexpr int kTerms = 2, kBytes = 2;
  // Columns whose elements of one row fill a vector, and the vectors of words that they make.
  static constexpr int kColumns = 32, kOut = 2;

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector start(const int32_t*, int64_t) { return zero(); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector load_sum(const float* p, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, p); }
  static void store_sum(float* p, __mmask16 mask, Vector x) { _mm512_mask_storeu_ps(p, mask, x); }
  // All of one row's sums together.
  static float total(Vector x, const int32_t*, int64_t) { return _mm512_reduce_add_ps(x); }
  static Vector dot(Vector sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)b, (__m512bh)a); }
  static __m512i load(const char* p, uint64_t mask) {
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), p);
  }
  static __m512i as_b(__m512i words) { return words; }
  [[gnu::always_inline]] static void interleave(const __m512i* rows, __m512i* words) {
    // Element i of the first row beside element i of the second, numbered from 32.
    const __m512i pair = _mm512_set1_epi32(0x00200000), step = _mm512_set1_epi32(0x00010001);
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i low = _mm512_add_epi32(pair, _mm512_mullo_epi32(count, step));
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(0x00100010));
    words[0] = _mm512_permutex2var_epi16(rows[0], low, rows[1]);
    words[1] = _mm512_permutex2var_epi16(rows[0], high, rows[1]);
  }
};

// The instruction multiplies unsigned by signed: B's elements have 128 added, and each row's sums start
// from what takes 128 times the row of A away again.
struct Int8 {
  using Sum = int32_t;
  using Vector = vi32;  // not __m512i, which may alias: GCC would keep arrays of it in memory
  static constexpr int kTerms = 4, kBytes = 1, kColumns = 64, kOut = 4;

  static Vector zero() { return Vector{}; }
  static Vector start(const int32_t* start, int64_t row) { return splat(start[row]); }
  static Vector add(Vector a, Vector b) { return (Vector)((vu32)a + (vu32)b); }
  static Vector load_sum(const int32_t* p, __mmask16 mask) { return (Vector)_mm512_maskz_loadu_epi32(mask, p); }
  static void store_sum(int32_t* p, __mmask16 mask, Vector x) { _mm512_mask_storeu_epi32(p, mask, (__m512i)x); }
  static int32_t total(Vector x, const int32_t* start, int64_t row) {
    return static_cast<int32_t>(static_cast<uint32_t>(_mm512_reduce_add_epi32((__m512i)x)) +
                                static_cast<uint32_t>(start[row]));
  }
  static Vector dot(Vector sum, __m512i a, __m512i b) { return (Vector)_mm512_dpbusd_epi32((__m512i)sum, b, a); }
  static __m512i load(const char* p, uint64_t mask) { return _mm512_maskz_loadu_epi8(mask, p); }
  static __m512i as_b(__m512i words) { return _mm512_xor_si512(words, _mm512_set1_epi8(-128)); }
  [[gnu::always_inline]] static void interleave(const __m512i* rows, __m512i* words) {
    // Four columns of each sixteen in one lane: then unpacking, which stays in its lane, leaves them in order.
    const __m512i spread = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i r[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) r[i] = _mm512_permutexvar_epi32(spread, rows[i]);
    const __m512i low01 = _mm512_unpacklo_epi8(r[0], r[1]), high01 = _mm512_unpackhi_epi8(r[0], r[1]);
    const __m512i low23 = _mm512_unpacklo_epi8(r[2], r[3]), high23 = _mm512_unpackhi_epi8(r[2], r[3]);
    words[0] = _mm512_unpacklo_epi16(low01, low23);
    words[1] = _mm512_unpackhi_epi16(low01, low23);
    words[2] = _mm512_unpacklo_epi16(high01, high23);
    words[3] = _mm512_unpackhi_epi16(high01, high23);
  }
};

// V vectors of words from the next rows of B, of which `rows` remain. Left to itself GCC calls this, and its words go
// by way of memory: 16 rows took 1.13 times as long.
template <class Kind, int V>
[[gnu::always_inline]] inline void read_rows(const char* b, int64_t b_row, int64_t rows, const uint64_t* masks,
                                             __m512i* words) {
  constexpr int kGroups = (V + Kind::kOut - 1) / Kind::kOut;
  __m512i out[kGroups * Kind::kOut];
#pragma GCC unroll 4
  for (int h = 0; h < kGroups; ++h) {
    __m512i in[Kind::kTerms];
#pragma GCC unroll 4
    for (int i = 0; i < Kind::kTerms; ++i)
      in[i] = i < rows ? Kind::load(b + i * b_row + h * 64, masks[h]) : _mm512_setzero_si512();
    Kind::interleave(in, out + h * Kind::kOut);
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) words[v] = Kind::as_b(out[v]);
}

template <class Kind, int R, int V>
[[gnu::always_inline]] inline void multiply(const char* a, int64_t a_row, const __m512i* words,
                                            typename Kind::Vector (*sum)[V]) {
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    const __m512i x = _mm512_set1_epi32(static_cast<int>(load_word(a + i * a_row)));
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[i][v] = Kind::dot(sum[i][v], x, words[v]);
  }
}

}  // namespace
}  // namespace NATIVE_ISA
}  // namespace native

#else
#define NATIVE_WORDS 0
#endif
