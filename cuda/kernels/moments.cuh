// Mean and sum of squared differences from it, of some values: in double, for there may be many to be joined one
// after the other, and few threads that do so.
#pragma once

namespace native::cuda {

struct Moments {
  double count, mean, squares;
};
// Of both together, by Chan's formula.
__device__ inline Moments join(const Moments& a, const Moments& b) {
  const double count = a.count + b.count;
  if (b.count == 0 || count == 0) return a;
  const double d = b.mean - a.mean, share = b.count / count;
  return {count, fma(d, share, a.mean), a.squares + b.squares + d * d * a.count * share};
}

// Of all lanes of a warp together; all get the same bits.
__device__ inline Moments join_lanes(Moments all) {
#pragma unroll 1  // divisions of doubles are calls, around which ptxas would spill what five of them keep
  for (int by = 1; by < 32; by *= 2) {
    const Moments other{__shfl_xor_sync(0xFFFFFFFFu, all.count, by), __shfl_xor_sync(0xFFFFFFFFu, all.mean, by),
                        __shfl_xor_sync(0xFFFFFFFFu, all.squares, by)};
    all = threadIdx.x & by ? join(other, all) : join(all, other);
  }
  return all;
}

}  // namespace native::cuda
