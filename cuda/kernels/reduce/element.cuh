// What a reduction reads: elements of x as the type that it computes with.
#pragma once

#include "kernels/elements.cuh"
#include "kernels/reduce/params.h"

namespace native::cuda::reduce {

template <class T>
__device__ inline T load(const Params& p, int64_t i) {
  if constexpr (std::is_same_v<T, float>)
    return load_element(p.x, i, static_cast<DataType>(p.in_type));
  else
    return load_integer(p.x, i, static_cast<IntegerType>(p.in_type));
}

}  // namespace native::cuda::reduce
