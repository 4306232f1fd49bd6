// Copies whose source is contiguous along another axis than their target: through tiles in shared memory, so
// that both are read and written in whole sectors.
#include "kernels/device.cuh"
#include "kernels/shape/params.h"

namespace native::cuda::shape {
namespace {

// Threads stand kSide by kDown. They read rows along the source's axis and write rows along the target's; a row
// of the tile is longer by an element, so that a column of words meets each bank once.
template <class T>
__device__ inline void copy(const TransposedParams& p) {
  constexpr int kDown = kThreads / kSide;
  __shared__ T tile[kSide][kSide + 1];
  const int lane = threadIdx.x % kSide, down = threadIdx.x / kSide;
  int column = static_cast<int>(blockIdx.x), row = divide(column, p.by_columns), rest = divide(row, p.by_rows);
  const T* from = static_cast<const T*>(p.from);
  T* to = static_cast<T*>(p.to);
  for (int d = p.dims - 1; d >= 0; --d) {
    const int64_t at = rest % p.size[d];
    rest /= p.size[d];
    from += at * p.from_stride[d];
    to += at * p.to_stride[d];
  }
  column *= kSide;
  row *= kSide;
#pragma unroll
  for (int i = 0; i < kSide; i += kDown) {
    const int r = row + down + i, c = column + lane;
    tile[down + i][lane] = r < p.rows && c < p.columns ? from[r * p.row_stride + c] : T{};
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kSide; i += kDown) {
    const int r = row + lane, c = column + down + i;
    if (r < p.rows + p.zeros && c < p.columns) to[c * p.column_stride + r] = tile[lane][down + i];
  }
}

}  // namespace

#define KERNEL(bytes, T)                                                    \
  extern "C" __global__ void __launch_bounds__(kThreads)                    \
      transposed_copy_##bytes(const __grid_constant__ TransposedParams p) { \
    copy<T>(p);                                                             \
  }
KERNEL(1, uint8_t)
KERNEL(2, uint16_t)
KERNEL(4, uint32_t)
KERNEL(8, uint2)
KERNEL(16, uint4)

}  // namespace native::cuda::shape
