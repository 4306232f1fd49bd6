// The gradient by the input from what each window gives to its pixels.
#pragma once

#include "kernels/conv/params.h"
#include "kernels/conv/window_at.cuh"

namespace native::cuda::conv {

// A thread has a channel of a pixel, and adds what the windows that meet it give to it, in the order of the taps.
__device__ inline void overlap_add(const OverlapParams& p) {
  const int64_t thread = blockIdx.x * int64_t{kOverlapThreads} + threadIdx.x;
  if (thread >= p.results) return;
  int channel = static_cast<int>(thread), width = divide(channel, p.by_channels), height = divide(width, p.by_size[2]);
  int depth = divide(height, p.by_size[1]);
  const int n = divide(depth, p.by_size[0]), group = divide(channel, p.by_group);
  float sum = 0;
  for (int a = 0; a < p.kernel[0]; ++a) {
    const int plane = window_at(p, 0, depth, a);
    if (plane < 0) continue;
    for (int b = 0; b < p.kernel[1]; ++b) {
      const int row = window_at(p, 1, height, b);
      if (row < 0) continue;
      for (int c = 0; c < p.kernel[2]; ++c) {
        const int column = window_at(p, 2, width, c);
        if (column < 0) continue;
        const int window = ((n * p.source_size[0] + plane) * p.source_size[1] + row) * p.source_size[2] + column;
        const int64_t tap = ((static_cast<int64_t>(group) * p.windows + window) * p.kernel[0] + a) * p.kernel[1] + b;
        const int64_t at = (tap * p.kernel[2] + c) * p.by_group.value + channel;
        for (int s = 0; s < p.splits; ++s) sum += p.parts[s * p.elements + at];
      }
    }
  }
  store_element(p.result, thread, p.type, sum);
}

}  // namespace native::cuda::conv
