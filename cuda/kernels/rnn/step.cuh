// The product of a step's state by the weights, one result of each gate a thread.
#pragma once

#include "kernels/activation.cuh"
#include "kernels/device.cuh"
#include "kernels/rnn/params.h"

namespace native::cuda::rnn {

// Where a thread stands: a unit of a sequence.
struct Unit {
  int b, u;
  int64_t own;   // in a state
  int64_t time;  // number of its row in operands
  bool counts;

  __device__ Unit(const Params& p, int b_, int u_) : b(b_), u(u_) {
    own = static_cast<int64_t>(b) * p.units + u;
    time = static_cast<int64_t>(b) * p.steps + p.time;
    counts = !p.mask || p.mask[time];
  }
  // In an operand of `parts` times the units.
  __device__ int64_t at(const Params& p, int parts, int part) const { return (time * parts + part) * p.units + u; }
  // In the outputs; -1 where the step has none.
  __device__ int64_t output(const Params& p) const {
    if (p.sequences) return (static_cast<int64_t>(b) * p.steps + p.step) * p.units + u;
    return p.step == p.steps - 1 ? own : -1;
  }
};

// Weights are copied in the order in which they lie: along the units, or along the depth if `turned`.
template <int gates, bool turned>
struct Stage {
  static constexpr int kRow = gates * kUnits + 1;  // odd: columns of a tile meet no bank twice
  float a[kRows][kDepth + 1], w[kDepth][kRow];

  __device__ void fetch(const Params& p, int row0, int unit0, int d0) {
    for (int i = threadIdx.x; i < kRows * kDepth; i += kThreads) {
      const int r = i / kDepth, d = i % kDepth;
      const bool inside = row0 + r < p.batch && d0 + d < p.depth;
      copy_async_4(shared_address(&a[r][d]), p.a + (row0 + r) * p.a_row + d0 + d, inside ? 4 : 0);
    }
    for (int i = threadIdx.x; i < kDepth * gates * kUnits; i += kThreads) {
      const int d = turned ? i % kDepth : i / (gates * kUnits), column = turned ? i / kDepth : i % (gates * kUnits);
      const int gate = column / kUnits, u = unit0 + column % kUnits;
      const bool inside = u < p.units && d0 + d < p.depth;
      const float* from =
          p.w + static_cast<int64_t>(d0 + d) * p.w_row + (static_cast<int64_t>(gate) * p.units + u) * p.w_column;
      copy_async_4(shared_address(&w[d][column]), from, inside ? 4 : 0);
    }
    copy_async_commit();
  }
};

// Calls finish(unit, sums) once for every unit of every sequence.
template <int gates, bool turned, class Finish>
__device__ inline void step(const Params& p, const Finish& finish) {
  __shared__ Stage<gates, turned> stages[2];
  const int across = (p.units + kUnits - 1) / kUnits;
  const int row0 = blockIdx.x / across * kRows, unit0 = blockIdx.x % across * kUnits;
  const int r = threadIdx.x / kUnits, u = threadIdx.x % kUnits;
  float sums[gates] = {};
  if (p.a) {
    stages[0].fetch(p, row0, unit0, 0);
    for (int d0 = 0; d0 < p.depth; d0 += kDepth) {
      const int now = d0 / kDepth % 2;
      if (d0 + kDepth < p.depth) {
        stages[1 - now].fetch(p, row0, unit0, d0 + kDepth);
        copy_async_wait<1>();
      } else {
        copy_async_wait<0>();
      }
      __syncthreads();  // this stage has come
      const Stage<gates, turned>& stage = stages[now];
#pragma unroll 8
      for (int d = 0; d < kDepth; ++d)
#pragma unroll
        for (int k = 0; k < gates; ++k) sums[k] = fmaf(stage.a[r][d], stage.w[d][k * kUnits + u], sums[k]);
      __syncthreads();  // everybody is done with it
    }
  }
  if (row0 + r < p.batch && unit0 + u < p.units) finish(Unit(p, row0 + r, unit0 + u), sums);
}

}  // namespace native::cuda::rnn
