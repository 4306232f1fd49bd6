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
template <class T, int kResults, int kVecs, int kWindow, int kStride, bool kClipped>
inline void block(const DepthwiseRun<T>& r, int64_t j, int64_t c, const T* ahead) {
  constexpr int L = kLanes<T>, kSources = (kResults - 1) * kStride + kWindow, kLine = kLineBytes / sizeof(T);
  // The lines of each row ahead that a row of taps asks for: a burst of requests finds no room in their queue, and most
  // of it is dropped. Single results ask for nothing.
  constexpr int kLines = (kResults * kStride * kVecs * L + kLine - 1) / kLine, kTapRows = kWindow > 1 ? kWindow : 3;
  constexpr int kEach = (kLines + kTapRows - 1) / kTapRows, kAsked = kEach * kStride;
  const int64_t step = r.source_step / kStride, terms = r.terms, result_step = r.result_step, source_row = r.source_row;
  const int64_t weight_step = r.weight_step;
  const int64_t first_inside = r.first_inside - j * kStride, last_inside = r.last_inside - j * kStride;
  T* const result = r.result + j * result_step + c;
  const bool past_caches = r.past_caches && kVecs * L >= kLine;
  // Where channels come in groups no prefetcher follows the results; windows of 3 are too short for a line to come.
  if (kWindow > 3 && !past_caches)
#pragma GCC unroll 16
    for (int i = 0; i < kResults; ++i) __builtin_prefetch(result + i * result_step, 1);
  Vec<T> acc[kVecs][kResults];
#pragma GCC unroll 2
  for (int v = 0; v < kVecs; ++v) {
    const Vec<T> bias = r.bias ? load(r.bias + c + v * L) : Vec<T>{};
#pragma GCC unroll 16
    for (int i = 0; i < kResults; ++i) acc[v][i] = bias;
  }
  for (int64_t term = 0; term < terms; ++term, ahead += kEach * kLine) {
    const T* const first = r.sources[term] + j * r.source_step + c;
    const T* const weights = r.weights[term] + c;
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      Vec<T> w[kWindow];
#pragma GCC unroll 8
      for (int t = 0; t < kWindow; ++t) w[t] = load(weights + t * weight_step + v * L);
      const T* x = first + v * L;
#pragma GCC unroll 32
      for (int q = 0; q < kSources; ++q, x += step) {
        const int at = v * kSources + q, steps = kVecs * kSources, asked = at * kAsked / steps;
        if (kResults > 1 && is_nth(at, steps, kAsked))
          __builtin_prefetch(ahead + asked / kEach * source_row + asked % kEach * kLine);
        if (kClipped && (q < first_inside || q >= last_inside)) continue;
        const Vec<T> source = load(x);
#pragma GCC unroll 8
        for (int t = 0; t < kWindow; ++t)
          if (q >= t && (q - t) % kStride == 0 && (q - t) / kStride < kResults)
            acc[v][(q - t) / kStride] += source * w[t];
      }
    }
  }
  if (const int activation = r.activation)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v)
#pragma GCC unroll 16
      for (int i = 0; i < kResults; ++i) acc[v][i] = activated(acc[v][i], activation);
#pragma GCC unroll 16
  for (int i = 0; i < kResults; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      T* const to = result + i * result_step + v * L;
      past_caches ? store_nontemporal(to, acc[v][i]) : store(to, acc[v][i]);
    }
}

// A channel of a result, where channels are no whole vector.
template <class T>
void single(const DepthwiseRun<T>& r, int64_t j, int64_t c) {
  const int64_t step = r.source_step / r.stride, first = j * r.stride;
  T acc = r.bias ? r.bias[c] : T(0);
  for (int64_t term = 0; term < r.terms; ++term)
    for (int t = 0; t < r.window; ++t)
      if (first + t >= r.first_inside && first + t < r.last_inside)
        acc += r.sources[term][j * r.source_step + t * step + c] * r.weights[term][t * r.weight_step + c];
  r.result[j * r.result_step + c] = activated(acc, r.activation);
}

template <class T, int kResults, int kVecs, int kWindow, int kStride, bool kClipped>
void block_channels(const DepthwiseRun<T>& r, int64_t j, int64_t first, int64_t last) {
  constexpr int kStep = kVecs * kLanes<T>;
  const T* ahead = r.ahead + (first * r.count + j * (last - first)) * kStride;
  for (int64_t c = first; c < last; c += kStep, ahead += kStep * kResults * kStride)
    block<T, kResults, kVecs, kWindow, kStride, kClipped>(r, j, c, ahead);
}

// `count` results, at most kResults, of channels [first, last). What lies inside of the image needs no checks, where
// it is worth a form of its own.
template <class T, int kResults, int kVecs, int kWindow, int kStride>
inline void block_of(const DepthwiseRun<T>& r, int64_t j, int64_t count, int64_t first, int64_t last) {
  if constexpr (kResults > 1)
    if (count < kResults) return block_of<T, kResults - 1, kVecs, kWindow, kStride>(r, j, count, first, last);
  constexpr int kSources = (kResults - 1) * kStride + kWindow;
  constexpr bool kOwnForm = kWindow == 1 || (kVecs > 1 && kResults > 2);
  const bool inside = kWindow == 1 || (j * kStride >= r.first_inside && j * kStride + kSources <= r.last_inside);
  if constexpr (kOwnForm)
    if (inside) return block_channels<T, kResults, kVecs, kWindow, kStride, false>(r, j, first, last);
  if constexpr (kWindow > 1) block_channels<T, kResults, kVecs, kWindow, kStride, true>(r, j, first, last);
}

// Sums of kVecs vectors that leave registers for a window's weights and a source, of 16.
template <int kVecs, int kWindow>
constexpr int most_results = kWindow == 1 ? 6 : (15 - kWindow) / kVecs;

// All results of channels [first, last), in blocks of equal size or one more.
template <class T, int kVecs, int kWindow, int kStride>
void all_results(const DepthwiseRun<T>& r, int64_t first, int64_t last) {
  constexpr int kMost = most_results<kVecs, kWindow>;
  const int64_t blocks = (r.count + kMost - 1) / kMost, least = r.count / blocks, larger = r.count % blocks;
  for (int64_t j = 0, size, b = 0; b < blocks; ++b, j += size) {
    size = least + (b < larger);
    block_of<T, kMost, kVecs, kWindow, kStride>(r, j, size, first, last);
  }
}

// Vectors of channels two at a time, which are whole lines, or one at a time.
template <class T, int kVecs, int kWindow, int kStride>
void all_channels(const DepthwiseRun<T>& r) {
  constexpr int64_t L = kLanes<T>, kStep = kVecs * L;
  const int64_t paired = r.channels / kStep * kStep, whole = r.channels / L * L;
  const int64_t group = r.group < kStep ? kStep : r.group / kStep * kStep;
  for (int64_t c = 0; c < paired; c += group)
    all_results<T, kVecs, kWindow, kStride>(r, c, c + group < paired ? c + group : paired);
  if (paired < whole) all_results<T, 1, kWindow, kStride>(r, paired, whole);
  for (int64_t j = 0; whole < r.channels && j < r.count; ++j)
    for (int64_t c = whole; c < r.channels; ++c) single(r, j, c);
}

template <class T, int kWindow, int kStride>
void run_window(const DepthwiseRun<T>& r) {
  // A row that is one block of a vector has all its sums in registers, of two it is two blocks.
  const bool one_block = kWindow > 1 && r.count <= most_results<1, kWindow>;
  return one_block && !r.past_caches ? all_channels<T, 1, kWindow, kStride>(r)
                                     : all_channels<T, 2, kWindow, kStride>(r);
}

template <class T>
void run(const DepthwiseRun<T>& r) {
  if constexpr (kHasWindows<T>) {
    const bool strided = r.stride == 2;
    if (r.window == 3) return strided ? run_window<T, 3, 2>(r) : run_window<T, 3, 1>(r);
    if (r.window == 5) return strided ? run_window<T, 5, 2>(r) : run_window<T, 5, 1>(r);
    if (r.window == 7) return run_window<T, 7, 1>(r);
  }
  run_window<T, 1, 1>(r);
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
