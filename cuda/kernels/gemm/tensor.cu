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

NATIVE_CUDA_TENSOR_KERNELS(KERNEL)
