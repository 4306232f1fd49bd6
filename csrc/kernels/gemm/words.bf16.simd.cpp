// Micro-kernels and packing of words.
//
// The register tile is 6 rows by 4 vectors: 24 sums hide the latency of a dot instruction (6 cycles, one a
// cycle), 4 vectors of B and one of A stand beside them. A row-major B is no matrix of words: two (four)
// of its rows are to be interleaved. The first rows of a block do that in registers, behind its own
// products, and leave the words packed for the rows that follow. Where none follow, nothing is packed: up to 8 rows of
// bfloat16 are one tile (7 and 8 by 2 vectors), and B is read once.
#include "kernels/gemm/words.simd.h"

namespace native {
namespace NATIVE_ISA {

extern const gemm::WordTable words_table;

#if NATIVE_WORDS

namespace {

using gemm::WordBlock;

constexpr int kRows = 6, kVectors = 4, kPanel = kVectors * kLanes32;
// Rows ahead whose lines are fetched: a memory's latency is a tile of 16 words, about.
constexpr int kFetched = 2 * kRows;
// Words of k in a block: a panel takes 256 KB of the second-level cache.
constexpr int kDepth = 1024;

// Where a tile takes its words of B from: a panel, or rows of B, and leaves them in the panel or not.
enum class Source { Panel, RowsToPanel, Rows };

// The lanes of each vector of a row that are columns of B: of a whole tile all, which its instructions then need no
// masks for. A masked load takes twice the time of another; masked stores cost tiles of 16 words 5 to 7%.
template <int V, bool Whole>
class Lanes {
 public:
  explicit Lanes(int64_t columns) {
    for (int v = 0; v < V; ++v) masks_[v] = static_cast<__mmask16>(first_bits(columns - v * kLanes32, kLanes32));
  }
  __mmask16 operator[](int v) const { return Whole ? static_cast<__mmask16>(-1) : masks_[v]; }

 private:
  __mmask16 masks_[V];
};

// Calls body(x, row, column, mask) with each vector of a tile.
template <int R, int V, bool Whole, class Vector, class Body>
inline void each(Vector (*sum)[V], const Lanes<V, Whole>& lanes, const Body& body) {
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v)
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) body(sum[i][v], i, v * kLanes32, lanes[v]);
}

inline __m512 widen(__m256i bits) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)); }

// ReLU (NaN stays NaN), rounding and the way into memory.
template <int R, int V, bool Whole>
inline void write_floats(const WordBlock& block, int64_t row, const Lanes<V, Whole>& lanes, __m512 (*sum)[V]) {
  const int64_t at = row * block.out_row, step = block.out_row;
  const Activation activation = block.epilogue.activation;
  if (activation != Activation::None)
    each<R, V>(sum, lanes, [](__m512& x, int, int, __mmask16) { x = _mm512_max_ps(_mm512_setzero_ps(), x); });
  if (activation == Activation::Relu6)
    each<R, V>(sum, lanes, [](__m512& x, int, int, __mmask16) { x = _mm512_min_ps(_mm512_set1_ps(6), x); });
  if (block.out_bf16)
    each<R, V>(sum, lanes, [&](__m512 x, int i, int column, __mmask16 mask) {
      _mm256_mask_storeu_epi16(static_cast<uint16_t*>(block.out) + at + i * step + column, mask,
                               (__m256i)_mm512_cvtneps_pbh(x));
    });
  else
    each<R, V>(sum, lanes, [&](__m512 x, int i, int column, __mmask16 mask) {
      _mm512_mask_storeu_ps(static_cast<float*>(block.out) + at + i * step + column, mask, x);
    });
}

template <int R, int V, bool Whole>
inline void write_result(const WordBlock& block, int64_t row, const Lanes<V, Whole>& lanes, __m512 (*sum)[V]) {
  const int64_t at = row * block.out_row, step = block.out_row;
  const gemm::Epilogue<uint16_t>& epilogue = block.epilogue;
  if (epilogue.bias)
    each<R, V>(sum, lanes, [&](__m512& x, int, int column, __mmask16 mask) {
      x = _mm512_add_ps(x, widen(_mm256_maskz_loadu_epi16(mask, epilogue.bias + column)));
    });
  if (epilogue.added)
    each<R, V>(sum, lanes, [&](__m512& x, int i, int column, __mmask16 mask) {
      x = _mm512_add_ps(x, widen(_mm256_maskz_loadu_epi16(mask, epilogue.added + at + i * step + column)));
    });
  write_floats<R, V>(block, row, lanes, sum);
}
template <int R, int V, bool Whole>
inline void write_result(const WordBlock& block, int64_t row, const Lanes<V, Whole>& lanes, vi32 (*sum)[V]) {
  const gemm::Scales& scales = block.scales;
  if (!scales.rows)
    return each<R, V>(sum, lanes, [&](vi32 x, int i, int column, __mmask16 mask) {
      _mm512_mask_storeu_epi32(static_cast<int32_t*>(block.out) + (row + i) * block.out_row + column, mask, (__m512i)x);
    });
  __m512 scaled[R][V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    const __m512 column = _mm512_maskz_loadu_ps(lanes[v], scales.columns + v * kLanes32);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
      scaled[i][v] = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)sum[i][v]), column),
                                   _mm512_set1_ps(scales.rows[row + i]));
  }
  if (scales.bias)
    each<R, V>(scaled, lanes, [&](__m512& x, int, int column, __mmask16 mask) {
      x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, scales.bias + column));
    });
  write_floats<R, V>(block, row, lanes, scaled);
}

// R rows from `row` on, whose words begin at `a`, by V vectors. Whole: B has as many columns.
template <class Kind, int R, int V, bool Whole, Source From>
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
  // Sums of few bytes wait for the lines that they go to: 25088x64x256 took 1.5 times as long. (bfloat16 has four times
  // as many steps for a byte of result and gains nothing. A function of this, GCC would drop.)
  if (Kind::kBytes == 1 && block.out) {
    const char* const out = static_cast<const char*>(block.out) + (row + kFetched) * block.out_row * 4;
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) __builtin_prefetch(out + (i * block.out_row + v * kLanes32) * 4, 1, 3);
  }
  if constexpr (From != Source::Panel) {
    const char* b = block.b;
    const int64_t b_row = block.b_row;
    constexpr int kMasks = (V + Kind::kOut - 1) / Kind::kOut, kBytes = V * kLanes32 * Kind::kBytes;
    uint64_t masks[kMasks];
    for (int h = 0; h < kMasks; ++h)
      masks[h] = Whole ? ~uint64_t{0} : first_bits(block.n - h * Kind::kColumns, Kind::kColumns);
    auto step = [&](int64_t rows) __attribute__((always_inline)) {
      read_rows<Kind, V>(b, b_row, rows, masks, words);
#pragma GCC unroll 4
      for (int v = 0; v < V && From == Source::RowsToPanel; ++v) _mm512_store_si512(panel + v * kLanes32, words[v]);
      multiply<Kind, R, V>(a, a_row, words, sum);
      a += a_word;
      b += Kind::kTerms * b_row;
      panel += kPanel;
    };
    int64_t left = block.k;
    for (; left >= Kind::kTerms; left -= Kind::kTerms) {
      // The same rows of what is next, a whole pass before their use: no prefetcher follows a line a row. Each line's
      // last byte: a row that begins within a line ends in the next one.
#pragma GCC unroll 4
      for (int i = 0; i < Kind::kTerms; ++i)
        for (int line = 0; line < kBytes; line += 64) __builtin_prefetch(b + i * b_row + kBytes + line + 63, 0, 2);
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
  const Lanes<V, Whole> lanes(block.n);
  Sum* const sums = static_cast<Sum*>(block.sum) + row * block.sum_row;
  const int64_t step = block.sum_row;
  if (block.accumulate)
    each<R, V>(sum, lanes, [&](auto& x, int i, int column, __mmask16 mask) {
      x = Kind::add(x, Kind::load_sum(sums + i * step + column, mask));
    });
  if (block.out)
    write_result<R, V>(block, row, lanes, sum);
  else
    each<R, V>(sum, lanes,
               [&](auto x, int i, int column, __mmask16 mask) { Kind::store_sum(sums + i * step + column, mask, x); });
}

using TileFunction = void (*)(const WordBlock&, const char*, int64_t);

template <class Kind, int V, bool Whole, Source From>
struct TileRow {
  static constexpr TileFunction by_rows[kRows] = {tile<Kind, 1, V, Whole, From>, tile<Kind, 2, V, Whole, From>,
                                                  tile<Kind, 3, V, Whole, From>, tile<Kind, 4, V, Whole, From>,
                                                  tile<Kind, 5, V, Whole, From>, tile<Kind, 6, V, Whole, From>};
};

template <class Kind, Source From>
TileFunction choose_tile(int64_t rows, int64_t columns) {
  // Up to 3 rows of bfloat16 by B in place wait for B alone, and then for 13 to 20% longer by loads without masks.
  constexpr int64_t kMasked = From == Source::Rows && Kind::kBytes == 2 ? 3 : 0;
  if (columns >= kPanel && rows > kMasked) return TileRow<Kind, kVectors, true, From>::by_rows[rows - 1];
  static constexpr const TileFunction* tables[kVectors] = {
      TileRow<Kind, 1, false, From>::by_rows, TileRow<Kind, 2, false, From>::by_rows,
      TileRow<Kind, 3, false, From>::by_rows, TileRow<Kind, 4, false, From>::by_rows};
  return tables[(columns - 1) / kLanes32][rows - 1];
}

// 7 or 8 rows of bfloat16 by B in place, 2 vectors at a time.
template <int R>
void block_by_two(const WordBlock& block) {
  constexpr int64_t kColumns = 2 * kLanes32;
  for (int64_t j = 0; j < block.n; j += kColumns) {
    WordBlock part = block;
    part.n = block.n - j;
    part.b += j * Brain::kBytes;
    part.sum = static_cast<float*>(block.sum) + j;
    if (block.out) part.out = static_cast<char*>(block.out) + j * (block.out_bf16 ? 2 : 4);
    part.epilogue = block.epilogue.from(0, j, 0);
    const TileFunction two = part.n >= kColumns  ? tile<Brain, R, 2, true, Source::Rows>
                             : part.n > kLanes32 ? tile<Brain, R, 2, false, Source::Rows>
                                                 : tile<Brain, R, 1, false, Source::Rows>;
    two(part, block.a, 0);
  }
}

// Whether all rows are one tile; then by B in place.
template <class Kind>
bool block_in_place(const WordBlock& block) {
  if (block.m <= kRows) {
    choose_tile<Kind, Source::Rows>(block.m, block.n)(block, block.a, 0);
    return true;
  }
  if constexpr (Kind::kOut == 2) {
    if (block.m == 7) return block_by_two<7>(block), true;
    if (block.m == 8) return block_by_two<8>(block), true;
  }
  return false;
}

template <class Kind>
void block(const WordBlock& block) {
  if (block.b && block_in_place<Kind>(block)) return;
  const TileFunction whole = choose_tile<Kind, Source::Panel>(kRows, block.n);
  bool reads = block.b != nullptr;
  for (int64_t row = 0; row < block.m;) {
    const int64_t left = block.m - row;
    const char* a = block.a + row * block.a_row;
    // 8 rows as 4 and 4: fewer than 4 rows do not hide the latency.
    const int rows = static_cast<int>(left == kRows || left >= 2 * kRows ? kRows
                                      : left > kRows                     ? (left + 1) / 2
                                                                         : left);
    if (reads)
      choose_tile<Kind, Source::RowsToPanel>(rows, block.n)(block, a, row);
    else if (rows == kRows)
      whole(block, a, row);
    else
      choose_tile<Kind, Source::Panel>(rows, block.n)(block, a, row);
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
void interleave_rows(const char* b, int64_t b_row, int64_t k, int64_t n, uint32_t* panel) {
  uint64_t masks[kVectors / Kind::kOut];
  for (int h = 0; h < kVectors / Kind::kOut; ++h) masks[h] = first_bits(n - h * Kind::kColumns, Kind::kColumns);
  for (int64_t p = 0; p < k; p += Kind::kTerms, b += Kind::kTerms * b_row, panel += kPanel) {
    __m512i words[kVectors];
    read_rows<Kind, kVectors>(b, b_row, k - p, masks, words);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_store_si512(panel + v * kLanes32, words[v]);
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

}  // namespace

const gemm::WordTable words_table = {
    {Brain::kTerms, kRows, kPanel, kDepth * Brain::kTerms, block<Brain>, pack_columns<Brain>, interleave_rows<Brain>,
     pack_rows<Brain>, dots_bf16, stream_bf16, nullptr},
    {Int8::kTerms, kRows, kPanel, kDepth * Int8::kTerms, block<Int8>, pack_columns<Int8>, interleave_rows<Int8>,
     pack_rows<Int8>, dots_i8, stream_i8, row_start_i8},
    quantise_rows};

#else

const gemm::WordTable words_table = {};

#endif

}  // namespace NATIVE_ISA
}  // namespace native
