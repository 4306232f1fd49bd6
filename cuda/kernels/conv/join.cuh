// The parts of convolutions whose terms were split are joined, and what no tap meets is filled in.
#pragma once

#include "kernels/conv/params.h"
#include "kernels/gemm/epilogue.cuh"

namespace native::cuda::conv {

// A pixel's row among those of its set, whose number is the other.
struct Member {
  int row, set;
};
__device__ inline Member member(const JoinParams& p, int pixel) {
  if (!p.strided) return {pixel, 0};
  int at[3], sets = 1;
  Member m{pixel, 0};
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    at[d] = m.row;
    m.row = divide(at[d], p.size[d]);
    int start = at[d];
    at[d] = divide(start, p.stride[d]);
    m.set += start * sets;
    sets *= static_cast<int>(p.stride[d].value);
  }
#pragma unroll
  for (int d = 0; d < 3; ++d) m.row = m.row * p.sets[m.set].positions[d] + at[d];
  return m;
}

template <int lanes>
__device__ inline void join(const JoinParams& p) {
  const int share = threadIdx.x % p.shares, unit = threadIdx.x / p.shares;
  const int down = kJoinThreads / (p.shares * p.across);  // pixels of a block at once
  const int column = blockIdx.x * p.across + unit % p.across;
  for (int first = blockIdx.y * down; first < p.pixels; first += gridDim.y * down) {
    const int pixel = first + unit / p.across;
    const bool inside = pixel < p.pixels && column < p.columns;
    const Member m = member(p, inside ? pixel : 0);
    const Set& set = p.sets[m.set];
    const float* parts = p.parts + set.first + (static_cast<int64_t>(m.row) * p.columns + column) * lanes;
    Pack<lanes> sum{};
#pragma unroll 4
    for (int s = share; s < (inside ? set.splits : 0); s += p.shares) {
      const Pack<lanes> part = load_pack<lanes>(parts + s * set.elements, 0, DataType::F32);
#pragma unroll
      for (int i = 0; i < lanes; ++i) sum.v[i] += part.v[i];
    }
    for (int by = 1; by < p.shares; by *= 2)
#pragma unroll
      for (int i = 0; i < lanes; ++i) sum.v[i] += __shfl_xor_sync(0xFFFFFFFFu, sum.v[i], by);
    if (inside && share == 0 && set.splits != kWritten)
      gemm::finish<lanes>(p.epilogue, p.c, static_cast<int64_t>(pixel) * p.columns + column, column, sum);
  }
}

}  // namespace native::cuda::conv
