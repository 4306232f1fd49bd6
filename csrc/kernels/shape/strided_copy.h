// Copies between two strided layouts of the same elements: transposes, slices, broadcasts, flips, pads and
// concatenations are all this one operation with different strides.
#pragma once

#include "core/shape.h"
#include "kernels/shape/transpose.h"

namespace native {

class StridedCopy {
 public:
  StridedCopy() = default;
  // Strides are in elements of `element` bytes; they may be negative, those of the source may be 0.
  StridedCopy(size_t element, const Shape& dims, const Shape& src_strides, const Shape& dst_strides);
  // The pointers are those of the element with all indices 0.
  void run(const void* src, void* dst) const;

 private:
  enum class Inner { Rows, Fill, Transpose, Elements };
  struct Axis {
    int64_t size, src, dst;
  };
  void units(const char* src, char* dst, int64_t first, int64_t last) const;

  bool empty_ = true, far_ = false;  // far: no cache keeps the result (is_far())
  size_t element_ = 1;
  Inner inner_ = Inner::Rows;
  std::vector<Axis> outer_;  // slowest first
  Axis across_{1, 0, 0};     // rows of a block; of a transpose the axis that is contiguous in the source
  Axis along_{1, 1, 1};      // innermost
  int64_t across_block_ = 1, along_block_ = 1;
  TransposeTable::Block transpose_ = nullptr;
  int64_t units_ = 0, bytes_ = 0;
};

}  // namespace native
