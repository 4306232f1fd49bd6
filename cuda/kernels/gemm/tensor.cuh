// Products on tensor cores: float16, bfloat16, or float32 rounded to tf32; sums in float32.
#pragma once

#include "kernels/gemm/pipeline.cuh"

namespace native::cuda::gemm {

// Fragments of the operands, two chunks of k deep, as mma.m16n8k16 (k8 for tf32) wants them: by ldmatrix, as
// the tile lies or transposed; word by word for float32 whose k are not contiguous, which ldmatrix cannot turn.
template <class Tile, bool k_contiguous, bool words>
struct Fragments {
  // 16 rows from `row`: A of one mma.
  __device__ static void of_a(uint32_t (&r)[4], const char* tile, int row, int step) {
    const int lane = threadIdx.x % 32;
    if constexpr (words) {
#pragma unroll
      for (int i = 0; i < 4; ++i) r[i] = word(tile, step * 8 + i / 2 * 4 + lane % 4, row + i % 2 * 8 + lane / 4);
    } else if constexpr (k_contiguous) {
      load_matrices(r, shared_address(tile + Tile::offset(row + lane % 16, step * 2 + lane / 16)));
    } else {
      const int k = step * 16 + lane % 8 + lane / 16 * 8;
      load_matrices_transposed(r, shared_address(tile + Tile::offset(k, row / 8 + lane / 8 % 2)));
    }
  }
  // 16 columns from `column`: B of two mma, r[0], r[1] and r[2], r[3].
  __device__ static void of_b(uint32_t (&r)[4], const char* tile, int column, int step) {
    const int lane = threadIdx.x % 32;
    if constexpr (words) {
#pragma unroll
      for (int i = 0; i < 4; ++i) r[i] = word(tile, step * 8 + i % 2 * 4 + lane % 4, column + i / 2 * 8 + lane / 4);
    } else if constexpr (k_contiguous) {
      const int c = column + lane % 8 + lane / 16 * 8;
      load_matrices(r, shared_address(tile + Tile::offset(c, step * 2 + lane / 8 % 2)));
    } else {
      load_matrices_transposed(r, shared_address(tile + Tile::offset(step * 16 + lane % 16, column / 8 + lane / 16)));
    }
  }

 private:
  __device__ static uint32_t word(const char* tile, int k, int outer) {
    return *reinterpret_cast<const uint32_t*>(tile + Tile::offset(k, outer / 4) + outer % 4 * 4);
  }
};

// Sums of a tile's results in the registers of its warps, as mma leaves them.
template <Tile tile, int warp_m, int warp_n>
struct TensorSums {
  static constexpr int kWarpsAcross = tile.n / warp_n, kWarpsDown = tile.m / warp_m;
  static constexpr int kMmaM = warp_m / 16, kMmaN = warp_n / 8;
  static_assert(kWarpsAcross * kWarpsDown * 32 == tile.threads);

  float of[kMmaM][kMmaN][4] = {};

  // The first of a warp's.
  __device__ static int row() { return threadIdx.x / 32 / kWarpsAcross * warp_m; }
  __device__ static int column() { return threadIdx.x / 32 % kWarpsAcross * warp_n; }

  // 16 rows of each warp at a time, by code that stands here once: epilogues are long.
  template <class Sink>
  __device__ void write(const Place& w, char* shared, const Sink& sink) const {
    using Rows = Slab<tile, kWarpsDown * 16>;
    float* slab = reinterpret_cast<float*>(shared);
    const int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int part = 0; part < kMmaM; ++part) {
#pragma unroll
      for (int i = 0; i < kMmaM; ++i)
        if (i == part)
#pragma unroll
          for (int j = 0; j < kMmaN; ++j)
#pragma unroll
            for (int h = 0; h < 2; ++h)
              store_2(slab + (row() / warp_m * 16 + h * 8 + lane / 4) * Rows::kRow + column() + j * 8 + lane % 4 * 2,
                      &of[i][j][2 * h]);
      __syncthreads();
      Rows::write(sink, w, slab, [&](int r) { return r / 16 * warp_m + part * 16 + r % 16; });
      __syncthreads();
    }
  }
};

template <Tile tile, DataType type, int warp_m, int warp_n, bool a_turned, bool b_turned>
struct TensorLoop {
  using Sums = TensorSums<tile, warp_m, warp_n>;
  static constexpr bool kWide = type == DataType::TF32;
  static constexpr int kBytes = kWide ? 4 : 2, kSteps = tile.depth * kBytes / 32;
  static constexpr int kMmaM = Sums::kMmaM, kMmaN = Sums::kMmaN;
  static constexpr Tile kTile = tile;
  static constexpr bool turned_a = a_turned, turned_b = b_turned;
  static constexpr Swizzle kA = kWide && a_turned ? Swizzle::Columns : Swizzle::Rows;
  static constexpr Swizzle kB = kWide && !b_turned ? Swizzle::Columns : Swizzle::Rows;
  using A = OperandTile<tile.m, tile.depth, kBytes, !a_turned, kA, tile.threads>;
  using B = OperandTile<tile.n, tile.depth, kBytes, b_turned, kB, tile.threads>;
  using FragmentsA = Fragments<A, !a_turned, kWide && a_turned>;
  using FragmentsB = Fragments<B, b_turned, kWide && !b_turned>;

  template <class SourceA, class SourceB>
  __device__ static void multiply(const SourceA& source_a, const SourceB& source_b, const Place& w, char* shared,
                                  Sums& sums) {
    const int row = Sums::row(), column = Sums::column();
    uint32_t a[2][kMmaM][4], b[2][kMmaN / 2][4];
    const auto load = [&](int buffer, const char* at, const char* bt, int step) {
#pragma unroll
      for (int i = 0; i < kMmaM; ++i) FragmentsA::of_a(a[buffer][i], at, row + i * 16, step);
#pragma unroll
      for (int j = 0; j < kMmaN / 2; ++j) FragmentsB::of_b(b[buffer][j], bt, column + j * 16, step);
    };
    const auto compute = [&](int buffer) {
      if constexpr (kWide) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
#pragma unroll
          for (int i = 0; i < kMmaM; ++i) a[buffer][i][e] = to_tf32(a[buffer][i][e]);
#pragma unroll
          for (int j = 0; j < kMmaN / 2; ++j) b[buffer][j][e] = to_tf32(b[buffer][j][e]);
        }
      }
#pragma unroll
      for (int i = 0; i < kMmaM; ++i)
#pragma unroll
        for (int j = 0; j < kMmaN; ++j)
          cuda::multiply<type>(sums.of[i][j], a[buffer][i], b[buffer][j / 2][j % 2 * 2],
                               b[buffer][j / 2][j % 2 * 2 + 1]);
    };
    if (source_a.aligned && source_b.aligned)
      pipeline<tile, kSteps>(typename A::template Chunks<SourceA>(source_a, w.row, w.k_begin),
                             typename B::template Chunks<SourceB>(source_b, w.column, w.k_begin), w, shared, load,
                             compute);
    else
      pipeline<tile, kSteps>(typename A::template Pieces<SourceA>(source_a, w.row, w.k_begin),
                             typename B::template Pieces<SourceB>(source_b, w.column, w.k_begin), w, shared, load,
                             compute);
  }

  template <class SourceA, class SourceB, class Sink>
  __device__ static void run(const SourceA& source_a, const SourceB& source_b, const Place& w, char* shared,
                             const Sink& sink) {
    Sums sums;
    multiply(source_a, source_b, w, shared, sums);
    sums.write(w, shared, sink);
  }
};

}  // namespace native::cuda::gemm
