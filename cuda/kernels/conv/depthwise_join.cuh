// How kernels of depthwise convolutions by the weights join what threads have.
#pragma once

#include "kernels/conv/depthwise_params.h"
#include "kernels/pack.cuh"

namespace native::cuda::depthwise {

// Joins the taps' sums of threads that stand `across` channels by `down` pixels, and hands over those of each channel.
template <int lanes, int most, class Put>
__device__ inline void join_taps(const Pack<lanes> (&sums)[most], int taps, float (&joints)[lanes][kThreads],
                                 int across, int down, bool inside, const Put& put) {
#pragma unroll
  for (int t = 0; t < most; ++t) {
    if (t >= taps) break;
#pragma unroll
    for (int i = 0; i < lanes; ++i) joints[i][threadIdx.x] = sums[t].v[i];
    __syncthreads();
    if (threadIdx.x < across && inside) {
      Pack<lanes> sum = sums[t];
      for (int r = 1; r < down; ++r)
#pragma unroll
        for (int i = 0; i < lanes; ++i) sum.v[i] += joints[i][r * across + threadIdx.x];
      put(t, sum);
    }
    __syncthreads();
  }
}

}  // namespace native::cuda::depthwise
