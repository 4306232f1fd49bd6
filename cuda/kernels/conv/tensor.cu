#include "kernels/conv/implicit.cuh"
#include "kernels/gemm/tensor.cuh"

using namespace native::cuda;
using namespace native::cuda::conv;
using namespace native::cuda::gemm;

#define KERNEL(tile, type, wm, wn, suffix)                                  \
  template <bool turned_a, bool turned_b>                                   \
  using Loop_##suffix = TensorLoop<tile, type, wm, wn, turned_a, turned_b>; \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)   \
      conv_##suffix(const __grid_constant__ native::cuda::conv::Params p) { \
    convolve<Loop_##suffix>(p);                                             \
  }

NATIVE_CUDA_TENSOR_KERNELS(KERNEL)
