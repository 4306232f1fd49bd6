// Where the largest or smallest element of each row or column is: the first of equals, and the first NaN if
// there is one.
#include "kernels/reduce/element.cuh"

namespace native::cuda::reduce {
namespace {

template <class T>
struct Best {
  T value;
  int at;  // -1: nothing yet
};
template <class T, bool largest>
__device__ inline Best<T> join(Best<T> a, Best<T> b) {
  if (a.at < 0 || b.at < 0) return a.at < 0 ? b : a;
  const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
  const bool equal = a.value == b.value || (nan_a && nan_b);
  if (equal) return a.at < b.at ? a : b;
  return nan_b || (!nan_a && (largest ? b.value > a.value : b.value < a.value)) ? b : a;
}

// A block for each row.
template <class T, bool largest>
__device__ inline void rows(const Params& p) {
  __shared__ T values[kThreads / 32];
  __shared__ int places[kThreads / 32];
  Best<T> best{0, -1};
  for (int64_t i = threadIdx.x; i < p.reduced; i += kThreads)
    best = join<T, largest>(best, {load<T>(p, blockIdx.x * p.reduced + i), static_cast<int>(i)});
  for (int by = 16; by; by /= 2)
    best = join<T, largest>(best,
                            {__shfl_xor_sync(0xFFFFFFFFu, best.value, by), __shfl_xor_sync(0xFFFFFFFFu, best.at, by)});
  if (threadIdx.x % 32 == 0) {
    values[threadIdx.x / 32] = best.value;
    places[threadIdx.x / 32] = best.at;
  }
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int w = 1; w < kThreads / 32; ++w) best = join<T, largest>(best, {values[w], places[w]});
  static_cast<int32_t*>(p.y)[blockIdx.x] = best.at;
}

// A thread for each column.
template <class T, bool largest>
__device__ inline void columns(const Params& p) {
  const int64_t column = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (column >= p.outer * p.inner) return;
  const int64_t base = column / p.inner * p.reduced * p.inner + column % p.inner;
  Best<T> best{0, -1};
  for (int64_t r = 0; r < p.reduced; ++r)
    best = join<T, largest>(best, {load<T>(p, base + r * p.inner), static_cast<int>(r)});
  static_cast<int32_t*>(p.y)[column] = best.at;
}

}  // namespace

#define KERNEL(name, call) \
  extern "C" __global__ void __launch_bounds__(kThreads) position_##name(const __grid_constant__ Params p) { call(p); }
#define KERNELS(T, type, op, largest)            \
  KERNEL(rows_##type##_##op, (rows<T, largest>)) \
  KERNEL(columns_##type##_##op, (columns<T, largest>))

KERNELS(float, float, max, true)
KERNELS(float, float, min, false)
KERNELS(int32_t, int, max, true)
KERNELS(int32_t, int, min, false)

}  // namespace native::cuda::reduce
