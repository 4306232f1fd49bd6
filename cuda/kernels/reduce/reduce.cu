// Sums, products and extremes of rows and of columns. The order of every sum follows from the problem alone.
#include "kernels/reduce/element.cuh"

namespace native::cuda::reduce {
namespace {

template <class T>
__device__ inline void store(const Params& p, int64_t i, T value) {
  if constexpr (std::is_same_v<T, float>)
    store_element(p.y, i, static_cast<DataType>(p.out_type), p.divisor != 1 ? value / p.divisor : value);
  else
    store_integer(p.y, i, static_cast<IntegerType>(p.out_type), value);
}

// `group` threads for each piece of a row.
template <class T, class Op, int group>
__device__ inline void rows(const Params& p) {
  __shared__ T shared[kThreads / 32];
  const int64_t unit = blockIdx.x * int64_t{kThreads / group} + threadIdx.x / group;
  // In a block of several groups, those beyond the end go on with nothing: all lanes shuffle.
  const bool inside = unit < p.outer * p.pieces;
  const int64_t row = inside ? unit / p.pieces : 0, first = unit % p.pieces * p.piece;
  const int64_t last = inside ? min(first + p.piece, p.reduced) : first;
  T value = Op::template identity<T>();
  for (int64_t i = first + threadIdx.x % group; i < last; i += group)
    value = Op::join(value, load<T>(p, row * p.reduced + i));
  value = join_group<Op, group>(value, shared);
  if (inside && threadIdx.x % group == 0) store(p, unit, value);
}

// 32 columns, 8 threads for each.
template <class T, class Op>
__device__ inline void columns(const Params& p) {
  constexpr int kDown = kThreads / 32;
  __shared__ T shared[kDown][32];
  const int across = threadIdx.x % 32, down = threadIdx.x / 32;
  const int64_t strips = (p.inner + 31) / 32, unit = blockIdx.x / strips;
  const int64_t column = blockIdx.x % strips * 32 + across;
  const int64_t outer = unit / p.pieces, first = unit % p.pieces * p.piece, last = min(first + p.piece, p.reduced);
  T value = Op::template identity<T>();
  if (column < p.inner)
    for (int64_t r = first + down; r < last; r += kDown)
      value = Op::join(value, load<T>(p, (outer * p.reduced + r) * p.inner + column));
  shared[down][across] = value;
  __syncthreads();
  if (down > 0 || column >= p.inner) return;
  for (int d = 1; d < kDown; ++d) value = Op::join(value, shared[d][across]);
  store(p, unit * p.inner + column, value);
}

}  // namespace

#define KERNEL(name, call) \
  extern "C" __global__ void __launch_bounds__(kThreads) reduce_##name(const __grid_constant__ Params p) { call(p); }
#define KERNELS(T, type, Op, op)                      \
  KERNEL(rows_##type##_##op, (rows<T, Op, kThreads>)) \
  KERNEL(short_rows_##type##_##op, (rows<T, Op, 32>)) \
  KERNEL(columns_##type##_##op, (columns<T, Op>))
#define OPS(T, type)              \
  KERNELS(T, type, Sum, sum)      \
  KERNELS(T, type, Product, prod) \
  KERNELS(T, type, Maximum, max)  \
  KERNELS(T, type, Minimum, min)

OPS(float, float)
OPS(int32_t, int)

}  // namespace native::cuda::reduce
