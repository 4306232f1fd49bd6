#include "kernels/conv/implicit.cuh"
#include "kernels/gemm/tensor.cuh"

using namespace native::cuda;
using namespace native::cuda::conv;
using namespace native::cuda::gemm;

#define KERNEL(tile, type, wm, wn, name, direction, a_turned, b_turned)                 \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)               \
      conv_##name##_##direction(const __grid_constant__ native::cuda::conv::Params p) { \
    direction<TensorLoop<tile, type, wm, wn, a_turned, b_turned>>(p);                   \
  }
#define DIRECTIONS(tile, type, wm, wn, name)                \
  KERNEL(tile, type, wm, wn, name, forward, false, false)   \
  KERNEL(tile, type, wm, wn, name, input_grad, false, true) \
  KERNEL(tile, type, wm, wn, name, weight_grad, true, false)
#define SIZES(type, name, large, wn, small)     \
  DIRECTIONS(large, type, 64, wn, name##_large) \
  DIRECTIONS(small, type, 32, 32, name##_small)

SIZES(DataType::BF16, bf16, kTensorLarge, 64, kTensorSmall)
SIZES(DataType::F16, f16, kTensorLarge, 64, kTensorSmall)
SIZES(DataType::TF32, tf32, kWideLarge, 32, kWideSmall)
