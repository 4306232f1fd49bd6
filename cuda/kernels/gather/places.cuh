// Positions that are operands.
#pragma once

#include "kernels/device.cuh"
#include "kernels/gather/params.h"

namespace native::cuda::gather {

__device__ inline int clipped(int64_t index, int size) {
  if (index < 0) index += size;
  return static_cast<int>(min(max(index, int64_t{0}), static_cast<int64_t>(size - 1)));
}
__device__ inline int64_t index_at(const Places& p, int64_t i) {
  return p.wide ? static_cast<const int64_t*>(p.indices)[i] : static_cast<const int32_t*>(p.indices)[i];
}
// The row that the i-th position means.
__device__ inline int row_at(const Places& p, int i) {
  int row = 0;
  for (int k = 0; k < p.depth; ++k)
    row = row * p.size[k] + clipped(index_at(p, static_cast<int64_t>(i) * p.depth + k), p.size[k]);
  return row;
}

}  // namespace native::cuda::gather
