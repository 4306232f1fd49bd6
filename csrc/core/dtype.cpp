#include "core/dtype.h"

#include "core/errors.h"

namespace native {
namespace {

struct Row {
  const char* name;
  size_t size;
};

// Indexed by DType.
constexpr Row kRows[kDTypeCount] = {
    {"bool", 1},    {"uint8", 1},     {"uint16", 2},      {"uint32", 4},        {"uint64", 8},      {"int8", 1},
    {"int16", 2},   {"int32", 4},     {"int64", 8},       {"float16", 2},       {"bfloat16", 2},    {"float32", 4},
    {"float64", 8}, {"complex64", 8}, {"complex128", 16}, {"float8_e4m3fn", 1}, {"float8_e5m2", 1},
};

}  // namespace

size_t size_of(DType dtype) { return kRows[static_cast<int>(dtype)].size; }
const char* name_of(DType dtype) { return kRows[static_cast<int>(dtype)].name; }

DType dtype_from_name(const std::string& name) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (name == kRows[i].name) return static_cast<DType>(i);
  throw DTypeError("unknown dtype '" + name + "'");
}

bool is_float(DType dtype) { return (dtype >= DType::F16 && dtype <= DType::F64) || dtype >= DType::F8E4M3; }
bool is_integer(DType dtype) { return dtype >= DType::U8 && dtype <= DType::I64; }
bool is_complex(DType dtype) { return dtype == DType::C64 || dtype == DType::C128; }

}  // namespace native
