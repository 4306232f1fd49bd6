#include "kernels/gemm/product.cuh"
#include "kernels/gemm/tensor.cuh"

using namespace native::cuda;
using namespace native::cuda::gemm;

#define KERNEL(tile, type, wm, wn, suffix, a_turned, b_turned)            \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks) \
      gemm_##suffix(const __grid_constant__ Params p) {                   \
    product<TensorLoop<tile, type, wm, wn, a_turned, b_turned>>(p);       \
  }
#define TRANSPOSES(tile, type, wm, wn, prefix)          \
  KERNEL(tile, type, wm, wn, prefix##_nn, false, false) \
  KERNEL(tile, type, wm, wn, prefix##_nt, false, true)  \
  KERNEL(tile, type, wm, wn, prefix##_tn, true, false)  \
  KERNEL(tile, type, wm, wn, prefix##_tt, true, true)
#define SIZES(type, name, large, wn, small)     \
  TRANSPOSES(large, type, 64, wn, name##_large) \
  TRANSPOSES(small, type, 32, 32, name##_small)

SIZES(DataType::BF16, bf16, kTensorLarge, 64, kTensorSmall)
SIZES(DataType::F16, f16, kTensorLarge, 64, kTensorSmall)
SIZES(DataType::TF32, tf32, kWideLarge, 32, kWideSmall)
