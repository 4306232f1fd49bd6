// Positions that are operands, as launches are told of them.
#pragma once

#include <optional>

#include "core/shape.h"
#include "kernels/gather/params.h"

namespace native::cuda {

// Nothing for more axes than kernels take.
inline std::optional<gather::Places> places_of(DType dtype, const Shape& sizes) {
  if (sizes.size() > gather::kDepth) return std::nullopt;
  gather::Places p{};
  p.wide = dtype == DType::I64;
  p.depth = static_cast<int>(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] > INT32_MAX) return std::nullopt;
    p.size[i] = static_cast<int>(sizes[i]);
  }
  return p;
}

}  // namespace native::cuda
