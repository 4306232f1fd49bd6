// How the primitives that move elements see their operand or result: strides and offset, in elements. For
// the CPU's kernels and the GPU's.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/registry.h"

namespace native::shape {

struct View {
  Shape strides;  // may be negative, or 0
  int64_t offset = 0;
};

// Of the operand, over the result's sizes.
View transpose_view(const Problem& problem);
View broadcast_view(const Problem& problem);
View slice_view(const Problem& problem);
View flip_view(const Problem& problem);
// Of the result, over the operand's sizes.
View pad_view(const Problem& problem);
// Of a concatenation: where each operand begins in the result, whose strides all of them have.
std::vector<int64_t> concat_offsets(const Problem& problem);

}  // namespace native::shape
