// A tile program over many segments.
#include "kernels/elementwise/interpreter.cuh"

namespace native::cuda::elementwise {

extern "C" __global__ void __launch_bounds__(kThreads) tile_group(const __grid_constant__ Group p) {
  extern __shared__ uint4 registers[];
  // The last segment that begins at this block or before.
  uint32_t s = 0, end = p.segments;
  while (end - s > 1) {
    const uint32_t middle = (s + end) / 2;
    if (p.segment[middle].first <= blockIdx.x)
      s = middle;
    else
      end = middle;
  }
  const Segment& segment = p.segment[s];
  void* const* data = p.data + s * (p.program.inputs + p.program.outputs);
  const uint32_t first = (blockIdx.x - segment.first) * p.span * kElements;
  run_tiles(p.program, segment, data, registers, first, min(first + p.span * kElements, segment.elements), kElements);
}

}  // namespace native::cuda::elementwise
