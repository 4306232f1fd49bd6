#include "kernels/attention/warpgroup_backward.cuh"

using namespace native::cuda;
using namespace native::cuda::attention;

#define KERNEL(width, type, suffix, name, tile, turned)                                                       \
  extern "C" __global__ void __launch_bounds__(tile##width.threads, tile##width.blocks)                       \
      attention_grad_##name##_##suffix##_##width##_warpgroup(const __grid_constant__ WarpgroupGradParams p) { \
    warpgroup_backward<WarpgroupMath<type, tile##width, width>, turned>(p);                                   \
  }
#define KERNELS(width, type, suffix)                      \
  KERNEL(width, type, suffix, keys, kWarpgroupKeys, true) \
  KERNEL(width, type, suffix, queries, kWarpgroupQueries, false)

KERNELS(64, DataType::BF16, bf16)
KERNELS(128, DataType::BF16, bf16)
KERNELS(64, DataType::F16, f16)
KERNELS(128, DataType::F16, f16)
