// Convolution and its gradients as products of matrices that are not in memory: the main loops are those of
// the products, fed from other sources.
#pragma once

#include "kernels/conv/sources.cuh"
#include "kernels/gemm/pipeline.cuh"

namespace native::cuda::conv {

using gemm::place;
using gemm::Place;

static_assert(kBytesOfRow == sizeof(Begin) + sizeof(int));

// Beside the stages, for each row of a tile over windows.
template <class Loop>
__device__ inline Begin* kept_windows(char* shared) {
  return reinterpret_cast<Begin*>(shared + Loop::kTile.stages * (Loop::A::kBytes + Loop::B::kBytes));
}
template <class Loop>
__device__ inline int* kept_targets(char* shared) {
  return reinterpret_cast<int*>(kept_windows<Loop>(shared) + Loop::kTile.m);
}

// A row of results is a position, which goes where `targets` says, or a tap and channel of the weights, in their order.
struct Results {
  const Params& p;
  const int* targets;
  int first_row, first_column;  // of the block; of the group
  int64_t part;
  int rows, columns;
  bool in_packs = gemm::in_packs(p.epilogue, p.c, p.n | p.row);
  __device__ void put(int row, int column, const Pack<4>& y) const {
    const int left = columns - column;
    column += first_column;
    const int64_t to = targets ? targets[row - first_row] : row;
    finish(p.epilogue, p.c, in_packs, part + to * p.row + column, column, left, y);
  }
};

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

// Forward, or the gradient by the input of windows that all meet the same taps; B comes from `Source`.
template <class Loop, class Source>
__device__ inline void over_windows(const Params& p, const Place& w, char* shared, typename Loop::Sums& sums) {
  constexpr gemm::Tile kTile = Loop::kTile;
  Begin* kept = kept_windows<Loop>(shared);
  int* targets = kept_targets<Loop>(shared);
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
  Loop::multiply(a, Source::of_b(p, w), w, shared, sums);
}

// Terms are positions: windows turned, times the cotangent.
template <class Loop>
__device__ inline void over_positions(const Params& p, const Place& w, char* shared, typename Loop::Sums& sums) {
  const WindowSource<Loop::kBytes> a(p.windows, w.product, w.k_end, p.m);
  const gemm::Dense<Loop::kBytes> b(p.b, w.product * p.n, w.k_end, p.n);
  Loop::multiply(a, b, w, shared, sums);
}

__device__ inline Direction chosen(Direction told) { return told; }
__device__ inline Direction chosen(Direction, Direction only) { return only; }

// The direction is known when the kernel is launched, unless it has one only; main loops are all that differs.
template <template <bool, bool> class Loop, Direction... only>
__device__ inline void convolve(const Params& p) {
  extern __shared__ __align__(128) char shared[];
  using AsTheyLie = Loop<false, false>;
  constexpr int kBytes = AsTheyLie::kBytes;
  const Place w = place<AsTheyLie::kTile>(p.m, p.n, p.k, p.depth);
  const Direction direction = chosen(p.direction, only...);
  const int* targets = direction == Direction::WeightGrad ? nullptr : kept_targets<AsTheyLie>(shared);
  const Results results{p, targets, w.row, w.product * p.n, blockIdx.y * p.elements, p.m, p.n};
  typename AsTheyLie::Sums sums;
  if (direction == Direction::Forward)
    over_windows<AsTheyLie, Weights<kBytes>>(p, w, shared, sums);
  else if (direction == Direction::InputGrad)
    over_windows<Loop<false, true>, WeightsBack<kBytes>>(p, w, shared, sums);
  else
    over_positions<Loop<true, false>>(p, w, shared, sums);
  sums.write(w, shared, results);
}

}  // namespace native::cuda::conv
