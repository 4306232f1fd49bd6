// The register-blocked inner loop of the gradient by the weights: a tile of (tap, input channel) rows by
// output channels, summed over pixels.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/cpu.h"

namespace native {
class Kernel;
struct Problem;
}  // namespace native

namespace native::conv {

template <class T>
struct WeightGradTile {
  const T* const* sources;     // [rows]: where each row's tap and channel lie for the first pixel
  const int64_t* line_offset;  // [lines]: added to every source on a line of pixels
  int64_t lines, length;       // pixels are lines of `length`
  int64_t step;                // elements between the sources of neighbouring pixels
  const T* cotangent;          // [lines * length] rows of columns, `pitch` elements apart
  int64_t pitch;
  T* const* results;  // [rows]
  bool accumulate;
  int width;  // columns to store, at most `columns`
};

template <class T>
struct WeightGradVariant {
  int rows, columns;
  float speed;  // relative, when nothing is wasted
  void (*run)(const WeightGradTile<T>& tile);
};

constexpr int kWeightGradVariants = 4, kWeightGradRows = 9;  // rows of a tile, at most

struct WeightGradTable {
  int variants;
  WeightGradVariant<float> f32[kWeightGradVariants];
  WeightGradVariant<double> f64[kWeightGradVariants];
};

NATIVE_ISA_TABLE(WeightGradTable, weight_grad_table)

// The direct kernel of a problem in float32 or float64, else null.
std::unique_ptr<Kernel> direct_weight_grad(const Problem& problem);

}  // namespace native::conv
