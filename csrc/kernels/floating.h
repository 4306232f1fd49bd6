// Tables of kernels that have one entry for each floating dtype.
#pragma once

#include "core/dtype.h"

namespace native {

// The entry for a floating dtype, nullptr for any other. `Tables` has members f16, bf16, f32 and f64 of one
// type; the pointer lives as long as the tables.
template <class Tables>
auto floating_entry(const Tables& tables, DType dtype) -> decltype(&tables.f32) {
  switch (dtype) {
    case DType::F16:
      return &tables.f16;
    case DType::BF16:
      return &tables.bf16;
    case DType::F32:
      return &tables.f32;
    case DType::F64:
      return &tables.f64;
    default:
      return nullptr;
  }
}

}  // namespace native
