#include "kernels/conv/depthwise.h"

#include "kernels/conv/evenly.h"
#include "simd/nontemporal.h"
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

// kResults neighbouring results of kVecs vectors of channels by windows of kWindow neighbours, each of which begins
// kStride behind that of the result before: a source is loaded once for all taps that see it. With a vector at a time
// sums, the window's weights and a source fit into 16 registers.
template <class T, int kResults, int kVecs, int kWindow, int kStride>
inline void block(const DepthwiseRun<T>& r, int64_t j, int64_t c) {
  constexpr int L = kLanes<T>, kSources = (kResults - 1) * kStride + kWindow, kLine = kLineBytes / sizeof(T);
  // The lines of each row ahead that a row of taps asks for: a burst of requests finds no room in their queue, and most
  // of it is dropped. Single results, which are borders and many of a small image's, ask for nothing.
  constexpr int kLines = (kResults * kStride * kVecs * L + kLine - 1) / kLine, kTapRows = kWindow > 1 ? kWindow : 3;
  constexpr int kEach = (kLines + kTapRows - 1) / kTapRows, kAsked = kEach * kStride;
  const int64_t step = r.source_step / kStride, terms = r.terms, result_step = r.result_step, source_row = r.source_row;
  const T* ahead = r.ahead + (j * r.channels + c * kResults) * kStride;
  Vec<T> acc[kVecs][kResults];
#pragma GCC unroll 2
  for (int v = 0; v < kVecs; ++v) {
    const Vec<T> bias = r.bias ? load(r.bias + c + v * L) : Vec<T>{};
#pragma GCC unroll 8
    for (int i = 0; i < kResults; ++i) acc[v][i] = bias;
  }
  for (int64_t term = 0; term < terms; term += kWindow, ahead += kEach * kLine) {
    const T* const first = r.sources[term] + j * r.source_step + c;
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      Vec<T> w[kWindow];
#pragma GCC unroll 8
      for (int t = 0; t < kWindow; ++t) w[t] = load(r.weights[term + t] + c + v * L);
      const T* x = first + v * L;
#pragma GCC unroll 16
      for (int q = 0; q < kSources; ++q, x += step) {
        const int at = v * kSources + q, steps = kVecs * kSources, asked = at * kAsked / steps;
        if (kResults > 1 && is_nth(at, steps, kAsked))
          __builtin_prefetch(ahead + asked / kEach * source_row + asked % kEach * kLine);
        const Vec<T> source = load(x);
#pragma GCC unroll 8
        for (int t = 0; t < kWindow; ++t)
          if (q >= t && (q - t) % kStride == 0 && (q - t) / kStride < kResults)
            acc[v][(q - t) / kStride] += source * w[t];
      }
    }
  }
  T* const result = r.result + j * result_step + c;
  const bool past_caches = r.past_caches;
  if (const int activation = r.activation)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v)
#pragma GCC unroll 8
      for (int i = 0; i < kResults; ++i) acc[v][i] = activated(acc[v][i], activation);
#pragma GCC unroll 8
  for (int i = 0; i < kResults; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      T* const to = result + i * result_step + v * L;
      past_caches ? store_nontemporal(to, acc[v][i]) : store(to, acc[v][i]);
    }
}

template <class T, int kResults, int kWindow, int kStride>
inline void all_channels(const DepthwiseRun<T>& r, int64_t j) {
  int64_t c = 0;
  for (; c + 2 * kLanes<T> <= r.channels; c += 2 * kLanes<T>) block<T, kResults, 2, kWindow, kStride>(r, j, c);
  for (; c + kLanes<T> <= r.channels; c += kLanes<T>) block<T, kResults, 1, kWindow, kStride>(r, j, c);
  for (; c < r.channels; ++c)
    for (int64_t i = j; i < j + kResults; ++i) {
      T acc = r.bias ? r.bias[c] : T(0);
      for (int64_t term = 0; term < r.terms; ++term) acc += r.sources[term][i * r.source_step + c] * r.weights[term][c];
      r.result[i * r.result_step + c] = activated(acc, r.activation);
    }
}

// `count` results, fewer than those of a whole block.
template <class T, int kWindow, int kStride, int kResults>
inline void last_results(const DepthwiseRun<T>& r, int64_t j, int64_t count) {
  if (count == kResults) return all_channels<T, kResults, kWindow, kStride>(r, j);
  if constexpr (kResults > 1) last_results<T, kWindow, kStride, kResults - 1>(r, j, count);
}

template <class T, int kWindow, int kStride>
void all_results(const DepthwiseRun<T>& r) {
  constexpr int kResults = kWindow > 5 ? 4 : kWindow > 3 ? 5 : 6;  // as many as leave registers for a window's weights
  int64_t j = 0;
  for (; j + kResults <= r.count; j += kResults) all_channels<T, kResults, kWindow, kStride>(r, j);
  last_results<T, kWindow, kStride, kResults - 1>(r, j, r.count - j);
}

template <class T>
void run(const DepthwiseRun<T>& r) {
  const bool strided = r.stride == 2;
  if (r.window == 3) return strided ? all_results<T, 3, 2>(r) : all_results<T, 3, 1>(r);
  if (r.window == 5) return strided ? all_results<T, 5, 2>(r) : all_results<T, 5, 1>(r);
  if (r.window == 7) return all_results<T, 7, 1>(r);
  all_results<T, 1, 1>(r);
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
