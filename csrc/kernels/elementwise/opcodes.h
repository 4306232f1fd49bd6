// The operations of tile programs. Plain data: included by SIMD units and drivers alike.
#pragma once

#include <stdint.h>

// Rows: name (that of the primitive), operands, dtypes accepted, dtype of the result, cost in units of one
// addition, attribute carried as an immediate.
#define NATIVE_ELEMENTWISE_OPS(X)              \
  X(neg, 1, kNumeric, Same, 1, "")             \
  X(abs, 1, kAny, Same, 1, "")                 \
  X(sign, 1, kNumeric, Same, 1, "")            \
  X(square, 1, kNumeric, Same, 1, "")          \
  X(reciprocal, 1, kFloats, Same, 3, "")       \
  X(sqrt, 1, kFloats, Same, 3, "")             \
  X(rsqrt, 1, kFloats, Same, 5, "")            \
  X(cbrt, 1, kFloats, Same, 20, "")            \
  X(exp, 1, kFloats, Same, 6, "")              \
  X(exp2, 1, kFloats, Same, 6, "")             \
  X(expm1, 1, kFloats, Same, 8, "")            \
  X(log, 1, kFloats, Same, 8, "")              \
  X(log1p, 1, kFloats, Same, 10, "")           \
  X(log2, 1, kFloats, Same, 12, "")            \
  X(log10, 1, kFloats, Same, 12, "")           \
  X(sin, 1, kFloats, Same, 12, "")             \
  X(cos, 1, kFloats, Same, 12, "")             \
  X(tan, 1, kFloats, Same, 20, "")             \
  X(asin, 1, kFloats, Same, 20, "")            \
  X(acos, 1, kFloats, Same, 20, "")            \
  X(atan, 1, kFloats, Same, 20, "")            \
  X(sinh, 1, kFloats, Same, 20, "")            \
  X(cosh, 1, kFloats, Same, 20, "")            \
  X(tanh, 1, kFloats, Same, 12, "")            \
  X(asinh, 1, kFloats, Same, 20, "")           \
  X(acosh, 1, kFloats, Same, 20, "")           \
  X(atanh, 1, kFloats, Same, 20, "")           \
  X(erf, 1, kFloats, Same, 14, "")             \
  X(erfc, 1, kFloats, Same, 12, "")            \
  X(erfinv, 1, kFloats, Same, 100, "")         \
  X(lgamma, 1, kFloats, Same, 100, "")         \
  X(digamma, 1, kFloats, Same, 100, "")        \
  X(sigmoid, 1, kFloats, Same, 8, "")          \
  X(log_sigmoid, 1, kFloats, Same, 16, "")     \
  X(softplus, 1, kFloats, Same, 16, "")        \
  X(relu, 1, kReal, Same, 1, "")               \
  X(relu6, 1, kReal, Same, 1, "")              \
  X(silu, 1, kFloats, Same, 8, "")             \
  X(selu, 1, kFloats, Same, 8, "")             \
  X(softsign, 1, kFloats, Same, 3, "")         \
  X(gelu_slope, 1, kFloats, Same, 12, "")      \
  X(hard_sigmoid, 1, kFloats, Same, 2, "")     \
  X(hard_silu, 1, kFloats, Same, 2, "")        \
  X(floor, 1, kFloats, Same, 1, "")            \
  X(ceil, 1, kFloats, Same, 1, "")             \
  X(round, 1, kFloats, Same, 1, "")            \
  X(trunc, 1, kFloats, Same, 1, "")            \
  X(isnan, 1, kAny, Bool, 1, "")               \
  X(isinf, 1, kAny, Bool, 1, "")               \
  X(isfinite, 1, kAny, Bool, 1, "")            \
  X(logical_not, 1, kBool, Bool, 1, "")        \
  X(bitwise_not, 1, kBits, Same, 1, "")        \
  X(gelu, 1, kFloats, Same, 12, "approximate") \
  X(elu, 1, kFloats, Same, 8, "alpha")         \
  X(leaky_relu, 1, kFloats, Same, 1, "slope")  \
  X(add, 2, kAny, Same, 1, "")                 \
  X(sub, 2, kNumeric, Same, 1, "")             \
  X(mul, 2, kAny, Same, 1, "")                 \
  X(div, 2, kFloats, Same, 3, "")              \
  X(floor_divide, 2, kReal, Same, 8, "")       \
  X(mod, 2, kReal, Same, 8, "")                \
  X(fmod, 2, kReal, Same, 8, "")               \
  X(pow, 2, kReal, Same, 30, "")               \
  X(maximum, 2, kAny, Same, 1, "")             \
  X(minimum, 2, kAny, Same, 1, "")             \
  X(atan2, 2, kFloats, Same, 30, "")           \
  X(hypot, 2, kFloats, Same, 6, "")            \
  X(copysign, 2, kFloats, Same, 1, "")         \
  X(nextafter, 2, kFullFloats, Same, 4, "")    \
  X(logaddexp, 2, kFloats, Same, 18, "")       \
  X(eq, 2, kAny, Bool, 1, "")                  \
  X(ne, 2, kAny, Bool, 1, "")                  \
  X(lt, 2, kAny, Bool, 1, "")                  \
  X(le, 2, kAny, Bool, 1, "")                  \
  X(gt, 2, kAny, Bool, 1, "")                  \
  X(ge, 2, kAny, Bool, 1, "")                  \
  X(bitwise_and, 2, kBits, Same, 1, "")        \
  X(bitwise_or, 2, kBits, Same, 1, "")         \
  X(bitwise_xor, 2, kBits, Same, 1, "")        \
  X(shift_left, 2, kIntegers, Same, 2, "")     \
  X(shift_right, 2, kIntegers, Same, 2, "")    \
  X(logical_and, 2, kBool, Bool, 1, "")        \
  X(logical_or, 2, kBool, Bool, 1, "")         \
  X(logical_xor, 2, kBool, Bool, 1, "")        \
  X(fma, 3, kNumeric, Same, 1, "")             \
  X(clip, 3, kAny, Same, 2, "")                \
  X(select, 3, kAny, Same, 1, "")              \
  X(cast, 1, kAny, Attribute, 1, "")

// What casts and narrow dtypes are lowered to; the class of the table's column is that of the operand.
// clang-format off: the formatter does not settle on a layout for this list
#define NATIVE_CONVERSION_OPS(X)                                                                                       \
  X(to_f32)                                                                                                            \
  X(to_f32_odd)                                                                                                        \
  X(to_f64)                                                                                                            \
  X(to_i32)                                                                                                            \
  X(to_u32)                                                                                                            \
  X(to_i64) X(to_u64) X(to_bool) X(round_f16) X(round_bf16) X(wrap_i8) X(wrap_u8) X(wrap_i16) X(wrap_u16) X(gelu_tanh) \
      X(copy) X(constant)
// clang-format on

namespace native {

enum class Opcode : uint8_t {
#define X(name, ...) name,
  NATIVE_ELEMENTWISE_OPS(X) NATIVE_CONVERSION_OPS(X)
#undef X
      count_
};
constexpr int kOpcodeCount = static_cast<int>(Opcode::count_);

// What a register holds. Narrow floats compute in F32; bool (as 0 and 1) and narrow integers in I32.
enum class Class : uint8_t { F32, F64, I32, U32, I64, U64, count_ };
constexpr int kClassCount = static_cast<int>(Class::count_);

constexpr int kTile = 512;      // elements of a register: a dozen registers fit the first-level cache
constexpr int kTileUnit = 16;   // TileOps work on multiples of it
constexpr int kChainUnit = 64;  // chains likewise

// One operation on n elements, n a multiple of kTileUnit, which are more than a tile where memory holds all of them.
// `out` may be one of the operands if their elements have the same size.
using TileOp = void (*)(void* out, const void* a, const void* b, const void* c, int n, const double* immediates);

struct TileOps {
  TileOp op[kOpcodeCount][kClassCount];
};

// Where an operand's elements are, for an output walked in row-major order.
constexpr int kMaxDims = 16;
struct Walk {
  int dims;
  int64_t size[kMaxDims];
  int64_t stride[kMaxDims];  // elements; the last is 0 or 1
};

struct ConversionTable {
  TileOps ops;
  // Between memory and registers, by dtype; nullptr where memory has the register's own format.
  TileOp load[17], store[17];
  // Elements [start, start + n) of a broadcast operand into a contiguous block, by log2 of their size.
  void (*gather[4])(void* out, const void* in, const Walk* walk, int64_t start, int n);
};

}  // namespace native
