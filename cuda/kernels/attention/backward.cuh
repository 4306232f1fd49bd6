// Attention backward. Probabilities are computed once more from the log-sum-exp: with
//     dp = ct v^T, ds = p (dp - delta),
// a block that owns keys walks along the queries for dk = scale ds^T q and dv = p^T ct, and one that owns
// queries along the keys for dq = scale ds k: no two blocks add to one place, so that results never differ.
#pragma once

#include "kernels/attention/scores.cuh"

namespace native::cuda::attention {

// The statistics of a thread's queries, which are its rows or its columns. They lie in three parts; shifts, which few
// queries have, in a fourth.
template <class Math, bool turned>
struct Statistics {
  static constexpr int kCount = turned ? Math::Scores::kColumns : Math::kRows;
  static constexpr int kQueries = turned ? Math::tile.columns : Math::tile.rows;
  static constexpr int kBytes = 3 * kQueries * 4;
  float lse_2[kCount], delta[kCount], alive[kCount];

  // Of `queries` queries; those beyond get what makes nothing of their scores.
  __device__ void load(const float* from, int queries, int64_t part) {
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      const int query = turned ? Math::column(n) : Math::row(n);
      lse_2[n] = query < queries ? from[query] : 0;
      delta[n] = query < queries ? from[part + query] : 0;
      alive[n] = query < queries ? from[2 * part + query] : 0;
    }
  }
  __device__ static int of(int i, int j) { return turned ? j : i; }

  // Begins to copy a tile's, from the `first` query of a head on whose queries begin at `rows`.
  __device__ static void fetch(char* tile, const Params& p, int64_t rows, int first, int64_t part) {
    for (int n = threadIdx.x; n < 3 * kQueries; n += Math::tile.threads) {
      const int query = first + n % kQueries;
      copy_async_4(shared_address(tile + n * 4), p.statistics + n / kQueries * part + rows + query,
                   query < p.queries ? 4 : 0);
    }
  }
};

// Owns keys if `turned`, else queries: those give dq or, if that is wanted, ds alone.
template <class Math, bool turned>
__device__ inline void backward(const Params& p) {
  using Own = typename Math::Own;
  using Other = typename Math::Other;
  constexpr int kRows = Math::tile.rows, kColumns = Math::tile.columns, kStages = Math::tile.stages;
  using Stats = Statistics<Math, turned>;
  constexpr int kStage = 2 * Other::kBytes + (turned ? Stats::kBytes : 0);
  extern __shared__ __align__(128) char shared[];
  // Keys and values are a pair, and so are queries and cotangents: one pair is owned, the other walked along.
  char *const own = shared, *const own_2 = own + Own::kBytes, *const stages = own_2 + Own::kBytes;
  char* const exchange = stages + kStages * kStage;

  const int length = turned ? p.keys : p.queries, heads = turned ? p.key_heads : p.heads;
  const int tiles = (length + kRows - 1) / kRows;
  const int tile = turned ? blockIdx.x % tiles : tiles - 1 - blockIdx.x % tiles;  // the longest walks first
  const int first = tile * kRows, batch = blockIdx.x / tiles / heads, head = blockIdx.x / tiles % heads;
  const int group = p.heads / p.key_heads;
  const int64_t part = static_cast<int64_t>(p.batch) * p.heads * p.queries;
  // Tiles along the way; for keys, those of each head of the group.
  const bool causal = stops(p) && !p.ds;
  const int begin = turned && causal ? min(first, p.queries) / kColumns : 0;
  const int end = (turned ? p.queries : causal ? min(p.keys, first + kRows) : p.keys) + kColumns - 1;
  const int way = max(end / kColumns - begin, 0), steps = turned ? way * group : way;

  auto fetch_step = [&](int step) {
    if (step < steps) {
      char* stage = stages + step % kStages * kStage;
      const int column0 = (begin + step % way) * kColumns;
      if constexpr (turned) {
        const int query_head = head * group + step / way;
        fetch<Math, Other>(stage, p.q, batch, p.queries, query_head, p.size, column0);
        fetch<Math, Other>(stage + Other::kBytes, p.ct, batch, p.queries, query_head, p.value_size, column0);
        Stats::fetch(stage + 2 * Other::kBytes, p, Head(p, batch, query_head).rows, column0, part);
      } else {
        fetch<Math, Other>(stage, p.k, batch, p.keys, head / group, p.size, column0);
        fetch<Math, Other>(stage + Other::kBytes, p.v, batch, p.keys, head / group, p.value_size, column0);
      }
    }
    copy_async_commit();
  };

  Stats stats;
  if constexpr (turned) {
    fetch<Math, Own>(own, p.k, batch, p.keys, head, p.size, first);
    fetch<Math, Own>(own_2, p.v, batch, p.keys, head, p.value_size, first);
  } else {
    fetch<Math, Own>(own, p.q, batch, p.queries, head, p.size, first);
    fetch<Math, Own>(own_2, p.ct, batch, p.queries, head, p.value_size, first);
    stats.load(p.statistics + Head(p, batch, head).rows + first, p.queries - first, part);
  }
#pragma unroll 1
  for (int step = 0; step < kStages - 1; ++step) fetch_step(step);

  typename Math::Sums sums, sums_2;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    fetch_step(step + kStages - 1);
    copy_async_wait<kStages - 1>();
    __syncthreads();  // this stage has come
    const char* stage = stages + step % kStages * kStage;
    const Place<Math, turned> at{first, (begin + step % way) * kColumns};
    const Head query_head(p, batch, turned ? head * group + step / way : head);
    if constexpr (turned) stats.load(reinterpret_cast<const float*>(stage + 2 * Other::kBytes), kColumns, kColumns);

    typename Math::Scores s, dp;
    Math::multiply_rows(s, own, stage, p.size);
    Math::multiply_rows(dp, own_2, stage + Other::kBytes, p.value_size);
    // The scores of a query without keys are all 0.
    finish_scores<Math, turned>(
        s, p, query_head, at,
        [&](int i, int j) {
          return stats.alive[stats.of(i, j)] == kShifted ? p.statistics[3 * part + query_head.rows + at.query(i, j)]
                                                         : 0;
        },
        [&](int i, int j) { return stats.alive[stats.of(i, j)] ? -INFINITY : 0.0f; });
    const uint64_t kept = p.key ? kept_bits<Math, turned>(p, query_head, at) : 0;
    at.each([&](int i, int j) {
      const int n = stats.of(i, j);
      float weight = power_of_2(s.at(i, j) - stats.lse_2[n]), slope = dp.at(i, j);
      if (p.key) slope = dropped<Math>(p, kept, i, j, slope);
      slope = weight * (slope - stats.delta[n]);
      if (p.key) weight = dropped<Math>(p, kept, i, j, weight);
      s.at(i, j) = weight;
      dp.at(i, j) = p.mask && !stats.alive[n] ? 0 : slope;
    });
    if (!turned && p.ds) {
      at.each_by_rows([&](int i, int j) {
        if (at.inside(p, i, j))
          store_element(p.ds, (query_head.rows + at.query(i, j)) * p.keys + at.key(i, j), Math::kType, dp.at(i, j));
      });
    } else {
      if constexpr (turned) Math::add(sums_2, s, stage + Other::kBytes, exchange);
      Math::add(sums, dp, stage, exchange);
    }
    __syncthreads();  // everybody is done with this stage
  }
  copy_async_wait<0>();
  if (!turned && p.ds) return;
  __syncthreads();  // also where there was no step: then what was owned has only now come

  float scale[Math::kRows], one[Math::kRows];
#pragma unroll
  for (int i = 0; i < Math::kRows; ++i) scale[i] = p.scale, one[i] = 1;
  write_rows<Math>(own, sums, scale, turned ? p.dk : p.dq, batch, length, heads, head, p.size, first);
  if constexpr (turned) write_rows<Math>(own_2, sums_2, one, p.dv, batch, length, heads, head, p.value_size, first);
}

}  // namespace native::cuda::attention
