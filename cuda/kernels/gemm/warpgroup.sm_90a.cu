#include "kernels/gemm/warpgroup.cuh"

using namespace native::cuda;
using namespace native::cuda::gemm;

#define KERNEL(tile, type, suffix)                                         \
  extern "C" __global__ void __launch_bounds__(tile.threads, 1)            \
      gemm_warpgroup_##suffix(const __grid_constant__ WarpgroupParams p) { \
    extern __shared__ __align__(1024) char shared[];                       \
    WarpgroupLoop<tile, type>(p, shared).run();                            \
  }
#define SIZES(type, name)                     \
  KERNEL(kWarpgroupLarge, type, name##_large) \
  KERNEL(kWarpgroupSmall, type, name##_small) \
  KERNEL(kWarpgroupNarrow, type, name##_narrow)

SIZES(DataType::BF16, bf16)
SIZES(DataType::F16, f16)
