// The operations of tile programs that the GPU knows, by the class of their operands. The names are those
// of csrc/kernels/elementwise/opcodes.h, and so is what they mean.
//
// Rows: name, operands, result. x, y and z are the operands, s the immediate. Expressions are for the device;
// a host that includes this takes the names.
#pragma once

// float32; narrower floats are computed so and rounded after each operation.
#define NATIVE_CUDA_SHORT_FLOAT_OPS(X)                         \
  X(copy, 1, x)                                                \
  X(neg, 1, -x)                                                \
  X(abs, 1, fabsf(x))                                          \
  X(sign, 1, x > 0 ? 1.0f : x < 0 ? -1.0f : x != x ? x : 0.0f) \
  X(square, 1, x* x)                                           \
  X(reciprocal, 1, 1 / x)                                      \
  X(sqrt, 1, sqrtf(x))                                         \
  X(rsqrt, 1, 1 / sqrtf(x))                                    \
  X(exp, 1, expf(x))                                           \
  X(exp2, 1, exp2f(x))                                         \
  X(log, 1, logf(x))                                           \
  X(log1p, 1, log1pf(x))                                       \
  X(log2, 1, log2f(x))                                         \
  X(log10, 1, log10f(x))                                       \
  X(tanh, 1, tanhf(x))                                         \
  X(erf, 1, erff(x))                                           \
  X(sigmoid, 1, sigmoid(x))                                    \
  X(softplus, 1, softplus(x))                                  \
  X(relu, 1, relu(x))                                          \
  X(relu6, 1, relu6(x))                                        \
  X(silu, 1, silu(x))                                          \
  X(softsign, 1, x / (1 + fabsf(x)))                           \
  X(hard_sigmoid, 1, relu6(x + 3) / 6)                         \
  X(hard_silu, 1, x*(relu6(x + 3) / 6))                        \
  X(gelu, 1, gelu(x))                                          \
  X(gelu_slope, 1, gelu_slope(x))                              \
  X(gelu_tanh, 1, gelu_tanh(x))                                \
  X(leaky_relu, 1, x >= 0 ? x : x * s)                         \
  X(floor, 1, floorf(x))                                       \
  X(ceil, 1, ceilf(x))                                         \
  X(round, 1, rintf(x))                                        \
  X(trunc, 1, truncf(x))                                       \
  X(add, 2, x + y)                                             \
  X(sub, 2, x - y)                                             \
  X(mul, 2, x* y)                                              \
  X(div, 2, x / y)                                             \
  X(maximum, 2, x > y || x != x ? x : y)                       \
  X(minimum, 2, x < y || x != x ? x : y)                       \
  X(copysign, 2, copysignf(x, y))                              \
  X(fma, 3, fmaf(x, y, z))                                     \
  X(clip, 3, clip(x, y, z))
// Many instructions, or seldom used.
#define NATIVE_CUDA_LONG_FLOAT_OPS(X)    \
  X(expm1, 1, expm1f(x))                 \
  X(erfc, 1, erfcf(x))                   \
  X(erfinv, 1, erfinvf(x))               \
  X(cbrt, 1, cbrtf(x))                   \
  X(sin, 1, sinf(x))                     \
  X(cos, 1, cosf(x))                     \
  X(tan, 1, tanf(x))                     \
  X(asin, 1, asinf(x))                   \
  X(acos, 1, acosf(x))                   \
  X(atan, 1, atanf(x))                   \
  X(sinh, 1, sinhf(x))                   \
  X(cosh, 1, coshf(x))                   \
  X(asinh, 1, asinhf(x))                 \
  X(acosh, 1, acoshf(x))                 \
  X(atanh, 1, atanhf(x))                 \
  X(lgamma, 1, lgammaf(x))               \
  X(log_sigmoid, 1, -softplus(-x))       \
  X(selu, 1, selu(x))                    \
  X(elu, 1, x > 0 ? x : s * expm1f(x))   \
  X(pow, 2, powf(x, y))                  \
  X(fmod, 2, fmodf(x, y))                \
  X(mod, 2, modulo(x, y))                \
  X(floor_divide, 2, floor_divide(x, y)) \
  X(atan2, 2, atan2f(x, y))              \
  X(logaddexp, 2, logaddexp(x, y))       \
  X(nextafter, 2, nextafterf(x, y))      \
  X(hypot, 2, hypotf(x, y))
#define NATIVE_CUDA_FLOAT_OPS(X) NATIVE_CUDA_SHORT_FLOAT_OPS(X) NATIVE_CUDA_LONG_FLOAT_OPS(X)

// float32 to bool.
#define NATIVE_CUDA_FLOAT_TESTS(X) \
  X(isnan, 1, x != x)              \
  X(isinf, 1, isinf(x))            \
  X(isfinite, 1, isfinite(x))      \
  X(to_bool, 1, x != 0)            \
  X(eq, 2, x == y)                 \
  X(ne, 2, x != y)                 \
  X(lt, 2, x < y)                  \
  X(le, 2, x <= y)                 \
  X(gt, 2, x > y)                  \
  X(ge, 2, x >= y)

// Integers of up to 32 bits and bool; x, y, z are uint32_t, i, j, k the same bits as int32_t.
#define NATIVE_CUDA_INTEGER_OPS(X)       \
  X(copy, 1, x)                          \
  X(neg, 1, 0u - x)                      \
  X(square, 1, x* x)                     \
  X(bitwise_not, 1, ~x)                  \
  X(logical_not, 1, x ^ 1u)              \
  X(to_bool, 1, x != 0)                  \
  X(isnan, 1, 0u)                        \
  X(isinf, 1, 0u)                        \
  X(isfinite, 1, 1u)                     \
  X(add, 2, x + y)                       \
  X(sub, 2, x - y)                       \
  X(mul, 2, x* y)                        \
  X(shift_left, 2, y < 32 ? x << y : 0u) \
  X(bitwise_and, 2, x& y)                \
  X(bitwise_or, 2, x | y)                \
  X(bitwise_xor, 2, x ^ y)               \
  X(logical_and, 2, x& y)                \
  X(logical_or, 2, x | y)                \
  X(logical_xor, 2, x ^ y)               \
  X(eq, 2, x == y)                       \
  X(ne, 2, x != y)                       \
  X(fma, 3, x* y + z)                    \
  X(select, 3, x ? y : z)

// What the sign bit makes a difference to.
#define NATIVE_CUDA_SIGNED_OPS(X)                            \
  X(abs, 1, i < 0 ? 0u - x : x)                              \
  X(sign, 1, static_cast<uint32_t>((i > 0) - (i < 0)))       \
  X(relu, 1, i > 0 ? x : 0u)                                 \
  X(relu6, 1, i > 6 ? 6u : i > 0 ? x : 0u)                   \
  X(maximum, 2, i > j ? x : y)                               \
  X(minimum, 2, i < j ? x : y)                               \
  X(lt, 2, i < j)                                            \
  X(le, 2, i <= j)                                           \
  X(gt, 2, i > j)                                            \
  X(ge, 2, i >= j)                                           \
  X(floor_divide, 2, floor_divide(i, j))                     \
  X(mod, 2, modulo(i, j))                                    \
  X(fmod, 2, remainder(i, j))                                \
  X(shift_right, 2, static_cast<uint32_t>(i >> min(y, 31u))) \
  X(clip, 3, static_cast<uint32_t>(min(max(i, j), k)))
#define NATIVE_CUDA_UNSIGNED_OPS(X)       \
  X(abs, 1, x)                            \
  X(sign, 1, x != 0)                      \
  X(relu, 1, x)                           \
  X(relu6, 1, x > 6 ? 6u : x)             \
  X(maximum, 2, x > y ? x : y)            \
  X(minimum, 2, x < y ? x : y)            \
  X(lt, 2, x < y)                         \
  X(le, 2, x <= y)                        \
  X(gt, 2, x > y)                         \
  X(ge, 2, x >= y)                        \
  X(floor_divide, 2, y ? x / y : 0u)      \
  X(mod, 2, y ? x % y : 0u)               \
  X(fmod, 2, y ? x % y : 0u)              \
  X(shift_right, 2, y < 32 ? x >> y : 0u) \
  X(clip, 3, min(max(x, y), z))

// Between the classes, and to what a narrow dtype can hold; f is x as float.
#define NATIVE_CUDA_CONVERSIONS(X)                                                        \
  X(float_to_signed, 1, static_cast<uint32_t>(__float2int_rz(f)))                         \
  X(float_to_unsigned, 1, __float2uint_rz(f))                                             \
  X(signed_to_float, 1, __float_as_uint(static_cast<float>(i)))                           \
  X(unsigned_to_float, 1, __float_as_uint(static_cast<float>(x)))                         \
  X(round_f16, 1, __float_as_uint(widened<DataType::F16>(narrowed<DataType::F16>(f))))    \
  X(round_bf16, 1, __float_as_uint(widened<DataType::BF16>(narrowed<DataType::BF16>(f)))) \
  X(wrap_i8, 1, static_cast<uint32_t>(static_cast<int8_t>(x)))                            \
  X(wrap_u8, 1, x & 0xFFu)                                                                \
  X(wrap_i16, 1, static_cast<uint32_t>(static_cast<int16_t>(x)))                          \
  X(wrap_u16, 1, x & 0xFFFFu)
