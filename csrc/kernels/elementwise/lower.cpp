#include "kernels/elementwise/lower.h"

#include "kernels/elementwise/tables.h"

namespace native {
namespace {

TileOp find_op(Opcode code, Class column) {
  const int i = static_cast<int>(code), j = static_cast<int>(column);
  for (const TileOps* table : {&arithmetic_ops(), &function_ops(), &by_double_ops(), &double_ops(), &conversions().ops})
    if (table->op[i][j]) return table->op[i][j];
  return nullptr;
}

bool is_float_class(Class c) { return c == Class::F32 || c == Class::F64; }
bool is_wide_integer(Class c) { return c == Class::I64 || c == Class::U64; }

// The tile operation that takes a register of `from` to the class of `to`.
Opcode conversion(Class from, DType source, Class to, DType dtype) {
  if (dtype == DType::Bool) return source == DType::Bool ? Opcode::copy : Opcode::to_bool;
  switch (to) {
    case Class::F32:
      if (from == Class::F32) return Opcode::copy;
      // Through the nearest odd float32, so that rounding twice does not show.
      return dtype == DType::F16 && from == Class::F64 ? Opcode::to_f32_odd : Opcode::to_f32;
    case Class::F64:
      return from == Class::F64 ? Opcode::copy : Opcode::to_f64;
    case Class::I32:
    case Class::U32:
      if (is_float_class(from)) return to == Class::U32 ? Opcode::to_u32 : Opcode::to_i32;
      return is_wide_integer(from) ? Opcode::to_i32 : Opcode::copy;
    default:
      if (is_float_class(from)) return to == Class::U64 ? Opcode::to_u64 : Opcode::to_i64;
      return is_wide_integer(from) ? Opcode::copy : Opcode::to_i64;
  }
}

}  // namespace

bool class_of(DType dtype, Class* result) {
  switch (dtype) {
    case DType::Bool:
    case DType::U8:
    case DType::U16:
    case DType::I8:
    case DType::I16:
    case DType::I32:
      *result = Class::I32;
      return true;
    case DType::U32:
      *result = Class::U32;
      return true;
    case DType::I64:
      *result = Class::I64;
      return true;
    case DType::U64:
      *result = Class::U64;
      return true;
    case DType::F16:
    case DType::BF16:
    case DType::F32:
      *result = Class::F32;
      return true;
    case DType::F64:
      *result = Class::F64;
      return true;
    default:
      return false;
  }
}

LoweredOp rounding(DType dtype) {
  const auto in_place = [](Opcode code, Class type) { return LoweredOp{find_op(code, type), code, type, type}; };
  switch (dtype) {
    case DType::Bool:
      return in_place(Opcode::to_bool, Class::I32);
    case DType::I8:
      return in_place(Opcode::wrap_i8, Class::I32);
    case DType::U8:
      return in_place(Opcode::wrap_u8, Class::I32);
    case DType::I16:
      return in_place(Opcode::wrap_i16, Class::I32);
    case DType::U16:
      return in_place(Opcode::wrap_u16, Class::I32);
    case DType::F16:
      return in_place(Opcode::round_f16, Class::F32);
    case DType::BF16:
      return in_place(Opcode::round_bf16, Class::F32);
    default:
      return {};
  }
}

std::vector<LoweredOp> lower(const OpInfo& info, const std::vector<DType>& sources, DType result, double immediate) {
  Class column, to;
  const DType source = sources.back();
  if (!class_of(source, &column) || !class_of(result, &to)) return {};
  Opcode code = info.code;
  if (code == Opcode::cast) code = conversion(column, source, to, result);
  if (code == Opcode::gelu && immediate != 0) code = Opcode::gelu_tanh;
  if (code == Opcode::bitwise_not && source == DType::Bool) code = Opcode::logical_not;
  const TileOp op = find_op(code, column);
  if (!op) return {};
  std::vector<LoweredOp> steps{{op, code, column, to}};
  // Comparisons and casts to bool give 0 and 1 by themselves; of operations on bool only a sum does not.
  const bool exact = result == DType::Bool && code != Opcode::add;
  if (const LoweredOp round = rounding(result); round.op && !exact) steps.push_back(round);
  return steps;
}

bool can_lower(const OpInfo& info, const std::vector<DType>& sources, DType result) {
  return !lower(info, sources, result, 0).empty();
}

}  // namespace native
