// What is done to scores beside the product: scale, bias, masks, dropout.
#pragma once

#include "kernels/attention/params.h"
#include "kernels/device.cuh"
#include "kernels/philox.cuh"

namespace native::cuda::attention {

constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

// One instruction; the largest relative error is 2^-22. 2^-inf is 0.
__device__ inline float power_of_2(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}

// A head of the queries.
struct Head {
  int batch, index;
  int64_t bias, mask;  // where its part of them begins
  int64_t rows;        // number of its first query among those of all heads

  __device__ Head(const Params& p, int batch_, int index_) : batch(batch_), index(index_) {
    bias = batch * p.bias_strides.batch + index * p.bias_strides.head;
    mask = batch * p.mask_strides.batch + index * p.mask_strides.head;
    rows = (static_cast<int64_t>(batch) * p.heads + index) * p.queries;
  }
};

// A tile of scores whose first row and column are these queries and keys; `turned`: rows are keys.
template <class Math, bool turned>
struct Place {
  int row0, column0;

  __device__ int query(int i, int j) const { return turned ? column0 + Math::column(j) : row0 + Math::row(i); }
  __device__ int key(int i, int j) const { return turned ? row0 + Math::row(i) : column0 + Math::column(j); }
  __device__ int first_query() const { return turned ? column0 : row0; }
  __device__ int first_key() const { return turned ? row0 : column0; }
  __device__ bool whole(const Params& p) const {
    return first_query() + (turned ? Math::tile.columns : Math::tile.rows) <= p.queries &&
           first_key() + (turned ? Math::tile.rows : Math::tile.columns) <= p.keys;
  }
  __device__ bool inside(const Params& p, int i, int j) const { return query(i, j) < p.queries && key(i, j) < p.keys; }

  // f(i, j) for all scores of the thread.
  template <class F>
  __device__ static void each(const F& f) {
#pragma unroll
    for (int i = 0; i < Math::kRows; ++i)
#pragma unroll
      for (int j = 0; j < Math::Scores::kColumns; ++j) f(i, j);
  }
  // The same for an f that accesses memory: those of a row at once, since all take too many registers.
  template <class F>
  __device__ static void each_by_rows(const F& f) {
#pragma unroll
    for (int i = 0; i < Math::kRows; ++i) {
#pragma unroll
      for (int j = 0; j < Math::Scores::kColumns; ++j) f(i, j);
      asm volatile("" ::: "memory");
    }
  }
};

// Whether a query needs no keys after its own. A mask may leave it without keys, and then it attends to all.
__device__ inline bool stops(const Params& p) { return p.causal && !p.mask; }

// Bits for the thread's scores, made by loops that are not unrolled: they take few registers.
template <class Math>
__device__ inline bool bit_of(uint64_t bits, int i, int j) {
  return bits >> (i * Math::Scores::kColumns + j) & 1;
}

// Whether the mask, and the order if causal, allow a key.
template <class Math, bool turned>
__device__ inline uint64_t allowed_bits(const Params& p, const Head& head, const Place<Math, turned>& at) {
  constexpr int kColumns = Math::Scores::kColumns, kAtOnce = 4;
  static_assert(Math::kRows * kColumns <= 64 && Math::kRows * kColumns % kAtOnce == 0);
  const uint8_t* mask = p.mask + head.mask;
  uint64_t bits = 0;
#pragma unroll 1
  for (int n = 0; n < Math::kRows * kColumns; n += kAtOnce)
#pragma unroll
    for (int u = 0; u < kAtOnce; ++u) {
      const int i = (n + u) / kColumns, j = (n + u) % kColumns, query = at.query(i, j), key = at.key(i, j);
      const bool allowed = at.inside(p, i, j) && mask[query * p.mask_strides.query + key * p.mask_strides.key] &&
                           !(p.causal && key > query);
      bits |= static_cast<uint64_t>(allowed) << (n + u);
    }
  return bits;
}

// Whether dropout keeps a probability, by what random_bernoulli_scale draws for [batch, head, query, key].
template <class Math, bool turned>
__device__ inline uint64_t kept_bits(const Params& p, const Head& head, const Place<Math, turned>& at) {
  constexpr int kColumns = Math::Scores::kColumns;
  uint64_t bits = 0;
  int64_t last = -1;
  uint4 words{};
#pragma unroll 1
  for (int n = 0; n < Math::kRows * kColumns; ++n) {
    // Columns 16 apart share a block of the generator.
    const int i = n / kColumns, turn = n % kColumns;
    const int j = turn % (kColumns / Math::kAhead) * Math::kAhead + turn / (kColumns / Math::kAhead);
    const int64_t score = (head.rows + at.query(i, j)) * p.keys + at.key(i, j);
    const int64_t block = score / 64 * 16 + score % 16;
    if (block != last) words = philox(p.key, last = block);
    const int word = score / 16 % 4;
    const uint32_t drawn = word == 0 ? words.x : word == 1 ? words.y : word == 2 ? words.z : words.w;
    bits |= static_cast<uint64_t>(drawn >= p.threshold) << (i * kColumns + j);
  }
  return bits;
}

template <class Math>
__device__ inline float dropped(const Params& p, uint64_t kept, int i, int j, float value) {
  return bit_of<Math>(kept, i, j) ? value * p.kept : 0;
}

// Softmax does not see a number that all scores of a query have, but beside a large one, as where a bias of -1e9 masks
// all its keys, a float has no place for the scores and for the logarithm of their sum. From biases of queries whose
// largest score in base 2, or log-sum-exp, is not below this, so that a float's unit is more than 2^-14, the largest
// that they see is taken.
constexpr float kLarge = 1024;

// f(key, bias) for the keys that a query sees, by the threads of a warp.
template <class F>
__device__ inline void each_bias(const Params& p, const Head& head, int query, DataType type, const F& f) {
  const int keys = p.causal ? min(p.keys, query + 1) : p.keys;
#pragma unroll 1
  for (int key = threadIdx.x % 32; key < keys; key += 32) {
    if (p.mask && !p.mask[head.mask + query * p.mask_strides.query + key * p.mask_strides.key]) continue;
    const int from = query * p.bias_strides.query + key * p.bias_strides.key;
    f(key, load_element(p.bias, head.bias + from, type));
  }
}
// What is taken from a query's biases; a warp computes it.
__device__ inline float shift_of(const Params& p, const Head& head, int query, DataType type) {
  float top = -INFINITY;
  each_bias(p, head, query, type, [&](int, float bias) { top = fmaxf(top, bias); });
  for (int by = 16; by; by /= 2) top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, by));
  return isinf(top) ? 0 : top;
}

// Products without bias and mask: minus infinity beyond the ends and, if causal, beyond the diagonal.
template <class Math>
__device__ inline void limit_scores(typename Math::Scores& s, const Params& p, const Place<Math, false>& at) {
  const bool crosses = p.causal && at.first_key() + Math::tile.columns > at.first_query() + 1;
  if (!crosses && at.first_key() + Math::tile.columns <= p.keys) return;
  at.each([&](int i, int j) {
    const int key = at.key(i, j);
    if (key >= p.keys || (p.causal && key > at.query(i, j))) s.at(i, j) = -INFINITY;
  });
}

// Products to scores in base 2: minus infinity beyond the ends, masked(i, j) where a mask says so; shift(i, j) is taken
// from biases.
template <class Math, bool turned, class Shift, class Masked>
__device__ inline void finish_scores(typename Math::Scores& s, const Params& p, const Head& head,
                                     const Place<Math, turned>& at, const Shift& shift, const Masked& masked) {
  const bool whole = at.whole(p);
  at.each([&](int i, int j) { s.at(i, j) *= p.scale_2; });
  if (p.bias)
    at.each_by_rows([&](int i, int j) {
      if (whole || at.inside(p, i, j)) {
        const int from = at.query(i, j) * p.bias_strides.query + at.key(i, j) * p.bias_strides.key;
        s.at(i, j) += kLog2e * (load_element(p.bias, head.bias + from, Math::kType) - shift(i, j));
      }
    });
  if (p.mask) {
    const uint64_t allowed = allowed_bits<Math, turned>(p, head, at);
    at.each([&](int i, int j) {
      if (!bit_of<Math>(allowed, i, j)) s.at(i, j) = masked(i, j);
    });
  } else if (p.causal && at.first_key() + (turned ? Math::tile.rows : Math::tile.columns) > at.first_query() + 1)
    at.each([&](int i, int j) {
      if (at.key(i, j) > at.query(i, j)) s.at(i, j) = -INFINITY;
    });
  if (!whole)
    at.each([&](int i, int j) {
      if (!at.inside(p, i, j)) s.at(i, j) = -INFINITY;
    });
}

// Begins to copy a chunk whose elements may lie at any address; those beyond the valid ones become zero.
template <int bytes>
__device__ inline void piecewise(char* to, const char* from, int valid) {
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

// Begins to copy a tile of x [batch, length, heads, width] from row `first` on; what is beyond is zero.
template <class Math, class Tile>
__device__ inline void fetch(char* tile, const gemm::Operand& x, int batch, int length, int head, int width,
                             int first) {
  constexpr int kStep = Math::tile.threads / Tile::kChunks;  // rows that all threads copy at once
  const int row_bytes = static_cast<int>(x.row) * Math::kBytes, rows = length - first;
  // What follows from it is computed here, and not once before the main loop: there are no registers for that.
  const int mine = opaque(threadIdx.x / Tile::kChunks);
  const int chunk = threadIdx.x % Tile::kChunks, column = chunk * Tile::kPerChunk;
  const char* from = static_cast<const char*>(x.data) +
                     ((static_cast<int64_t>(batch) * length + first) * x.row + head * width + column) * Math::kBytes +
                     mine * row_bytes;
  const int inside = min(max(width - column, 0), Tile::kPerChunk);
  auto copy = [&](int i, const auto& begin) {
    const int row = mine + i * kStep;
    begin(tile + Tile::offset(row, chunk), from + i * (kStep * row_bytes), row < rows ? inside : 0);
  };
  if (x.aligned) {
#pragma unroll
    for (int i = 0; i < Tile::kCopies; ++i)
      copy(i, [](char* to, const char* from, int valid) {
        copy_async_16(shared_address(to), from, valid * Math::kBytes);
      });
  } else {
#pragma unroll 1
    for (int i = 0; i < Tile::kCopies; ++i) copy(i, piecewise<Math::kBytes>);
  }
}

// Sums times a factor for each row go through the warp's rows of an own tile, which it needs no more, to
// out [batch, length, heads, width], from row `first` on.
template <class Math>
__device__ inline void write_rows(char* own, typename Math::Sums& sums, const float (&factor)[Math::kRows], void* out,
                                  int batch, int length, int heads, int head, int width, int first) {
  using Own = typename Math::Own;
  __syncwarp();
  Math::put(own, sums, factor);
  __syncwarp();
  const int64_t row_elements = static_cast<int64_t>(heads) * width;
  char* origin = static_cast<char*>(out) + (batch * length * row_elements + head * width) * Math::kBytes;
  const bool aligned = width % Own::kPerChunk == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0;
#pragma unroll 1
  for (int n = threadIdx.x % 32; n < Math::kWarpRows * Own::kChunks; n += 32) {
    const int row = Math::first_row() + n / Own::kChunks, chunk = n % Own::kChunks;
    const int valid = min(width - chunk * Own::kPerChunk, Own::kPerChunk);
    if (first + row >= length || valid <= 0) continue;
    const char* from = own + Own::offset(row, chunk);
    char* to = origin + (first + row) * row_elements * Math::kBytes + chunk * 16;
    if (aligned) {
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
    } else {
      using Element = std::conditional_t<Math::kBytes == 4, uint32_t, uint16_t>;
      for (int e = 0; e < valid; ++e) reinterpret_cast<Element*>(to)[e] = reinterpret_cast<const Element*>(from)[e];
    }
  }
}

}  // namespace native::cuda::attention
