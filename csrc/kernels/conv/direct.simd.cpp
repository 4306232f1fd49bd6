#include "kernels/conv/direct.h"

#include "simd/largest.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

// Of a tap at a time: a row of taps of three channels is a multiple, and its end is foreseen as it is only some turns
// off.
constexpr int kTerms = 3;

template <class T, int kRows, int kVecs>
inline void add_residuals(const DirectTile<T>& t, int64_t first, Vec<T> (&acc)[kRows][kVecs]) {
  constexpr int kColumns = kVecs * kLanes<T>;
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    T row[kColumns];
    const T* residual = t.residuals[first + i] + t.result_offset;
    if (t.width < kColumns) {
      for (int c = 0; c < kColumns; ++c) row[c] = c < t.width ? residual[c] : T(0);
      residual = row;
    }
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) acc[i][j] += load(residual + j * kLanes<T>);
  }
}

// The first kCount rows of sums.
template <int kCount, class T, int kRows, int kVecs>
inline void activate(const DirectTile<T>& t, Vec<T> (&acc)[kRows][kVecs]) {
  if (t.activation == 0) return;
  const Vec<T> zero{}, six = splat(T(6));
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      // In this order NaN passes through both.
      acc[i][j] = vmax(zero, acc[i][j]);
      if (t.activation == 2) acc[i][j] = vmin(six, acc[i][j]);
    }
}

// The largest of each kWindow of the first kCount rows, into as many rows as there are windows.
template <int kWindow, int kCount, class V, int kRows, int kVecs>
inline void take_largest(V (&acc)[kRows][kVecs]) {
  if constexpr (kWindow > 1) {
#pragma GCC unroll 4
    for (int i = 0; i < kCount / 2; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) acc[i][j] = larger(acc[2 * i][j], acc[2 * i + 1][j]);
    take_largest<kWindow / 2, kCount / 2>(acc);
  }
}

// The same of windows of all rows, and which row of its window each is.
template <int kWindow, class T, int kRows, int kVecs>
inline void take_places(const DirectTile<T>& t, int64_t first, Vec<T> (&acc)[kRows][kVecs]) {
  constexpr int kL = kLanes<T>;
  using Best = Largest<Vec<T>>;
#pragma GCC unroll 2
  for (int i = 0; i < kRows / kWindow; ++i) {
    uint8_t numbers[kVecs * kL];
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) {
      Best best[kWindow];
#pragma GCC unroll 8
      for (int k = 0; k < kWindow; ++k) best[k] = {acc[i * kWindow + k][j], typename Best::Numbers{} + k};
      // In pairs, as each step waits for the one before.
#pragma GCC unroll 4
      for (int k = 0; k < kWindow; k += 2) best[k].take(best[k + 1].value, best[k + 1].number);
#pragma GCC unroll 2
      for (int k = 0; k < kWindow; k += 4) best[k].take(best[k + 2].value, best[k + 2].number);
      if constexpr (kWindow == 8) best[0].take(best[4].value, best[4].number);
      acc[i][j] = best[0].value;
      put_numbers(numbers + j * kL, best[0].number);
    }
    __builtin_memcpy(t.places[first + i] + t.result_offset, numbers, t.width);
  }
}

// Terms k to k + kCount of a tap.
template <int kCount, class T, int kRows, int kVecs>
inline void add_terms(const T* const (&a)[kRows], int64_t k, const T* w, Vec<T> (&acc)[kRows][kVecs]) {
#pragma GCC unroll 4
  for (int n = 0; n < kCount; ++n) {
    Vec<T> b[kVecs];
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) b[j] = load(w + (n * kVecs + j) * kLanes<T>);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vec<T> x = splat(a[i][k + n]);
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) acc[i][j] += x * b[j];
    }
  }
}

// Of windows of so many rows the largest are the results; with their places, or without.
template <class T, int kRows, int kVecs, int kWindow, bool kPlaces>
void run_tiles(const DirectTile<T>& t) {
  constexpr int kColumns = kVecs * kLanes<T>, kLine = 64 / sizeof(T), kResults = kRows / kWindow;
  // Stores could change what `t` says, for all that compilers know.
  const int64_t taps = t.taps, run = t.run, offset = t.offset, result_offset = t.result_offset, ahead = t.ahead;
  const T* const* sources = t.sources;
  T* const* results = t.results;
  for (int64_t first = 0, last = t.tiles * kResults; first < last; first += kResults, results += kResults) {
    Vec<T> acc[kRows][kVecs];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) acc[i][j] = t.bias ? load(t.bias + j * kLanes<T>) : Vec<T>{};
    // Results are met once and may lie far away.
    if (ahead)
#pragma GCC unroll 8
      for (int i = 0; i < kResults; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < kColumns; j += kLine) __builtin_prefetch(results[i] + result_offset + ahead + j, 1);

    const T* w = t.weights;
    for (int64_t tap = 0; tap < taps; ++tap, sources += kRows) {
      const T* a[kRows];
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) a[i] = sources[i] + offset;
      int64_t k = 0;
      for (; k + kTerms <= run; k += kTerms, w += kTerms * kColumns) add_terms<kTerms>(a, k, w, acc);
      for (; k < run; ++k, w += kColumns) add_terms<1>(a, k, w, acc);
    }

    if (kWindow == 1 && t.residuals) add_residuals<T, kRows, kVecs>(t, first, acc);
    if constexpr (kPlaces) {
      // First activated: clipped ones may be alike.
      activate<kRows>(t, acc);
      take_places<kWindow>(t, first, acc);
    } else {
      take_largest<kWindow, kRows>(acc);
      activate<kResults>(t, acc);
    }

    T* to[kResults];
#pragma GCC unroll 8
    for (int i = 0; i < kResults; ++i) to[i] = results[i] + result_offset;
    if (t.width == kColumns) {
#pragma GCC unroll 8
      for (int i = 0; i < kResults; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < kVecs; ++j) store(to[i] + j * kLanes<T>, acc[i][j]);
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < kResults; ++i) {
        T row[kColumns];
#pragma GCC unroll 4
        for (int j = 0; j < kVecs; ++j) store(row + j * kLanes<T>, acc[i][j]);
        for (int c = 0; c < t.width; ++c) to[i][c] = row[c];
      }
    }
  }
}

template <class T, int kRows, int kVecs, int kWindow, bool kPlaces>
constexpr auto largest() {
  if constexpr (kRows % kWindow == 0)
    return &run_tiles<T, kRows, kVecs, kWindow, kPlaces>;
  else
    return nullptr;
}
template <class T, int kRows, int kVecs>
constexpr DirectVariant<T> variant(float speed) {
  return {kRows,
          kVecs * kLanes<T>,
          speed,
          &run_tiles<T, kRows, kVecs, 1, false>,
          {{largest<T, kRows, kVecs, 4, false>(), largest<T, kRows, kVecs, 4, true>()},
           {largest<T, kRows, kVecs, 8, false>(), largest<T, kRows, kVecs, 8, true>()}}};
}

}  // namespace

extern const DirectTable direct_table;
#if NATIVE_VEC_BYTES == 64
// 32 registers: rows * vecs accumulators, vecs weights, the broadcast folded into the multiply-add. One
// multiply-add a cycle and latency 4 ask for 4 accumulators; more vectors a row spare broadcasts.
const DirectTable direct_table = {
    4,
    {variant<float, 6, 4>(1.0f), variant<float, 8, 3>(1.0f), variant<float, 8, 2>(0.95f), variant<float, 8, 1>(0.8f)},
    {variant<double, 6, 4>(1.0f), variant<double, 8, 3>(1.0f), variant<double, 8, 2>(0.95f),
     variant<double, 8, 1>(0.8f)},
};
#else
// 16 registers: rows * vecs accumulators, vecs weights and one broadcast. Two multiply-adds a cycle with
// latency 4 to 5 ask for at least 10 accumulators; 6x2 and 4x3 have 12. 8x1 is for few channels only.
const DirectTable direct_table = {
    3,
    {variant<float, 6, 2>(1.0f), variant<float, 4, 3>(0.98f), variant<float, 8, 1>(0.75f), {}},
    {variant<double, 6, 2>(1.0f), variant<double, 4, 3>(0.98f), variant<double, 8, 1>(0.75f), {}},
};
#endif

}  // namespace NATIVE_ISA
}  // namespace native::conv
