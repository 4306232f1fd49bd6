// A tile program over one segment.
#include "kernels/elementwise/interpreter.cuh"

namespace native::cuda::elementwise {

extern "C" __global__ void __launch_bounds__(kThreads) tile_program(const __grid_constant__ Single p) {
  extern __shared__ uint4 registers[];
  run_tiles(p.program, p.segment, p.data, registers, blockIdx.x * kElements, p.segment.elements, gridDim.x * kElements);
}

}  // namespace native::cuda::elementwise
