// A tile of an operand in shared memory, in chunks of 16 bytes that are swizzled: no access of the main
// loops meets a bank twice.
//
// An operand is seen as [outer, k], outer being m for A and n for B. If its k are contiguous in memory a row
// of the tile is one outer index; else it is one k.
#pragma once

#include "kernels/device.cuh"
#include "kernels/gemm/params.h"

namespace native::cuda::gemm {

enum class Swizzle {
  Rows,     // eight rows, one chunk of each, at once: ldmatrix, and 16 bytes of one row
  Columns,  // four rows, two neighbouring chunks of each, word by word: fragments of float32
};

template <int outer, int depth, int bytes, bool k_contiguous, Swizzle swizzle, int threads>
struct OperandTile {
  static constexpr int kRows = k_contiguous ? outer : depth;
  static constexpr int kPerChunk = 16 / bytes;
  static constexpr int kChunks = (k_contiguous ? depth : outer) / kPerChunk;  // of a row
  static constexpr int kBytes = outer * depth * bytes;
  static constexpr int kCopies = kRows * kChunks / threads;
  static_assert(kRows * kChunks % threads == 0 && (kChunks == 4 || kChunks >= 8));

  // Byte offset of a chunk. Eight chunks fill the banks; a row of four shares them with its neighbour.
  __device__ static int offset(int row, int chunk) {
    if constexpr (swizzle == Swizzle::Columns)
      chunk ^= 2 * (row & 3);
    else if constexpr (kChunks == 4)
      chunk ^= row >> 1 & 3;
    else
      chunk ^= row & 7;
    return (row * kChunks + chunk) * 16;
  }

  // Begins to copy the tile at (o0, k0); what is beyond the operand becomes zero.
  __device__ static void fetch(char* tile, const Operand& x, int64_t base, int o0, int k0, int outers, int k_end) {
    const int rows = k_contiguous ? outers - o0 : k_end - k0, columns = k_contiguous ? k_end - k0 : outers - o0;
    // Where the tile begins is the same for all threads; where a chunk is from there fits 32 bits.
    const char* origin =
        static_cast<const char*>(x.data) + (base + (k_contiguous ? o0 * x.row + k0 : k0 * x.row + o0)) * bytes;
#pragma unroll(bytes == 4 ? 1 : kCopies)  // unrolled, copies of words take too many registers
    for (int i = 0; i < kCopies; ++i) {
      const int at = threadIdx.x + i * threads;
      const int row = at / kChunks, column = at % kChunks * kPerChunk;
      const int valid = row < rows ? min(max(columns - column, 0), kPerChunk) : 0;
      const char* from = origin + (row * static_cast<int>(x.row) + column) * bytes;
      char* to = tile + offset(row, at % kChunks);
      if (x.aligned)
        copy_async_16(shared_address(to), from, valid * bytes);
      else
        piecewise(to, from, valid);
    }
  }

  // A chunk whose elements may lie at any address.
  __device__ static void piecewise(char* to, const char* from, int valid) {
    if constexpr (bytes == 4) {
#pragma unroll
      for (int j = 0; j < 4; ++j) copy_async_4(shared_address(to + 4 * j), from + 4 * j, j < valid ? 4 : 0);
    } else {
      const uint16_t* elements = reinterpret_cast<const uint16_t*>(from);
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t low = 2 * j < valid ? elements[2 * j] : 0, high = 2 * j + 1 < valid ? elements[2 * j + 1] : 0;
        words[j] = low | high << 16;
      }
      *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
    }
  }
};

}  // namespace native::cuda::gemm
