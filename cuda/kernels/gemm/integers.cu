#include "kernels/gemm/integers.cuh"

using namespace native::cuda::gemm;

// Two operands by terms, which are copied as they are, have a loop of their own: with the other ways of fetching in it
// theirs took a third more instructions.
#define KERNEL(tile, type, wm, wn, suffix)                                                 \
  extern "C" __global__ void __launch_bounds__(tile.threads, tile.blocks)                  \
      gemm_##suffix(const __grid_constant__ IntegerParams p) {                             \
    using Loop = IntegerLoop<tile, type, wm, wn>;                                          \
    const auto results = [&](int64_t c) { return IntegerResults(p, c); };                  \
    if (p.product.turned_a || !p.product.turned_b)                                         \
      product(p.product, Loop{p.product.turned_a != 0, p.product.turned_b != 0}, results); \
    else                                                                                   \
      product(p.product, Loop{false, true}, results);                                      \
  }
#define SIZES(type, name)                        \
  KERNEL(kByteLarge, type, 64, 32, name##_large) \
  KERNEL(kByteSmall, type, 32, 32, name##_small)

SIZES(ByteType::Signed, s8)
SIZES(ByteType::Unsigned, u8)
