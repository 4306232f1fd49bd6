// Element types: Keras's dtypes, their sizes and names. Plain data, thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace native {

enum class DType : uint8_t {
  Bool,
  U8,
  U16,
  U32,
  U64,
  I8,
  I16,
  I32,
  I64,
  F16,
  BF16,
  F32,
  F64,
  C64,
  C128,
  F8E4M3,
  F8E5M2,
};
inline constexpr int kDTypeCount = 17;

// Bytes of one element.
size_t size_of(DType dtype);
// Keras's spelling, "float32" for instance.
const char* name_of(DType dtype);
// Throws DTypeError on a name that Keras does not know.
DType dtype_from_name(const std::string& name);

bool is_float(DType dtype);    // F16, BF16, F32, F64 and the float8 types
bool is_integer(DType dtype);  // signed and unsigned, without Bool
bool is_complex(DType dtype);

}  // namespace native
