// Linear combinations of rows of channels: what the transforms of a fast convolution are.
#pragma once

#include <cstdint>

#include "runtime/cpu.h"

namespace native::conv {

struct Term {
  int row;
  float factor;
};

// What happens to a finished row of results: bias and residual are rows, or null. Activation: 0 none, 1 relu, 2 relu6.
struct RowEpilogue {
  const float* bias;
  const float* residual;
  int activation;
};

struct CombineTable {
  // out[c] = sum over terms of factor * rows[row][c]. Rows may overlap, and `out` may be one of them.
  void (*combine)(const Term* terms, int64_t count, const float* const* rows, int64_t channels, float* out);
  // The same, then the epilogue.
  void (*finish)(const Term* terms, int64_t count, const float* const* rows, int64_t channels,
                 const RowEpilogue& epilogue, float* out);
};

NATIVE_ISA_TABLE(CombineTable, combine_table)

}  // namespace native::conv
