// Sums, products and extremes of rows and of columns. The order of every sum follows from the problem alone.
#include "kernels/pack.cuh"
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

// Neighbouring elements of a thread's columns.
template <class T, int lanes>
struct Line {
  T v[lanes];
  // Packs are of type `type`; single elements of what the launch is told.
  template <DataType type>
  __device__ static Line load(const Params& p, int64_t i) {
    if constexpr (lanes == 1) {
      return {reduce::load<T>(p, i)};
    } else {
      const Pack<4> x = load_four(p.x, i / 4, type);
      return {x.v[0], x.v[1], x.v[2], x.v[3]};
    }
  }
  template <class Op>
  __device__ void join(const Line& other) {
#pragma unroll
    for (int l = 0; l < lanes; ++l) v[l] = Op::join(v[l], other.v[l]);
  }
};

// `across` threads beside each other, `lanes` columns each, and the rest of a block's threads down the rows.
template <class T, class Op, int lanes>
struct Columns {
  static constexpr int kAtOnce = 8;  // loads that are under way before the first is waited for
  using Lines = Line<T, lanes>;
  const Params& p;
  int64_t unit, column, first, last;

  __device__ explicit Columns(const Params& p) : p(p) {
    const int64_t width = p.across * lanes, strips = (p.inner + width - 1) / width;
    unit = blockIdx.x / strips;
    column = blockIdx.x % strips * width + threadIdx.x % p.across * lanes;
    first = unit % p.pieces * p.piece;
    last = min(first + p.piece, p.reduced);
  }
  __device__ static Lines nothing() {
    Lines line;
#pragma unroll
    for (int l = 0; l < lanes; ++l) line.v[l] = Op::template identity<T>();
    return line;
  }
  // Of the thread's rows.
  template <DataType type>
  __device__ Lines read() const {
    Lines all = nothing();
    if (column >= p.inner) return all;
    const int64_t base = unit / p.pieces * p.reduced * p.inner + column;
    const int down = kThreads / p.across;
    int64_t r = first + threadIdx.x / p.across;
    for (; r + (kAtOnce - 1) * down < last; r += kAtOnce * down) {
      Lines held[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) held[k] = Lines::template load<type>(p, base + (r + k * down) * p.inner);
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) all.template join<Op>(held[k]);
    }
    for (; r < last; r += down) all.template join<Op>(Lines::template load<type>(p, base + r * p.inner));
    return all;
  }
  // Of all rows: of the lanes of a warp that have the same columns, and then of the warps.
  __device__ void finish(Lines all) const {
    __shared__ T shared[kThreads / 32][32 * lanes];
    for (int by = p.across; by < 32; by *= 2) {
      Lines other;
#pragma unroll
      for (int l = 0; l < lanes; ++l) other.v[l] = __shfl_xor_sync(0xFFFFFFFFu, all.v[l], by);
      all.template join<Op>(other);
    }
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (lane < p.across)
#pragma unroll
      for (int l = 0; l < lanes; ++l) shared[warp][lane * lanes + l] = all.v[l];
    __syncthreads();
    if (threadIdx.x >= p.across || column >= p.inner) return;
    for (int w = 1; w < kThreads / 32; ++w)
#pragma unroll
      for (int l = 0; l < lanes; ++l) all.v[l] = Op::join(all.v[l], shared[w][lane * lanes + l]);
#pragma unroll
    for (int l = 0; l < lanes; ++l) store(p, unit * p.inner + column + l, all.v[l]);
  }
};
template <class T, class Op>
__device__ inline void columns(const Params& p) {
  const Columns<T, Op, 1> block(p);
  block.finish(block.template read<DataType::F32>());
}
// Of four neighbours: their number and address are multiples of four. The type is asked once for all elements.
template <class Op>
__device__ inline void packed_columns(const Params& p) {
  const Columns<float, Op, 4> block(p);
  const auto type = static_cast<DataType>(p.in_type);
  block.finish(type == DataType::F32   ? block.template read<DataType::F32>()
               : type == DataType::F16 ? block.template read<DataType::F16>()
                                       : block.template read<DataType::BF16>());
}

}  // namespace

// A multiprocessor holds so many blocks at least: unless told, ptxas spills to make room for one more.
constexpr int kBlocks = 2;

#define KERNEL(name, call)                                                                                          \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) reduce_##name(const __grid_constant__ Params p) { \
    call(p);                                                                                                        \
  }
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

KERNEL(packed_columns_sum, packed_columns<Sum>)
KERNEL(packed_columns_prod, packed_columns<Product>)
KERNEL(packed_columns_max, packed_columns<Maximum>)
KERNEL(packed_columns_min, packed_columns<Minimum>)

}  // namespace native::cuda::reduce
