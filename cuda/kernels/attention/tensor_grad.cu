#include "kernels/attention/backward.cuh"
#include "kernels/attention/tensor.cuh"

using namespace native::cuda;
using namespace native::cuda::attention;

#define KERNEL(width, type, suffix, name, turned)                                                     \
  extern "C" __global__ void __launch_bounds__(kTensorGrad##width.threads, kTensorGrad##width.blocks) \
      attention_grad_##name##_##suffix##_##width(const __grid_constant__ Params p) {                  \
    backward<TensorMath<type, kTensorGrad##width, width>, turned>(p);                                 \
  }
#define KERNELS(width, type, suffix)      \
  KERNEL(width, type, suffix, keys, true) \
  KERNEL(width, type, suffix, queries, false)
#define WIDTHS(type, suffix) \
  KERNELS(32, type, suffix)  \
  KERNELS(64, type, suffix)  \
  KERNELS(128, type, suffix)

WIDTHS(DataType::BF16, bf16)
WIDTHS(DataType::F16, f16)
