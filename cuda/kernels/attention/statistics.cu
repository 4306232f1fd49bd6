// What the gradient needs of each query once: a warp for each.
#include "kernels/attention/scores.cuh"
#include "kernels/attention/tiles.h"
#include "kernels/elements.cuh"
#include "kernels/pack.cuh"

namespace native::cuda::attention {
namespace {

__device__ inline bool has_key(const Params& p, int batch, int head, int query) {
  const Strides& s = p.mask_strides;
  const uint8_t* mask = p.mask + batch * s.batch + head * s.head + query * s.query;
  const int keys = p.causal ? min(p.keys, query + 1) : p.keys;
  bool found = false;
  for (int key = threadIdx.x % 32; key < keys; key += 32) found = found || mask[key * s.key];
  return __any_sync(0xFFFFFFFFu, found);
}

// The log-sum-exp in base 2 of a query's scores whose biases are shifted.
__device__ inline float sum_shifted(const Params& p, const Head& head, int query, float shift) {
  const int64_t q = (int64_t{head.batch} * p.queries + query) * p.q.row + head.index * p.size;
  const int64_t first_k = int64_t{head.batch} * p.keys * p.k.row + head.index / (p.heads / p.key_heads) * p.size;
  float peak = -INFINITY, total = 0;
  each_bias(p, head, query, p.type, [&](int key, float bias) {
    float product = 0;
#pragma unroll 1
    for (int i = 0; i < p.size; ++i)
      product = fmaf(load_element(p.q.data, q + i, p.type), load_element(p.k.data, first_k + key * p.k.row + i, p.type),
                     product);
    const float score = product * p.scale_2 + kLog2e * (bias - shift), top = fmaxf(peak, score);
    if (score == -INFINITY) return;  // as are biases near the least float in base 2; of two the difference is NaN
    total = total * power_of_2(peak - top) + power_of_2(score - top);
    peak = top;
  });
  for (int by = 16; by; by /= 2) {
    const float other = __shfl_xor_sync(0xFFFFFFFFu, peak, by), top = fmaxf(fmaxf(peak, other), kMasked);
    total = total * power_of_2(peak - top);
    total += __shfl_xor_sync(0xFFFFFFFFu, total, by);
    peak = top;
  }
  return peak + log2f(total);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(32 * kStatisticsRows)
    attention_statistics(const __grid_constant__ Params p) {
  const int64_t row = blockIdx.x * int64_t{kStatisticsRows} + threadIdx.x / 32;  // [batch, head, query]
  const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.queries;
  if (row >= rows) return;
  const int query = static_cast<int>(row % p.queries), head = static_cast<int>(row / p.queries % p.heads);
  const int batch = static_cast<int>(row / p.queries / p.heads);
  const int64_t base = ((static_cast<int64_t>(batch) * p.queries + query) * p.heads + head) * p.value_size;
  float sum = 0;
  for (int i = threadIdx.x % 32; i < p.value_size; i += 32)
    sum = fmaf(load_element(p.ct.data, base + i, p.type), load_element(p.given_out, base + i, p.type), sum);
  for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, by);
  const bool alive = !p.mask || has_key(p, batch, head, query);
  float lse = p.given_lse[row] * kLog2e, shift = 0;
  if (p.bias && !(fabsf(lse) < kLarge)) {
    const Head of(p, batch, head);
    shift = shift_of(p, of, query, p.type);
    if (shift != 0) lse = sum_shifted(p, of, query, shift);
  }
  if (threadIdx.x % 32) return;
  p.statistics[row] = lse;
  p.statistics[rows + row] = p.ct_lse ? sum - p.ct_lse[row] : sum;
  p.statistics[2 * rows + row] = shift != 0 ? kShifted : alive;
  p.statistics[3 * rows + row] = shift;
}

// The first two alone, of rows of whole packs, without a mask. What lies between a head's last query and the next head
// is 0.
extern "C" __global__ void __launch_bounds__(kPackLanes* kPackRows)
    attention_statistics_packs(const __grid_constant__ Params p) {
  const int64_t rows = int64_t{p.batch} * p.heads * p.statistics_pitch;  // of both statistics beyond 32 bits
  const int lane = threadIdx.x % kPackLanes;
  const int row = blockIdx.x * kPackRows + threadIdx.x / kPackLanes;
  const int head = row / p.statistics_pitch, query = row % p.statistics_pitch;
  const bool inside = row < rows && query < p.queries;
  float sum = 0;
  if (inside) {
    const int packs = p.value_size / 4;
    const int64_t base = ((int64_t{head / p.heads} * p.queries + query) * p.heads + head % p.heads) * packs;
#pragma unroll 2
    for (int i = lane; i < packs; i += kPackLanes) {
      const Pack<4> ct = load_four(p.ct.data, base + i, p.type), out = load_four(p.given_out, base + i, p.type);
#pragma unroll
      for (int k = 0; k < 4; ++k) sum = fmaf(ct.v[k], out.v[k], sum);
    }
  }
  for (int by = kPackLanes / 2; by; by /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, by);
  if (lane || row >= rows) return;
  const int64_t given = int64_t{head} * p.queries + query;
  p.statistics[row] = inside ? p.given_lse[given] * kLog2e : 0;
  p.statistics[rows + row] = !inside ? 0 : p.ct_lse ? sum - p.ct_lse[given] : sum;
}

}  // namespace native::cuda::attention
