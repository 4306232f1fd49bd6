#include "kernels/gemm/exact.cuh"
#include "kernels/gemm/product.cuh"

using namespace native::cuda::gemm;

#define KERNEL(tile, columns, suffix, a_turned, b_turned)                 \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks) \
      gemm_exact_##suffix(const __grid_constant__ Params p) {             \
    product<ExactLoop<tile, 8, columns, a_turned, b_turned>>(p);          \
  }
#define TRANSPOSES(tile, columns, size)          \
  KERNEL(tile, columns, size##_nn, false, false) \
  KERNEL(tile, columns, size##_nt, false, true)  \
  KERNEL(tile, columns, size##_tn, true, false)  \
  KERNEL(tile, columns, size##_tt, true, true)

TRANSPOSES(kExactLarge, 8, large)
TRANSPOSES(kExactSmall, 4, small)
// B as it is, or packed.
KERNEL(kExactWide, 16, wide_nn, false, false)
KERNEL(kExactWide, 16, wide_tn, true, false)

// The results of a product whose k was split.
extern "C" __global__ void __launch_bounds__(256) gemm_join(const __grid_constant__ JoinParams p) {
  for (int64_t i = blockIdx.x * int64_t{256} + threadIdx.x; i < p.elements; i += gridDim.x * int64_t{256}) {
    float sum = 0;
    for (int s = 0; s < p.splits; ++s) sum += p.parts[s * p.elements + i];
    finish<1>(p.epilogue, p.c, i, static_cast<int>(i % p.n), {sum});
  }
}
