#include "kernels/gemm/integers.cuh"

using namespace native::cuda::gemm;

#define KERNEL(tile, type, wm, wn, suffix)                                \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks) \
      gemm_##suffix(const __grid_constant__ IntegerParams p) {            \
    product_of_bytes<tile, type, wm, wn>(p);                              \
  }
#define SIZES(type, name)                        \
  KERNEL(kByteLarge, type, 64, 32, name##_large) \
  KERNEL(kByteSmall, type, 32, 32, name##_small)

SIZES(ByteType::Signed, s8)
SIZES(ByteType::Unsigned, u8)
