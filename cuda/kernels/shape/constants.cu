// Arrays that follow from their sizes: counts, and one value of 64 bits (narrower ones are tile programs).
#include "kernels/device.cuh"
#include "kernels/shape/params.h"

namespace native::cuda::shape {
namespace {

template <class F>
__device__ inline void each(const ConstantParams& p, const F& f) {
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < p.elements; i += gridDim.x * int64_t{kThreads})
    f(i);
}

}  // namespace

#define KERNEL(name, T, value)                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads) iota_##name(const __grid_constant__ ConstantParams p) { \
    each(p, [&](int64_t i) { static_cast<T*>(p.to)[i] = value; });                                               \
  }
KERNEL(int_1, uint8_t, static_cast<uint8_t>(i))
KERNEL(int_2, uint16_t, static_cast<uint16_t>(i))
KERNEL(int_4, uint32_t, static_cast<uint32_t>(i))
KERNEL(int_8, uint64_t, static_cast<uint64_t>(i))
// As NumPy does it: through float32 to narrower floats.
KERNEL(float16, uint16_t, narrowed<DataType::F16>(static_cast<float>(i)))
KERNEL(bfloat16, uint16_t, narrowed<DataType::BF16>(static_cast<float>(i)))
KERNEL(float32, float, static_cast<float>(i))
KERNEL(float64, double, static_cast<double>(i))

extern "C" __global__ void __launch_bounds__(kThreads) full_8(const __grid_constant__ ConstantParams p) {
  each(p, [&](int64_t i) { static_cast<uint64_t*>(p.to)[i] = p.value; });
}

}  // namespace native::cuda::shape
