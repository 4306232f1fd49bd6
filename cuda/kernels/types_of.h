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

// Nothing for floats, uint32 and what has 64 bits.
inline std::optional<IntegerType> integer_type(DType dtype) {
  switch (dtype) {
    case DType::I32:
      return IntegerType::I32;
    case DType::I8:
      return IntegerType::I8;
    case DType::Bool:
    case DType::U8:
      return IntegerType::U8;
    case DType::I16:
      return IntegerType::I16;
    case DType::U16:
      return IntegerType::U16;
    default:
      return {};
  }
}

}  // namespace native::cuda
