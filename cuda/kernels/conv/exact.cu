#include "kernels/conv/implicit.cuh"
#include "kernels/gemm/exact.cuh"

using namespace native::cuda::conv;
using namespace native::cuda::gemm;

// A kernel for each direction: main loops are nearly all of it.
#define KERNEL(tile, columns, suffix, direction)                                  \
  template <bool turned_a, bool turned_b>                                         \
  using Loop_##suffix = ExactLoop<tile, 8, columns, turned_a, turned_b>;          \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)         \
      conv_exact_##suffix(const __grid_constant__ native::cuda::conv::Params p) { \
    convolve<Loop_##suffix, Direction::direction>(p);                             \
  }
#define DIRECTIONS(tile, columns, size)               \
  KERNEL(tile, columns, size##_forward, Forward)      \
  KERNEL(tile, columns, size##_input_grad, InputGrad) \
  KERNEL(tile, columns, size##_weight_grad, WeightGrad)

DIRECTIONS(kExactWindows, 8, large)
DIRECTIONS(kExactSmallWindows, 4, small)
