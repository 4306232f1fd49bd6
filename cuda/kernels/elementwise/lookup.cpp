#include "kernels/elementwise/lookup.h"

#include <unordered_map>

namespace native::cuda::elementwise {
namespace {

using Names = std::unordered_map<std::string, Op>;

const Names& float_ops() {
  static const Names names{
#define X(name, ...) {#name, Op::float_##name},
      NATIVE_CUDA_FLOAT_OPS(X)
#undef X
#define X(name, ...) {#name, Op::test_##name},
          NATIVE_CUDA_FLOAT_TESTS(X)
#undef X
  };
  return names;
}
const Names& signed_ops() {
  static const Names names{
#define X(name, ...) {#name, Op::integer_##name},
      NATIVE_CUDA_INTEGER_OPS(X)
#undef X
#define X(name, ...) {#name, Op::signed_##name},
          NATIVE_CUDA_SIGNED_OPS(X)
#undef X
  };
  return names;
}
const Names& unsigned_ops() {
  static const Names names{
#define X(name, ...) {#name, Op::integer_##name},
      NATIVE_CUDA_INTEGER_OPS(X)
#undef X
#define X(name, ...) {#name, Op::unsigned_##name},
          NATIVE_CUDA_UNSIGNED_OPS(X)
#undef X
  };
  return names;
}

Op conversion(Class from, Class to) {
  if (from == Class::Float)
    return to == Class::Float ? Op::float_copy : to == Class::Signed ? Op::float_to_signed : Op::float_to_unsigned;
  if (to == Class::Float) return from == Class::Signed ? Op::signed_to_float : Op::unsigned_to_float;
  return Op::integer_copy;
}

}  // namespace

std::optional<Class> class_of(DType dtype) {
  switch (dtype) {
    case DType::F16:
    case DType::BF16:
    case DType::F32:
      return Class::Float;
    case DType::Bool:
    case DType::U8:
    case DType::U16:
    case DType::I8:
    case DType::I16:
    case DType::I32:
      return Class::Signed;
    case DType::U32:
      return Class::Unsigned;
    default:
      return {};
  }
}

std::optional<Memory> memory_of(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return Memory::F16;
    case DType::BF16:
      return Memory::BF16;
    case DType::Bool:
    case DType::U8:
      return Memory::U8;
    case DType::I8:
      return Memory::I8;
    case DType::U16:
      return Memory::U16;
    case DType::I16:
      return Memory::I16;
    case DType::F32:
    case DType::I32:
    case DType::U32:
      return Memory::Word;
    default:
      return {};
  }
}

int bytes_of(Memory memory) {
  switch (memory) {
    case Memory::I8:
    case Memory::U8:
      return 1;
    case Memory::F16:
    case Memory::BF16:
    case Memory::I16:
    case Memory::U16:
      return 2;
    case Memory::I64AsFloat:
    case Memory::I64AsWord:
      return 8;
    default:
      return 4;
  }
}

std::optional<Op> rounding(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return Op::round_f16;
    case DType::BF16:
      return Op::round_bf16;
    case DType::Bool:
      return Op::integer_to_bool;
    case DType::I8:
      return Op::wrap_i8;
    case DType::U8:
      return Op::wrap_u8;
    case DType::I16:
      return Op::wrap_i16;
    case DType::U16:
      return Op::wrap_u16;
    default:
      return {};
  }
}

std::vector<Op> lower(const std::string& op, const std::vector<DType>& sources, DType result, double immediate) {
  const auto from = class_of(sources.back()), to = class_of(result);
  if (!from || !to) return {};
  std::string name = op;
  if (op == "gelu" && immediate != 0) name = "gelu_tanh";
  if (op == "bitwise_not" && sources[0] == DType::Bool) name = "logical_not";
  std::optional<Op> first;
  if (op == "cast" && result == DType::Bool) {
    name = "to_bool";
  } else if (op == "cast") {
    first = conversion(*from, *to);
  }
  if (!first) {
    // A choice is of bits.
    const Names& names = name == "select" || *from == Class::Signed ? signed_ops()
                         : *from == Class::Float                    ? float_ops()
                                                                    : unsigned_ops();
    auto found = names.find(name);
    if (found == names.end()) return {};
    first = found->second;
  }
  std::vector<Op> ops{*first};
  // Comparisons and casts to bool give 0 and 1 by themselves; of operations on bool only a sum does not.
  const bool exact = result == DType::Bool && op != "add";
  if (auto round = rounding(result); round && !exact) ops.push_back(*round);
  return ops;
}

}  // namespace native::cuda::elementwise
