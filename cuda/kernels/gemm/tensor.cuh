// Products on tensor cores: float16, bfloat16, or float32 rounded to tf32; sums in float32.
#pragma once

#include "kernels/gemm/pipeline.cuh"

namespace native::cuda::gemm {

// Fragments of the operands, two chunks of k deep, as mma.m16n8k16 (k8 for tf32) wants them: by ldmatrix, as
// the tile lies or transposed; word by word for float32 whose k are not contiguous, which ldmatrix cannot turn.
template <class Tile, bool k_contiguous, bool words>
struct Fragments {
  // The n-th 16 rows: A of one mma. `first`: where the lane's part of the first ones is.
  __device__ static void of_a(uint32_t (&r)[4], const char* tile, int first, int n, int step) {
    if constexpr (words) {
#pragma unroll
      for (int i = 0; i < 4; ++i) r[i] = word(tile, first, step * 8 + i / 2 * 4, n * 16 + i % 2 * 8);
    } else {
      matrices(r, tile, first, n, step);
    }
  }
  // The n-th 16 columns: B of two mma, r[0], r[1] and r[2], r[3].
  __device__ static void of_b(uint32_t (&r)[4], const char* tile, int first, int n, int step) {
    if constexpr (words) {
#pragma unroll
      for (int i = 0; i < 4; ++i) r[i] = word(tile, first, step * 8 + i % 2 * 4, n * 16 + i / 2 * 8);
    } else {
      matrices(r, tile, first, n, step);
    }
  }

  // Byte offset of the lane's part of those that begin at a row or column.
  __device__ static int first_of_a(int row) {
    const int lane = threadIdx.x % 32;
    if constexpr (words)
      return first_word(row);
    else if constexpr (k_contiguous)
      return Tile::offset(row + lane % 16, lane / 16);
    else
      return Tile::offset(lane % 8 + lane / 16 * 8, row / 8 + lane / 8 % 2);
  }
  __device__ static int first_of_b(int column) {
    const int lane = threadIdx.x % 32;
    if constexpr (words)
      return first_word(column);
    else if constexpr (k_contiguous)
      return Tile::offset(column + lane % 8 + lane / 16 * 8, lane / 8 % 2);
    else
      return Tile::offset(lane % 16, column / 8 + lane / 16);
  }

 private:
  static constexpr int kRow = Tile::kRowChunks * 16;  // bytes

  // Rows that are a multiple of eight apart are swizzled alike, and in a row what is added to a chunk's number has bits
  // that are 0 in the first's: an exclusive or, which swizzling is too.
  __device__ static void matrices(uint32_t (&r)[4], const char* tile, int first, int n, int step) {
    if constexpr (k_contiguous)
      load_matrices(r, shared_address(tile + (first ^ step * 32) + n * 16 * kRow));
    else
      load_matrices_transposed(r, shared_address(tile + (first ^ n * 32) + step * 16 * kRow));
  }
  __device__ static int first_word(int outer) {
    const int lane = threadIdx.x % 32;
    return Tile::offset(lane % 4, (outer + lane / 4) / 4) + lane / 4 % 4 * 4;
  }
  __device__ static uint32_t word(const char* tile, int first, int k, int outer) {
    return *reinterpret_cast<const uint32_t*>(tile + (first ^ outer * 4) + k * kRow);
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
    const int first_a = opaque(FragmentsA::first_of_a(Sums::row()));
    const int first_b = opaque(FragmentsB::first_of_b(Sums::column()));
    uint32_t a[2][kMmaM][4], b[2][kMmaN / 2][4];
    const auto load = [&](int buffer, const char* at, const char* bt, int step) {
#pragma unroll
      for (int i = 0; i < kMmaM; ++i) FragmentsA::of_a(a[buffer][i], at, first_a, i, step);
#pragma unroll
      for (int j = 0; j < kMmaN / 2; ++j) FragmentsB::of_b(b[buffer][j], bt, first_b, j, step);
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
    pipeline<tile, kSteps>(typename A::template Copies<SourceA>(source_a, w.row, w.k_begin),
                           typename B::template Copies<SourceB>(source_b, w.column, w.k_begin), w, shared, load,
                           compute);
  }
};

}  // namespace native::cuda::gemm

// The kernels that there are of each type: KERNEL(tile, type, rows of a warp, its columns, name).
#define NATIVE_CUDA_TENSOR_KERNELS(KERNEL)                 \
  KERNEL(kTensorLarge, DataType::BF16, 64, 64, bf16_large) \
  KERNEL(kTensorSmall, DataType::BF16, 32, 32, bf16_small) \
  KERNEL(kTensorLarge, DataType::F16, 64, 64, f16_large)   \
  KERNEL(kTensorSmall, DataType::F16, 32, 32, f16_small)   \
  KERNEL(kWideLarge, DataType::TF32, 64, 32, tf32_large)   \
  KERNEL(kWideSmall, DataType::TF32, 32, 32, tf32_small)
