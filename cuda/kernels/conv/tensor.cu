#include "kernels/conv/implicit.cuh"
#include "kernels/gemm/tensor.cuh"

using namespace native::cuda;
using namespace native::cuda::conv;
using namespace native::cuda::gemm;

#define KERNEL(tile, type, wm, wn, suffix, ...)                             \
  template <bool turned_a, bool turned_b>                                   \
  using Loop_##suffix = TensorLoop<tile, type, wm, wn, turned_a, turned_b>; \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)   \
      conv_##suffix(const __grid_constant__ native::cuda::conv::Params p) { \
    convolve<Loop_##suffix __VA_OPT__(, ) __VA_ARGS__>(p);                  \
  }
#define SIZES(type, name)                          \
  KERNEL(kTensorLarge, type, 64, 64, name##_large) \
  KERNEL(kTensorSmall, type, 32, 32, name##_small)

SIZES(DataType::BF16, bf16)
SIZES(DataType::F16, f16)

// A kernel for each direction: see gemm/tensor.cu.
#define DIRECTIONS(tile, wm, wn, size)                                                 \
  KERNEL(tile, DataType::TF32, wm, wn, tf32_##size##_forward, Direction::Forward)      \
  KERNEL(tile, DataType::TF32, wm, wn, tf32_##size##_input_grad, Direction::InputGrad) \
  KERNEL(tile, DataType::TF32, wm, wn, tf32_##size##_weight_grad, Direction::WeightGrad)

DIRECTIONS(kWideLarge, 64, 32, large)
DIRECTIONS(kWideSmall, 32, 32, small)
