// What all products do: find the block's place, keep tiles of the operands coming, hand over the results.
#pragma once

#include "kernels/gemm/epilogue.cuh"
#include "kernels/gemm/operand.cuh"
#include "kernels/gemm/tiles.h"

namespace native::cuda::gemm {

// What a block computes.
struct Place {
  int product;         // of a batch
  int row, column;     // of its first result
  int k_begin, k_end;  // its terms
};

// The `block`-th tile of products [m, n]; groups of `group` rows of tiles are walked column by column.
template <Tile tile, int group = kGroup>
__device__ inline Place place(int block, int m, int n) {
  const int tiles_m = (m + tile.m - 1) / tile.m, tiles_n = (n + tile.n - 1) / tile.n;
  int t = block % (tiles_m * tiles_n);
  const int first = t / (group * tiles_n) * group, rows = min(group, tiles_m - first);
  t -= first * tiles_n;
  Place w;
  w.product = block / (tiles_m * tiles_n);
  w.row = (first + t % rows) * tile.m;
  w.column = t / rows * tile.n;
  return w;
}
// This block's, of k terms that are split into blocks of `depth`.
template <Tile tile>
__device__ inline Place place(int m, int n, int k, int depth) {
  Place w = place<tile>(static_cast<int>(blockIdx.x), m, n);
  w.k_begin = blockIdx.y * depth;
  w.k_end = min(w.k_begin + depth, k);
  return w;
}

// Copies of tiles for which nothing is kept from one to the next.
template <class Operand, class Source>
struct Anew {
  static constexpr int kTile = Operand::kBytes;
  const Source& source;
  int outer, k;
  __device__ void next(char* tile) {
    Operand::fetch(tile, source, outer, k);
    k += Operand::kDepth;
  }
};

// For each tile of the operands in turn, and each of its steps: compute(buffer), where load(buffer, a, b, step)
// has put what it needs into registers one step before. Buffers are 0 and 1 by turns. Copies to shared memory
// run tile.stages - 1 tiles ahead.
template <Tile tile, int steps, class A, class B, class Load, class Compute>
__device__ inline void pipeline(A a, B b, const Place& w, char* shared, const Load& load, const Compute& compute) {
  static_assert(steps % 2 == 0);
  constexpr int kStage = A::kTile + B::kTile, kEnd = tile.stages * kStage;
  int k = w.k_begin, to = 0;
  auto fetch = [&] {
    if (k < w.k_end) {
      a.next(shared + to);
      b.next(shared + to + A::kTile);
    }
    copy_async_commit();  // of nothing too, so that the groups can be counted
    k += tile.depth;
    to = to + kStage == kEnd ? 0 : to + kStage;
  };
#pragma unroll 1
  for (int stage = 0; stage < tile.stages - 1; ++stage) fetch();
  copy_async_wait<tile.stages - 2>();
  __syncthreads();
  if (w.k_begin < w.k_end) load(0, shared, shared + A::kTile, 0);  // a part may have no terms
  int at = 0;
#pragma unroll 1
  for (int tiles = (w.k_end - w.k_begin + tile.depth - 1) / tile.depth; tiles > 0; --tiles) {
    // After the last tile some of it is loaded once more, for nobody.
    const int next = tiles == 1 ? at : at + kStage == kEnd ? 0 : at + kStage;
#pragma unroll
    for (int step = 0; step < steps; ++step) {
      if (step == steps - 1) {
        copy_async_wait<tile.stages - 2>();
        __syncthreads();  // the next stage has come, and everybody has loaded all of this one
        at = next;
      }
      load((step + 1) % 2, shared + at, shared + at + A::kTile, (step + 1) % steps);
      if (step == 0) fetch();  // into the stage before this one
      compute(step % 2);
    }
  }
  copy_async_wait<0>();
  __syncthreads();
}

// In one instruction, which a copy of a vector is not always taken for.
__device__ inline void store_2(float* to, const float* v) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(shared_address(to)), "f"(v[0]), "f"(v[1]) : "memory");
}
__device__ inline void store_4(float* to, const float* v) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(to)), "f"(v[0]), "f"(v[1]), "f"(v[2]),
               "f"(v[3])
               : "memory");
}

// Results go through shared memory, some rows of the tile at a time, so that they are written in whole
// sectors however they lay in registers. Rows are longer by eight words: results of four rows meet no bank twice.
template <Tile tile, int rows>
struct Slab {
  static constexpr int kRow = tile.n + 8;
  static constexpr int kBytes = rows * kRow * 4;

  // Row r of the slab is row row_of(r) of the tile. The sink knows how many rows and columns there are, and
  // where each result goes.
  template <class Sink, class RowOf>
  __device__ static void write(const Sink& sink, const Place& w, const float* slab, const RowOf& row_of) {
#pragma unroll 1
    for (int i = threadIdx.x; i < rows * tile.n / 4; i += tile.threads) {
      const int r = i / (tile.n / 4), c = i % (tile.n / 4) * 4, row = w.row + row_of(r), column = w.column + c;
      const float4 y = *reinterpret_cast<const float4*>(slab + r * kRow + c);
      if (row < sink.rows && column < sink.columns) sink.put(row, column, {y.x, y.y, y.z, y.w});
    }
  }
};

}  // namespace native::cuda::gemm
