// Products of few rows, which reading B bounds: it is read once, where it lies.
#include <algorithm>

#include "kernels/gemm/words.simd.h"

#if NATIVE_WORDS

namespace native {
namespace NATIVE_ISA {
namespace {

using gemm::WordBlock;

// Contiguous columns: vectors along k. C columns from `column` on.
template <class Kind, int R, int C>
inline void dot_tile(const WordBlock& block, int64_t column) {
  constexpr int kElements = 64 / Kind::kBytes;
  const char *a = block.a, *b = block.b + column * block.b_row;
  const int64_t a_row = block.a_row, b_row = block.b_row, k = block.k;
  typename Kind::Vector sums[R][C];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < C; ++j) sums[i][j] = Kind::zero();
  auto step = [&](uint64_t mask) __attribute__((always_inline)) {
    __m512i y[C];
#pragma GCC unroll 12
    for (int j = 0; j < C; ++j) y[j] = Kind::as_b(Kind::load(b + j * b_row, mask));
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const __m512i x = Kind::load(a + i * a_row, mask);
#pragma GCC unroll 12
      for (int j = 0; j < C; ++j) sums[i][j] = Kind::dot(sums[i][j], x, y[j]);
    }
    a += 64;
    b += 64;
  };
  int64_t left = k;
  for (; left >= kElements; left -= kElements) step(~uint64_t{0});
  if (left > 0) step(first_bits(left, kElements));
  typename Kind::Sum* const sum = static_cast<typename Kind::Sum*>(block.sum) + column;
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < C; ++j) sum[i * block.sum_row + j] = Kind::total(sums[i][j], block.start, i);
}

template <class Kind, int R>
void dot_rows(const WordBlock& block) {
  // Up to 24 sums and the vectors of B.
  constexpr int C = R == 1 ? 8 : R == 2 ? 6 : R <= 6 ? 4 : 3;
  int64_t j = 0;
  for (; j + C <= block.n; j += C) dot_tile<Kind, R, C>(block, j);
  for (; j < block.n; ++j) dot_tile<Kind, R, 1>(block, j);
}

template <class Kind>
void dots(const WordBlock& block) {
  using Function = decltype(&dot_rows<Kind, 1>);
  static constexpr Function by_rows[8] = {dot_rows<Kind, 1>, dot_rows<Kind, 2>, dot_rows<Kind, 3>, dot_rows<Kind, 4>,
                                          dot_rows<Kind, 5>, dot_rows<Kind, 6>, dot_rows<Kind, 7>, dot_rows<Kind, 8>};
  by_rows[block.m - 1](block);
}

// Row-major B: eight of its rows at a time from end to end, as many streams as prefetchers follow, and sums
// that stay in the first-level cache.
constexpr int kStreams = 8;

// The next `rows` rows of B, up to kStreams, times one vector of their columns.
template <class Kind, int R>
inline void stream_columns(const WordBlock& block, const char* a, const char* b, int64_t column, int64_t rows,
                           bool first) {
  const uint64_t mask = first_bits(block.n - column, Kind::kColumns);
  typename Kind::Sum* const sum = static_cast<typename Kind::Sum*>(block.sum) + column;
  typename Kind::Vector sums[R][Kind::kOut];
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Kind::kOut; ++v)
      sums[i][v] = first ? Kind::start(block.start, i)
                         : Kind::load_sum(sum + i * block.sum_row + v * kLanes32,
                                          static_cast<__mmask16>(mask >> (v * kLanes32)));
#pragma GCC unroll 4
  for (int s = 0; s < kStreams; s += Kind::kTerms) {
    if (s >= rows) break;
    __m512i words[Kind::kOut];
    read_rows<Kind, Kind::kOut>(b + s * block.b_row + column * Kind::kBytes, block.b_row, rows - s, &mask, words);
    multiply<Kind, R, Kind::kOut>(a + s * Kind::kBytes, block.a_row, words, sums);
  }
#pragma GCC unroll 4
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Kind::kOut; ++v)
      Kind::store_sum(sum + i * block.sum_row + v * kLanes32, static_cast<__mmask16>(mask >> (v * kLanes32)),
                      sums[i][v]);
}

template <class Kind, int R>
void stream_rows(const WordBlock& block) {
  const char *a = block.a, *b = block.b;
  int64_t p = 0;
  for (; p + kStreams <= block.k; p += kStreams, a += kStreams * Kind::kBytes, b += kStreams * block.b_row)
    for (int64_t j = 0; j < block.n; j += Kind::kColumns) stream_columns<Kind, R>(block, a, b, j, kStreams, p == 0);
  if (p < block.k)
    for (int64_t j = 0; j < block.n; j += Kind::kColumns) stream_columns<Kind, R>(block, a, b, j, block.k - p, p == 0);
}

template <class Kind>
void stream(const WordBlock& block) {
  using Function = decltype(&stream_rows<Kind, 1>);
  static constexpr Function by_rows[2] = {stream_rows<Kind, 1>, stream_rows<Kind, 2>};
  by_rows[block.m - 1](block);
}

// The sum of each of 16 vectors.
inline __m512i totals(const __m512i* r) {
  __m512i pairs[8], fours[4];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    pairs[i] =
        _mm512_add_epi32(_mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]), _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    fours[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(pairs[2 * i], pairs[2 * i + 1]),
                                _mm512_unpackhi_epi64(pairs[2 * i], pairs[2 * i + 1]));
  // Lane l of fours[g] has a quarter of rows [4 * g, 4 * g + 4).
  auto halves = [](__m512i x, __m512i y) {
    return _mm512_add_epi32(_mm512_shuffle_i32x4(x, y, 0x88), _mm512_shuffle_i32x4(x, y, 0xdd));
  };
  return halves(halves(fours[0], fours[1]), halves(fours[2], fours[3]));
}

// start = factor * (the sum of each of up to 16 rows).
inline void store_row_sums(const char* a, int64_t a_row, int64_t rows, int64_t k, uint32_t factor, int32_t* start) {
  __m512i sums[kLanes32];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes32; ++i) {
    sums[i] = _mm512_setzero_si512();
    if (i >= rows) continue;
    const char* const row = a + i * a_row;
    for (int64_t p = 0; p < k; p += 64)
      sums[i] = _mm512_dpbusd_epi32(sums[i], _mm512_set1_epi8(1), Int8::load(row + p, first_bits(k - p, 64)));
  }
  _mm512_mask_storeu_epi32(start, static_cast<__mmask16>(first_bits(rows, kLanes32)),
                           _mm512_mullo_epi32(totals(sums), _mm512_set1_epi32(static_cast<int32_t>(factor))));
}

}  // namespace

void dots_bf16(const WordBlock& block) { dots<Brain>(block); }
void dots_i8(const WordBlock& block) { dots<Int8>(block); }
void stream_bf16(const WordBlock& block) { stream<Brain>(block); }
void stream_i8(const WordBlock& block) { stream<Int8>(block); }

void row_start_i8(int64_t m, int64_t k, const char* a, int64_t a_row, int64_t a_column, int32_t* start) {
  // Unsigned, as sums wrap.
  constexpr uint32_t kFactor = 0u - 128u;
  if (a_column == 1) {
    for (int64_t i = 0; i < m; i += kLanes32)
      store_row_sums(a + i * a_row, a_row, std::min<int64_t>(kLanes32, m - i), k, kFactor, start + i);
    return;
  }
  const auto* in = reinterpret_cast<const int8_t*>(a);
  for (int64_t i = 0; i < m; ++i) start[i] = 0;
  for (int64_t p = 0; p < k; ++p, in += a_column)
    for (int64_t i = 0; i < m; ++i)
      start[i] = static_cast<int32_t>(static_cast<uint32_t>(start[i]) + static_cast<uint32_t>(in[i]) * kFactor);
}

}  // namespace NATIVE_ISA
}  // namespace native

#endif
