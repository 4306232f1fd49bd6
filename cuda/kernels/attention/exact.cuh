// A tile of attention in float32 by ordinary multiply-adds; the same interface as TensorMath.
#pragma once

#include "kernels/attention/params.h"
#include "kernels/attention/tiles.h"
#include "kernels/gemm/operand.cuh"

namespace native::cuda::attention {

// Threads of a warp stand 2 (rows) by 16 (columns): rows of neighbours side by side, so that what they read
// lies in different banks.
template <Tile tile_, int width_>
struct ExactMath {
  static constexpr Tile tile = tile_;
  static constexpr int width = width_;
  static constexpr DataType kType = DataType::F32;
  static constexpr int kBytes = 4, kExchange = tile.rows * tile.columns * 4;
  static constexpr int kWarpRows = tile.rows / (tile.threads / 32);
  static constexpr int kRows = kWarpRows / 2, kSharing = 16, kAhead = 1;
  static constexpr int kVector = width / 16 < 4 ? width / 16 : 4;  // neighbouring columns of sums
  using Own = gemm::OperandTile<tile.rows, width, 4, true, gemm::Swizzle::Rows, tile.threads>;
  using Other = gemm::OperandTile<tile.columns, width, 4, true, gemm::Swizzle::Rows, tile.threads>;

  template <int columns>
  struct Part {
    static constexpr int kColumns = columns / 16;
    float v[kRows][kColumns] = {};
    __device__ float& at(int i, int j) { return v[i][j]; }
  };
  using Scores = Part<tile.columns>;
  using Sums = Part<width>;

  __device__ static int first_row() { return threadIdx.x / 32 * kWarpRows; }
  __device__ static int row(int i) { return first_row() + i * 2 + threadIdx.x % 32 / 16; }
  __device__ static int column(int j) { return j * 16 + threadIdx.x % 16; }

  __device__ static void multiply_rows(Scores& s, const char* own, const char* other, int size) {
#pragma unroll 1
    for (int chunk = 0; chunk < (size + 3) / 4; ++chunk) {
      float4 b[Scores::kColumns];
#pragma unroll
      for (int j = 0; j < Scores::kColumns; ++j)
        b[j] = *reinterpret_cast<const float4*>(other + Other::offset(column(j), chunk));
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float4 a = *reinterpret_cast<const float4*>(own + Own::offset(row(i), chunk));
#pragma unroll
        for (int j = 0; j < Scores::kColumns; ++j)
          s.v[i][j] = fmaf(a.w, b[j].w, fmaf(a.z, b[j].z, fmaf(a.y, b[j].y, fmaf(a.x, b[j].x, s.v[i][j]))));
      }
    }
  }

  // Rows of weights belong to one warp: they pass through `exchange` without a barrier of the block.
  __device__ static void add(Sums& sums, Scores& weights, const char* other, char* exchange) {
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < Scores::kColumns; ++j)
        *reinterpret_cast<float*>(exchange + weight(row(i), column(j))) = weights.v[i][j];
    __syncwarp();
#pragma unroll 1
    for (int c = 0; c < tile.columns; c += 4) {
      float4 a[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) a[i] = *reinterpret_cast<const float4*>(exchange + weight(row(i), c));
#pragma unroll
      for (int part = 0; part < 4; ++part)
#pragma unroll
        for (int j = 0; j < Sums::kColumns; j += kVector) {
          const auto b = *reinterpret_cast<const Vector*>(other + vector<Other>(c + part, j));
#pragma unroll
          for (int i = 0; i < kRows; ++i)
#pragma unroll
            for (int e = 0; e < kVector; ++e) sums.v[i][j + e] = fmaf((&a[i].x)[part], (&b.x)[e], sums.v[i][j + e]);
        }
    }
  }

  __device__ static void put(char* own, Sums& sums, const float (&factor)[kRows]) {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < Sums::kColumns; j += kVector) {
        Vector v;
#pragma unroll
        for (int e = 0; e < kVector; ++e) (&v.x)[e] = sums.v[i][j + e] * factor[i];
        *reinterpret_cast<Vector*>(own + vector<Own>(row(i), j)) = v;
      }
  }

 private:
  using Vector = std::conditional_t<kVector == 4, float4, float2>;
  // Byte offset of the thread's j-th column of a row, in which vectors of 16 threads lie side by side.
  template <class Tile>
  __device__ static int vector(int row, int j) {
    const int element = j * 16 + threadIdx.x % 16 * kVector;
    return Tile::offset(row, element / 4) + element % 4 * 4;
  }
  // Byte offset of a weight; two neighbouring rows of 32 or more would begin in the same bank.
  __device__ static int weight(int row, int column) {
    return (row * tile.columns + (tile.columns >= 32 ? column ^ (row & 1) * 16 : column)) * 4;
  }
};

}  // namespace native::cuda::attention
