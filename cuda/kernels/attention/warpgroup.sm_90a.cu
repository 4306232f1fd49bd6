#include "kernels/attention/warpgroup.cuh"

using namespace native::cuda;
using namespace native::cuda::attention;

#define KERNEL(width, type, name)                                                                   \
  extern "C" __global__ void __launch_bounds__(kWarpgroup##width.threads, kWarpgroup##width.blocks) \
      attention_##name##_##width##_warpgroup(const __grid_constant__ WarpgroupParams p) {           \
    warpgroup_forward<WarpgroupMath<type, kWarpgroup##width, width>>(p);                            \
  }

KERNEL(64, DataType::BF16, bf16)
KERNEL(128, DataType::BF16, bf16)
KERNEL(64, DataType::F16, f16)
KERNEL(128, DataType::F16, f16)
