#include "kernels/gemm/product.cuh"
#include "kernels/gemm/tensor.cuh"

using namespace native::cuda;
using namespace native::cuda::gemm;

#define KERNEL(tile, type, wm, wn, suffix)                                  \
  template <bool turned_a, bool turned_b>                                   \
  using Loop_##suffix = TensorLoop<tile, type, wm, wn, turned_a, turned_b>; \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)   \
      gemm_##suffix(const __grid_constant__ Params p) {                     \
    product(p, AnyLayout<Loop_##suffix>{p.turned_a != 0, p.turned_b != 0}); \
  }
#define SIZES(type, name)                          \
  KERNEL(kTensorLarge, type, 64, 64, name##_large) \
  KERNEL(kTensorSmall, type, 32, 32, name##_small)

SIZES(DataType::BF16, bf16)
SIZES(DataType::F16, f16)

// A kernel for each layout: what words of A turned and B as it is want of registers, 143, would cost the others a block
// of the four that share a multiprocessor.
#define WIDE_KERNEL(tile, wm, wn, suffix, turned_a, turned_b)                 \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)     \
      gemm_tf32_##suffix(const __grid_constant__ Params p) {                  \
    product<TensorLoop<tile, DataType::TF32, wm, wn, turned_a, turned_b>>(p); \
  }
#define TRANSPOSES(tile, wm, wn, size)               \
  WIDE_KERNEL(tile, wm, wn, size##_nn, false, false) \
  WIDE_KERNEL(tile, wm, wn, size##_nt, false, true)  \
  WIDE_KERNEL(tile, wm, wn, size##_tn, true, false)  \
  WIDE_KERNEL(tile, wm, wn, size##_tt, true, true)

TRANSPOSES(kWideLarge, 64, 32, large)
TRANSPOSES(kWideSmall, 32, 32, small)
