// Arithmetic that tile operations and chains have in common, of single numbers and of vectors. For SIMD units.
#pragma once

#include "kernels/elementwise/loops.simd.h"
#include "simd/math_basic.h"

namespace native {
namespace {

// Comparisons give 0 and 1.
static inline int32_t truth(bool x) { return x; }
static inline vi32 truth(vi32 x) { return x & 1; }
static inline float magnitude(float x) { return __builtin_fabsf(x); }
static inline double magnitude(double x) { return __builtin_fabs(x); }
static inline vf32 magnitude(vf32 x) { return vabs(x); }
static inline float root(float x) { return __builtin_sqrtf(x); }
static inline double root(double x) { return __builtin_sqrt(x); }
static inline vf32 root(vf32 x) { return vsqrt(x); }
static inline double inverse_root(double x) { return 1 / root(x); }

#define BINARY_OP(Name, expression) \
  struct Name {                     \
    template <class T>              \
    static T apply(T a, T b) {      \
      return expression;            \
    }                               \
  };
#define UNARY_OP(Name, expression) \
  struct Name {                    \
    template <class T>             \
    static T apply(T a) {          \
      return expression;           \
    }                              \
  };
#define COMPARISON(Name, expression) \
  struct Name {                      \
    template <class T>               \
    static auto apply(T a, T b) {    \
      return truth(expression);      \
    }                                \
  };

// Integers wrap around, which only unsigned arithmetic is free to do.
#define WRAPPING(T, a, op, b) static_cast<T>(static_cast<Unsigned<T>>(a) op static_cast<Unsigned<T>>(b))
BINARY_OP(Add, WRAPPING(T, a, +, b))
BINARY_OP(Sub, WRAPPING(T, a, -, b))
BINARY_OP(Mul, WRAPPING(T, a, *, b))
BINARY_OP(Div, a / b)
BINARY_OP(And, a& b)
BINARY_OP(Or, a | b)
BINARY_OP(Xor, a ^ b)
// A NaN in either operand is the result.
BINARY_OP(Maximum, ((a > b) | (a != a)) ? a : b)
BINARY_OP(Minimum, ((a < b) | (a != a)) ? a : b)
COMPARISON(Eq, a == b)
COMPARISON(Ne, a != b)
COMPARISON(Lt, a < b)
COMPARISON(Le, a <= b)
COMPARISON(Gt, a > b)
COMPARISON(Ge, a >= b)
UNARY_OP(Neg, (kIsFloat<T> ? -a : WRAPPING(T, T{}, -, a)))
UNARY_OP(Square, WRAPPING(T, a, *, a))
UNARY_OP(LogicalNot, a ^ Lane<T>{1})
// One comparison, which keeps NaN.
UNARY_OP(Relu, a <= T{} ? T{} : a)
UNARY_OP(Relu6, a > T{} + Lane<T>{6} ? T{} + Lane<T>{6} : Relu::apply(a))
BINARY_OP(LeakyRelu, a >= T{} ? a : a * b)

struct Fma {
  template <class T>
  static T apply(T a, T b, T c) {
    return WRAPPING(T, WRAPPING(T, a, *, b), +, c);
  }
};
struct Clip {
  template <class T>
  static T apply(T x, T low, T high) {
    return Minimum::apply(Maximum::apply(x, low), high);
  }
};

// Floats only.
UNARY_OP(Magnitude, magnitude(a))
UNARY_OP(Reciprocal, Lane<T>{1} / a)
UNARY_OP(Sqrt, root(a))
UNARY_OP(Rsqrt, inverse_root(a))
UNARY_OP(Softsign, a / (Lane<T>{1} + magnitude(a)))
UNARY_OP(SixthOfRelu6, Relu6::apply(a + Lane<T>{3}) / Lane<T>{6})
UNARY_OP(HardSilu, a* SixthOfRelu6::apply(a))

}  // namespace
}  // namespace native
