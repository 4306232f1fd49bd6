// Running sums, products and extremes, and linear recurrences, along one axis.
#include "kernels/elements.cuh"
#include "kernels/reduce/params.h"

namespace native::cuda::reduce {
namespace {

// A running sum adds one term at a time: in double, floats keep theirs at half a unit.
template <class T>
__device__ inline T load(const ScanParams& p, const void* x, int64_t i) {
  if constexpr (std::is_same_v<T, int32_t>)
    return load_integer(x, i, static_cast<IntegerType>(p.type));
  else
    return static_cast<T>(load_element(x, i, static_cast<DataType>(p.type)));
}
template <class T>
__device__ inline void store(const ScanParams& p, int64_t i, T value) {
  if constexpr (std::is_same_v<T, int32_t>)
    store_integer(p.y, i, static_cast<IntegerType>(p.type), value);
  else
    store_element(p.y, i, static_cast<DataType>(p.type), static_cast<float>(value));
}

template <class T, class Op>
struct Running {
  T value;
  __device__ static Running identity() { return {Op::template identity<T>()}; }
  __device__ static Running at(const ScanParams& p, int64_t i) { return {load<T>(p, p.x, i)}; }
  __device__ static Running join(const Running& a, const Running& b) { return {Op::join(a.value, b.value)}; }
  __device__ Running shuffled(int by) const { return {__shfl_up_sync(0xFFFFFFFFu, value, by)}; }
  __device__ Running of_last_lane() const { return {__shfl_sync(0xFFFFFFFFu, value, 31)}; }
  __device__ T result() const { return value; }
};
// y = a y + b, one after the other.
struct Affine {
  double a, b;
  __device__ static Affine identity() { return {1, 0}; }
  __device__ static Affine at(const ScanParams& p, int64_t i) {
    return {load<double>(p, p.x, i), load<double>(p, p.b, i)};
  }
  __device__ static Affine join(const Affine& f, const Affine& g) { return {g.a * f.a, g.a * f.b + g.b}; }
  __device__ Affine shuffled(int by) const {
    return {__shfl_up_sync(0xFFFFFFFFu, a, by), __shfl_up_sync(0xFFFFFFFFu, b, by)};
  }
  __device__ Affine of_last_lane() const { return {__shfl_sync(0xFFFFFFFFu, a, 31), __shfl_sync(0xFFFFFFFFu, b, 31)}; }
  __device__ double result() const { return b; }
};

// A warp for each row, 32 elements at a time.
template <class Carry>
__device__ inline void rows(const ScanParams& p) {
  const int64_t row = blockIdx.x * int64_t{kThreads / 32} + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (row >= p.outer) return;  // the whole warp
  Carry carry = Carry::identity();
  for (int64_t first = 0; first < p.n; first += 32) {
    const int64_t i = first + lane, at = row * p.n + (p.reverse ? p.n - 1 - i : i);
    Carry value = i < p.n ? Carry::at(p, at) : Carry::identity();
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
      const Carry before = value.shuffled(by);
      if (lane >= by) value = Carry::join(before, value);
    }
    value = Carry::join(carry, value);
    if (i < p.n) store(p, at, value.result());
    carry = value.of_last_lane();
  }
}

// p.down threads for each column, one below the other: where there are several, each reads its rows twice, first for
// what those below it begin with.
template <class Carry>
__device__ inline void columns(const ScanParams& p) {
  __shared__ Carry pieces[kThreads];
  const int across = kThreads / p.down, down = threadIdx.x / across;
  const int64_t column = blockIdx.x * int64_t{across} + threadIdx.x % across;
  const bool inside = column < p.outer * p.inner;
  const int64_t base = inside ? column / p.inner * p.n * p.inner + column % p.inner : 0;
  const int64_t rows = (p.n + p.down - 1) / p.down, first = min(down * rows, p.n);
  const int64_t last = inside ? min(first + rows, p.n) : first;
  auto at = [&](int64_t i) { return base + (p.reverse ? p.n - 1 - i : i) * p.inner; };
  Carry carry = Carry::identity();
  if (p.down > 1) {
    Carry piece = Carry::identity();
#pragma unroll 4
    for (int64_t i = first; i < last; ++i) piece = Carry::join(piece, Carry::at(p, at(i)));
    pieces[threadIdx.x] = piece;
    __syncthreads();
    for (int d = 0; d < down; ++d) carry = Carry::join(carry, pieces[d * across + threadIdx.x % across]);
  }
#pragma unroll 4
  for (int64_t i = first; i < last; ++i) {
    carry = Carry::join(carry, Carry::at(p, at(i)));
    store(p, at(i), carry.result());
  }
}

}  // namespace

// A multiprocessor holds so many blocks at least: unless told, ptxas spills to make room for one more.
constexpr int kBlocks = 2;

#define KERNEL(name, call)                                                                                            \
  extern "C" __global__ void __launch_bounds__(kThreads, kBlocks) scan_##name(const __grid_constant__ ScanParams p) { \
    call(p);                                                                                                          \
  }
#define KERNELS(name, ...)                 \
  KERNEL(rows_##name, (rows<__VA_ARGS__>)) \
  KERNEL(columns_##name, (columns<__VA_ARGS__>))

KERNELS(float_cumsum, Running<double, Sum>)
KERNELS(float_cumprod, Running<double, Product>)
KERNELS(float_cummax, Running<float, Maximum>)
KERNELS(float_cummin, Running<float, Minimum>)
KERNELS(int_cumsum, Running<int32_t, Sum>)
KERNELS(int_cumprod, Running<int32_t, Product>)
KERNELS(int_cummax, Running<int32_t, Maximum>)
KERNELS(int_cummin, Running<int32_t, Minimum>)
KERNELS(float_linear_recurrence, Affine)

}  // namespace native::cuda::reduce
