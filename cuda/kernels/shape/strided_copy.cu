// Transposes, slices, broadcasts, flips, pads and concatenations: one element a thread, in the order of the
// target, so that writes of a contiguous one fill sectors.
#include "kernels/device.cuh"
#include "kernels/shape/params.h"

namespace native::cuda::shape {
namespace {

__device__ inline int64_t offset(const Window& w) {
  int64_t total = 0;
  for (int d = 0; d < w.dims; ++d) {
    const int64_t at = w.wide ? static_cast<const int64_t*>(w.start)[d] : static_cast<const int32_t*>(w.start)[d];
    total += min(max(at, int64_t{0}), w.limit[d]) * w.stride[d];
  }
  return total;
}

template <class T>
__device__ inline void copy(const Params& p) {
  const T* from = static_cast<const T*>(p.from);
  T* to = static_cast<T*>(p.to);
  const int64_t moved = p.window.start ? offset(p.window) : 0;
  if (p.window_to)
    to += moved;
  else
    from += moved;
  for (uint32_t i = blockIdx.x * kThreads + threadIdx.x; i < p.elements; i += gridDim.x * kThreads) {
    uint32_t rest = i;
    int64_t source = 0, target = 0;
    for (int d = p.dims - 1; d >= 0; --d) {
      const uint32_t next = rest / p.size[d], at = rest - next * p.size[d];
      rest = next;
      source += at * p.from_stride[d];
      target += at * p.to_stride[d];
    }
    to[target] = from[source];
  }
}

}  // namespace

#define KERNEL(bytes, T)                                                                                          \
  extern "C" __global__ void __launch_bounds__(kThreads) strided_copy_##bytes(const __grid_constant__ Params p) { \
    copy<T>(p);                                                                                                   \
  }
KERNEL(1, uint8_t)
KERNEL(2, uint16_t)
KERNEL(4, uint32_t)
KERNEL(8, uint2)
KERNEL(16, uint4)

}  // namespace native::cuda::shape
