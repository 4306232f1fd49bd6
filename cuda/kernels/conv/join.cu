#include "kernels/conv/join.cuh"

using namespace native::cuda::conv;

#define KERNEL(lanes)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(kJoinThreads) conv_join_##lanes(const __grid_constant__ JoinParams p) { \
    join<lanes>(p);                                                                                                    \
  }

KERNEL(1)
KERNEL(4)
