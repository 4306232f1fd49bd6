// Products of bfloat16 and float16 by warp groups (sm_90a), sums in float32. One thread of a block fetches tiles of the
// operands by bulk copies, stage by stage; two warp groups multiply them, 64 rows each. A block walks over many tiles
// of the results: while those of one are written, operands of the next come.
#pragma once

#include "kernels/gemm/product.cuh"
#include "kernels/warpgroup.cuh"

namespace native::cuda::gemm {

__device__ inline void store_word(uint32_t to, uint32_t word) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(word) : "memory");
}

// An operand's part of a stage, `outer` rows or columns of the results. by_terms: k are contiguous in memory, and a
// row of the tile is one outer index; else rows are k, 64 outer indices long, and 64 columns of rows follow each other.
template <int outer>
struct Stage {
  static constexpr int kBytes = outer * kSwizzledRow * 2, kColumn = kSwizzledRow * kSwizzledRow * 2;

  __device__ static void load(bool by_terms, uint32_t to, const TensorMap& map, Barrier barrier, int first, int k,
                              int matrix) {
    if (by_terms) {
      load_tensor(to, map, barrier, k, first, matrix);
    } else {
#pragma unroll
      for (int i = 0; i < outer / kSwizzledRow; ++i)
        load_tensor(to + i * kColumn, map, barrier, first + i * kSwizzledRow, k, matrix);
    }
  }
  // From outer index `first` (a multiple of 64) on, 16 terms.
  template <bool by_terms>
  __device__ static uint64_t descriptor(uint32_t at, int first, int step) {
    const uint32_t begin = at + first * kSwizzledRow * 2;
    return by_terms ? rows_of_terms(begin + step * 32) : rows_of_outer(begin + step * 2048, kColumn);
  }
};

// How operands lie is known when the kernel is launched: but for the loop over terms all of it is the same code.
template <Tile tile, DataType type>
struct WarpgroupLoop {
  using A = Stage<tile.m>;
  using B = Stage<tile.n>;
  static constexpr int kStage = A::kBytes + B::kBytes, kSteps = tile.depth / 16;
  static constexpr int kWarps = tile.threads / 32 - 4;       // that multiply
  static constexpr int kPart = 64, kParts = tile.n / kPart;  // columns that go through a slab at once
  static_assert(tile.m == kWarps * 16 && tile.depth == kSwizzledRow);
  using Sums = float[tile.n / 2];
  using Bias = uint32_t[kParts];  // for each part two neighbours, of 16 bits

  const WarpgroupParams& p;
  char* const shared;
  const uint32_t stages;

  __device__ WarpgroupLoop(const WarpgroupParams& p, char* shared)
      : p(p), shared(shared), stages(shared_address(shared)) {}

  __device__ char* slab(int warp) const { return shared + tile.stages * kStage + warp * kWarpgroupSlab; }
  // A stage's operands are there; and have been read.
  __device__ Barrier full(int stage) const {
    return {stages + tile.stages * kStage + kWarps * kWarpgroupSlab + stage * Barrier::kBytes};
  }
  __device__ Barrier empty(int stage) const { return full(tile.stages + stage); }

  __device__ void run() const {
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < tile.stages; ++stage) {
        full(stage).init(1);
        empty(stage).init(kWarps);
      }
      open_barriers();
    }
    __syncthreads();
    // A launch gives each thread 168 registers; together these are as many.
    if (threadIdx.x < kWarpgroup) {
      release_registers<24>();
      if (threadIdx.x == 0) fetch();
    } else {
      take_registers<240>();
      compute();
    }
  }

 private:
  template <class Work>
  __device__ void each_tile(const Work& work) const {
    for (int t = blockIdx.x; t < p.tiles; t += gridDim.x)
      work(place<tile, kWarpgroupRows>(t, p.product.m, p.product.n));
  }

  __device__ void fetch() const {
    Turn<tile.stages> turn;
    each_tile([&](const Place& w) {
      const Begin matrix = begin_of(p.product.batch, w.product);
      for (int k = 0; k < p.product.k; k += tile.depth) {
        const uint32_t to = stages + turn.stage * kStage;
        const Barrier barrier = full(turn.stage);
        empty(turn.stage).wait(turn.parity ^ 1);
        barrier.arrive_and_expect(kStage);
        A::load(!p.product.turned_a, to, p.a, barrier, w.row, k, static_cast<int>(matrix.a));
        B::load(p.product.turned_b, to + A::kBytes, p.b, barrier, w.column, k, static_cast<int>(matrix.b));
        turn.next();
      }
    });
  }

  __device__ void compute() const {
    const int warp = threadIdx.x / 32 - 4, lane = threadIdx.x % 32, row = warp / 4 * 64;
    Turn<tile.stages> turn;
    Sums sums;
    each_tile([&](const Place& w) {
      Bias bias;
      load_bias(bias, w.column + lane * 2);
      if (p.product.turned_a)
        p.product.turned_b ? multiply<true, true>(sums, turn, row, lane) : multiply<true, false>(sums, turn, row, lane);
      else
        p.product.turned_b ? multiply<false, true>(sums, turn, row, lane)
                           : multiply<false, false>(sums, turn, row, lane);
      finish(w, warp, lane, sums, bias);
    });
    if (lane == 0) wait_for_stores_to_read<0>();
  }

  template <bool a_turned, bool b_turned>
  __device__ void multiply(Sums& sums, Turn<tile.stages>& turn, int row, int lane) const {
    int before = 0;  // the stage that is multiplied
    for (int k = 0; k < p.product.k; k += tile.depth) {
      const uint32_t at = stages + turn.stage * kStage;
      full(turn.stage).wait(turn.parity);
      warpgroup_fence();
#pragma unroll
      for (int step = 0; step < kSteps; ++step)
        multiply_async<type, tile.n, a_turned, !b_turned>(sums, A::template descriptor<!a_turned>(at, row, step),
                                                          B::template descriptor<b_turned>(at + A::kBytes, 0, step),
                                                          k + step > 0);
      warpgroup_commit();
      if (k > 0) {
        warpgroup_wait<1>();
        if (lane == 0) empty(before).arrive();
      }
      before = turn.stage;
      turn.next();
    }
    warpgroup_wait<0>(sums);
    if (lane == 0) empty(before).arrive();
  }

  // Before the products, behind which it comes unnoticed.
  __device__ void load_bias(Bias& bias, int column) const {
    const auto* from = static_cast<const uint16_t*>(p.product.epilogue.bias);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const int at = column + part * kPart, there = from ? p.product.n - at : 0;
      bias[part] = there > 1    ? *reinterpret_cast<const uint32_t*>(from + at)
                   : there == 1 ? static_cast<uint32_t>(from[at])
                                : 0;
    }
  }

  // 16 rows of a warp, 64 columns at a time.
  __device__ void finish(const Place& w, int warp, int lane, const Sums& sums, const Bias& bias) const {
    const Activation activation = p.product.epilogue.activation;
    const int row = w.row + warp * 16;
    if (p.copied && activation <= Activation::Relu6) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        Results y = results(sums, bias, part, lane);
        bound(y, activation);
        copy(y, part, warp, lane, row, w.column + part * kPart, w.product);
      }
      return;
    }
    // By code that stands here once, of which activations are most: for each part they were half of the unit's.
#pragma unroll 1
    for (int part = 0; part < kParts; ++part) {
      const int column = w.column + part * kPart;
      Results y;
#pragma unroll
      for (int i = 0; i < kParts; ++i)
        if (i == part) y = results(sums, bias, i, lane);
      activate<8, true>(y, activation);
      if (p.copied)
        copy(y, part, warp, lane, row, column, w.product);
      else
        write(y, warp, lane, row, column, static_cast<int64_t>(w.product) * p.product.m * p.product.n);
    }
  }

  // Those of a thread: see multiply_async().
  using Results = Pack<kPart / 2>;
  __device__ Results results(const Sums& sums, const Bias& bias, int part, int lane) const {
    Results y;
#pragma unroll
    for (int i = 0; i < kPart / 2; ++i) y.v[i] = sums[part * kPart / 2 + i];
    if (p.product.epilogue.bias) add_bias(y, bias[part], lane % 4);
    return y;
  }
  // `two`: bias of lane t is that of columns 2 t and the next.
  __device__ static void add_bias(Results& y, uint32_t two, int of_four) {
#pragma unroll
    for (int j = 0; j < kPart / 8; ++j) {
      const float2 bias = unpack<type>(__shfl_sync(0xFFFFFFFF, two, j * 4 + of_four));
      y.v[j * 4] += bias.x;
      y.v[j * 4 + 1] += bias.y;
      y.v[j * 4 + 2] += bias.x;
      y.v[j * 4 + 3] += bias.y;
    }
  }

  // By a bulk copy, from one half of the slab while the other is filled, where a tile has more than one part.
  static constexpr int kHalves = kParts > 1 ? 2 : 1;
  __device__ void copy(const Results& y, int part, int warp, int lane, int row, int column, int product) const {
    const uint32_t from = shared_address(slab(warp)) + part % kHalves * (kWarpgroupSlab / 2);
    if (lane == 0) wait_for_stores_to_read<kHalves - 1>();
    __syncwarp();
    // Rows of 128 bytes, chunks swizzled as the copy takes them.
#pragma unroll
    for (int i = 0; i < kPart / 4; ++i)
      store_word(from + (i % 2 * 8 + lane / 4) * 128 + (i / 2 ^ lane / 4) * 16 + lane % 4 * 4,
                 pack<type>(y.v[i * 2], y.v[i * 2 + 1]));
    fence_shared_for_copies();
    __syncwarp();
    if (lane == 0) {
      store_tensor(p.c, from, column, row, product);
      commit_stores();
    }
  }

  // Of any type, at any address: four neighbours at a time.
  __device__ void write(const Results& y, int warp, int lane, int row, int column, int64_t first) const {
    const Params& q = p.product;
    char* const begin = slab(warp);
    // A chunk of a row of float32; four rows, two chunks of each, meet no bank twice.
    const auto chunk = [&](int r, int c) { return reinterpret_cast<float*>(begin + r * 256 + (c ^ r % 4 * 2) * 16); };
#pragma unroll
    for (int i = 0; i < kPart / 4; ++i)
      store_2(chunk(i % 2 * 8 + lane / 4, i / 2 * 2 + lane % 4 / 2) + lane % 2 * 2, &y.v[i * 2]);
    __syncwarp();
    const bool packs = in_packs(q.epilogue, q.c, q.n);
    const int there = q.n - column - lane % 16 * 4;
#pragma unroll 4
    for (int r = lane / 16; r < 16; r += 2) {
      const float4 x = *reinterpret_cast<const float4*>(chunk(r, lane % 16));
      const int64_t at = first + static_cast<int64_t>(row + r) * q.n + column + lane % 16 * 4;
      if (row + r < q.m && there > 0) put(q.c, q.epilogue.out_type, packs, at, there, {x.x, x.y, x.z, x.w});
    }
    __syncwarp();
  }
};

}  // namespace native::cuda::gemm
