#include "kernels/conv/implicit.cuh"
#include "kernels/gemm/exact.cuh"

using namespace native::cuda::conv;
using namespace native::cuda::gemm;

#define KERNEL(tile, columns, size, direction, a_turned, b_turned)                            \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)                     \
      conv_exact_##size##_##direction(const __grid_constant__ native::cuda::conv::Params p) { \
    direction<ExactLoop<tile, 8, columns, a_turned, b_turned>>(p);                            \
  }
#define DIRECTIONS(tile, columns, size)                \
  KERNEL(tile, columns, size, forward, false, false)   \
  KERNEL(tile, columns, size, input_grad, false, true) \
  KERNEL(tile, columns, size, weight_grad, true, false)

DIRECTIONS(kExactWindows, 8, large)
DIRECTIONS(kExactSmall, 4, small)
