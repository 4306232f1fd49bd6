// Micro-kernels and packing of words.
//
// The register tile is 6 rows by 4 vectors: 24 sums hide the latency of a dot instruction (6 cycles, one a
// cycle), 4 vectors of B and one of A stand beside them. A row-major B is no matrix of words: two (four)
// of its rows are to be interleaved. The first sliver of rows does that in registers, behind its own
// products, and leaves the words packed for the slivers that follow; so a product of few rows reads B once
// and packs nothing.
#include "kernels/gemm/words.h"

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)

#include <immintrin.h>

#include "simd/vec.h"

namespace native {
namespace NATIVE_ISA {
namespace {

using gemm::WordBlock;

constexpr int kRows = 6, kVectors = 4, kLanes32 = 16, kPanel = kVectors * kLanes32;
constexpr int kDepth = 1024;

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
  static float total(Vector x) { return _mm512_reduce_add_ps(x); }
  static Vector dot(Vector sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)b, (__m512bh)a);  // NOLINT: a cast of registers
  }
  static __m512i load(const char* p, uint64_t mask) {
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), p);
  }
  static __m512i as_b(__m512i words) { return words; }
  static void interleave(const __m512i* rows, __m512i* words) {
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
  static int32_t total(Vector x) { return _mm512_reduce_add_epi32((__m512i)x); }
  static Vector dot(Vector sum, __m512i a, __m512i b) { return (Vector)_mm512_dpbusd_epi32((__m512i)sum, b, a); }
  static __m512i load(const char* p, uint64_t mask) { return _mm512_maskz_loadu_epi8(mask, p); }
  static __m512i as_b(__m512i words) { return _mm512_xor_si512(words, _mm512_set1_epi8(-128)); }
  static void interleave(const __m512i* rows, __m512i* words) {
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

// V vectors of words from the next rows of B, of which `rows` remain.
template <class Kind, int V>
inline void read_rows(const char* b, int64_t b_row, int64_t rows, const uint64_t* masks, __m512i* words) {
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
inline void multiply(const char* a, int64_t a_row, const __m512i* words, typename Kind::Vector (*sum)[V]) {
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    const __m512i x = _mm512_set1_epi32(static_cast<int>(load_word(a + i * a_row)));
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[i][v] = Kind::dot(sum[i][v], x, words[v]);
  }
}

// Calls body(x, row, column, mask) with each vector of a tile.
template <int R, int V, class Vector, class Body>
inline void each(Vector (*sum)[V], int64_t columns, const Body& body) {
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const __mmask16 mask = static_cast<__mmask16>(first_bits(columns - v * kLanes32, kLanes32));
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) body(sum[i][v], i, v * kLanes32, mask);
  }
}

// Bias, ReLU (NaN stays NaN) and rounding.
template <int R, int V>
inline void write_result(const WordBlock& block, int64_t row, __m512 (*sum)[V]) {
  const int64_t at = row * block.out_row, step = block.out_row;
  if (block.bias)
    each<R, V>(sum, block.n, [&](__m512& x, int, int column, __mmask16 mask) {
      const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, block.bias + column));
      x = _mm512_add_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)));
    });
  if (block.relu)
    each<R, V>(sum, block.n, [](__m512& x, int, int, __mmask16) { x = _mm512_max_ps(_mm512_setzero_ps(), x); });
  if (block.out_bf16)
    each<R, V>(sum, block.n, [&](__m512 x, int i, int column, __mmask16 mask) {
      _mm256_mask_storeu_epi16(static_cast<uint16_t*>(block.out) + at + i * step + column, mask,
                               (__m256i)_mm512_cvtneps_pbh(x));  // NOLINT: a cast of registers
    });
  else
    each<R, V>(sum, block.n, [&](__m512 x, int i, int column, __mmask16 mask) {
      _mm512_mask_storeu_ps(static_cast<float*>(block.out) + at + i * step + column, mask, x);
    });
}
template <int R, int V>
inline void write_result(const WordBlock& block, int64_t row, vi32 (*sum)[V]) {
  each<R, V>(sum, block.n, [&](vi32 x, int i, int column, __mmask16 mask) {
    _mm512_mask_storeu_epi32(static_cast<int32_t*>(block.out) + (row + i) * block.out_row + column, mask, (__m512i)x);
  });
}

// R rows from `row` on, whose words begin at `a`, by V vectors. Reads: B lies in place and is packed.
template <class Kind, int R, int V, bool Reads>
void tile(const WordBlock& block, const char* a, int64_t row) {
  using Sum = typename Kind::Sum;
  typename Kind::Vector sum[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[i][v] = Kind::start(block.start, row + i);
  const int64_t a_row = block.a_row, a_word = block.a_word;
  uint32_t* panel = block.panel;
  __m512i words[V];
  if constexpr (Reads) {
    const char* b = block.b;
    const int64_t b_row = block.b_row;
    constexpr int kMasks = (V + Kind::kOut - 1) / Kind::kOut;
    uint64_t masks[kMasks];
    for (int h = 0; h < kMasks; ++h) masks[h] = first_bits(block.n - h * Kind::kColumns, Kind::kColumns);
    auto step = [&](int64_t rows) __attribute__((always_inline)) {
      read_rows<Kind, V>(b, b_row, rows, masks, words);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) _mm512_store_si512(panel + v * kLanes32, words[v]);
      multiply<Kind, R, V>(a, a_row, words, sum);
      a += a_word;
      b += Kind::kTerms * b_row;
      panel += kPanel;
    };
    int64_t left = block.k;
    for (; left >= Kind::kTerms; left -= Kind::kTerms) {
      // The same rows of the next panel, a whole pass before their use: no prefetcher follows a line a row.
#pragma GCC unroll 4
      for (int i = 0; i < Kind::kTerms; ++i)
        for (int line = 0; line < kPanel * Kind::kBytes; line += 64)
          __builtin_prefetch(b + i * b_row + kPanel * Kind::kBytes + line, 0, 2);
      step(Kind::kTerms);
    }
    if (left > 0) step(left);
  } else {
    for (int64_t p = 0; p < block.k; p += Kind::kTerms) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) words[v] = _mm512_load_si512(panel + v * kLanes32);
      multiply<Kind, R, V>(a, a_row, words, sum);
      a += a_word;
      panel += kPanel;
    }
  }
  Sum* const sums = static_cast<Sum*>(block.sum) + row * block.sum_row;
  const int64_t step = block.sum_row;
  if (block.accumulate)
    each<R, V>(sum, block.n, [&](auto& x, int i, int column, __mmask16 mask) {
      x = Kind::add(x, Kind::load_sum(sums + i * step + column, mask));
    });
  if (block.out)
    write_result<R, V>(block, row, sum);
  else
    each<R, V>(sum, block.n,
               [&](auto x, int i, int column, __mmask16 mask) { Kind::store_sum(sums + i * step + column, mask, x); });
}

using TileFunction = void (*)(const WordBlock&, const char*, int64_t);

template <class Kind, int V, bool Reads>
struct TileRow {
  static constexpr TileFunction by_rows[kRows] = {tile<Kind, 1, V, Reads>, tile<Kind, 2, V, Reads>,
                                                  tile<Kind, 3, V, Reads>, tile<Kind, 4, V, Reads>,
                                                  tile<Kind, 5, V, Reads>, tile<Kind, 6, V, Reads>};
};

template <class Kind, bool Reads>
TileFunction choose_tile(int rows, int vectors) {
  static constexpr const TileFunction* tables[kVectors] = {
      TileRow<Kind, 1, Reads>::by_rows, TileRow<Kind, 2, Reads>::by_rows, TileRow<Kind, 3, Reads>::by_rows,
      TileRow<Kind, 4, Reads>::by_rows};
  return tables[vectors - 1][rows - 1];
}

template <class Kind>
void block(const WordBlock& block) {
  const int vectors = static_cast<int>((block.n + kLanes32 - 1) / kLanes32);
  const TileFunction whole = choose_tile<Kind, false>(kRows, vectors);
  bool reads = block.b != nullptr;
  for (int64_t row = 0; row < block.m;) {
    const int64_t left = block.m - row;
    const char* a = block.a + row * block.a_row;
    // 8 rows as 4 and 4: fewer than 4 rows do not hide the latency.
    const int rows = static_cast<int>(left == kRows || left >= 2 * kRows ? kRows
                                      : left > kRows                     ? (left + 1) / 2
                                                                         : left);
    if (reads)
      choose_tile<Kind, true>(rows, vectors)(block, a, row);
    else if (rows == kRows)
      whole(block, a, row);
    else
      choose_tile<Kind, false>(rows, vectors)(block, a, row);
    reads = false;
    row += rows;
  }
}

// Packing

// Transposes 16 x 16 words.
inline void transpose16(__m512i* r) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4 * g + c] has, in lane l, rows [4 * g, 4 * g + 4) of column 4 * l + c.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    t[c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);
    t[4 + c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    t[8 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    r[c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0x88);
    r[8 + c] = _mm512_shuffle_i32x4(t[c], t[8 + c], 0xdd);
    r[4 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0x88);
    r[12 + c] = _mm512_shuffle_i32x4(t[4 + c], t[12 + c], 0xdd);
  }
}

template <class Kind>
void pack_columns(const char* b, int64_t b_column, int64_t k, int64_t n, uint32_t* panel) {
  constexpr int kElements = 64 / Kind::kBytes;
  const int64_t words = (k + Kind::kTerms - 1) / Kind::kTerms;
  for (int64_t j = 0; j < n; j += kLanes32)
    for (int64_t p = 0; p < words; p += 16) {
      const uint64_t mask = first_bits(k - p * Kind::kTerms, kElements);
      const char* in = b + j * b_column + p * 4;
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        r[i] = Kind::as_b(i < n - j ? Kind::load(in + i * b_column, mask) : _mm512_setzero_si512());
      transpose16(r);
      uint32_t* out = panel + p * kPanel + j;
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i)
        if (i < words - p) _mm512_store_si512(out + i * kPanel, r[i]);
    }
}

template <class Kind>
void pack_rows(const char* a, int64_t a_row, int64_t k, int64_t n, char* out, int64_t out_row) {
  for (int64_t p = 0; p < k; p += Kind::kTerms, a += Kind::kTerms * a_row, out += out_row)
    for (int64_t i = 0; i < n; i += Kind::kColumns) {
      const uint64_t mask = first_bits(n - i, Kind::kColumns);
      __m512i in[Kind::kTerms], words[Kind::kOut];
#pragma GCC unroll 4
      for (int r = 0; r < Kind::kTerms; ++r)
        in[r] = r < k - p ? Kind::load(a + r * a_row + i * Kind::kBytes, mask) : _mm512_setzero_si512();
      Kind::interleave(in, words);
#pragma GCC unroll 4
      for (int v = 0; v < Kind::kOut; ++v) _mm512_store_si512(out + 4 * (i + v * kLanes32), words[v]);
    }
}

// Few rows times contiguous columns: vectors along k.

template <class Kind, int R, int C>
inline void dot_tile(int64_t k, const char* a, int64_t a_row, const char* b, int64_t b_row, const int32_t* start,
                     typename Kind::Sum* sum, int64_t sum_row) {
  constexpr int kElements = 64 / Kind::kBytes;
  typename Kind::Vector sums[R][C];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < C; ++j) sums[i][j] = Kind::zero();
  auto step = [&](int64_t p, uint64_t mask) __attribute__((always_inline)) {
    __m512i y[C];
#pragma GCC unroll 12
    for (int j = 0; j < C; ++j) y[j] = Kind::as_b(Kind::load(b + j * b_row + p * Kind::kBytes, mask));
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const __m512i x = Kind::load(a + i * a_row + p * Kind::kBytes, mask);
#pragma GCC unroll 12
      for (int j = 0; j < C; ++j) sums[i][j] = Kind::dot(sums[i][j], x, y[j]);
    }
  };
  int64_t p = 0;
  for (; p + kElements <= k; p += kElements) step(p, ~uint64_t{0});
  if (p < k) step(p, first_bits(k - p, kElements));
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 12
    for (int j = 0; j < C; ++j) {
      const typename Kind::Sum total = Kind::total(sums[i][j]);
      if constexpr (Kind::kTerms == 4)
        sum[i * sum_row + j] = static_cast<int32_t>(static_cast<uint32_t>(total) + static_cast<uint32_t>(start[i]));
      else
        sum[i * sum_row + j] = total;
    }
}

template <class Kind, int R>
void dot_rows(int64_t n, int64_t k, const char* a, int64_t a_row, const char* b, int64_t b_row, const int32_t* start,
              typename Kind::Sum* sum, int64_t sum_row) {
  // Up to 24 sums and the vectors of B.
  constexpr int C = R == 1 ? 8 : R == 2 ? 6 : R <= 6 ? 4 : 3;
  int64_t j = 0;
  for (; j + C <= n; j += C) dot_tile<Kind, R, C>(k, a, a_row, b + j * b_row, b_row, start, sum + j, sum_row);
  for (; j < n; ++j) dot_tile<Kind, R, 1>(k, a, a_row, b + j * b_row, b_row, start, sum + j, sum_row);
}

template <class Kind>
void dots(int64_t m, int64_t n, int64_t k, const char* a, int64_t a_row, const char* b, int64_t b_row,
          const int32_t* start, void* sum, int64_t sum_row) {
  using Function = decltype(&dot_rows<Kind, 1>);
  static constexpr Function by_rows[8] = {dot_rows<Kind, 1>, dot_rows<Kind, 2>, dot_rows<Kind, 3>, dot_rows<Kind, 4>,
                                          dot_rows<Kind, 5>, dot_rows<Kind, 6>, dot_rows<Kind, 7>, dot_rows<Kind, 8>};
  by_rows[m - 1](n, k, a, a_row, b, b_row, start, static_cast<typename Kind::Sum*>(sum), sum_row);
}

// Few rows times row-major B: eight of its rows at a time from end to end, as many streams as prefetchers
// follow, and sums that stay in the first-level cache.

template <class Kind, int R>
void stream_rows(int64_t n, int64_t k, const char* a, int64_t a_row, const char* b, int64_t b_row, const int32_t* start,
                 typename Kind::Sum* sum, int64_t sum_row) {
  constexpr int kSteps = 8 / Kind::kTerms;
  for (int64_t p = 0; p < k; p += 8, a += 4 * kSteps, b += 8 * b_row) {
    auto columns = [&](int64_t j, int64_t rows) __attribute__((always_inline)) {
      const uint64_t mask = first_bits(n - j, Kind::kColumns);
      typename Kind::Vector sums[R][Kind::kOut];
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < Kind::kOut; ++v)
          sums[i][v] = p == 0 ? Kind::start(start, i)
                              : Kind::load_sum(sum + i * sum_row + j + v * kLanes32,
                                               static_cast<__mmask16>(mask >> (v * kLanes32)));
#pragma GCC unroll 4
      for (int s = 0; s < kSteps; ++s) {
        if (s * Kind::kTerms >= rows) break;
        __m512i words[Kind::kOut];
        read_rows<Kind, Kind::kOut>(b + s * Kind::kTerms * b_row + j * Kind::kBytes, b_row, rows - s * Kind::kTerms,
                                    &mask, words);
        multiply<Kind, R, Kind::kOut>(a + 4 * s, a_row, words, sums);
      }
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < Kind::kOut; ++v)
          Kind::store_sum(sum + i * sum_row + j + v * kLanes32, static_cast<__mmask16>(mask >> (v * kLanes32)),
                          sums[i][v]);
    };
    if (k - p >= 8)
      for (int64_t j = 0; j < n; j += Kind::kColumns) columns(j, 8);
    else
      for (int64_t j = 0; j < n; j += Kind::kColumns) columns(j, k - p);
  }
}

template <class Kind>
void stream(int64_t m, int64_t n, int64_t k, const char* a, int64_t a_row, const char* b, int64_t b_row,
            const int32_t* start, void* sum, int64_t sum_row) {
  using Function = decltype(&stream_rows<Kind, 1>);
  static constexpr Function by_rows[4] = {stream_rows<Kind, 1>, stream_rows<Kind, 2>, stream_rows<Kind, 3>,
                                          stream_rows<Kind, 4>};
  by_rows[m - 1](n, k, a, a_row, b, b_row, start, static_cast<typename Kind::Sum*>(sum), sum_row);
}

void row_start(int64_t m, int64_t k, const char* a, int64_t a_row, int64_t a_column, int32_t* start) {
  const auto* in = reinterpret_cast<const int8_t*>(a);
  for (int64_t i = 0; i < m; ++i) start[i] = 0;
  // Unsigned, as sums wrap.
  if (a_column == 1)
    for (int64_t i = 0; i < m; ++i) {
      uint32_t sum = 0;
      for (int64_t p = 0; p < k; ++p) sum += static_cast<uint32_t>(in[i * a_row + p]);
      start[i] = static_cast<int32_t>(sum * (0u - 128u));
    }
  else
    for (int64_t p = 0; p < k; ++p)
      for (int64_t i = 0; i < m; ++i)
        start[i] = static_cast<int32_t>(static_cast<uint32_t>(start[i]) +
                                        static_cast<uint32_t>(in[p * a_column + i]) * (0u - 128u));
}

// A panel of 512 words takes 128 KB of the second-level cache, and six rows of A 12 KB of the first.
template <class Kind>
constexpr gemm::WordKernels kernels() {
  return {
      Kind::kTerms,       kRows,           kPanel,     kDepth * Kind::kTerms, block<Kind>,
      pack_columns<Kind>, pack_rows<Kind>, dots<Kind>, stream<Kind>,          Kind::kTerms == 4 ? row_start : nullptr};
}

}  // namespace

extern const gemm::WordTable words_table;
const gemm::WordTable words_table = {kernels<Brain>(), kernels<Int8>()};

}  // namespace NATIVE_ISA
}  // namespace native

#else

namespace native {
namespace NATIVE_ISA {

extern const gemm::WordTable words_table;
const gemm::WordTable words_table = {};

}  // namespace NATIVE_ISA
}  // namespace native

#endif
