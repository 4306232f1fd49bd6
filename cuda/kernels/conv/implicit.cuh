// Convolution and its gradients as products of matrices that are not in memory: the main loops are those of
// the products, fed from other sources.
#pragma once

#include "kernels/conv/sources.cuh"
#include "kernels/gemm/pipeline.cuh"

namespace native::cuda::conv {

using gemm::place;
using gemm::Place;

static_assert(kBytesOfRow == sizeof(Begin) + sizeof(int));

template <class Loop>
__device__ inline char* beside_stages(char* shared) {
  return shared + Loop::kTile.stages * (Loop::A::kBytes + Loop::B::kBytes);
}

// Results of one position a row.
struct PixelResults {
  const Params& p;
  const int* targets;
  int first_row, first_column;  // of the block; of the group
  int64_t part;
  int rows, columns;
  bool in_packs = gemm::in_packs(p.epilogue, p.c, p.n | p.row);
  __device__ void put(int row, int column, const Pack<4>& y) const {
    const int left = columns - column;
    column += first_column;
    const int64_t pixel = targets[row - first_row];
    finish(p.epilogue, p.c, in_packs, part + pixel * p.row + column, column, left, y);
  }
};

// Results of one tap and channel a row.
struct WeightResults {
  const Params& p;
  int first_column;
  int64_t part;
  int rows, columns;
  bool in_packs = gemm::in_packs(p.epilogue, p.c, p.n | p.row);
  __device__ void put(int row, int column, const Pack<4>& y) const {
    const int left = columns - column;
    column += first_column;
    finish(p.epilogue, p.c, in_packs, part + static_cast<int64_t>(row) * p.row + column, column, left, y);
  }
};

// Forward, or the gradient by the input of windows that all meet the same taps; B comes from `Source`.
template <class Loop, class Source>
__device__ inline void over_windows(const Params& p) {
  extern __shared__ __align__(128) char shared[];
  constexpr gemm::Tile kTile = Loop::kTile;
  const Place w = place<kTile>(p.m, p.n, p.k, p.depth);
  Begin* kept = reinterpret_cast<Begin*>(beside_stages<Loop>(shared));
  int* targets = reinterpret_cast<int*>(kept + kTile.m);
  for (int i = threadIdx.x; i < kTile.m; i += kTile.threads) {
    kept[i] = begin(p.windows, w.row + i);
    const Position at = position(p.windows, w.row + i);
    int target = at.n;
#pragma unroll
    for (int d = 0; d < 3; ++d) target = target * p.target.size[d] + at.at[d] * p.target.stride[d] + p.target.start[d];
    targets[i] = target;
  }
  __syncthreads();
  const WindowSource<Loop::kBytes> windows(p.windows, w.product, p.m, w.k_end);
  const KeptWindows<Loop::kBytes> a(windows, kept, w.row);
  Loop::run(a, Source::of_b(p, w), w, shared,
            PixelResults{p, targets, w.row, w.product * p.n, blockIdx.y * p.elements, p.m, p.n});
}

template <int bytes>
struct Weights {
  __device__ static gemm::Dense<bytes> of_b(const Params& p, const Place& w) {
    return {p.b, w.product * p.n, w.k_end, p.n};
  }
};
template <int bytes>
struct WeightsBack {
  __device__ static FilterSource<bytes> of_b(const Params& p, const Place& w) { return {p, w.product, p.n, w.k_end}; }
};

template <class Loop>
__device__ inline void forward(const Params& p) {
  over_windows<Loop, Weights<Loop::kBytes>>(p);
}
template <class Loop>
__device__ inline void input_grad(const Params& p) {
  over_windows<Loop, WeightsBack<Loop::kBytes>>(p);
}
// Terms are positions: windows turned, times the cotangent.
template <class Loop>
__device__ inline void weight_grad(const Params& p) {
  extern __shared__ __align__(128) char shared[];
  const Place w = place<Loop::kTile>(p.m, p.n, p.k, p.depth);
  const WindowSource<Loop::kBytes> a(p.windows, w.product, w.k_end, p.m);
  const gemm::Dense<Loop::kBytes> b(p.b, w.product * p.n, w.k_end, p.n);
  Loop::run(a, b, w, shared, WeightResults{p, w.product * p.n, blockIdx.y * p.elements, p.m, p.n});
}

}  // namespace native::cuda::conv
