// Products of int8 or uint8 on tensor cores, sums in int32.
#pragma once

#include "kernels/gemm/product.cuh"
#include "kernels/gemm/tensor.cuh"

namespace native::cuda::gemm {

enum class ByteType { Signed, Unsigned };

// d += a * b, 16x8 results, 32 terms deep.
template <ByteType type>
__device__ inline void multiply_bytes(int32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (type == ByteType::Signed)
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// An operand as it lies in memory, which is known when a kernel is launched.
struct Bytes : Dense<1> {
  bool by_terms;  // k are contiguous
  __device__ Bytes(const Dense<1>& matrix, bool by_terms) : Dense<1>(matrix), by_terms(by_terms) {}
};

// [outer][depth] bytes, k contiguous whichever way the operand lies: fragments of 8-bit elements want four
// neighbouring k in a word, and ldmatrix cannot turn bytes. To it a pair of them is one element.
template <int outer, int depth, int threads>
struct ByteTile {
  using Layout = OperandTile<outer, depth / 2, 2, true, Swizzle::Rows, threads>;
  static constexpr int kBytes = Layout::kBytes, kDepth = depth;

  __device__ static void fetch(char* tile, const Bytes& x, int o0, int k0) {
    const uint8_t* data = reinterpret_cast<const uint8_t*>(x.data);
    const int row_bytes = static_cast<int>(x.row_bytes);
    if (x.by_terms)
      rows(tile, data + o0 * x.row_bytes + k0, row_bytes, x.aligned, x.rows - o0, x.columns - k0);
    else
      turned(tile, data + k0 * x.row_bytes + o0, row_bytes, x.aligned, x.columns - o0, x.rows - k0);
  }

 private:
  __device__ static void rows(char* tile, const uint8_t* origin, int row_bytes, int aligned, int outers, int terms) {
#pragma unroll 2
    for (int i = 0; i < Layout::kCopies; ++i) {
      const int at = threadIdx.x + i * threads, o = at / Layout::kChunks, chunk = at % Layout::kChunks;
      const int valid = o < outers ? min(max(terms - chunk * 16, 0), 16) : 0;
      const uint8_t* from = origin + o * row_bytes + chunk * 16;
      char* to = tile + Layout::offset(o, chunk);
      if (aligned) {
        copy_async_16(shared_address(to), from, valid);
      } else {
        uint32_t words[4] = {};
#pragma unroll
        for (int b = 0; b < 16; ++b) words[b / 4] |= (b < valid ? static_cast<uint32_t>(from[b]) : 0) << b % 4 * 8;
        *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
      }
    }
  }

  // Squares of 4 by 4 bytes. A warp takes 4 of k, a chunk, by 8 of outer, a sector.
  __device__ static void turned(char* tile, const uint8_t* origin, int row_bytes, int aligned, int outers, int terms) {
#pragma unroll 1
    for (int at = threadIdx.x; at < outer * depth / 16; at += threads) {
      const int lane = at % 32, group = at / 32;
      const int k = (group % (depth / 16) * 4 + lane % 4) * 4, o = (group / (depth / 16) * 8 + lane / 4) * 4;
      uint32_t w[4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        w[i] = word(origin + (k + i) * row_bytes + o, aligned, k + i < terms ? outers - o : 0);
      const uint32_t low[2] = {__byte_perm(w[0], w[1], 0x5140), __byte_perm(w[2], w[3], 0x5140)};
      const uint32_t high[2] = {__byte_perm(w[0], w[1], 0x7362), __byte_perm(w[2], w[3], 0x7362)};
      const uint32_t columns[4] = {__byte_perm(low[0], low[1], 0x5410), __byte_perm(low[0], low[1], 0x7632),
                                   __byte_perm(high[0], high[1], 0x5410), __byte_perm(high[0], high[1], 0x7632)};
      // Neighbours begin with different rows, so that eight of them meet no bank twice.
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = (j + lane / 8) % 4;
        const uint32_t column = row == 0 ? columns[0] : row == 1 ? columns[1] : row == 2 ? columns[2] : columns[3];
        *reinterpret_cast<uint32_t*>(tile + Layout::offset(o + row, k / 16) + k % 16) = column;
      }
    }
  }
  __device__ static uint32_t word(const uint8_t* from, int aligned, int valid) {
    if (aligned && valid >= 4) return *reinterpret_cast<const uint32_t*>(from);
    uint32_t w = 0;
#pragma unroll
    for (int b = 0; b < 4; ++b) w |= (b < valid ? static_cast<uint32_t>(from[b]) : 0) << b * 8;
    return w;
  }
};

// Results [rows, columns] of int32, or the lowest byte of each; two neighbours at a time where these may be written
// whole.
struct IntegerResults {
  void* c;
  int64_t first;
  int rows, columns;
  bool words, pairs;
  __device__ IntegerResults(const IntegerParams& q, int64_t first)
      : c(q.product.c),
        first(first),
        rows(q.product.m),
        columns(q.product.n),
        words(q.out_bytes == 4),
        pairs(words && columns % 2 == 0 && reinterpret_cast<uintptr_t>(c) % 8 == 0) {}
  __device__ void put(int row, int column, const int32_t* v) const {
    if (row >= rows || column >= columns) return;
    const int64_t to = first + static_cast<int64_t>(row) * columns + column;
    if (pairs) {
      *reinterpret_cast<int2*>(static_cast<int32_t*>(c) + to) = {v[0], v[1]};
      return;
    }
    for (int e = 0; e < 2 && column + e < columns; ++e) {
      if (words)
        static_cast<int32_t*>(c)[to + e] = v[e];
      else
        static_cast<int8_t*>(c)[to + e] = static_cast<int8_t>(v[e]);
    }
  }
};

template <Tile tile, ByteType type, int warp_m, int warp_n>
struct IntegerLoop {
  static constexpr Tile kTile = tile;
  static constexpr int kBytes = 1;
  const bool turned_a, turned_b;
  static constexpr int kWarpsAcross = tile.n / warp_n, kMmaM = warp_m / 16, kMmaN = warp_n / 8;
  static_assert(tile.m / warp_m * kWarpsAcross * 32 == tile.threads);
  using A = ByteTile<tile.m, tile.depth, tile.threads>;
  using B = ByteTile<tile.n, tile.depth, tile.threads>;

  __device__ void run(const Dense<1>& a_lies, const Dense<1>& b_lies, const Place& w, char* shared,
                      const IntegerResults& sink) const {
    const Bytes of_a(a_lies, !turned_a), of_b(b_lies, turned_b);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row = warp / kWarpsAcross * warp_m, column = warp % kWarpsAcross * warp_n;

    using FragmentsA = Fragments<typename A::Layout, true, false>;
    using FragmentsB = Fragments<typename B::Layout, true, false>;
    const int first_a = opaque(FragmentsA::first_of_a(row)), first_b = opaque(FragmentsB::first_of_b(column));
    int32_t sums[kMmaM][kMmaN][4] = {};
    uint32_t a[2][kMmaM][4], b[2][kMmaN / 2][4];
    const auto load = [&](int buffer, const char* at, const char* bt, int step) {
#pragma unroll
      for (int i = 0; i < kMmaM; ++i) FragmentsA::of_a(a[buffer][i], at, first_a, i, step);
#pragma unroll
      for (int j = 0; j < kMmaN / 2; ++j) FragmentsB::of_b(b[buffer][j], bt, first_b, j, step);
    };
    const auto compute = [&](int buffer) {
#pragma unroll
      for (int i = 0; i < kMmaM; ++i)
#pragma unroll
        for (int j = 0; j < kMmaN; ++j)
          multiply_bytes<type>(sums[i][j], a[buffer][i], b[buffer][j / 2][j % 2 * 2], b[buffer][j / 2][j % 2 * 2 + 1]);
    };
    pipeline<tile, tile.depth / 32>(Anew<A, Bytes>{of_a, w.row, w.k_begin}, Anew<B, Bytes>{of_b, w.column, w.k_begin},
                                    w, shared, load, compute);

    // Four lanes have eight results side by side: a sector of int32. By code that stands here once for all rows.
#pragma unroll 1
    for (int part = 0; part < kMmaM; ++part) {
      int32_t of_part[kMmaN][4];
#pragma unroll
      for (int i = 0; i < kMmaM; ++i)
        if (i == part)
#pragma unroll
          for (int j = 0; j < kMmaN * 4; ++j) of_part[j / 4][j % 4] = sums[i][j / 4][j % 4];
#pragma unroll
      for (int j = 0; j < kMmaN; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h)
          sink.put(w.row + row + part * 16 + h * 8 + lane / 4, w.column + column + j * 8 + lane % 4 * 2,
                   &of_part[j][2 * h]);
    }
  }
};

// Two operands by terms, which are copied as they are, have a loop of their own: with the other ways of fetching in it
// theirs took a third more instructions.
template <Tile tile, ByteType type, int warp_m, int warp_n>
__device__ inline void product_of_bytes(const IntegerParams& q) {
  using Loop = IntegerLoop<tile, type, warp_m, warp_n>;
  const auto results = [&](int64_t c) { return IntegerResults(q, c); };
  if (q.product.turned_a || !q.product.turned_b)
    product(q.product, Loop{q.product.turned_a != 0, q.product.turned_b != 0}, results);
  else
    product(q.product, Loop{false, true}, results);
}

}  // namespace native::cuda::gemm
