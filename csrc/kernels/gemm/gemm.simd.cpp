// Micro-kernels and packing.
//
// The register tile is 6 rows by V vectors. With 16 registers V = 2: 12 accumulators, 2 of B, 1 of A, and
// 12 FMAs in flight hide a latency of 4 to 5 cycles at two a cycle. With 32 registers (AVX-512) V = 4: 24
// accumulators. An iteration of the 6x2 tile loads 8 vectors for 12 FMAs, below the two loads a cycle of
// the first-level cache.
#include <limits>

#include "kernels/gemm/parts.h"
#include "simd/nontemporal.h"
#include "simd/steps.h"
#include "simd/vec.h"

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace native {
namespace NATIVE_ISA {
namespace {

using gemm::Block;
using gemm::Epilogue;
using gemm::Operand;

constexpr int kRows = 6;

// What is fetched while a panel is at work: the next one, the distance of its rows, and, by the `first` panel, the next
// rows of A, which it takes from wherever they are. Behind it they are in the second-level cache.
template <class T>
struct Next {
  const T* data;
  int64_t row;
  bool first;
};

// Lanes beyond B's last column are not read: it need not be packed for their sake.
constexpr bool kMasked = NATIVE_MASKS;
// Steps before its end at which a tile begins to fetch its C: some 750 cycles, as memory is far.
constexpr int64_t kSteps = 32;

// Rows and terms that, with a single panel of B, are few enough for the first-level cache, as C is where its rows lie
// together: nothing is worth fetching ahead. Taller blocks may be parts of an A that comes from memory.
constexpr int64_t kNear = 64;

template <class T, bool Past = false>
inline void put(T* out, Vec<T> x, bool part, int lanes) {
  if constexpr (Past)
    store_nontemporal(out, x);
  else if (part)
    store_part(out, x, lanes);
  else
    store(out, x);
}

// The product alone.
template <class T, int R, int V, bool Partial>
[[gnu::always_inline]] inline void write_product(const Block<T>& block, const Vec<T> (&sum)[R][V], T* c, int tail) {
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) put(c + i * block.c_row + v * kLanes<T>, sum[i][v], Partial && v == V - 1, tail);
}

// Past: the caches, line by line. What is asked of all of C is asked once a tile: sums may be short.
template <class T, int R, int V, bool Partial, bool Past>
[[gnu::always_inline]] inline void write(const Block<T>& block, Vec<T> (&sum)[R][V], T* c, const T* bias, int tail) {
  constexpr int L = kLanes<T>;
  const int64_t c_row = block.c_row;
  // change(vector of sums, where it lies in C, its column, whether it is the tail)
  const auto each = [&](auto change) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) change(sum[i][v], i * c_row + v * L, v, Partial && v == V - 1);
  };
  const auto add = [&](const T* from) __attribute__((always_inline)) {
    each([&](Vec<T>& x, int64_t at, int, bool part)
             __attribute__((always_inline)) { x += part ? load_part(from + at, tail) : load(from + at); });
  };
  if (!Past && block.accumulate) add(c);
  if (bias) {
    Vec<T> offset[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) offset[v] = Partial && v == V - 1 ? load_part(bias + v * L, tail) : load(bias + v * L);
    each([&](Vec<T>& x, int64_t, int v, bool) __attribute__((always_inline)) { x += offset[v]; });
  }
  if (block.epilogue.added) add(block.epilogue.added + (c - block.c));
  if (gemm::clips(block.epilogue.activation)) {
    const Vec<T> top =
        splat(block.epilogue.activation == Activation::Relu6 ? T{6} : std::numeric_limits<T>::infinity());
    each([&](Vec<T>& x, int64_t, int, bool) __attribute__((always_inline)) { x = vmin(top, relu<T>(x)); });
  }
  each([&](Vec<T>& x, int64_t at, int, bool part)
           __attribute__((always_inline)) { put<T, Past>(c + at, x, part, tail); });
}

// Rows of B that lie apart are asked for so many rows ahead.
constexpr int64_t kRowsAhead = 4;

// R rows by V vectors of C, the last vector `tail` lanes wide. Partial: tail < lanes. Near: fetches nothing ahead, and
// C is the product alone. A tile of a small product takes as long to begin and to end as some of its steps. Copies: B's
// panel as well, which costs two stores where 8 vectors are loaded; by itself a copy waits for B as the tile would.
template <class T, int R, int V, bool Partial, bool Near, bool Copies = false>
inline void tile(const Block<T>& block, const T* a, const T* b, T* c, const T* bias, int tail,
                 const Next<T>& following) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[i][v] = Vec<T>{};
  const int64_t a_row = block.a.row, a_step = block.a.column, b_step = block.b.row, c_row = block.c_row;
  // Two pointers and multiples of one register by 1 and 2 reach all rows; more would be spilled.
  const T* low = a + (R > 3 ? 3 : 0) * a_row;
  T* copy = Copies ? block.copy + (b - block.b.data) * block.k : nullptr;
  auto multiply = [&]() __attribute__((always_inline)) {
    Vec<T> bv[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) bv[v] = Partial && kMasked && v == V - 1 ? load_part(b + v * L, tail) : load(b + v * L);
    if constexpr (Copies) {
#pragma GCC unroll 4
      for (int v = 0; v < V; v += 64 / NATIVE_VEC_BYTES) __builtin_prefetch(b + kRowsAhead * b_step + v * L);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) store(copy + v * L, bv[v]);
      copy += V * L;
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const Vec<T> x = splat(i < 3 ? a[i * a_row] : low[(i - 3) * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[i][v] += x * bv[v];
    }
    a += a_step;
    low += a_step;
    b += b_step;
  };
  if constexpr (Near) {
    for (int64_t left = block.k; left > 0; --left) multiply();
    write_product<T, R, V, Partial>(block, sum, c, tail);
    return;
  }
  // The same row of the next panel, to the second-level cache, a whole pass before its use: packed panels
  // come from the third level, and panels read in place have one line on each row, which no prefetcher follows. Of a
  // single panel what lies behind it: more terms, or the next matrix of a batch, which if narrow suits the first level.
  // Its last element: a row that begins within a line ends in the next one.
  constexpr int64_t line = 64 / sizeof(T);
  const T* next = following.data + line - 1;
  // A's next rows lie together if it is row-major: each is too short a stream for a prefetcher to follow. Of columns
  // the last element of the next sliver, a whole pass ahead: the first panel takes them from memory, a line from each
  // page. Else what is fetched are the rows at hand.
  const bool once = following.first && a_row != 1;
  const T* ahead = once ? a + block.sliver : a_row == 1 ? a + block.sliver + R - 1 : a;
  const int64_t ahead_step = once ? R : a_step;
  auto step = [&]() __attribute__((always_inline)) {
    __builtin_prefetch(ahead);
    ahead += ahead_step;
#pragma GCC unroll 4
    for (int v = 0; v < V; v += 64 / NATIVE_VEC_BYTES) __builtin_prefetch(next + v * L, 0, V < kVectors ? 3 : 2);
    multiply();
    next += following.row;
  };
  constexpr bool kLines = !Partial && V * NATIVE_VEC_BYTES % 64 == 0;
  const bool past = kLines && block.epilogue.past;
  const int fetched = past ? 0 : R;
  int64_t left = block.k;
  for (; left > kSteps; --left) step();
  for (int row = 0; left > 0; --left, ++row) {
    for (int v = 0; row < fetched && v < V; v += 64 / NATIVE_VEC_BYTES)
      __builtin_prefetch(c + row * c_row + v * L + line - 1, 1);
    step();
  }
  if (past)
    write<T, R, V, Partial, kLines>(block, sum, c, bias, tail);
  else
    write<T, R, V, Partial, false>(block, sum, c, bias, tail);
}

template <class T>
using TileFunction = void (*)(const Block<T>&, const T*, const T*, T*, const T*, int, const Next<T>&);

// Tiles after which all of the next panel was asked for: 64 bytes of it are fetched in each half of a loop, a quarter
// of them by each tile.
constexpr int kQuarters = 4;

// The whole tile with packed B, by eight steps at a time, A's as eight_steps() takes it. `quarter`: of the next panel,
// what this tile fetches.
template <class T, int kStep, bool Near>
void long_tile(const Block<T>& block, const T* a, const T* b, T* c, const T* bias, int quarter,
               const Next<T>& following) {
  constexpr int64_t b_row = kVectors * kLanes<T>, a_step = kStep ? kStep : 1, line = 64 / sizeof(T);
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[i][v] = Vec<T>{};
  const int64_t a_row = block.a.row, row_bytes = a_row * static_cast<int64_t>(sizeof(T));
  // As in tile(). The next rows are asked for as a stream, which they are where they lie together.
  const bool once = following.first && kStep == 0;
  const T *low = a + 3 * a_row, *ahead = a + block.sliver;
  const int64_t next_row = following.row;
  const T* next = following.data + quarter * next_row + line - 1;
  auto forward = [&](int64_t steps) __attribute__((always_inline)) {
    a += steps * a_step;
    low += steps * a_step;
    b += steps * b_row;
  };
  auto loop = [&]() __attribute__((always_inline)) {
    if constexpr (!Near) {
      __builtin_prefetch(next, 0, 2);
      __builtin_prefetch(next + kQuarters * next_row, 0, 2);
      next += kStepsAtOnce * next_row;
      for (int n = 0; once && n < kRows * kStepsAtOnce; n += line) __builtin_prefetch(ahead + n);
      ahead += kRows * kStepsAtOnce;
    }
    eight_steps<kStep>(sum, a, low, row_bytes, b);
    forward(kStepsAtOnce);
  };
  // C from the third level or memory, where other cores' work delays it, takes longer than the tile's last loops.
  const bool past = !Near && block.epilogue.past;
  if (!Near && !past)
    for (int i = 0; i < kRows; ++i) __builtin_prefetch(c + i * block.c_row + b_row - 1, 1);
  if (!Near && block.epilogue.added)
    for (int i = 0; i < kRows; ++i)
      __builtin_prefetch(block.epilogue.added + (c - block.c) + i * block.c_row + b_row - 1);
  for (int64_t left = block.k / kStepsAtOnce; left > 0; --left) loop();
  for (int64_t left = block.k % kStepsAtOnce; left > 0; --left, forward(1)) {
    Vec<T> bv[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) bv[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vec<T> x = splat(i < 3 ? a[i * a_row] : low[(i - 3) * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[i][v] += x * bv[v];
    }
  }
  if constexpr (Near)
    write_product<T, kRows, kVectors, false>(block, sum, c, 0);
  else if (past)
    write<T, kRows, kVectors, false, true>(block, sum, c, bias, 0);
  else
    write<T, kRows, kVectors, false, false>(block, sum, c, bias, 0);
}

// The tile for a block's whole slivers and panels, or null where none takes many steps.
template <class T>
TileFunction<T> choose_long_tile(const Block<T>& block, bool near) {
  if constexpr (kHasSteps) {
    // Three slivers (a task of Winograd's method with many channels) leave a quarter of the next panel to the
    // prefetcher, which costs less than single steps; fewer leave it most.
    if (!near && block.m < (kQuarters - 1) * kRows) return nullptr;
    if (block.b.row != kVectors * kLanes<T>) return nullptr;
    if (block.a.column == 1) return near ? long_tile<T, 0, true> : long_tile<T, 0, false>;
    if (block.a.row == 1 && block.a.column == kRows)
      return near ? long_tile<T, kRows, true> : long_tile<T, kRows, false>;
    // Winograd's gradients by the weights, which are float32.
    if constexpr (sizeof(T) == sizeof(float))
      if (block.a.row == 1 && block.a.column == gemm::kSlab)
        return near ? long_tile<T, gemm::kSlab, true> : long_tile<T, gemm::kSlab, false>;
  }
  return nullptr;
}

template <class T, bool Near, int V, bool Partial>
struct TileRow {
  static constexpr TileFunction<T> by_rows[kRows] = {tile<T, 1, V, Partial, Near>, tile<T, 2, V, Partial, Near>,
                                                     tile<T, 3, V, Partial, Near>, tile<T, 4, V, Partial, Near>,
                                                     tile<T, 5, V, Partial, Near>, tile<T, 6, V, Partial, Near>};
};

// The tiles for so many vectors: that of r rows is number r - 1.
template <class T, bool Near>
const TileFunction<T>* choose_tiles(int vectors, bool partial) {
  if constexpr (kVectors == 4) {
    if (vectors == 4) return partial ? TileRow<T, Near, 4, true>::by_rows : TileRow<T, Near, 4, false>::by_rows;
    if (vectors == 3) return partial ? TileRow<T, Near, 3, true>::by_rows : TileRow<T, Near, 3, false>::by_rows;
  }
  if (vectors == 2) return partial ? TileRow<T, Near, 2, true>::by_rows : TileRow<T, Near, 2, false>::by_rows;
  return partial ? TileRow<T, Near, 1, true>::by_rows : TileRow<T, Near, 1, false>::by_rows;
}

// From a panel to what is fetched while it is at work.
template <class T>
int64_t behind(const Block<T>& block) {
  if (block.n > kVectors * kLanes<T>) return block.b.panel;
  return block.behind ? block.behind : block.k * block.b.row;
}

// All rows by the panel from column j on: it stays in the first-level cache, or comes from the second.
template <class T>
void pass(const Block<T>& block, int64_t j, const Next<T>& next) {
  constexpr int L = kLanes<T>, N = kVectors * L;
  const Epilogue<T>& epilogue = block.epilogue;
  const bool close =
      block.close || (block.n <= N && block.m <= kNear && block.k <= kNear && block.m * block.c_row <= kNear * kNear);
  const bool near = close && !block.accumulate && !epilogue.bias && !epilogue.added && !epilogue.past &&
                    !gemm::clips(epilogue.activation);
  const int columns = static_cast<int>(block.n - j < N ? block.n - j : N);
  const int vectors = (columns + L - 1) / L, tail = columns - (vectors - 1) * L;
  const T* b = block.b.data + j / N * block.b.panel;
  const T* bias = epilogue.bias ? epilogue.bias + j : nullptr;
  const TileFunction<T>* const tiles =
      near ? choose_tiles<T, true>(vectors, tail < L) : choose_tiles<T, false>(vectors, tail < L);
  const TileFunction<T> unrolled = columns == N ? choose_long_tile(block, near) : nullptr;
  const TileFunction<T> whole = unrolled ? unrolled : tiles[kRows - 1];
  int quarter = 0;
  const T* a = block.a.data;
  T* c = block.c + j;
  // 8 rows as 4 and 4: fewer than 4 rows do not hide the latency of FMA. Slivers cannot be cut elsewhere.
  const bool cuts = block.sliver == kRows * block.a.row;
  int64_t left = block.m;
  for (; left == kRows || left >= kRows + (cuts ? 4 : 0); left -= kRows, a += block.sliver, c += kRows * block.c_row)
    whole(block, a, b, c, bias, unrolled ? quarter++ % kQuarters : tail, next);
  if (left == 0) return;
  const bool even = left > kRows;
  const int first = static_cast<int>(even ? (left + 1) / 2 : left), second = static_cast<int>(left - first);
  tiles[first - 1](block, a, b, c, bias, tail, next);
  if (second > 0) tiles[second - 1](block, a + first * block.a.row, b, c + first * block.c_row, bias, tail, next);
}

// The first slivers copy the panels of B, and the rest of the rows read the copy.
template <class T>
void copying_block(const Block<T>& block) {
  constexpr int64_t N = kVectors * kLanes<T>;
  Block<T> rest = block;
  rest.m -= kRows, rest.a.data += block.sliver, rest.c += kRows * block.c_row;
  rest.b = {block.copy, N, block.k * N};
  rest.epilogue = block.epilogue.from(kRows, 0, block.c_row);
  for (int64_t j = 0; j < block.n; j += N) {
    const T* const panel = block.b.data + j / N * block.b.panel;
    const Next<T> next{panel + behind(block), block.b.row, j == 0};
    tile<T, kRows, kVectors, false, false, true>(block, block.a.data, panel, block.c + j,
                                                 block.epilogue.bias ? block.epilogue.bias + j : nullptr, 0, next);
    pass(rest, j, next);
  }
}

template <class T>
void block(const Block<T>& block) {
  constexpr int64_t N = kVectors * kLanes<T>;
  if (block.copy) return copying_block(block);
  for (int64_t j = 0; j < block.n; j += N)
    pass(block, j, {block.b.data + j / N * block.b.panel + behind(block), block.b.row, j == 0});
}

// Packing

#if defined(__AVX__)
// Transposes 8x8 floats.
inline void transpose8(const float* in, int64_t in_row, float* out, int64_t out_row) {
  __m256 r[8], t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    // Row i beside row i + 4: the exchange of halves costs no shuffle.
    r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(in + i * in_row)),
                                _mm_loadu_ps(in + (i + 4) * in_row), 1);
    r[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(in + i * in_row + 4)),
                                    _mm_loadu_ps(in + (i + 4) * in_row + 4), 1);
  }
#pragma GCC unroll 2
  for (int h = 0; h < 8; h += 4) {
    t[h] = _mm256_unpacklo_ps(r[h], r[h + 1]);
    t[h + 1] = _mm256_unpackhi_ps(r[h], r[h + 1]);
    t[h + 2] = _mm256_unpacklo_ps(r[h + 2], r[h + 3]);
    t[h + 3] = _mm256_unpackhi_ps(r[h + 2], r[h + 3]);
    _mm256_storeu_ps(out + h * out_row, _mm256_shuffle_ps(t[h], t[h + 2], 0x44));
    _mm256_storeu_ps(out + (h + 1) * out_row, _mm256_shuffle_ps(t[h], t[h + 2], 0xee));
    _mm256_storeu_ps(out + (h + 2) * out_row, _mm256_shuffle_ps(t[h + 1], t[h + 3], 0x44));
    _mm256_storeu_ps(out + (h + 3) * out_row, _mm256_shuffle_ps(t[h + 1], t[h + 3], 0xee));
  }
}
#endif

template <class T>
void transpose(const T* in, int64_t in_row, int64_t rows, int64_t columns, T* out, int64_t out_row) {
  int64_t i = 0;
#if defined(__AVX__)
  if constexpr (sizeof(T) == 4) {
    for (; i + 8 <= rows; i += 8) {
      int64_t j = 0;
      for (; j + 8 <= columns; j += 8)
        transpose8(reinterpret_cast<const float*>(in + i * in_row + j), in_row,
                   reinterpret_cast<float*>(out + j * out_row + i), out_row);
      for (; j < columns; ++j)
        for (int64_t s = i; s < i + 8; ++s) out[j * out_row + s] = in[s * in_row + j];
    }
  }
#endif
  for (int64_t left = rows - i; left > 0; --left, ++i)
    for (int64_t j = 0; j < columns; ++j) out[j * out_row + i] = in[i * in_row + j];
}

template <class T>
void copy_rows(const T* in, int64_t in_row, int64_t rows, int64_t columns, T* out, int64_t out_row) {
  constexpr int L = kLanes<T>;
  for (int64_t i = 0; i < rows; ++i) {
    int64_t j = 0;
    for (; j + L <= columns; j += L) store(out + i * out_row + j, load(in + i * in_row + j));
    for (; j < columns; ++j) out[i * out_row + j] = in[i * in_row + j];
  }
}

// Panels at a time where rows are parts of longer ones: panels are a power of two apart, their lines in one cache set,
// and each row is a stream of its own, which is asked for kRowsAhead. Wide panels are four lines of a row.
constexpr int64_t kStrip = kVectors == 4 ? 0 : 8;

template <class T>
void pack_b(const Operand<T>& b, int64_t k, int64_t n, T* out, int64_t panel) {
  constexpr int N = kVectors * kLanes<T>;
  const int64_t whole = n / N * N;
  if (b.column == 1) {
    // Along the rows, for the sake of the prefetchers.
    const int64_t strip = kStrip > 0 && b.row > n ? kStrip * N : whole;
    for (int64_t first = 0; first < whole; first += strip) {
      const int64_t end = first + strip < whole ? first + strip : whole;
      for (int64_t p = 0; p < k; ++p) {
        const T* in = b.data + p * b.row;
        for (int64_t j = first; j < end; j += N) {
          __builtin_prefetch(in + kRowsAhead * b.row + j);
          copy_rows(in + j, 0, 1, N, out + j / N * panel + p * N, 0);
        }
      }
    }
  } else {
    for (int64_t j = 0; j < whole; j += N) transpose(b.data + j * b.column, b.column, N, k, out + j / N * panel, N);
  }
  if (whole == n) return;
  out += whole / N * panel;
  for (int64_t p = 0; p < k; ++p)
    for (int64_t s = n - whole; s < N; ++s) out[p * N + s] = T{};
  if (b.column == 1)
    copy_rows(b.data + whole, b.row, k, n - whole, out, N);
  else
    transpose(b.data + whole * b.column, b.column, n - whole, k, out, N);
}

// Rows of A become slivers. With AVX and float32 eight rows by eight terms at a time: two rows too many, which the next
// term's six overwrite, or which lie between slivers.
template <class T>
void pack_rows(const Operand<T>& a, int64_t m, int64_t k, T* out, int64_t sliver) {
  [[maybe_unused]] constexpr int64_t line = 64 / sizeof(T);
  for (int64_t i = 0; i < m; i += kRows, out += sliver) {
    const T* in = a.data + i * a.row;
    const int64_t rows = m - i < kRows ? m - i : kRows;
    int64_t p = 0;
#if defined(__AVX__)
    if constexpr (sizeof(T) == 4)
      for (; i + 8 <= m && p + 8 <= k; p += 8) {
        // Four lines ahead, once a line: the prefetchers lose rows that are pages apart.
        if (p % line == 0)
          for (int r = 0; r < 8; ++r) __builtin_prefetch(in + r * a.row + p + 4 * line);
        transpose8(in + p, a.row, out + p * kRows, kRows);
      }
#endif
    for (; p < k; ++p)
      for (int64_t r = 0; r < rows; ++r) out[p * kRows + r] = in[r * a.row + p];
  }
}

// Columns of A become slivers.
template <class T>
void pack_columns(const Operand<T>& a, int64_t m, int64_t k, T* out, int64_t sliver) {
  constexpr int64_t line = 64 / sizeof(T);
  // Along the rows of A^T. Two elements too many are copied, one load and one store, and overwritten by the
  // next step; the last step and the last sliver must not.
  typedef T Eight __attribute__((vector_size(8 * sizeof(T)), aligned(alignof(T)), may_alias));
  for (int64_t p = 0; p < k; ++p) {
    const T* in = a.data + p * a.column;
    T* to = out + p * kRows;
    // No prefetcher follows steps of a page.
    for (int64_t j = 0; j < m; j += line) __builtin_prefetch(in + 8 * a.column + j);
    int64_t i = 0;
    if (p + 1 < k)
      for (; i + 8 <= m; i += kRows, to += sliver)
        *reinterpret_cast<Eight*>(to) = *reinterpret_cast<const Eight*>(in + i);
    for (; i < m; i += kRows, to += sliver)
      for (int64_t r = 0; r < (m - i < kRows ? m - i : kRows); ++r) to[r] = in[i + r];
  }
}

// Slivers of kRows rows: the micro-kernel reads a few kilobytes that lie together. A line between them: k is often a
// power of two, and one row of A^T goes to all slivers at once.
template <class T>
void pack_a(Block<T>& block, T* out) {
  const Operand<T> a = block.a;
  block.a = {out, 1, kRows};
  block.sliver = kRows * block.k + static_cast<int64_t>(64 / sizeof(T));
  if (a.column == 1)
    pack_rows(a, block.m, block.k, out, block.sliver);
  else
    pack_columns(a, block.m, block.k, out, block.sliver);
}

// kc: a panel of B takes half of a 32 KB first-level cache (16 KB), and as AVX-512 panels are four times
// as wide they come from the second level instead, where depth costs nothing: 384. So do those of AVX2 in float32, for
// half as many passes over C: 512, of which 144 rows of A take as much of a second level of 512 KB as it has to spare.
// deep_kc: C is added to less often, which is worth 1.5% at 1024 terms and costs nothing where a panel comes from the
// second level all the same. A row of A in place is then a page, of which few rows fit: see block_rows().
// mc: so many rows share the first, slow pass over a panel of B; see block_rows() for their terms.
// reads_columns: wide panels pass over A a quarter as often, which does not pay for a copy.
// direct_rows: a row of a wide panel is four lines that lie together, that of a narrow one a line by itself,
// and so many of those fall into one cache set that two tiles at most do without a copy.
// dot_rows: 24 sums and 6 rows a pass over B, against 12 and 4 with narrow vectors, where packing costs less than that.
template <class T>
constexpr gemm::Kernels<T> kernels() {
  constexpr bool wide = NATIVE_VEC_BYTES == 64;
  constexpr int kc = wide ? 384 : kHasSteps && sizeof(T) == 4 ? 512 : 256;
  static_assert(wide || !kMasked, "tiles copy whole panels, which direct_columns has to keep to");
  return {.mr = kRows,
          .nr = kVectors * kLanes<T>,
          .kc = kc,
          .mc = kHasSteps ? 144 : 192,
          .deep_kc = wide ? static_cast<int>(4096 / sizeof(T)) : kc,
          .reads_columns = wide,
          .sliver_columns = kHasSteps && sizeof(T) == 4 ? 256 : std::numeric_limits<int>::max(),
          .direct_rows = wide ? 256 : 11,
          .direct_columns = kMasked ? 1 : kVectors * kLanes<T>,
          .dot_rows = wide ? 64 : 8,
          .block = block<T>,
          .pack_b = pack_b<T>,
          .transpose = transpose<T>,
          .pack_a = pack_a<T>,
          .gemv = gemv,
          .panel_gemv = panel_gemv,
          .dots = dots,
          .finish = finish};
}

}  // namespace

extern const gemm::GemmTable gemm_table;
const gemm::GemmTable gemm_table = {kernels<float>(), kernels<double>()};

}  // namespace NATIVE_ISA
}  // namespace native
