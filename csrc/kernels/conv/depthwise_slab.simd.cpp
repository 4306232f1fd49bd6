#include "kernels/conv/depthwise_slab.h"

#include "kernels/conv/evenly.h"
#include "simd/nontemporal.h"
#include "simd/partial.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

constexpr int L = kLanes<float>;
// Half a line at a time, no prefetcher follows what is read.
constexpr bool kAsks = !NATIVE_MASKS;

#if NATIVE_MASKS
inline vf32 activated(vf32 x, int activation) {
  const vf32 zero{};
  // In this order NaN passes through both.
  if (activation > 0) x = zero > x ? zero : x;
  if (activation == 2) x = (zero + 6) < x ? (zero + 6) : x;
  return x;
}

// The weights of a window of 3 stay in registers for a whole row of blocks.
template <int K>
constexpr bool kept_all = K == 3;

template <bool Partial>
inline vf32 weight(const SlabRun& run, int tap, int64_t c, int lanes) {
  return get<Partial>(run.weights + tap * run.tap_step + c, lanes);
}

// R rows of W results of the window K. A source of a row is loaded once for all taps of all results that see it, the
// weights of a row once for all its results: with K = 7, W = 7 there are 27 loads for 98 multiply-adds, and 14 sums, 14
// weights and a source in registers.
template <int K, int S, int R, int W, bool Partial>
inline void block(const SlabRun& run, int64_t y, int64_t x, int64_t c, int lanes, const vf32* kept) {
  const PixelGrid& g = run.grid;
  vf32 sum[R][W];
  const vf32 bias = run.bias ? get<Partial>(run.bias + c, lanes) : vf32{};
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) sum[r][i] = bias;
  const float* const* at = g.pixels + y * S * g.pitch + x * S;
  // The rows that the next block below reads for the first time.
  if (y + 2 * R <= g.rows) {
    const float* const* below = at + ((R - 1) * S + K) * g.pitch;
#pragma GCC unroll 4
    for (int row = 0; row < R * S; ++row, below += g.pitch)
#pragma GCC unroll 16
      for (int q = K / 2; q < K / 2 + W * S; ++q) __builtin_prefetch(below[q] + c, 0, 2);
  }
#pragma GCC unroll 16
  for (int row = 0; row < (R - 1) * S + K; ++row, at += g.pitch) {
    vf32 w[R][K];
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int kw = 0; kw < K; ++kw) {
        const int kh = row - r * S;
        if (kh >= 0 && kh < K) w[r][kw] = kept_all<K> ? kept[kh * K + kw] : weight<Partial>(run, kh * K + kw, c, lanes);
      }
#pragma GCC unroll 32
    for (int q = 0; q < (W - 1) * S + K; ++q) {
      const vf32 source = get<Partial>(at[q] + c, lanes);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int i = 0; i < W; ++i) {
          const int kh = row - r * S, kw = q - i * S;
          if (kh >= 0 && kh < K && kw >= 0 && kw < K) sum[r][i] += source * w[r][kw];
        }
    }
  }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < W; ++i) {
      float* const to = run.result + ((y + r) * g.columns + x + i) * g.channels + c;
      const vf32 value = activated(sum[r][i], run.activation);
      // Masked stores are slow.
      if (!Partial || lanes == L)
        store(to, value);
      else
        store_part(to, value, lanes);
    }
}

template <int K, int S, int R, int W, bool Partial>
inline void columns(const SlabRun& run, int64_t y, int64_t c, int lanes) {
  const int64_t count = run.grid.columns;
  vf32 kept[kept_all<K> ? K * K : 1];
#pragma GCC unroll 9
  for (int tap = 0; kept_all<K> && tap < K * K; ++tap) kept[tap] = weight<Partial>(run, tap, c, lanes);
  int64_t x = 0;
  for (; x + W <= count; x += W) block<K, S, R, W, Partial>(run, y, x, c, lanes, kept);
  // The last ones once more together with those that are left.
  if (x < count) block<K, S, R, W, Partial>(run, y, count - W, c, lanes, kept);
}

template <int K, int S, int R, int W>
void rows(const SlabRun& run, int64_t y) {
  // All channels of some rows before the next ones: what comes from memory comes in its order.
  const int64_t channels = run.grid.channels;
  int64_t c = 0;
  // The large windows have one form for whole vectors and parts, for the sake of their size.
  for (; c + L <= channels; c += L) columns<K, S, R, W, !kept_all<K>>(run, y, c, L);
  if (c < channels) columns<K, S, R, W, true>(run, y, c, static_cast<int>(channels - c));
}

template <int K, int S, int W>
void run_blocks(const SlabRun& run) {
  int64_t y = 0;
  for (; y + 2 <= run.grid.rows; y += 2) rows<K, S, 2, W>(run, y);
  if (y < run.grid.rows) rows<K, S, 1, W>(run, y);
}

void run(const SlabRun& run) {
  const bool strided = run.grid.stride == 2;
  if (run.window == 3) return strided ? run_blocks<3, 2, 4>(run) : run_blocks<3, 1, 4>(run);
  if (run.window == 5) return strided ? run_blocks<5, 2, 7>(run) : run_blocks<5, 1, 7>(run);
  run_blocks<7, 1, 7>(run);
}

#else
constexpr auto run = nullptr;
#endif

// Where W results of a vector of channels ask for what lies ahead, line after line: as much of it as they are of what
// is read at the time.
template <int W, int S>
struct Ahead {
  static constexpr int kLine = kLineBytes / sizeof(float);
  static constexpr int kCotangents = (W * L + kLine - 1) / kLine, kSources = (W * L * S + kLine - 1) / kLine;
  static constexpr int kLines = kCotangents + S * kSources;

  static const float* line(const SlabSum& s, int64_t at, int i) {
    if (i < kCotangents) return s.next_cotangent + at + i * kLine;
    i -= kCotangents;
    return s.next_source + i / kSources * s.source_row + at * S + i % kSources * kLine;
  }
};

// Adds to the sums of `Rows` rows of a window K, from `first` on, what W results give.
template <int K, int Rows, int W, int S, bool Partial>
inline void sum_block(const SlabSum& s, int first, int64_t y, int64_t x, int64_t c, int lanes, vf32 (&sum)[Rows * K]) {
  constexpr int kSources = (W - 1) * S + K, kSteps = Rows * kSources, kAsked = kAsks ? Ahead<W, S>::kLines : 0;
  const PixelGrid& g = s.grid;
  const int64_t ahead = (c * g.rows + y * L) * g.columns + x * L;
  vf32 ct[W];
#pragma GCC unroll 8
  for (int i = 0; i < W; ++i) ct[i] = get<Partial>(s.cotangent + (y * g.columns + x + i) * g.channels + c, lanes);
  const float* const* at = g.pixels + (y * S + first) * g.pitch + x * S;
#pragma GCC unroll 5
  for (int kh = 0; kh < Rows; ++kh, at += g.pitch)
#pragma GCC unroll 32
    for (int q = 0; q < kSources; ++q) {
      const int step = kh * kSources + q;
      // Not all at once: a burst of requests finds no room in their queue, and most of it is dropped.
      if (first == 0 && is_nth(step, kSteps, kAsked))
        __builtin_prefetch(Ahead<W, S>::line(s, ahead, step * kAsked / kSteps));
      const vf32 source = get<Partial>(at[q] + c, lanes);
#pragma GCC unroll 8
      for (int i = 0; i < W; ++i)
        if (q - i * S >= 0 && q - i * S < K) sum[K * kh + q - i * S] += source * ct[i];
    }
}

// W results at a time, then the last ones.
template <int K, int Rows, int W, int S, bool Partial>
inline void sum_row(const SlabSum& s, int first, int64_t y, int64_t x, int64_t c, int lanes, vf32 (&sum)[Rows * K]) {
  for (; x + W <= s.grid.columns; x += W) sum_block<K, Rows, W, S, Partial>(s, first, y, x, c, lanes, sum);
  if constexpr (W > 1) sum_row<K, Rows, W / 2, S, Partial>(s, first, y, x, c, lanes, sum);
}

template <int K, int Rows, int W, int S, bool Partial>
inline void sum_channels(const SlabSum& s, int first, int64_t c, int lanes) {
  vf32 sum[Rows * K] = {};
  for (int64_t y = 0; y < s.grid.rows; ++y) sum_row<K, Rows, W, S, Partial>(s, first, y, 0, c, lanes, sum);
#pragma GCC unroll 28
  for (int tap = 0; tap < Rows * K; ++tap) {
    float* const to = s.sums + (first * K + tap) * s.grid.channels + c;
    put<Partial>(to, get<Partial>(to, lanes) + sum[tap], lanes);
  }
}

// As many rows of the window at a time as leave registers for cotangents and a source.
template <int K, int S, bool Partial>
inline void sum_window(const SlabSum& s, int64_t c, int lanes) {
  if constexpr (K == 3) return sum_channels<3, 3, 4, S, Partial>(s, 0, c, lanes);
#if NATIVE_MASKS
  if constexpr (K == 5) return sum_channels<5, 5, 4, S, Partial>(s, 0, c, lanes);
  sum_channels<7, 4, 2, S, Partial>(s, 0, c, lanes);
  sum_channels<7, 3, 4, S, Partial>(s, 4, c, lanes);
#else
  for (int first = 0; first < K; ++first) sum_channels<K, 1, 7, S, Partial>(s, first, c, lanes);
#endif
}

template <int K, int S>
void sum_all(const SlabSum& s) {
  int64_t c = 0;
  // The large windows have one form for whole vectors and parts, for the sake of their size.
  constexpr bool kPartial = NATIVE_MASKS && K > 3;
  for (; c + L <= s.grid.channels; c += L) sum_window<K, S, kPartial>(s, c, L);
  if (c < s.grid.channels) sum_window<K, S, true>(s, c, static_cast<int>(s.grid.channels - c));
}

template <int S>
void sum_strided(const SlabSum& s) {
  if (s.window == 3) return sum_all<3, S>(s);
  if (s.window == 5) return sum_all<5, S>(s);
  sum_all<7, S>(s);
}

void sum(const SlabSum& s) { s.grid.stride == 1 ? sum_strided<1>(s) : sum_strided<2>(s); }

}  // namespace

extern const SlabTable slab_table;
const SlabTable slab_table = {run, sum, kAsks};

}  // namespace NATIVE_ISA
}  // namespace native::conv
