#include "kernels/conv/join.cuh"
#include "kernels/conv/overlap_add.cuh"

using namespace native::cuda::conv;

#define KERNEL(lanes)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(kJoinThreads) conv_join_##lanes(const __grid_constant__ JoinParams p) { \
    join<lanes>(p);                                                                                                    \
  }

KERNEL(1)
KERNEL(4)

extern "C" __global__ void __launch_bounds__(kOverlapThreads)
    conv_overlap_add(const __grid_constant__ OverlapParams p) {
  overlap_add(p);
}
