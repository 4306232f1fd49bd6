// Launches of tile programs.
#pragma once

#include <memory>

#include "kernels/elementwise/params.h"
#include "runtime/registry.h"

namespace native::cuda::elementwise {

// A kernel that runs the program, with so many registers, over arrays of `elements`. Those whose programs are the
// same, and whose inputs lie as the outputs do or are one element, join to one launch.
std::unique_ptr<Kernel> tile_kernel(const Program& program, uint32_t elements, int registers);

}  // namespace native::cuda::elementwise
