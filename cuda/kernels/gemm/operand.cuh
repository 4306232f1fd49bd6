// Operands of a product: where their elements are (sources), and tiles of them in shared memory, in chunks of
// 16 bytes that are swizzled: no access of the main loops meets a bank twice.
//
// An operand is seen as [outer, k], outer being m for A and n for B. If its k are contiguous in memory a row
// of the tile is one outer index; else it is one k.
//
// A source is a row-major matrix that need not lie in memory as one: row(r) and column(c) say what is to be
// known of each, at(row, column) where their element is, and `aligned` that a chunk's elements lie side by
// side from there, at an address of 16 bytes. Its Walk goes from tile to tile, over elements of one column in rows
// that are equally far apart. Main loops do not know which source they read.
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

  // The pointer moves on, and nothing is computed anew.
  struct Walk {
    static constexpr int kAtOnce = 16;  // copies that are begun at once
    const Dense& of;
    int row, column, apart;
    const char* from;
    int64_t between;  // bytes
    __device__ Walk(const Dense& of, int row, int column, int apart)
        : of(of),
          row(row),
          column(column),
          apart(apart),
          from(of.data + row * of.row_bytes + static_cast<int64_t>(column) * bytes),
          between(apart * of.row_bytes) {}
    __device__ const Walk& line() const { return *this; }
    __device__ Element operator[](int i) const {
      return {from + i * between, row + i * apart < of.rows && column < of.columns};
    }
    __device__ void down(int n) {
      from += n * of.row_bytes;
      row += n;
    }
    __device__ void right(int n) {
      from += n * bytes;
      column += n;
    }
  };
};

// A Walk over sources whose elements are looked for anew in each tile.
template <class Source>
struct Search {
  static constexpr int kAtOnce = 2;
  const Source& of;
  int row, column, apart;
  struct Line {
    const Search& walk;
    typename Source::Column column;
    __device__ Element operator[](int i) const { return walk.of.at(walk.of.row(walk.row + i * walk.apart), column); }
  };
  __device__ Search(const Source& of, int row, int column, int apart)
      : of(of), row(row), column(column), apart(apart) {}
  __device__ Line line() const { return {*this, of.column(column)}; }
  __device__ void down(int n) { row += n; }
  __device__ void right(int n) { column += n; }
};

enum class Swizzle {
  Rows,     // eight rows, one chunk of each, at once: ldmatrix, and 16 bytes of one row
  Padded,   // none: a row is longer by a chunk, so that words of one chunk of eight rows meet no bank twice
  Columns,  // four rows, two neighbouring chunks of each, word by word: fragments of float32
};

template <int outer, int depth, int bytes, bool k_contiguous, Swizzle swizzle, int threads>
struct OperandTile {
  static constexpr int kRows = k_contiguous ? outer : depth;
  static constexpr int kPerChunk = 16 / bytes;
  static constexpr int kChunks = (k_contiguous ? depth : outer) / kPerChunk;  // of a row
  static constexpr int kRowChunks = kChunks + (swizzle == Swizzle::Padded);
  static constexpr int kBytes = kRows * kRowChunks * 16;
  static constexpr int kCopies = kRows * kChunks / threads;
  static constexpr int kApart = threads / kChunks;           // rows of a thread's copies
  static constexpr int kBetween = kApart * kRowChunks * 16;  // bytes
  static_assert(kRows * kChunks % threads == 0 && (kChunks == 4 || kChunks >= 8) && threads % kChunks == 0);

  // Byte offset of a chunk. Eight chunks fill the banks; a row of four shares them with its neighbour.
  __device__ static int offset(int row, int chunk) {
    if constexpr (swizzle == Swizzle::Columns)
      chunk ^= 2 * (row & 3);
    else if constexpr (swizzle == Swizzle::Padded)
      ;
    else if constexpr (kChunks == 4)
      chunk ^= row >> 1 & 3;
    else
      chunk ^= row & 7;
    return (row * kRowChunks + chunk) * 16;
  }

  // Copies tiles of a source from k on, one after another; a thread copies one chunk of some rows.
  template <class Source>
  struct Copies {
    static constexpr int kTile = kBytes;
    static_assert(swizzle == Swizzle::Padded || kApart % 8 == 0);  // a thread's chunks are swizzled alike
    typename Source::Walk walk;
    int to;  // of its first chunk

    __device__ Copies(const Source& source, int o, int k)
        : walk(source, opaque(first_row(o, k)), opaque(first_column(o, k)), kApart),
          to(opaque(offset(threadIdx.x / kChunks, threadIdx.x % kChunks))) {}
    // Begins to. Whether the source is aligned is asked here, so that main loops stand there once.
    __device__ void next(char* tile) {
      if (walk.of.aligned)
        chunks(tile);
      else
        pieces(tile);
      if constexpr (k_contiguous)
        walk.right(depth);
      else
        walk.down(depth);
    }

   private:
    __device__ void chunks(char* tile) const {
      const auto& line = walk.line();
#pragma unroll(Source::Walk::kAtOnce)
      for (int i = 0; i < kCopies; ++i) {
        const Element e = line[i];
        copy_async_16(shared_address(tile + to + i * kBetween), e.from, e.inside ? 16 : 0);
      }
    }
    // Of elements that may lie at any address.
    __device__ void pieces(char* tile) const {
      const int r = found_now(walk.row), c = found_now(walk.column);
#pragma unroll 1
      for (int i = 0; i < kCopies; ++i) piecewise(tile + to + i * kBetween, walk.of, walk.of.row(r + i * kApart), c);
    }
  };

 private:
  __device__ static int first_row(int o, int k) { return (k_contiguous ? o : k) + threadIdx.x / kChunks; }
  __device__ static int first_column(int o, int k) {
    return (k_contiguous ? k : o) + threadIdx.x % kChunks * kPerChunk;
  }
  // What follows from it is computed here, and not once before the main loop: beside fragments of 16 bits there are
  // no registers for that. (In the exact products it is the other way round: found anew, it makes them spill.)
  __device__ static int found_now(int x) { return bytes == 2 ? opaque(x) : x; }

  // A chunk whose elements may lie at any address.
  template <class Source, class Row>
  __device__ static void piecewise(char* to, const Source& source, const Row& row, int first) {
    if constexpr (bytes == 4) {
#pragma unroll 1
      for (int j = 0; j < 4; ++j) {
        const Element e = source.at(row, source.column(first + j));
        copy_async_4(shared_address(to + 4 * j), e.from, e.inside ? 4 : 0);
      }
    } else {
#pragma unroll 1
      for (int j = 0; j < 4; ++j) {
        const uint32_t low = bits(source.at(row, source.column(first + 2 * j)));
        const uint32_t high = bits(source.at(row, source.column(first + 2 * j + 1)));
        *reinterpret_cast<uint32_t*>(to + 4 * j) = low | high << 16;
      }
    }
  }
  __device__ static uint32_t bits(const Element& e) {
    return e.inside ? *reinterpret_cast<const uint16_t*>(e.from) : 0;
  }
};

}  // namespace native::cuda::gemm
