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

// Of products [m, n] of k terms, which are split into blocks of `depth`.
template <Tile tile>
__device__ inline Place place(int m, int n, int k, int depth) {
  const int tiles_m = (m + tile.m - 1) / tile.m, tiles_n = (n + tile.n - 1) / tile.n;
  int t = blockIdx.x % (tiles_m * tiles_n);
  // Groups of rows of tiles, each walked column by column.
  const int group = t / (kGroup * tiles_n), first = group * kGroup, rows = min(kGroup, tiles_m - first);
  t -= first * tiles_n;
  Place w;
  w.product = blockIdx.x / (tiles_m * tiles_n);
  w.row = (first + t % rows) * tile.m;
  w.column = t / rows * tile.n;
  w.k_begin = blockIdx.y * depth;
  w.k_end = min(w.k_begin + depth, k);
  return w;
}

// Calls compute(a, b) with each tile of the operands in turn. Copies run tile.stages - 1 tiles ahead.
template <Tile tile, class A, class B, class SourceA, class SourceB, class Compute>
__device__ inline void pipeline(const SourceA& a, const SourceB& b, const Place& w, char* shared,
                                const Compute& compute) {
  constexpr int kStage = A::kBytes + B::kBytes;
  const int steps = (w.k_end - w.k_begin + tile.depth - 1) / tile.depth;
  auto fetch = [&](int step) {
    if (step < steps) {
      char* stage = shared + step % tile.stages * kStage;
      A::fetch(stage, a, w.row, w.k_begin + step * tile.depth);
      B::fetch(stage + A::kBytes, b, w.column, w.k_begin + step * tile.depth);
    }
    copy_async_commit();  // of nothing too, so that the groups can be counted
  };
#pragma unroll 1
  for (int step = 0; step < tile.stages - 1; ++step) fetch(step);
  for (int step = 0; step < steps; ++step) {
    copy_async_wait<tile.stages - 2>();
    __syncthreads();  // this stage has come, and everybody is done with the one before
    fetch(step + tile.stages - 1);
    const char* stage = shared + step % tile.stages * kStage;
    compute(stage, stage + A::kBytes);
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
    for (int i = threadIdx.x; i < rows * tile.n; i += tile.threads) {
      const int r = i / tile.n, row = w.row + row_of(r), column = w.column + i % tile.n;
      if (row < sink.rows && column < sink.columns) sink.put(row, column, slab[r * kRow + i % tile.n]);
    }
  }
};

}  // namespace native::cuda::gemm
