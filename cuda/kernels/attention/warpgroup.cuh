// Attention forward by products of warp groups (capability 9.0), where scores are given neither bias, mask nor dropout.
// One thread copies tiles of keys and values into a ring of stages, in the order in which they are multiplied, and is
// ahead by as many as there are. The other groups have 64 queries each; softmax of one tile goes on while the values
// of the tile before are multiplied.
#pragma once

#include "kernels/attention/forward.cuh"
#include "kernels/attention/tiles.h"
#include "kernels/warpgroup.cuh"

namespace native::cuda::attention {

// [rows][width] elements in shared memory: parts of 64 columns one after the other, in swizzled rows of 128 bytes.
template <int rows, int width>
struct Parts {
  static constexpr int kCount = width / kSwizzledRow, kPart = rows * 2 * kSwizzledRow, kBytes = kCount * kPart;

  // Begins to copy rows from `first` on of a head; what is beyond the tensor is zero.
  __device__ static void fetch(uint32_t to, const TensorMap& map, Barrier arrived, int batch, int head, int first) {
    arrived.arrive_and_expect(kBytes);
#pragma unroll
    for (int part = 0; part < kCount; ++part)
      load_tensor(to + part * kPart, map, arrived, part * kSwizzledRow, head, first, batch);
  }
};

// TensorMath's counterpart: the rows are those of one group.
template <DataType type, Tile tile_, int width_>
struct WarpgroupMath {
  static constexpr Tile tile = tile_;
  static constexpr int width = width_;
  static constexpr int kGroupRows = 64, kGroups = tile.rows / kGroupRows;
  static constexpr int kRows = 2, kSharing = 4;
  using Own = Parts<tile.rows, width>;
  using Other = Parts<tile.columns, width>;
  using Weights = uint32_t[tile.columns / 16][4];

  template <int columns>
  struct Part {
    static constexpr int kColumns = columns / 4;  // of a thread
    float v[columns / 2] = {};
    __device__ float& at(int i, int j) { return v[j / 2 * 4 + i * 2 + j % 2]; }
  };
  using Scores = Part<tile.columns>;
  using Sums = Part<width>;

  __device__ static int warp_row() { return threadIdx.x % kWarpgroup / 32 * 16; }
  __device__ static int row(int i) { return warp_row() + i * 8 + threadIdx.x % 32 / 4; }
  __device__ static int column(int j) { return j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2; }

  // Begins s = own other^T.
  __device__ static void multiply_rows(Scores& s, uint32_t own, uint32_t other) {
    const uint64_t a = rows_of_terms(own), b = rows_of_terms(other);
    warpgroup_fence(s.v);
#pragma unroll
    for (int step = 0; step < width / 16; ++step) {
      const int part = step / 4, within = step % 4 * 32;
      multiply_async<type, tile.columns, false, false>(s.v, a + (part * Own::kPart + within) / 16,
                                                       b + (part * Other::kPart + within) / 16, step > 0);
    }
    warpgroup_commit();
  }

  // Begins sums += weights other.
  __device__ static void add(Sums& sums, const Weights& weights, uint32_t other) {
    const uint64_t b = rows_of_outer(other, Other::kPart);
    warpgroup_fence(sums.v);
#pragma unroll
    for (int step = 0; step < tile.columns / 16; ++step)
      multiply_async<type, width, true>(sums.v, weights[step], b + step * 2048 / 16, true);
    warpgroup_commit();
  }

  // Results of one product as the operand of the next.
  __device__ static void convert(Weights& weights, const Scores& s) {
#pragma unroll
    for (int step = 0; step < tile.columns / 16; ++step)
#pragma unroll
      for (int r = 0; r < 4; ++r) weights[step][r] = pack<type>(s.v[step * 8 + r * 2], s.v[step * 8 + r * 2 + 1]);
  }

  // Sums times a factor for each row of the thread's, as elements, into its group's rows of an own tile.
  __device__ static void put(uint32_t own, Sums& sums, const float (&factor)[kRows]) {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < Sums::kColumns; j += 2) {
        const int chunk = j / 2 % 8 ^ row(i) % 8;
        const uint32_t to = own + j / 16 * Own::kPart + row(i) * 128 + chunk * 16 + threadIdx.x % 4 * 4;
        const uint32_t word = pack<type>(sums.at(i, j) * factor[i], sums.at(i, j + 1) * factor[i]);
        asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(word) : "memory");
      }
  }

  // The same, and begins to copy them to the rows from `first` on of a head, each warp its own; by what leads it.
  __device__ static void write(const TensorMap& map, uint32_t own, Sums& sums, const float (&factor)[kRows], int batch,
                               int head, int first) {
    put(own, sums, factor);
    fence_shared_for_copies();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
#pragma unroll
      for (int part = 0; part < Own::kCount; ++part)
        store_tensor(map, own + part * Own::kPart + warp_row() * 128, part * kSwizzledRow, head, first + warp_row(),
                     batch);
      commit_stores();
    }
  }
};

// Where a block stands, by its number: of `heads` heads (of all batches) with `tiles` tiles each, those of some heads
// together, of these the first tiles first.
struct Where {
  int tile, head;

  __device__ Where(int number, int tiles, int heads, int heads_at_once) {
    const int begin = number / (heads_at_once * tiles) * heads_at_once;
    const int together = min(heads_at_once, heads - begin), rest = number - begin * tiles;
    tile = rest / together;
    head = begin + rest % together;
  }
};

// What a block has in shared memory.
template <class Math>
struct Shared {
  uint32_t own;  // queries

  __device__ uint32_t out() const { return own + Math::Own::kBytes; }
  __device__ uint32_t stage(int i) const { return own + 2 * Math::Own::kBytes + i * Math::Other::kBytes; }
  // Of a stage: that it has come, that it may be overwritten.
  __device__ Barrier full(int i) const { return {stage(Math::tile.stages) + i * 2 * Barrier::kBytes}; }
  __device__ Barrier empty(int i) const { return {full(i).address + Barrier::kBytes}; }
  // Of the queries.
  __device__ Barrier own_full() const { return full(Math::tile.stages); }
  __device__ Barrier own_empty() const { return empty(Math::tile.stages); }

  // By one thread. A warp of those that read says for itself that it is done.
  __device__ void init() const {
    for (int i = 0; i <= Math::tile.stages; ++i) {
      full(i).init(1);
      empty(i).init(Math::kGroups * 4);
    }
    open_barriers();
  }
};

// A block of queries, by its number, and how many tiles of keys it sees.
template <class Math>
struct Queries {
  int first, tiles, key_head;
  Head head;

  __device__ Queries(const WarpgroupParams& w, int number)
      : Queries(w.problem, Where(number, all(w.problem), w.problem.batch * w.problem.heads, w.heads_at_once)) {}

 private:
  __device__ static int all(const Params& p) { return (p.queries + Math::tile.rows - 1) / Math::tile.rows; }
  // Late queries first: under a causal mask they have the most work.
  __device__ Queries(const Params& p, Where at)
      : first((all(p) - 1 - at.tile) * Math::tile.rows), head(p, at.head / p.heads, at.head % p.heads) {
    const int keys = p.causal ? min(p.keys, first + Math::tile.rows) : p.keys;
    tiles = (keys + Math::tile.columns - 1) / Math::tile.columns;
    key_head = head.index / (p.heads / p.key_heads);
  }
};

// Begins all copies, by one thread: the last keys first, and values after the keys of the tile that is next.
template <class Math>
__device__ inline void produce(const WarpgroupParams& w, const Shared<Math>& shared) {
  Turn<Math::tile.stages> turn;
  uint32_t parity = 1;  // of what is new, the phase before the first has ended
  prefetch(w.q);
  prefetch(w.k);
  prefetch(w.v);
#pragma unroll 1
  for (int number = blockIdx.x; number < w.blocks; number += gridDim.x, parity ^= 1) {
    const Queries<Math> queries(w, number);
    const auto fetch = [&](const TensorMap& map, int tile) {
      shared.empty(turn.stage).wait(turn.parity ^ 1);
      Math::Other::fetch(shared.stage(turn.stage), map, shared.full(turn.stage), queries.head.batch, queries.key_head,
                         tile * Math::tile.columns);
      turn.next();
    };
    shared.own_empty().wait(parity);
    Math::Own::fetch(shared.own, w.q, shared.own_full(), queries.head.batch, queries.head.index, queries.first);
    fetch(w.k, queries.tiles - 1);
#pragma unroll 1
    for (int tile = queries.tiles - 1; tile > 0; --tile) {
      fetch(w.k, tile - 1);
      fetch(w.v, tile);
    }
    fetch(w.v, 0);
  }
}

// A group's rows of all blocks of queries.
template <class Math>
__device__ inline void consume(const WarpgroupParams& w, const Shared<Math>& shared, int group) {
  const Params& p = w.problem;
  const int from = group * Math::kGroupRows;  // its rows in a tile
  const uint32_t own = shared.own + from * 128, out = shared.out() + from * 128;
  const bool leads = threadIdx.x % 32 == 0;  // its warp
  Turn<Math::tile.stages> turn;
  uint32_t parity = 0;
  const auto arrived = [&] {
    const int stage = turn.stage;
    shared.full(stage).wait(turn.parity);
    turn.next();
    return stage;
  };

#pragma unroll 1
  for (int number = blockIdx.x; number < w.blocks; number += gridDim.x, parity ^= 1) {
    const Queries<Math> queries(w, number);
    const int first = queries.first + from;
    typename Math::Scores s;
    typename Math::Sums sums;
    typename Math::Weights weights;
    Softmax<Math> softmax;
    float correction[Math::kRows];
    const auto weigh = [&](int tile) {
      limit_scores<Math>(s, p, Place<Math, false>{first, tile * Math::tile.columns});
      softmax.weigh(s, correction, p.scale_2);
    };

    shared.own_full().wait(parity);
    const int keys = arrived();
    Math::multiply_rows(s, own, shared.stage(keys));
    warpgroup_wait<0>(s.v);
    if (leads) shared.empty(keys).arrive();
    weigh(queries.tiles - 1);
    Math::convert(weights, s);
    int next = arrived();
#pragma unroll 1
    for (int tile = queries.tiles - 1; tile > 0; --tile) {
      const int keys = next;
      Math::multiply_rows(s, own, shared.stage(keys));
      const int values = arrived();
      Math::add(sums, weights, shared.stage(values));
      warpgroup_wait<1>(s.v);
      if (leads) shared.empty(keys).arrive();
      weigh(tile - 1);
      // Here, since the compiler would wait for the sums before the softmax: it keeps to the order of two waits.
      next = arrived();
      warpgroup_wait<0>(sums.v);
      if (leads) shared.empty(values).arrive();
      softmax.rescale(sums, correction);
      Math::convert(weights, s);
    }
    if (leads) shared.own_empty().arrive();
    Math::add(sums, weights, shared.stage(next));
    float factor[Math::kRows];
    softmax.finish(p, queries.head, first, factor);
    warpgroup_wait<0>(sums.v);
    if (leads) {
      shared.empty(next).arrive();
      wait_for_stores_to_read<0>();  // of the block before
    }
    __syncwarp();
    Math::write(w.out, out, sums, factor, queries.head.batch, queries.head.index, first);
  }
  if (leads) wait_for_stores_to_read<0>();
}

template <class Math>
__device__ inline void warpgroup_forward(const WarpgroupParams& w) {
  // Registers of a thread: 65536 are for two groups and the one that copies, or for three.
  constexpr int kFew = Math::kGroups == 2 ? 24 : 32, kMany = Math::kGroups == 2 ? 240 : 160;
  extern __shared__ __align__(1024) char memory[];
  const Shared<Math> shared{shared_address(memory)};
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  const int group = __shfl_sync(0xFFFFFFFFu, threadIdx.x / kWarpgroup, 0);
  if (group == Math::kGroups) {
    release_registers<kFew>();
    if (threadIdx.x % kWarpgroup == 0) produce<Math>(w, shared);
  } else {
    take_registers<kMany>();
    consume<Math>(w, shared, group);
  }
}

}  // namespace native::cuda::attention
