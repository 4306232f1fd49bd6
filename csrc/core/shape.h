// Shapes and problem descriptions shared by kernels and graphs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"

namespace native {

using Shape = std::vector<int64_t>;

// Number of elements; 1 for a scalar. Throws ShapeError when it overflows 63 bits.
int64_t element_count(const Shape& shape);
// Row-major strides in elements.
Shape row_major_strides(const Shape& shape);

struct WalkAxis {
  int64_t size, stride;  // the stride in elements
};
// The walk over a row-major array of shape `in` broadcast to `out`, outermost axis first: axes that continue each
// other are one, those of size 1 are left out. Nothing if it does not broadcast.
std::optional<std::vector<WalkAxis>> broadcast_walk(const Shape& in, const Shape& out);
// "(2, 3)".
std::string to_string(const Shape& shape);

// What one operand looks like: contiguous row-major elements of one dtype.
struct Spec {
  DType dtype = DType::F32;
  Shape shape;
  int64_t count() const { return element_count(shape); }
  size_t bytes() const { return static_cast<size_t>(count()) * size_of(dtype); }
  bool operator==(const Spec&) const = default;
};
// "float32(2, 3)".
std::string to_string(const Spec& spec);

}  // namespace native
