#include "kernels/conv/weight_grad.h"

#include "simd/vec.h"

namespace native::conv {
namespace NATIVE_ISA {
namespace {

template <class T, int kRows, int kVecs>
void tile(const WeightGradTile<T>& t) {
  constexpr int kColumns = kVecs * kLanes<T>;
  Vec<T> acc[kRows][kVecs];
  const T* a[kRows];
#pragma GCC unroll 9
  for (int i = 0; i < kRows; ++i) {
    a[i] = t.sources[i];
#pragma GCC unroll 4
    for (int j = 0; j < kVecs; ++j) acc[i][j] = Vec<T>{};
  }

  const T* g = t.cotangent;
  for (int64_t line = 0; line < t.lines; ++line) {
    // One index for all sources, so that they stay in registers.
    int64_t at = t.line_offset[line];
    for (int64_t p = 0; p < t.length; ++p, at += t.step, g += t.pitch) {
      Vec<T> b[kVecs];
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) b[j] = load(g + j * kLanes<T>);
#pragma GCC unroll 9
      for (int i = 0; i < kRows; ++i) {
        const Vec<T> x = splat(a[i][at]);
#pragma GCC unroll 4
        for (int j = 0; j < kVecs; ++j) acc[i][j] += x * b[j];
      }
    }
  }

#pragma GCC unroll 9
  for (int i = 0; i < kRows; ++i) {
    T* result = t.results[i];
    if (t.width == kColumns) {
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) {
        T* to = result + j * kLanes<T>;
        store(to, t.accumulate ? load(to) + acc[i][j] : acc[i][j]);
      }
    } else {
      T row[kColumns];
#pragma GCC unroll 4
      for (int j = 0; j < kVecs; ++j) store(row + j * kLanes<T>, acc[i][j]);
      for (int c = 0; c < t.width; ++c) result[c] = t.accumulate ? result[c] + row[c] : row[c];
    }
  }
}

template <class T, int kRows, int kVecs>
constexpr WeightGradVariant<T> variant(float speed) {
  return {kRows, kVecs * kLanes<T>, speed, &tile<T, kRows, kVecs>};
}

}  // namespace

extern const WeightGradTable weight_grad_table;
// The shapes of direct.simd.cpp, for the same reasons; 9 rows are a 3x3 kernel of a single channel.
#if NATIVE_VEC_BYTES == 64
const WeightGradTable weight_grad_table = {
    4,
    {variant<float, 6, 4>(1.0f), variant<float, 8, 3>(1.0f), variant<float, 9, 2>(0.95f), variant<float, 8, 1>(0.8f)},
    {variant<double, 6, 4>(1.0f), variant<double, 8, 3>(1.0f), variant<double, 9, 2>(0.95f),
     variant<double, 8, 1>(0.8f)},
};
#else
const WeightGradTable weight_grad_table = {
    3,
    {variant<float, 6, 2>(1.0f), variant<float, 4, 3>(0.98f), variant<float, 8, 1>(0.75f), {}},
    {variant<double, 6, 2>(1.0f), variant<double, 4, 3>(0.98f), variant<double, 8, 1>(0.75f), {}},
};
#endif

}  // namespace NATIVE_ISA
}  // namespace native::conv
