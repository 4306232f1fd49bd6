// A tile of attention on tensor cores: float16 or bfloat16, sums in float32.
#pragma once

#include "kernels/attention/params.h"
#include "kernels/attention/tiles.h"
#include "kernels/gemm/tensor.cuh"

namespace native::cuda::attention {

// What attention needs of a way to multiply. Tiles are [rows or columns][width] in shared memory; scores are
// [rows][columns] and sums [rows][width] in registers, a thread's share being at(i, j) of row(i) and column(j).
template <DataType type, Tile tile_, int width_>
struct TensorMath {
  static constexpr Tile tile = tile_;
  static constexpr int width = width_;
  static constexpr DataType kType = type;
  static constexpr int kBytes = 2, kExchange = 0;
  static constexpr int kWarpRows = tile.rows / (tile.threads / 32), kMma = kWarpRows / 16;
  static constexpr int kRows = 2 * kMma;  // of a thread
  static constexpr int kSharing = 4;      // neighbouring lanes with the same rows
  static constexpr int kAhead = 4;        // columns j and j + kAhead are 16 apart
  using Own = gemm::OperandTile<tile.rows, width, 2, true, gemm::Swizzle::Rows, tile.threads>;
  using Other = gemm::OperandTile<tile.columns, width, 2, true, gemm::Swizzle::Rows, tile.threads>;

  template <int columns>
  struct Part {
    static constexpr int kColumns = columns / 4;  // of a thread
    float v[kMma][columns / 8][4] = {};
    __device__ float& at(int i, int j) { return v[i / 2][j / 2][i % 2 * 2 + j % 2]; }
  };
  using Scores = Part<tile.columns>;
  using Sums = Part<width>;

  __device__ static int first_row() { return threadIdx.x / 32 * kWarpRows; }
  __device__ static int row(int i) { return first_row() + i / 2 * 16 + i % 2 * 8 + threadIdx.x % 32 / 4; }
  __device__ static int column(int j) { return j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2; }

  // own other^T.
  __device__ static void multiply_rows(Scores& s, const char* own, const char* other, int) {
    using A = gemm::Fragments<Own, true, false>;
    using B = gemm::Fragments<Other, true, false>;
    const int first_a = A::first_of_a(first_row()), first_b = B::first_of_b(0);
#pragma unroll
    for (int step = 0; step < width / 16; ++step) {
      uint32_t a[kMma][4];
#pragma unroll
      for (int i = 0; i < kMma; ++i) A::of_a(a[i], own, first_a, i, step);
#pragma unroll
      for (int j = 0; j < tile.columns / 16; ++j) {
        uint32_t b[4];
        B::of_b(b, other, first_b, j, step);
#pragma unroll
        for (int i = 0; i < kMma; ++i) {
          multiply<type>(s.v[i][2 * j], a[i], b[0], b[1]);
          multiply<type>(s.v[i][2 * j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }

  // sums += weights other: the results of one mma lie as the next one's operand.
  __device__ static void add(Sums& sums, Scores& weights, const char* other, char*) {
    using B = gemm::Fragments<Other, false, false>;
    const int first_b = B::first_of_b(0);
#pragma unroll
    for (int step = 0; step < tile.columns / 16; ++step) {
      uint32_t a[kMma][4];
#pragma unroll
      for (int i = 0; i < kMma; ++i)
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const float* pair = &weights.v[i][2 * step + r / 2][r % 2 * 2];
          a[i][r] = pack<type>(pair[0], pair[1]);
        }
#pragma unroll
      for (int j = 0; j < width / 16; ++j) {
        uint32_t b[4];
        B::of_b(b, other, first_b, j, step);
#pragma unroll
        for (int i = 0; i < kMma; ++i) {
          multiply<type>(sums.v[i][2 * j], a[i], b[0], b[1]);
          multiply<type>(sums.v[i][2 * j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }

  // Sums times a factor for each row of the thread's, as elements, into its warp's rows of an own tile.
  __device__ static void put(char* own, Sums& sums, const float (&factor)[kRows]) {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < Sums::kColumns; j += 2)
        *reinterpret_cast<uint32_t*>(own + Own::offset(row(i), j / 2) + threadIdx.x % 4 * 4) =
            pack<type>(sums.at(i, j) * factor[i], sums.at(i, j + 1) * factor[i]);
  }
};

}  // namespace native::cuda::attention
