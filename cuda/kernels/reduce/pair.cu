// Moments and logsumexp: of each piece of a row or a column two numbers from two passes over it, and these
// joined in their order.
#include "kernels/elements.cuh"
#include "kernels/moments.cuh"
#include "kernels/reduce/params.h"

namespace native::cuda::reduce {
namespace {

// Parts lie in three parts: counts, first numbers, second numbers.
struct MomentsOf {
  using Part = Moments;
  // all.join<Op>(f): that of f(x) over the elements of a piece.
  template <class All>
  __device__ static Part of(const All& all, float count) {
    const float mean = all.template join<Sum>([](float x) { return x; }) / count;
    return {count, mean, all.template join<Sum>([&](float x) { return (x - mean) * (x - mean); })};
  }
  __device__ static Part merge(const PairParams& p, int64_t first) {
    Part sum{0, 0, 0};
    for (int64_t i = threadIdx.x % 32; i < p.reduced; i += 32) sum = cuda::join(sum, load(p, first + i * p.inner));
    return join_lanes(sum);
  }
  __device__ static Part load(const PairParams& p, int64_t i) {
    const int64_t all = p.outer * p.reduced * p.inner;
    return {p.parts[i], p.parts[all + i], p.parts[2 * all + i]};
  }
  __device__ static void finish(const PairParams& p, int64_t i, const Part& part) {
    store_element(p.y, i, p.type, static_cast<float>(part.mean));
    store_element(p.y2, i, p.type, static_cast<float>(part.squares / part.count));
  }
};

// A count that nobody asks for, the largest value if it is finite, else 0, and the sum of exp(x - that).
struct LogSumExp {
  using Part = Moments;
  template <class All>
  __device__ static Part of(const All& all, float count) {
    // Maximum hands NaN on, which is then found in the sum.
    const float top = all.template join<Maximum>([](float x) { return x; });
    const float shift = fabsf(top) < INFINITY ? top : 0;
    return {count, shift, all.template join<Sum>([&](float x) { return expf(x - shift); })};
  }
  __device__ static Part merge(const PairParams& p, int64_t first) {
    // Nothing and infinity keep their meaning under any shift.
    auto plain = [](const Part& part) { return part.squares > 0 && part.squares < INFINITY; };
    double top = -INFINITY, sum = 0;
    for (int64_t i = threadIdx.x % 32; i < p.reduced; i += 32)
      if (const Part part = MomentsOf::load(p, first + i * p.inner); plain(part)) top = fmax(top, part.mean);
    for (int by = 16; by; by /= 2) top = fmax(top, __shfl_xor_sync(0xFFFFFFFFu, top, by));
    if (top == -INFINITY) top = 0;
    for (int64_t i = threadIdx.x % 32; i < p.reduced; i += 32) {
      const Part part = MomentsOf::load(p, first + i * p.inner);
      sum += plain(part) ? part.squares * expf(static_cast<float>(part.mean - top)) : part.squares;
    }
    for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, by);
    return {1, top, sum};
  }
  __device__ static void finish(const PairParams& p, int64_t i, const Part& part) {
    store_element(p.y, i, p.type, static_cast<float>(part.mean) + logf(static_cast<float>(part.squares)));
  }
};

template <class Of>
__device__ inline void store(const PairParams& p, int64_t i, int64_t all, const typename Of::Part& part) {
  if (p.y) return Of::finish(p, i, part);
  p.next[i] = static_cast<float>(part.count);
  p.next[all + i] = static_cast<float>(part.mean);
  p.next[2 * all + i] = static_cast<float>(part.squares);
}

// `group` threads for each piece of a row.
template <int group>
struct Row {
  const PairParams& p;
  int64_t base, last;
  float* shared;
  template <class Op, class F>
  __device__ float join(const F& f) const {
    float value = Op::template identity<float>();
    for (int64_t i = threadIdx.x % group; i < last; i += group)
      value = Op::join(value, f(load_element(p.x, base + i, p.type)));
    return join_group<Op, group>(value, shared);
  }
};
template <class Of, int group>
__device__ inline void rows(const PairParams& p) {
  __shared__ float shared[kThreads / 32];
  const int64_t unit = blockIdx.x * int64_t{kThreads / group} + threadIdx.x / group, all = p.outer * p.pieces;
  // Those beyond the end go on with nothing: all lanes shuffle.
  const bool inside = unit < all;
  const int64_t row = inside ? unit / p.pieces : 0, first = unit % p.pieces * p.piece;
  const int64_t size = inside ? min(p.piece, p.reduced - first) : 0;
  const auto part = Of::of(Row<group>{p, row * p.reduced + first, size, shared}, static_cast<float>(size));
  if (inside && threadIdx.x % group == 0) store<Of>(p, unit, all, part);
}

// 32 columns, 8 threads for each.
struct Column {
  static constexpr int kDown = kThreads / 32;
  const PairParams& p;
  int64_t base, first, last;
  bool inside;
  float (&shared)[kDown][32];
  template <class Op, class F>
  __device__ float join(const F& f) const {
    const int across = threadIdx.x % 32, down = threadIdx.x / 32;
    float value = Op::template identity<float>();
    if (inside)
      for (int64_t r = first + down; r < last; r += kDown)
        value = Op::join(value, f(load_element(p.x, base + r * p.inner, p.type)));
    shared[down][across] = value;
    __syncthreads();
    value = shared[0][across];
    for (int d = 1; d < kDown; ++d) value = Op::join(value, shared[d][across]);
    __syncthreads();
    return value;
  }
};
template <class Of>
__device__ inline void columns(const PairParams& p) {
  __shared__ float shared[Column::kDown][32];
  const int64_t strips = (p.inner + 31) / 32, unit = blockIdx.x / strips;
  const int64_t column = blockIdx.x % strips * 32 + threadIdx.x % 32;
  const int64_t outer = unit / p.pieces, first = unit % p.pieces * p.piece, last = min(first + p.piece, p.reduced);
  const bool inside = column < p.inner;
  const Column all{p, outer * p.reduced * p.inner + column, first, last, inside, shared};
  const auto part = Of::of(all, static_cast<float>(last - first));
  if (inside && threadIdx.x < 32) store<Of>(p, unit * p.inner + column, p.outer * p.pieces * p.inner, part);
}

// Parts [outer, reduced, inner], a warp for each result: joins are long, and results may be few.
template <class Of>
__device__ inline void merge(const PairParams& p) {
  const int64_t i = (blockIdx.x * int64_t{kThreads} + threadIdx.x) / 32, all = p.outer * p.inner;
  if (i >= all) return;
  const auto part = Of::merge(p, i / p.inner * p.reduced * p.inner + i % p.inner);
  if (threadIdx.x % 32 == 0) store<Of>(p, i, all, part);
}

}  // namespace

// Five blocks of columns fit a multiprocessor with 48 registers a thread; left alone, ptxas spills for a sixth on
// sm_120.
constexpr int kColumnBlocks = 5;
#define KERNEL(name, blocks, call)                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads, blocks) pair_##name(const __grid_constant__ PairParams p) { \
    call(p);                                                                                                         \
  }
#define KERNELS(Of, of)                              \
  KERNEL(rows_##of, 0, (rows<Of, kThreads>))         \
  KERNEL(short_rows_##of, 0, (rows<Of, 32>))         \
  KERNEL(columns_##of, kColumnBlocks, (columns<Of>)) \
  KERNEL(merge_##of, 0, (merge<Of>))

KERNELS(MomentsOf, moments)
KERNELS(LogSumExp, logsumexp)

}  // namespace native::cuda::reduce
