// Types that kernels and those who launch them share. Plain data.
#pragma once

#include <stdint.h>

namespace native::cuda {

// Floating elements in memory; all are computed with in float32. (TF32 is float32 multiplied with fewer bits.)
enum class DataType : int { F32, F16, BF16, TF32 };
// Integers in memory that are computed with in 32 bits; bool is U8.
enum class IntegerType : int { I32, I8, U8, I16, U16 };

}  // namespace native::cuda
