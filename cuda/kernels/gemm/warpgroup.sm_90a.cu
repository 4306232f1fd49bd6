#include "kernels/gemm/warpgroup.cuh"

using namespace native::cuda;
using namespace native::cuda::gemm;

#define KERNEL(tile, type, suffix, a_turned, b_turned)                     \
  extern "C" __global__ void __launch_bounds__(tile.threads, 1)            \
      gemm_warpgroup_##suffix(const __grid_constant__ WarpgroupParams p) { \
    extern __shared__ __align__(1024) char shared[];                       \
    WarpgroupLoop<tile, type, a_turned, b_turned>(p, shared).run();        \
  }
#define TRANSPOSES(tile, type, prefix)          \
  KERNEL(tile, type, prefix##_nn, false, false) \
  KERNEL(tile, type, prefix##_nt, false, true)  \
  KERNEL(tile, type, prefix##_tn, true, false)  \
  KERNEL(tile, type, prefix##_tt, true, true)

#define SIZES(type, name)                         \
  TRANSPOSES(kWarpgroupLarge, type, name##_large) \
  TRANSPOSES(kWarpgroupSmall, type, name##_small) \
  TRANSPOSES(kWarpgroupNarrow, type, name##_narrow)

SIZES(DataType::BF16, bf16)
SIZES(DataType::F16, f16)
