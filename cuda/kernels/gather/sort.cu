// Stable sorts of lines: keys of 8 to 32 bits, by least significant digits.
#include "kernels/elements.cuh"
#include "kernels/gather/sort_params.h"

namespace native::cuda::sort {
namespace {

__device__ inline int64_t thread() { return blockIdx.x * int64_t{kThreads} + threadIdx.x; }

// Unsigned numbers in the order of floats: those below zero reversed, NaN last.
__device__ inline uint32_t ordered(uint32_t bits, uint32_t sign, bool nan) {
  const uint32_t all = sign | (sign - 1);
  if (nan) return all;
  return bits == sign || !(bits & sign) ? (bits == sign ? sign : bits | sign) : ~bits & all;
}
__device__ inline uint32_t float_key(const void* x, int64_t i, int type) {
  const float value = load_element(x, i, static_cast<DataType>(type));
  if (static_cast<DataType>(type) == DataType::F32) return ordered(__float_as_uint(value), 1u << 31, value != value);
  return ordered(static_cast<const uint16_t*>(x)[i], 1u << 15, value != value);
}
__device__ inline uint32_t int_key(const void* x, int64_t i, int type) {
  const auto value = static_cast<uint32_t>(load_integer(x, i, static_cast<IntegerType>(type)));
  switch (static_cast<IntegerType>(type)) {
    case IntegerType::I32:
      return value + (1u << 31);
    case IntegerType::I16:
      return value + (1u << 15);
    case IntegerType::I8:
      return value + (1u << 7);
    default:
      return value;
  }
}

// Where element j of a line is in an array of `n` a line.
__device__ inline int64_t place(const Lines& g, int line, int j, int64_t n) {
  int inner = line;
  const int64_t outer = divide(inner, g.by_inner);
  return (outer * n + j) * g.by_inner.value + inner;
}

template <bool real>
__device__ inline void keys(const KeyParams& p) {
  const int64_t i = thread();
  if (i >= static_cast<int64_t>(p.lines.lines) * p.lines.n) return;
  int j = static_cast<int>(i);
  const int line = divide(j, p.lines.by_n);
  const int64_t from = place(p.lines, line, j, p.lines.n);
  const uint32_t key = real ? float_key(p.x, from, p.type) : int_key(p.x, from, p.type);
  const auto type = static_cast<IntegerType>(p.type);
  const bool narrow =
      real ? static_cast<DataType>(p.type) != DataType::F32 : type == IntegerType::I16 || type == IntegerType::U16;
  const bool byte = !real && (type == IntegerType::I8 || type == IntegerType::U8);
  p.keys[i] = p.descending ? ~key & (byte ? 0xFFu : narrow ? 0xFFFFu : 0xFFFFFFFFu) : key;
}

// For each key of a tile: how many before it have its digit, in its warp's part of the tile; and for each warp
// how many there are of each digit.
__device__ inline void tally(const PassParams& p, int line, int tile, int (*counts)[kDigits], uint32_t (&keys)[kRounds],
                             int (&ranks)[kRounds]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int d = lane; d < kDigits; d += 32) counts[warp][d] = 0;
  __syncwarp();
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    const int j = tile * kTile + (warp * kRounds + r) * 32 + lane;
    const bool inside = j < p.n;
    keys[r] = inside ? p.keys[static_cast<int64_t>(line) * p.n + j] : 0;
    const int digit = inside ? static_cast<int>(keys[r] >> p.shift & (kDigits - 1)) : kDigits;
    const uint32_t equal = __match_any_sync(0xFFFFFFFFu, digit);
    const int before = __popc(equal & ((1u << lane) - 1));
    const int counted = inside ? counts[warp][digit] : 0;
    __syncwarp();
    if (inside && before == 0) counts[warp][digit] = counted + __popc(equal);
    __syncwarp();
    ranks[r] = counted + before;
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) sort_keys_float(const __grid_constant__ KeyParams p) {
  keys<true>(p);
}
extern "C" __global__ void __launch_bounds__(kThreads) sort_keys_int(const __grid_constant__ KeyParams p) {
  keys<false>(p);
}

extern "C" __global__ void __launch_bounds__(kThreads) sort_short(const __grid_constant__ ShortParams p) {
  const int64_t i = thread();
  if (i >= static_cast<int64_t>(p.lines.lines) * p.lines.n) return;
  int j = static_cast<int>(i);
  const int64_t first = static_cast<int64_t>(divide(j, p.lines.by_n)) * p.lines.n;
  const uint32_t key = p.keys[i];
  int rank = 0;
  for (int other = 0; other < p.lines.n; ++other) {
    const uint32_t k = p.keys[first + other];
    rank += k < key || (k == key && other < j);
  }
  p.order[first + rank] = j;
}

// How many keys of a tile have each digit.
extern "C" __global__ void __launch_bounds__(kThreads) sort_count(const __grid_constant__ PassParams p) {
  __shared__ int counts[kThreads / 32][kDigits];
  const int line = blockIdx.x / p.tiles, tile = blockIdx.x % p.tiles;
  uint32_t keys[kRounds];
  int ranks[kRounds];
  tally(p, line, tile, counts, keys, ranks);
  __syncthreads();
  int sum = 0;
  for (int w = 0; w < kThreads / 32; ++w) sum += counts[w][threadIdx.x];
  p.counts[(static_cast<int64_t>(line) * kDigits + threadIdx.x) * p.tiles + tile] = sum;
}

// Counts of a line become places: of digits before, and of tiles before with the same digit.
extern "C" __global__ void __launch_bounds__(kThreads) sort_scan(const __grid_constant__ PassParams p) {
  __shared__ int sums[kDigits];
  int32_t* counts = p.counts + (static_cast<int64_t>(blockIdx.x) * kDigits + threadIdx.x) * p.tiles;
  int sum = 0;
  for (int t = 0; t < p.tiles; ++t) sum += counts[t];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int by = 1; by < kDigits; by *= 2) {
    const int before = threadIdx.x >= by ? sums[threadIdx.x - by] : 0;
    __syncthreads();
    sums[threadIdx.x] += before;
    __syncthreads();
  }
  int place = sums[threadIdx.x] - sum;
  for (int t = 0; t < p.tiles; ++t) {
    const int count = counts[t];
    counts[t] = place;
    place += count;
  }
}

extern "C" __global__ void __launch_bounds__(kThreads) sort_move(const __grid_constant__ PassParams p) {
  __shared__ int places[kThreads / 32][kDigits];
  const int line = blockIdx.x / p.tiles, tile = blockIdx.x % p.tiles;
  uint32_t keys[kRounds];
  int ranks[kRounds];
  tally(p, line, tile, places, keys, ranks);
  __syncthreads();
  int place = p.counts[(static_cast<int64_t>(line) * kDigits + threadIdx.x) * p.tiles + tile];
  for (int w = 0; w < kThreads / 32; ++w) {
    const int count = places[w][threadIdx.x];
    places[w][threadIdx.x] = place;
    place += count;
  }
  __syncthreads();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first = static_cast<int64_t>(line) * p.n;
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    const int j = tile * kTile + (warp * kRounds + r) * 32 + lane;
    if (j >= p.n) break;
    const int64_t to = first + places[warp][keys[r] >> p.shift & (kDigits - 1)] + ranks[r];
    p.next_keys[to] = keys[r];
    p.next_order[to] = p.order ? p.order[first + j] : j;
  }
}

// The first k of each line.
namespace {
template <class T>
__device__ inline void take(const TakeParams& p) {
  const int64_t i = thread();
  if (i >= static_cast<int64_t>(p.lines.lines) * p.by_k.value) return;
  int j = static_cast<int>(i);
  const int line = divide(j, p.by_k);
  const int at = p.order[static_cast<int64_t>(line) * p.lines.n + j];
  T* to = static_cast<T*>(p.to) + place(p.lines, line, j, p.by_k.value);
  if (p.x)
    *to = static_cast<const T*>(p.x)[place(p.lines, line, at, p.lines.n)];
  else
    *to = static_cast<T>(at);
}
}  // namespace

#define KERNEL(bytes, T)                                                                                           \
  extern "C" __global__ void __launch_bounds__(kThreads) sort_take_##bytes(const __grid_constant__ TakeParams p) { \
    take<T>(p);                                                                                                    \
  }
KERNEL(1, uint8_t)
KERNEL(2, uint16_t)
KERNEL(4, uint32_t)

}  // namespace native::cuda::sort
