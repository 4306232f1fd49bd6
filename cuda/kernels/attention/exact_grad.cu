#include "kernels/attention/backward.cuh"
#include "kernels/attention/exact.cuh"

using namespace native::cuda::attention;

#define KERNEL(width, name, turned)                                                                 \
  extern "C" __global__ void __launch_bounds__(kExactGrad##width.threads, kExactGrad##width.blocks) \
      attention_grad_##name##_f32_##width(const __grid_constant__ Params p) {                       \
    backward<ExactMath<kExactGrad##width, width>, turned>(p);                                       \
  }
#define KERNELS(width)      \
  KERNEL(width, keys, true) \
  KERNEL(width, queries, false)

KERNELS(32)
KERNELS(64)
KERNELS(128)
KERNELS(256)
