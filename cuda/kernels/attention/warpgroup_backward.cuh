// Attention backward by products of warp groups (capability 9.0), where scores are given neither bias, mask nor
// dropout. Blocks own and walk as those of backward.cuh do. One thread copies what is walked along into a ring of
// stages. The other groups have 64 rows each; their scores and slopes are operands of the next products as they lie in
// registers.
#pragma once

#include "kernels/attention/warpgroup.cuh"

namespace native::cuda::attention {

// What a block has in shared memory: a pair of tiles that it owns, in whose place results go, and stages of a pair of
// those it walks along, with the statistics of their queries.
template <class Math>
struct PairShared {
  static constexpr int kStages = Math::tile.stages, kStatistics = 2 * Math::tile.columns * 4;
  uint32_t own;

  __device__ uint32_t own_2() const { return own + Math::Own::kBytes; }
  __device__ uint32_t stage(int i) const { return own + 2 * Math::Own::kBytes + i * 2 * Math::Other::kBytes; }
  __device__ uint32_t stage_2(int i) const { return stage(i) + Math::Other::kBytes; }
  __device__ uint32_t statistics(int i) const { return stage(kStages) + i * kStatistics; }
  // Of a stage: that it has come, that it may be overwritten. Of the own tiles: that they have come.
  __device__ Barrier full(int i) const { return {statistics(kStages) + i * 2 * Barrier::kBytes}; }
  __device__ Barrier empty(int i) const { return {full(i).address + Barrier::kBytes}; }
  __device__ Barrier own_full() const { return full(kStages); }

  // By one thread: `copies` fill a stage, two what is owned. A warp that reads says for itself that it is done.
  __device__ void init(int copies) const {
    for (int i = 0; i < kStages; ++i) {
      full(i).init(copies);
      empty(i).init(Math::kGroups * 4);
    }
    own_full().init(2);
    open_barriers();
  }
};

// What a block owns, keys if `turned`, else queries, and the tiles of the other pair along its way: from `begin` on, of
// each of `heads` heads from `other_head` on.
template <class Math, bool turned>
struct Walk {
  int first, batch, head, begin, way, other_head, heads;

  // The longest walks first: of early keys and of late queries.
  __device__ explicit Walk(const WarpgroupGradParams& w) {
    constexpr int kRows = Math::tile.rows, kColumns = Math::tile.columns;
    const Params& p = w.problem;
    const int all_heads = turned ? p.key_heads : p.heads, group = p.heads / p.key_heads;
    const int tiles = ((turned ? p.keys : p.queries) + kRows - 1) / kRows;
    const Where at(blockIdx.x, tiles, p.batch * all_heads, w.heads_at_once);
    first = (turned ? at.tile : tiles - 1 - at.tile) * kRows;
    batch = at.head / all_heads;
    head = at.head % all_heads;
    begin = turned && p.causal ? min(first, p.queries) / kColumns : 0;
    const int end = turned ? p.queries : p.causal ? min(p.keys, first + kRows) : p.keys;
    way = max((end + kColumns - 1) / kColumns - begin, 1);  // what nobody sees gives zeros
    other_head = turned ? head * group : head / group;
    heads = turned ? group : 1;
  }
};

// Begins all copies, by one thread.
template <class Math, bool turned>
__device__ inline void produce(const WarpgroupGradParams& w, const PairShared<Math>& shared,
                               const Walk<Math, turned>& walk) {
  Turn<Math::tile.stages> turn;
  prefetch(w.other);
  prefetch(w.other_2);
  Math::Own::fetch(shared.own, w.own, shared.own_full(), walk.batch, walk.head, walk.first);
  Math::Own::fetch(shared.own_2(), w.own_2, shared.own_full(), walk.batch, walk.head, walk.first);
#pragma unroll 1
  for (int head = walk.other_head; head < walk.other_head + walk.heads; ++head)
#pragma unroll 1
    for (int tile = walk.begin; tile < walk.begin + walk.way; ++tile) {
      const int stage = turn.stage, column = tile * Math::tile.columns;
      const Barrier full = shared.full(stage);
      shared.empty(stage).wait(turn.parity ^ 1);
      Math::Other::fetch(shared.stage(stage), w.other, full, walk.batch, head, column);
      Math::Other::fetch(shared.stage_2(stage), w.other_2, full, walk.batch, head, column);
      if constexpr (turned) {
        full.arrive_and_expect(shared.kStatistics);
        load_tensor(shared.statistics(stage), w.statistics, full, column, walk.batch * w.problem.heads + head, 0);
      }
      turn.next();
    }
}

// Of a thread's scores: lse in base 2, or delta, of their queries. If these are its columns, from shared memory.
template <class Math, bool turned>
struct OfQueries {
  float of_rows[Math::kRows];

  // Of its rows, from `first` on in a head.
  __device__ void load(const float* from, int first, int queries) {
#pragma unroll
    for (int i = 0; i < Math::kRows; ++i) {
      const int query = first + Math::row(i);
      of_rows[i] = query < queries ? from[query] : 0;
    }
  }
  // f(score, its query's) for all of them.
  template <class F>
  __device__ void each(typename Math::Scores& s, uint32_t columns, const F& f) const {
#pragma unroll
    for (int j = 0; j < Math::Scores::kColumns; j += 2) {
      float pair[2];
      if constexpr (turned)
        asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                     : "=f"(pair[0]), "=f"(pair[1])
                     : "r"(columns + Math::column(j) * 4));
#pragma unroll
      for (int i = 0; i < Math::kRows; ++i)
#pragma unroll
        for (int u = 0; u < 2; ++u) f(i, j + u, turned ? pair[u] : of_rows[i]);
    }
  }
};

// Products as limit_scores has them, of rows that are keys. Keys beyond the end need nothing: they are not written.
template <class Math>
__device__ inline void limit_scores(typename Math::Scores& s, const Params& p, const Place<Math, true>& at) {
  const bool crosses = p.causal && at.first_key() + Math::kGroupRows > at.first_query() + 1;
  if (!crosses && at.first_query() + Math::tile.columns <= p.queries) return;
  at.each([&](int i, int j) {
    const int query = at.query(i, j);
    if (query >= p.queries || (p.causal && at.key(i, j) > query)) s.at(i, j) = -INFINITY;
  });
}

// A group's rows.
template <class Math, bool turned>
__device__ inline void consume(const WarpgroupGradParams& w, const PairShared<Math>& shared,
                               const Walk<Math, turned>& walk, int group) {
  const Params& p = w.problem;
  const int from = group * Math::kGroupRows, first = walk.first + from;
  const uint32_t own = shared.own + from * 128, own_2 = shared.own_2() + from * 128;
  const bool leads = threadIdx.x % 32 == 0;  // its warp
  // The second product is begun before the first is waited for, unless ptxas has no registers for it then, and would
  // let no product be under way beside anything else.
  constexpr int kRegisters = (turned ? 2 : 1) * (Math::width / 2 + Math::tile.columns / 4) + Math::tile.columns;
  constexpr bool kAhead = kRegisters <= 200;
  typename Math::Scores s, dp;
  typename Math::Sums sums, sums_2;
  typename Math::Weights weights, slopes;
  OfQueries<Math, turned> lse_2, delta;
  if constexpr (!turned) {
    const int64_t heads = int64_t{p.batch} * p.heads, head = int64_t{walk.batch} * p.heads + walk.head;
    lse_2.load(p.statistics + head * p.statistics_pitch, first, p.queries);
    delta.load(p.statistics + (heads + head) * p.statistics_pitch, first, p.queries);
  }
  Turn<Math::tile.stages> turn;
  int tile = walk.begin, before = -1, left = walk.way * walk.heads;  // before: the stage of the step before
  const auto arrived = [&] { shared.full(turn.stage).wait(turn.parity); };
  // Under a causal mask early queries see fewer keys than the block does, and late keys fewer of the first queries.
  constexpr int kColumns = Math::tile.columns, kFewer = (Math::tile.rows - Math::kGroupRows + kColumns - 1) / kColumns;
  static_assert(Math::tile.stages > kFewer);  // or what a group does not see would keep the others from copies
  if (p.causal && turned) {
    for (int last = min(first / kColumns, walk.begin + walk.way - 1); tile < last; ++tile, --left, turn.next()) {
      arrived();  // or the parity would be that of a phase later on
      if (leads) shared.empty(turn.stage).arrive();
    }
  } else if (p.causal) {
    left = (min(p.keys, first + Math::kGroupRows) + kColumns - 1) / kColumns;
  }
  shared.own_full().wait(0);
  arrived();
  // Sums are under way from one step into the next. A loop that may have no step at all would end that: where two ways
  // meet, ptxas waits for all products, each by itself.
  do {
    const int stage = turn.stage;
    Math::multiply_rows(s, own, shared.stage(stage));
    if constexpr (kAhead) {
      Math::multiply_rows(dp, own_2, shared.stage_2(stage));
      warpgroup_wait<1>(s.v);
    } else {
      warpgroup_wait<0>(s.v);
      Math::multiply_rows(dp, own_2, shared.stage_2(stage));
    }
    if (leads && before >= 0) shared.empty(before).arrive();
    limit_scores<Math>(s, p, Place<Math, turned>{first, tile * Math::tile.columns});
    const uint32_t statistics = shared.statistics(stage);
    lse_2.each(s, statistics,
               [&](int i, int j, float lse) { s.at(i, j) = power_of_2(fmaf(s.at(i, j), p.scale_2, -lse)); });
    // The next stage is waited for here, since the compiler would wait for the slopes before the powers: it keeps to
    // the order of two waits.
    turn.next();
    if (left > 1) arrived();
    if constexpr (turned) {
      Math::convert(weights, s);
      Math::add(sums_2, weights, shared.stage_2(stage));
    }
    warpgroup_wait<turned ? 1 : 0>(dp.v);
    delta.each(dp, statistics + Math::tile.columns * 4,
               [&](int i, int j, float of_query) { dp.at(i, j) = s.at(i, j) * (dp.at(i, j) - of_query); });
    Math::convert(slopes, dp);
    Math::add(sums, slopes, shared.stage(stage));
    before = stage;
    if (++tile == walk.begin + walk.way) tile = walk.begin;
  } while (--left);
  warpgroup_wait<0>(sums.v);
  if constexpr (turned) settle(sums_2.v);
  named_barrier(1 + group, kWarpgroup);  // products of no warp read what is owned any more
  const float scale[] = {p.scale, p.scale}, one[] = {1, 1};
  Math::write(w.out, own, sums, scale, walk.batch, walk.head, first);
  if constexpr (turned) Math::write(w.out_2, own_2, sums_2, one, walk.batch, walk.head, first);
  if (leads) wait_for_stores_to_read<0>();
}

template <class Math, bool turned>
__device__ inline void warpgroup_backward(const WarpgroupGradParams& w) {
  // Registers of a thread: as in warpgroup_forward.
  constexpr int kFew = Math::kGroups == 2 ? 24 : 32, kMany = Math::kGroups == 2 ? 240 : 160;
  extern __shared__ __align__(1024) char memory[];
  const PairShared<Math> shared{shared_address(memory)};
  if (threadIdx.x == 0) shared.init(turned ? 3 : 2);
  __syncthreads();
  const Walk<Math, turned> walk(w);
  const int group = __shfl_sync(0xFFFFFFFFu, threadIdx.x / kWarpgroup, 0);
  if (group == Math::kGroups) {
    release_registers<kFew>();
    if (threadIdx.x % kWarpgroup == 0) produce<Math, turned>(w, shared, walk);
  } else {
    take_registers<kMany>();
    consume<Math, turned>(w, shared, walk, group);
  }
}

}  // namespace native::cuda::attention
