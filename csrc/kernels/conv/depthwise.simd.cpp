#include "kernels/conv/depthwise.h"

#include "simd/vec.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

template <class V>
inline V activated(V x, int activation) {
  const V zero{};
  // In this order NaN passes through both.
  if (activation > 0) x = zero > x ? zero : x;
  if (activation == 2) x = (zero + 6) < x ? (zero + 6) : x;
  return x;
}

// Of vectors that follow each other, which are a line of 64 bytes or begin one.
constexpr bool begins_line(int v) { return v * NATIVE_VEC_BYTES % 64 == 0; }

// kResults neighbouring results of kVecs vectors of channels: a weight serves kResults multiply-adds, and
// there are enough accumulators to cover their latency. kFar: asks for the sources of the next results.
template <class T, int kResults, int kVecs, bool kFar>
inline void block(const DepthwiseRun<T>& r, int64_t j, int64_t c) {
  Vec<T> acc[kResults][kVecs];
  int64_t at[kResults];
#pragma GCC unroll 4
  for (int i = 0; i < kResults; ++i) {
    at[i] = (j + i) * r.source_step + c;
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) acc[i][v] = r.bias ? load(r.bias + c + v * kLanes<T>) : Vec<T>{};
  }
  for (int64_t term = 0; term < r.terms; ++term) {
    const T* w = r.weights[term] + c;
    const T* x = r.sources[term];
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      const Vec<T> weight = load(w + v * kLanes<T>);
      if (kFar && begins_line(v))
#pragma GCC unroll 4
        for (int i = 0; i < kResults; ++i) __builtin_prefetch(x + at[i] + v * kLanes<T> + kResults * r.source_step);
#pragma GCC unroll 4
      for (int i = 0; i < kResults; ++i) acc[i][v] += load(x + at[i] + v * kLanes<T>) * weight;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kResults; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v)
      store(r.result + (j + i) * r.result_step + c + v * kLanes<T>, activated(acc[i][v], r.activation));
}

// The same with windows of kWindow neighbours: a source is loaded once for all taps that see it.
template <class T, int kResults, int kVecs, int kWindow, bool kFar>
inline void window_block(const DepthwiseRun<T>& r, int64_t j, int64_t c) {
  constexpr int L = kLanes<T>;
  Vec<T> acc[kResults][kVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kResults; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) acc[i][v] = r.bias ? load(r.bias + c + v * L) : Vec<T>{};
  for (int64_t term = 0; term < r.terms; term += kWindow) {
    const T* x = r.sources[term] + j * r.source_step + c;
    Vec<T> w[kWindow][kVecs];
#pragma GCC unroll 8
    for (int t = 0; t < kWindow; ++t)
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) w[t][v] = load(r.weights[term + t] + c + v * L);
#pragma GCC unroll 16
    for (int q = 0; q < kResults + kWindow - 1; ++q, x += r.source_step)
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) {
        if (kFar && begins_line(v) && q >= kWindow - 1) __builtin_prefetch(x + v * L + kResults * r.source_step);
        const Vec<T> source = load(x + v * L);
#pragma GCC unroll 8
        for (int t = 0; t < kWindow; ++t)
          if (q >= t && q - t < kResults) acc[q - t][v] += source * w[t][v];
      }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kResults; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v)
      store(r.result + (j + i) * r.result_step + c + v * L, activated(acc[i][v], r.activation));
}

template <class T, int kResults, int kVecs, int kWindow, bool kFar>
inline void vectors(const DepthwiseRun<T>& r, int64_t j, int64_t c) {
  if constexpr (kWindow > 0)
    window_block<T, kResults, kVecs, kWindow, kFar>(r, j, c);
  else
    block<T, kResults, kVecs, kFar>(r, j, c);
}

template <class T, int kResults, int kWindow, bool kFar = false>
inline void all_channels(const DepthwiseRun<T>& r, int64_t j) {
  int64_t c = 0;
  for (; c + 2 * kLanes<T> <= r.channels; c += 2 * kLanes<T>) vectors<T, kResults, 2, kWindow, kFar>(r, j, c);
  for (; c + kLanes<T> <= r.channels; c += kLanes<T>) vectors<T, kResults, 1, kWindow, kFar>(r, j, c);
  for (; c < r.channels; ++c)
    for (int64_t i = j; i < j + kResults; ++i) {
      T acc = r.bias ? r.bias[c] : T(0);
      for (int64_t term = 0; term < r.terms; ++term) acc += r.sources[term][i * r.source_step + c] * r.weights[term][c];
      r.result[i * r.result_step + c] = activated(acc, r.activation);
    }
}

// `count` results, fewer than those of a whole block.
template <class T, int kWindow, int kResults>
inline void last_windows(const DepthwiseRun<T>& r, int64_t j, int64_t count) {
  if (count == kResults) return all_channels<T, kResults, kWindow>(r, j);
  if constexpr (kResults > 1) last_windows<T, kWindow, kResults - 1>(r, j, count);
}

template <class T, int kWindow, bool kFar>
void windows(const DepthwiseRun<T>& r) {
  constexpr int kResults = 6;  // 12 accumulators beside the weights of a window
  int64_t j = 0;
  for (; j + kResults <= r.count; j += kResults) all_channels<T, kResults, kWindow, kFar>(r, j);
  last_windows<T, kWindow, kResults - 1>(r, j, r.count - j);
}

template <class T, bool kFar>
void run_terms(const DepthwiseRun<T>& r) {
  if (r.window == 3) return windows<T, 3, kFar>(r);
  if (r.window == 5) return windows<T, 5, kFar>(r);
  int64_t j = 0;
  for (; j + 4 <= r.count; j += 4) all_channels<T, 4, 0, kFar>(r, j);
  for (; j + 2 <= r.count; j += 2) all_channels<T, 2, 0>(r, j);
  for (; j < r.count; ++j) all_channels<T, 1, 0>(r, j);
}

template <class T>
void run(const DepthwiseRun<T>& r) {
  r.far ? run_terms<T, true>(r) : run_terms<T, false>(r);
}

template <class T, int kRows, int kVecs>
inline void sum_block(const DepthwiseSum<T>& s, int64_t c) {
  Vec<T> acc[kRows][kVecs] = {};
  const T* x[kRows];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) x[i] = s.sources[i] + c;
  const T* g = s.cotangent + c;
  int64_t at = 0;
  for (int64_t j = 0; j < s.count; ++j, g += s.cotangent_step, at += s.source_step) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const Vec<T> ct = load(g + v * kLanes<T>);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) acc[i][v] += load(x[i] + at + v * kLanes<T>) * ct;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      T* to = s.sums[i] + c + v * kLanes<T>;
      store(to, load(to) + acc[i][v]);
    }
}

template <class T, int kRows>
void sum_rows(const DepthwiseSum<T>& s) {
  int64_t c = 0;
  for (; c + 4 * kLanes<T> <= s.channels; c += 4 * kLanes<T>) sum_block<T, kRows, 4>(s, c);
  for (; c + 2 * kLanes<T> <= s.channels; c += 2 * kLanes<T>) sum_block<T, kRows, 2>(s, c);
  for (; c + kLanes<T> <= s.channels; c += kLanes<T>) sum_block<T, kRows, 1>(s, c);
  for (; c < s.channels; ++c)
    for (int i = 0; i < kRows; ++i) {
      T acc = 0;
      for (int64_t j = 0; j < s.count; ++j)
        acc += s.sources[i][j * s.source_step + c] * s.cotangent[j * s.cotangent_step + c];
      s.sums[i][c] += acc;
    }
}

template <class T>
void sum(const DepthwiseSum<T>& s) {
  switch (s.rows) {
    case 1:
      return sum_rows<T, 1>(s);
    case 2:
      return sum_rows<T, 2>(s);
    default:
      return sum_rows<T, 3>(s);
  }
}

}  // namespace

extern const DepthwiseTable depthwise_table;
const DepthwiseTable depthwise_table = {&run<float>, &run<double>, &sum<float>, &sum<double>};

}  // namespace NATIVE_ISA
}  // namespace native::conv
