// Operands of a product: where their elements are (sources), and tiles of them in shared memory, in chunks of
// 16 bytes that are swizzled: no access of the main loops meets a bank twice.
//
// An operand is seen as [outer, k], outer being m for A and n for B. If its k are contiguous in memory a row
// of the tile is one outer index; else it is one k.
//
// A source is a row-major matrix that need not lie in memory as one: row(r) and column(c) say what is to be
// known of each, at(row, column) where their element is, and `aligned` that a chunk's elements lie side by
// side from there, at an address of 16 bytes. Main loops do not know which source they read.
#pragma once

#include "kernels/device.cuh"
#include "kernels/gemm/params.h"

namespace native::cuda::gemm {

// Zero unless inside.
struct Element {
  const char* from;
  bool inside;
};

// A matrix in memory; beyond its rows and columns are zeros.
template <int bytes>
struct Dense {
  static constexpr bool kLight = true;  // takes so few registers that several copies are begun at once
  const char* data;
  int64_t row_bytes;
  int rows, columns;
  bool aligned;

  struct Row {
    const char* begin;
    bool inside;
  };
  struct Column {
    int offset;
    bool inside;
  };
  __device__ Dense(const Operand& x, int64_t base, int rows, int columns)
      : data(static_cast<const char*>(x.data) + base * bytes),
        row_bytes(x.row * bytes),
        rows(rows),
        columns(columns),
        aligned(x.aligned) {}
  __device__ Row row(int r) const { return {data + r * row_bytes, r < rows}; }
  __device__ Column column(int c) const { return {c * bytes, c < columns}; }
  __device__ Element at(const Row& r, const Column& c) const { return {r.begin + c.offset, r.inside && c.inside}; }
};

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
  static_assert(kRows * kChunks % threads == 0 && (kChunks == 4 || kChunks >= 8) && threads % kChunks == 0);

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

  // Begins to copy the tile at (o0, k0). A thread copies one chunk of some rows.
  template <class Source>
  __device__ static void fetch(char* tile, const Source& source, int o0, int k0) {
    const int row0 = k_contiguous ? o0 : k0, column0 = k_contiguous ? k0 : o0;
    const int chunk = threadIdx.x % kChunks, first = column0 + chunk * kPerChunk;
    if (source.aligned) {
      const auto column = source.column(found_now(first));
#pragma unroll(Source::kLight ? kCopies : 1)
      for (int i = 0; i < kCopies; ++i) {
        const int r = threadIdx.x / kChunks + i * (threads / kChunks);
        const Element e = source.at(source.row(row0 + r), column);
        copy_async_16(shared_address(tile + offset(r, chunk)), e.from, e.inside ? 16 : 0);
      }
    } else {
#pragma unroll 1  // more at once would take too many registers
      for (int i = 0; i < kCopies; ++i) {
        const int r = threadIdx.x / kChunks + i * (threads / kChunks);
        piecewise(tile + offset(r, chunk), source, source.row(row0 + r), first);
      }
    }
  }

  // A chunk whose elements may lie at any address.
  template <class Source, class Row>
  __device__ static void piecewise(char* to, const Source& source, const Row& row, int first) {
    if constexpr (bytes == 4) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const Element e = source.at(row, source.column(found_now(first + j)));
        copy_async_4(shared_address(to + 4 * j), e.from, e.inside ? 4 : 0);
      }
    } else {
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint32_t low = bits(source.at(row, source.column(found_now(first + 2 * j))));
        words[j] = low | bits(source.at(row, source.column(found_now(first + 2 * j + 1)))) << 16;
      }
      *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
    }
  }
  // What follows from it is computed here, and not once before the main loop: there are no registers for that.
  __device__ static int found_now(int column) {
    asm volatile("" : "+r"(column));
    return column;
  }
  __device__ static uint32_t bits(const Element& e) {
    return e.inside ? *reinterpret_cast<const uint16_t*>(e.from) : 0;
  }
};

}  // namespace native::cuda::gemm
