#include "kernels/attention/exact.cuh"
#include "kernels/attention/forward.cuh"

using namespace native::cuda::attention;

#define KERNEL(width)                                                                       \
  extern "C" __global__ void __launch_bounds__(kExact##width.threads, kExact##width.blocks) \
      attention_f32_##width(const __grid_constant__ Params p) {                             \
    forward<ExactMath<kExact##width, width>, false>(p);                                     \
  }

KERNEL(32)
KERNEL(64)
KERNEL(128)
KERNEL(256)
