// Arrays that follow from their sizes: counts, and one value of 64 bits (narrower ones are tile programs).
#include "kernels/device.cuh"
#include "kernels/shape/params.h"

namespace native::cuda::shape {
namespace {

// As NumPy does it: through float32 to narrower floats.
template <class T>
__device__ inline T counted(int64_t i) {
  if constexpr (std::is_same_v<T, __half>)
    return __float2half_rn(static_cast<float>(i));
  else if constexpr (std::is_same_v<T, __nv_bfloat16>)
    return __float2bfloat16_rn(static_cast<float>(i));
  else
    return static_cast<T>(i);
}

template <class F>
__device__ inline void each(const ConstantParams& p, const F& f) {
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < p.elements; i += gridDim.x * int64_t{kThreads})
    f(i);
}

}  // namespace

#define KERNEL(name, T)                                                                                          \
  extern "C" __global__ void __launch_bounds__(kThreads) iota_##name(const __grid_constant__ ConstantParams p) { \
    each(p, [&](int64_t i) { static_cast<T*>(p.to)[i] = counted<T>(i); });                                       \
  }
KERNEL(int_1, uint8_t)
KERNEL(int_2, uint16_t)
KERNEL(int_4, uint32_t)
KERNEL(int_8, uint64_t)
KERNEL(float16, __half)
KERNEL(bfloat16, __nv_bfloat16)
KERNEL(float32, float)
KERNEL(float64, double)

extern "C" __global__ void __launch_bounds__(kThreads) full_8(const __grid_constant__ ConstantParams p) {
  each(p, [&](int64_t i) { static_cast<uint64_t*>(p.to)[i] = p.value; });
}

}  // namespace native::cuda::shape
