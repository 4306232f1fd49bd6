#include "kernels/gemm/integers.cuh"

using namespace native::cuda::gemm;

#define KERNEL(tile, type, wm, wn, suffix, a_turned, b_turned)                                                     \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)                                          \
      gemm_##suffix(const __grid_constant__ IntegerParams p) {                                                     \
    product<IntegerLoop<tile, type, wm, wn, a_turned, b_turned>>(p.product,                                        \
                                                                 [&](int64_t c) { return IntegerResults(p, c); }); \
  }
#define TRANSPOSES(tile, type, wm, wn, prefix)          \
  KERNEL(tile, type, wm, wn, prefix##_nn, false, false) \
  KERNEL(tile, type, wm, wn, prefix##_nt, false, true)  \
  KERNEL(tile, type, wm, wn, prefix##_tn, true, false)  \
  KERNEL(tile, type, wm, wn, prefix##_tt, true, true)
#define SIZES(type, name)                            \
  TRANSPOSES(kByteLarge, type, 64, 32, name##_large) \
  TRANSPOSES(kByteSmall, type, 32, 32, name##_small)

SIZES(ByteType::Signed, s8)
SIZES(ByteType::Unsigned, u8)
