#include "kernels/conv/depthwise_slab.h"

#include "kernels/conv/evenly.h"
#include "simd/nontemporal.h"
#include "simd/partial.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

constexpr int L = kLanes<float>;
constexpr bool kWholeSlabs = NATIVE_MASKS;

// Of the taps of a block of results: the pixel of the first one's first tap, and which rows and columns, counted from
// there, lie inside of the image.
struct Place {
  const float* first;
  int64_t first_row, last_row, first_column, last_column;

  Place(const SlabView& view, int64_t row, int64_t column) {
    row += view.top;
    column += view.left;
    first = view.image + (row * view.width + column) * view.channels;
    first_row = -row, last_row = view.height - row, first_column = -column, last_column = view.width - column;
  }

  bool has_row(int row) const { return row >= first_row && row < last_row; }
  bool has_columns(int count) const { return first_column <= 0 && last_column >= count; }

  // Of column q, where the last result's first tap is column `Last`: only those are in doubt that not all results see.
  template <int K, int Last>
  bool is_padding(int q) const {
    return (q < K - 1 && q < first_column) || (q > Last && q >= last_column);
  }
};

#if NATIVE_MASKS
inline vf32 activated(vf32 x, int activation) {
  const vf32 zero{};
  // In this order NaN passes through both.
  if (activation > 0) x = zero > x ? zero : x;
  if (activation == 2) x = (zero + 6) < x ? (zero + 6) : x;
  return x;
}

// R rows of W results of the window K. A source of a row is loaded once for all taps of all results that see it, the
// weights once for all results: with K = 7, W = 7 there are 153 loads for 686 multiply-adds, and 14 sums, 14 weights
// and a source in registers.
template <int K, int S, int R, int W, bool Clipped, bool Partial>
[[gnu::always_inline]] inline void block(const SlabRun& run, const Place& place, float* result, int64_t c, int lanes,
                                         const float* ahead) {
  constexpr int kRows = (R - 1) * S + K, kSources = (W - 1) * S + K, kLine = kLineBytes / sizeof(float);
  constexpr int kSteps = kRows * kSources, kAsked = R * W * S * S * L / kLine;
  const SlabView& view = run.view;
  const int64_t channels = view.channels, row_step = view.width * channels, result_row = view.columns * channels;
  const int64_t tap_step = run.tap_step;
  vf32 sum[R][W];
  const vf32 bias = run.bias ? get<Partial>(run.bias + c, lanes) : vf32{};
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) sum[r][i] = bias;
  vf32 w[K][K];
  const float *weight = run.weights + c, *line = place.first + c;
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row, line += row_step) {
#pragma GCC unroll 8
    for (int kw = 0; row < K && kw < K; ++kw, weight += tap_step) w[row][kw] = get<Partial>(weight, lanes);
    if (!place.has_row(row)) continue;
    const float* at = line;
#pragma GCC unroll 32
    for (int q = 0; q < kSources; ++q, at += channels) {
      const int step = row * kSources + q;
      // Not all at once: a burst of requests finds no room in their queue, and most of it is dropped.
      if (is_nth(step, kSteps, kAsked)) __builtin_prefetch(ahead + step * kAsked / kSteps * kLine, 0, 2);
      if (Clipped && place.is_padding<K, (W - 1) * S>(q)) continue;
      const vf32 source = get<Partial>(at, lanes);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) {
          const int kh = row - r * S, kw = q - i * S;
          if (kh >= 0 && kh < K && kw >= 0 && kw < K) sum[r][i] += source * w[kh][kw];
        }
    }
  }
  if (const int activation = run.activation)
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i) sum[r][i] = activated(sum[r][i], activation);
  const bool past_caches = run.past_caches;
  float* to = result + c;
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r, to += result_row - W * channels)
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i, to += channels)
      if (Partial)
        store_part(to, sum[r][i], lanes);
      else
        past_caches ? store_nontemporal(to, sum[r][i]) : store(to, sum[r][i]);
}

template <int K, int S, int R, int W, bool Clipped, bool Partial>
[[gnu::noinline]] void channels(const SlabRun& run, const Place& place, float* result, const float* ahead,
                                int64_t first, int64_t last) {
  const int lanes = static_cast<int>(last - first);
  for (int64_t c = first; c < last; c += L, ahead += R * W * S * S * L)
    block<K, S, R, W, Clipped, Partial>(run, place, result, c, lanes, ahead);
}

// All channels of a block before the next one: what comes from memory comes in its order. The rows that the block below
// is the first to read are asked for in that order, too.
template <int K, int S, int R, int W, bool Clipped, bool Partial>
inline void block_channels(const SlabRun& run, const Place& place, float* result, const float* ahead) {
  const int64_t count = run.view.channels, whole = Partial ? count : count / L * L;
  channels<K, S, R, W, Clipped, Partial>(run, place, result, ahead, 0, whole);
  // The last ones once more together with those that are left.
  if (whole < count) channels<K, S, R, W, Clipped, Partial>(run, place, result, ahead, count - L, count);
}

// `count` results, of kSlabColumns to W.
template <int K, int S, int R, int W, bool Partial>
inline void block_of(const SlabRun& run, int64_t y, int64_t x, int64_t count) {
  if constexpr (W > kSlabColumns)
    if (count < W) return block_of<K, S, R, W - 1, Partial>(run, y, x, count);
  const SlabView& view = run.view;
  const Place place(view, y * S, x * S);
  float* const result = run.result + (y * view.columns + x) * view.channels;
  // As many elements of these rows as results in front of the block.
  const float* const ahead =
      view.image + ((view.top + (y + R - 1) * S + K) * view.width + x * R * S * S) * view.channels;
  const bool clipped = Partial || !place.has_columns((W - 1) * S + K);
  clipped ? block_channels<K, S, R, W, true, Partial>(run, place, result, ahead)
          : block_channels<K, S, R, W, Partial, Partial>(run, place, result, ahead);
}

template <int K, int S, int R>
void rows(const SlabRun& run, int64_t y) {
  constexpr int64_t kMost = 7;
  const int64_t count = run.view.columns, channels = run.view.channels;
  // Fewer channels than a vector's are rare: a form of one size, the last results once more together with those left.
  for (int64_t x = 0; channels < L && x < count; x += kSlabColumns)
    block_of<K, S, R, kSlabColumns, true>(run, y, x + kSlabColumns < count ? x : count - kSlabColumns, kSlabColumns);
  if (channels < L) return;
  // In blocks of equal size or one more.
  const int64_t blocks = (count + kMost - 1) / kMost, least = count / blocks, larger = count % blocks;
  for (int64_t x = 0, size, b = 0; b < blocks; ++b, x += size) {
    size = least + (b < larger);
    block_of<K, S, R, kMost, false>(run, y, x, size);
  }
}

template <int K, int S>
void run_blocks(const SlabRun& run) {
  int64_t y = 0;
  for (; y + 2 <= run.view.rows; y += 2) rows<K, S, 2>(run, y);
  if (y < run.view.rows) rows<K, S, 1>(run, y);
}

void run(const SlabRun& run) {
  const bool strided = run.view.stride == 2;
  if (run.view.window == 3) return strided ? run_blocks<3, 2>(run) : run_blocks<3, 1>(run);
  if (run.view.window == 5) return strided ? run_blocks<5, 2>(run) : run_blocks<5, 1>(run);
  run_blocks<7, 1>(run);
}

#else
constexpr auto run = nullptr;
#endif

// What results of a vector of channels ask for of what lies ahead, line after line: as much of it as they are of what
// is read at the time.
template <int kResults, int S>
struct Ahead {
  static constexpr int kLine = kLineBytes / sizeof(float);
  static constexpr int kCotangents = (kResults * L + kLine - 1) / kLine;
  static constexpr int kSources = (kResults * L * S + kLine - 1) / kLine;
  static constexpr int kLines = kCotangents + S * kSources;

  static const float* line(const SlabSum& s, int64_t at, int i) {
    if (i < kCotangents) return s.next_cotangent + at + i * kLine;
    i -= kCotangents;
    return s.next_source + i / kSources * s.source_range + at * S + i % kSources * kLine;
  }
};

// The sources that the results of a block read, row by row of taps and one after another.
#if NATIVE_MASKS
struct Sources {
  Place place;
  const float *line, *at;
  int64_t channels, row_step;

  Sources(const SlabSum& s, int64_t row, int64_t column, int64_t c)
      : place(s.view, row, column),
        line(place.first + c),
        channels(s.view.channels),
        row_step(s.view.width * channels) {}

  bool has_columns(int count) const { return place.has_columns(count); }
  // Before the sources of a row; whether there are any.
  bool begin_row(int row) {
    at = line, line += row_step;
    return place.has_row(row);
  }
  const float* next() {
    const float* const now = at;
    at += channels;
    return now;
  }
  bool is_padding(int q) const { return q < place.first_column || q >= place.last_column; }
};
#else
// Of a table, where 16 registers are too few for sums to stay there beside borders.
struct Sources {
  const float *const *line, *const *at;
  int64_t c, pitch;

  Sources(const SlabSum& s, int64_t row, int64_t column, int64_t c)
      : line(s.pixels + row * s.pitch + column), c(c), pitch(s.pitch) {}

  static constexpr bool has_columns(int) { return true; }
  bool begin_row(int) {
    at = line, line += pitch;
    return true;
  }
  const float* next() { return *at++ + c; }
  static constexpr bool is_padding(int) { return false; }
};
#endif

// Adds to the sums of `Rows` rows of a window K, from `first` on, what R rows of W results give.
template <int K, int Rows, int R, int W, int S, bool Clipped, bool Partial>
[[gnu::always_inline]] inline void sum_block(const SlabSum& s, int first, int64_t y, int64_t x, int64_t c, int lanes,
                                             Sources from, vf32 (&sum)[Rows * K]) {
  constexpr int kRows = (R - 1) * S + Rows, kSources = (W - 1) * S + K, kSteps = kRows * kSources;
  constexpr int kAsked = Ahead<R * W, S>::kLines;
  const SlabView& view = s.view;
  const int64_t channels = view.channels, row_step = view.columns * channels;
  const int64_t ahead = (c * view.rows + y * L) * view.columns + x * R * L;
  vf32 ct[R][W];
  const float* at = s.cotangent + (y * view.columns + x) * channels + c;
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r, at += row_step - W * channels)
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i, at += channels) ct[r][i] = get<Partial>(at, lanes);
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
    if (!from.begin_row(row)) continue;
#pragma GCC unroll 32
    for (int q = 0; q < kSources; ++q) {
      const int step = row * kSources + q;
      if (first == 0 && is_nth(step, kSteps, kAsked))
        __builtin_prefetch(Ahead<R * W, S>::line(s, ahead, step * kAsked / kSteps), 0, kWholeSlabs ? 2 : 3);
      const float* const pixel = from.next();
      if (Clipped && from.is_padding(q)) continue;
      const vf32 source = get<Partial>(pixel, lanes);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) {
          const int kh = row - r * S, kw = q - i * S;
          if (kh >= 0 && kh < Rows && kw >= 0 && kw < K) sum[K * kh + kw] += source * ct[r][i];
        }
    }
  }
}

// W results at a time, then the last ones. Only the first have a form that need not look for borders.
template <int K, int Rows, int R, int W, int S, bool Whole, bool Partial>
[[gnu::always_inline]] inline void sum_row(const SlabSum& s, int first, int64_t y, int64_t x, int64_t c, int lanes,
                                           vf32 (&sum)[Rows * K]) {
  for (; x + W <= s.view.columns; x += W) {
    const Sources from(s, first + y * S, x * S, c);
    if (Whole && from.has_columns((W - 1) * S + K))
      sum_block<K, Rows, R, W, S, false, Partial>(s, first, y, x, c, lanes, from, sum);
    else
      sum_block<K, Rows, R, W, S, true, Partial>(s, first, y, x, c, lanes, from, sum);
  }
  if constexpr (W > 1)
    sum_row<K, Rows, R, kWholeSlabs ? W - 1 : W / 2, S, !kWholeSlabs, Partial>(s, first, y, x, c, lanes, sum);
}

template <int K, int Rows, int R, int W, int S, bool Partial>
inline void sum_channels(const SlabSum& s, int first, int64_t c, int lanes) {
  vf32 sum[Rows * K] = {};
  const int64_t rows = s.view.rows, channels = s.view.channels;
  int64_t y = 0;
  for (; y + R <= rows; y += R) sum_row<K, Rows, R, W, S, true, Partial>(s, first, y, 0, c, lanes, sum);
  if constexpr (R > 1)
    if (y < rows) sum_row<K, Rows, 1, W, S, true, Partial>(s, first, y, 0, c, lanes, sum);
#pragma GCC unroll 28
  for (int tap = 0; tap < Rows * K; ++tap) {
    float* const to = s.sums + (first * K + tap) * channels + c;
    put<Partial>(to, get<Partial>(to, lanes) + sum[tap], lanes);
  }
}

// As many rows of the window at a time as leave registers for cotangents and a source.
template <int K, int S, bool Partial>
inline void sum_window(const SlabSum& s, int64_t c, int lanes) {
#if NATIVE_MASKS
  if constexpr (K == 3) return sum_channels<3, 3, Partial ? 1 : 2, Partial ? 4 : 7, S, Partial>(s, 0, c, lanes);
  if constexpr (K == 5) return sum_channels<5, 5, 1, 4, S, Partial>(s, 0, c, lanes);
  sum_channels<7, 4, 1, 2, S, Partial>(s, 0, c, lanes);
  sum_channels<7, 3, 1, 4, S, Partial>(s, 4, c, lanes);
#else
  if constexpr (K == 3) return sum_channels<3, 3, 1, 4, S, Partial>(s, 0, c, lanes);
  for (int first = 0; first < K; ++first) sum_channels<K, 1, 1, 7, S, Partial>(s, first, c, lanes);
#endif
}

template <int K, int S>
void sum_all(const SlabSum& s) {
  const int64_t channels = s.view.channels;
  int64_t c = 0;
  // The large windows have one form for whole vectors and parts, for the sake of their size.
  constexpr bool kPartial = NATIVE_MASKS && K > 3;
  for (; c + L <= channels; c += L) sum_window<K, S, kPartial>(s, c, L);
  if (c < channels) sum_window<K, S, true>(s, c, static_cast<int>(channels - c));
}

template <int S>
void sum_strided(const SlabSum& s) {
  if (s.view.window == 3) return sum_all<3, S>(s);
  if (s.view.window == 5) return sum_all<5, S>(s);
  sum_all<7, S>(s);
}

void sum(const SlabSum& s) { s.view.stride == 1 ? sum_strided<1>(s) : sum_strided<2>(s); }

}  // namespace

extern const SlabTable slab_table;
const SlabTable slab_table = {run, sum, kWholeSlabs};

}  // namespace NATIVE_ISA
}  // namespace native::conv
