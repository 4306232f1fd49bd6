// Which window of a convolution meets a pixel.
#pragma once

#include "kernels/device.cuh"

namespace native::cuda::conv {

// The place of the window whose tap k is at position `at`, along a dimension, or -1.
template <class P>
__device__ inline int window_at(const P& p, int d, int at, int k) {
  int rest = at + p.low[d] - k * p.dilation[d];
  if (rest < 0) return -1;
  const int window = divide(rest, p.by_stride[d]);
  return rest == 0 && window < p.source_size[d] ? window : -1;
}

}  // namespace native::cuda::conv
