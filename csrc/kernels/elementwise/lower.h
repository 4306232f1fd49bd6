// From an operation on dtypes to tile operations on register classes.
#pragma once

#include <vector>

#include "kernels/elementwise/ops.h"

namespace native {

// What a register of this dtype is; false for dtypes that tile programs do not know (complex, float8).
bool class_of(DType dtype, Class* result);
inline int element_bytes(Class c) { return c == Class::F64 || c == Class::I64 || c == Class::U64 ? 8 : 4; }

struct LoweredOp {
  TileOp op;
  Opcode code;
  Class operands, result;
};
// Tile operations that carry out `info`: the first on the operands, the others in place on its result, so
// that the result is rounded to `result` as if it went through memory. Empty if there is no such tile op.
std::vector<LoweredOp> lower(const OpInfo& info, const std::vector<DType>& sources, DType result, double immediate);

bool can_lower(const OpInfo& info, const std::vector<DType>& sources, DType result);

// The operation that rounds a computed value to `dtype` in place; its `op` is nullptr if registers of its class
// hold nothing else anyway.
LoweredOp rounding(DType dtype);

}  // namespace native
