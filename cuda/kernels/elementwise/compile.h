// Tile programs for other families.
#pragma once

#include "kernels/elementwise/program.h"

namespace native::cuda {

// A kernel that runs the program, every input broadcast to the outputs' common shape; nullptr if an
// operation, a dtype or the size of the program is not for the interpreter kernel.
std::unique_ptr<Kernel> compile_tiles(const ProgramText& text, const std::vector<Spec>& in,
                                      const std::vector<Spec>& out);

}  // namespace native::cuda
