// Attention forward: a block has a tile of queries of one head and walks along the keys, with softmax as it
// goes. Keys are copied while values are multiplied, and values while scores are.
#pragma once

#include "kernels/attention/scores.cuh"

namespace native::cuda::attention {

// The softmax of a thread's rows so far: largest score, and the thread's share of the sum of powers.
template <class Math>
struct Softmax {
  float peak[Math::kRows], total[Math::kRows];

  __device__ Softmax() {
#pragma unroll
    for (int i = 0; i < Math::kRows; ++i) peak[i] = -INFINITY, total[i] = 0;
  }

  // Scores, which are still to be multiplied by `scale`, to weights; sums and total are brought to the new peak.
  __device__ void take(typename Math::Scores& s, typename Math::Sums& sums, float scale) {
    float correction[Math::kRows];
    const bool moved = weigh(s, correction, scale);
    // After the first tiles peaks seldom move: the sums are then left alone.
    if (__any_sync(0xFFFFFFFFu, moved)) rescale(sums, correction);
  }

  // The same but for the sums, which are still to be multiplied by the correction; whether a peak has moved.
  __device__ bool weigh(typename Math::Scores& s, float (&correction)[Math::kRows], float scale) {
    bool moved = false;
#pragma unroll
    for (int i = 0; i < Math::kRows; ++i) {
      float top = s.at(i, 0);
#pragma unroll
      for (int j = 1; j < Math::Scores::kColumns; ++j) top = fmaxf(top, s.at(i, j));
#pragma unroll
      for (int by = Math::kSharing / 2; by; by /= 2) top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, by));
      top = fmaxf(peak[i], top * scale);
      // Of minus infinities alone the difference would be NaN, and the weights must be 0.
      const float shift = top == -INFINITY ? 0 : top;
      correction[i] = power_of_2(peak[i] - shift);
      moved |= peak[i] != top;
      peak[i] = top;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < Math::Scores::kColumns; ++j) sum += s.at(i, j) = power_of_2(fmaf(s.at(i, j), scale, -shift));
      total[i] = total[i] * correction[i] + sum;
    }
    return moved;
  }

  __device__ static void rescale(typename Math::Sums& sums, const float (&factor)[Math::kRows]) {
#pragma unroll
    for (int i = 0; i < Math::kRows; ++i)
#pragma unroll
      for (int j = 0; j < Math::Sums::kColumns; ++j) sums.at(i, j) *= factor[i];
  }

  // After the last tile: writes lse of the queries from `first` on; by what sums are to be multiplied.
  __device__ void finish(const Params& p, const Head& head, int first, float (&factor)[Math::kRows],
                         bool shifted = false) {
#pragma unroll
    for (int i = 0; i < Math::kRows; ++i) {
#pragma unroll
      for (int by = Math::kSharing / 2; by; by /= 2) total[i] += __shfl_xor_sync(0xFFFFFFFFu, total[i], by);
      factor[i] = 1 / total[i];
      const int query = first + Math::row(i);
      if (threadIdx.x % Math::kSharing != 0 || query >= p.queries) continue;
      float& lse = p.lse[head.rows + query];
      lse = (peak[i] == kMasked ? 0 : peak[i] * kLn2) + logf(total[i]) + (shifted ? lse : 0);
    }
  }

  // Marks the queries, from `first` on, whose scores are too large for what they are to say: those whose largest is,
  // and those that see no key but masked ones. The mark stands where lse will. Returns whether the thread has one.
  __device__ bool mark_large(const Params& p, const Head& head, int first) const {
    bool found = false;
#pragma unroll
    for (int i = 0; i < Math::kRows; ++i) {
      const int query = first + Math::row(i);
      if (query >= p.queries) continue;
      const bool large = !(fabsf(peak[i]) < kLarge);
      if (threadIdx.x % Math::kSharing == 0) p.lse[head.rows + query] = large;
      found = found || large;
    }
    return found;
  }
};

// Puts shifts of the block's marked queries where their marks are, and says whether there are any.
template <class Math>
__device__ inline bool find_shifts(const Params& p, const Head& head, int first) {
  bool any = false;
#pragma unroll 1
  for (int query = first + threadIdx.x / 32; query < min(first + Math::tile.rows, p.queries);
       query += Math::tile.threads / 32) {
    float& at = p.lse[head.rows + query];
    if (at == 0) continue;
    const float shift = shift_of(p, head, query, Math::kType);
    __syncwarp();  // all have read the mark
    if (threadIdx.x % 32 == 0) at = shift;
    any = any || shift != 0;
  }
  return __syncthreads_or(any);
}

// plain: neither bias, mask nor dropout.
template <class Math, bool plain>
__device__ inline void forward(const Params& p) {
  using Own = typename Math::Own;
  using Other = typename Math::Other;
  constexpr int kQueries = Math::tile.rows, kKeys = Math::tile.columns;
  extern __shared__ __align__(128) char shared[];
  char *const q = shared, *const k = q + Own::kBytes, *const v = k + Other::kBytes, *const exchange = v + Other::kBytes;

  // Late queries first: under a causal mask they have the most work.
  const int tiles = (p.queries + kQueries - 1) / kQueries;
  const int first = (tiles - 1 - blockIdx.x % tiles) * kQueries;
  const Head head(p, blockIdx.x / tiles / p.heads, blockIdx.x / tiles % p.heads);
  const int key_head = head.index / (p.heads / p.key_heads);
  const int keys = (plain ? p.causal : stops(p)) ? min(p.keys, first + kQueries) : p.keys;

  typename Math::Sums sums;
  Softmax<Math> softmax;
  bool shifted = false;
  do {
    sums = {};
    softmax = {};
    fetch<Math, Own>(q, p.q, head.batch, p.queries, head.index, p.size, first);
    fetch<Math, Other>(k, p.k, head.batch, p.keys, key_head, p.size, 0);
    copy_async_commit();
    for (int key = 0; key < keys; key += kKeys) {
      copy_async_wait<0>();
      __syncthreads();  // keys have come, and everybody is done with the values before
      fetch<Math, Other>(v, p.v, head.batch, p.keys, key_head, p.value_size, key);
      copy_async_commit();
      typename Math::Scores s;
      Math::multiply_rows(s, q, k, p.size);
      const Place<Math, false> at{first, key};
      if constexpr (plain) {
        limit_scores<Math>(s, p, at);
        softmax.take(s, sums, p.scale_2);
      } else {
        finish_scores<Math, false>(
            s, p, head, at, [&](int i, int j) { return shifted ? p.lse[head.rows + at.query(i, j)] : 0; },
            [](int, int) { return kMasked; });
        softmax.take(s, sums, 1);
        if (p.key) {
          const uint64_t kept = kept_bits<Math, false>(p, head, at);
          at.each([&](int i, int j) { s.at(i, j) = dropped<Math>(p, kept, i, j, s.at(i, j)); });
        }
      }
      copy_async_wait<0>();
      __syncthreads();  // values have come, and everybody is done with the keys
      if (key + kKeys < keys) fetch<Math, Other>(k, p.k, head.batch, p.keys, key_head, p.size, key + kKeys);
      copy_async_commit();
      Math::add(sums, s, v, exchange);
    }

    // Seldom: all of it once more.
  } while (!plain && p.bias && !shifted && __syncthreads_or(softmax.mark_large(p, head, first)) &&
           (shifted = find_shifts<Math>(p, head, first)));

  float factor[Math::kRows];
  softmax.finish(p, head, first, factor, shifted);
  write_rows<Math>(q, sums, factor, p.out, head.batch, p.queries, p.heads, head.index, p.value_size, first);
}

}  // namespace native::cuda::attention
