// Which primitives are tile programs, for those who build programs (the fusion pass).
#pragma once

#include <string>
#include <vector>

#include "kernels/elementwise/opcodes.h"
#include "runtime/registry.h"

namespace native {

enum class ResultDType : uint8_t { Same, Bool, Attribute };  // of the last operand; bool; attribute "dtype"

struct OpInfo {
  const char* name;
  Opcode code;
  int operands;
  uint32_t accepts;  // bit i: DType i
  ResultDType result;
  int cost;               // in units of one addition
  const char* immediate;  // the attribute that stands between brackets, or ""
};

// nullptr: no elementwise operation, or one that only runs on the host.
const OpInfo* find_elementwise(const std::string& op);

// The problem can be an instruction of a tile program (its dtypes and attributes; shapes are not looked at).
bool elementwise_op_supported(const Problem& problem);

// The shortest decimal that reads back as the same double. Never by printf: programs are read again under whatever
// locale the process has by then, and some write a comma for the point.
std::string decimal(double value);

// "r5:float32=leaky_relu[0.2] r3": the problem as an instruction on the given registers.
std::string elementwise_instruction(const Problem& problem, int dst, const std::vector<int>& sources);

// The problem as a whole program, "r2:float32=mul r0 r1; out r2".
std::string program_of(const Problem& problem);

}  // namespace native
