#include "kernels/attention/forward.cuh"
#include "kernels/attention/tensor.cuh"

using namespace native::cuda;
using namespace native::cuda::attention;

#define KERNEL(width, type, name)                                                             \
  extern "C" __global__ void __launch_bounds__(kTensor##width.threads, kTensor##width.blocks) \
      attention_##name##_##width(const __grid_constant__ Params p) {                          \
    forward<TensorMath<type, kTensor##width, width>, false>(p);                               \
  }                                                                                           \
  extern "C" __global__ void __launch_bounds__(kPlain##width.threads, kPlain##width.blocks)   \
      attention_##name##_##width##_plain(const __grid_constant__ Params p) {                  \
    forward<TensorMath<type, kPlain##width, width>, true>(p);                                 \
  }
#define WIDTHS(type, name) \
  KERNEL(32, type, name)   \
  KERNEL(64, type, name)   \
  KERNEL(128, type, name)

WIDTHS(DataType::BF16, bf16)
WIDTHS(DataType::F16, f16)
