// Positions as operands: negative ones count from the end, what is outside is clipped.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/shape.h"

namespace native {

class Indices {
 public:
  Indices(const void* data, DType dtype) : data_(data), wide_(dtype == DType::I64) {}
  // The i-th one as a position in [0, size).
  int64_t at(int64_t i, int64_t size) const {
    int64_t index = wide_ ? static_cast<const int64_t*>(data_)[i] : static_cast<const int32_t*>(data_)[i];
    if (index < 0) index += size;
    return std::clamp<int64_t>(index, 0, size - 1);
  }

 private:
  const void* data_;
  bool wide_;
};

// The operand as [outer, size, inner] about an axis.
struct AxisView {
  int64_t outer = 1, size = 1, inner = 1;
  AxisView() = default;
  AxisView(const Shape& dims, size_t axis) : size(dims[axis]) {
    for (size_t i = 0; i < axis; ++i) outer *= dims[i];
    for (size_t i = axis + 1; i < dims.size(); ++i) inner *= dims[i];
  }
};

// Positions along the first axes of an operand, [count, depth], as rows of [rows, inner].
struct RowsView {
  int64_t count, rows = 1, inner = 1;
  Shape sizes;  // of the indexed axes
  RowsView(const Shape& dims, const Shape& indices) : sizes(dims.begin(), dims.begin() + indices.back()) {
    count = 1;
    for (size_t i = 0; i + 1 < indices.size(); ++i) count *= indices[i];
    for (size_t i = 0; i < dims.size(); ++i) (i < sizes.size() ? rows : inner) *= dims[i];
  }
  int64_t row(const Indices& indices, int64_t i) const {
    const int64_t depth = static_cast<int64_t>(sizes.size());
    int64_t row = 0;
    for (int64_t k = 0; k < depth; ++k) row = row * sizes[k] + indices.at(i * depth + k, sizes[k]);
    return row;
  }
};

}  // namespace native
