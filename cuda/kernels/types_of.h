// The core's dtypes as kernels of the GPU know them.
#pragma once

#include <optional>

#include "core/dtype.h"
#include "kernels/types.h"

namespace native::cuda {

// Nothing for dtypes that are not computed with in float32.
inline std::optional<DataType> data_type(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return DataType::F32;
    case DType::F16:
      return DataType::F16;
    case DType::BF16:
      return DataType::BF16;
    default:
      return {};
  }
}

}  // namespace native::cuda
