// Tile programs: elementwise operations run tile by tile, each tile small enough for the first-level
// cache, so that a program of many operations goes over memory once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/elementwise/opcodes.h"
#include "runtime/registry.h"

namespace native {

// One line of a program's text, "r4:float32=leaky_relu[0.2] r3".
struct Statement {
  int dst;
  DType dtype;
  std::string op;
  std::vector<double> immediates;
  std::vector<int> sources;
};
struct ProgramText {
  std::vector<Statement> statements;
  std::vector<int> outputs;
};
// Throws ShapeError on malformed text.
ProgramText parse_program(const std::string& text);

// A kernel that runs the program on operands of these shapes, every input broadcast to the outputs' common
// shape; nullptr if an operation, dtype or shape is not for tile programs.
std::unique_ptr<Kernel> compile_program(const ProgramText& program, const std::vector<Spec>& in,
                                        const std::vector<Spec>& out);

}  // namespace native
