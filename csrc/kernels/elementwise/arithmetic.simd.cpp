// Arithmetic, comparisons and bit operations, for every class of register.
#include "kernels/elementwise/arithmetic.simd.h"

#include "kernels/elementwise/tables.h"

namespace native {
namespace NATIVE_ISA {
namespace {

UNARY_OP(Not, ~a)
UNARY_OP(Copy, a)

struct Abs {
  template <class T>
  static T apply(T a) {
    // Branches that are chosen here: the common type of all would be double, too narrow for 64-bit integers.
    if constexpr (!kIsFloat<T>)
      return !kIsSigned<T> || a >= 0 ? a : Neg::apply(a);
    else
      return magnitude(a);
  }
};

struct Sign {
  template <class T>
  static T apply(T a) {
    const T s = static_cast<T>(static_cast<T>(a > 0) - static_cast<T>(kIsSigned<T> && a < 0));
    return a != a ? a : s;
  }
};

// Division of integers: by zero gives zero, and the one overflow wraps around.
template <class T>
static T truncated_quotient(T a, T b) {
  if (b == 0) return 0;
  if (kIsSigned<T> && b == static_cast<T>(-1)) return WRAPPING(T, T{0}, -, a);
  return static_cast<T>(a / b);
}
template <class T>
static T truncated_remainder(T a, T b) {
  if (b == 0 || (kIsSigned<T> && b == static_cast<T>(-1))) return 0;
  return static_cast<T>(a % b);
}
BINARY_OP(Fmod, truncated_remainder(a, b))
struct Mod {
  template <class T>
  static T apply(T a, T b) {
    const T r = truncated_remainder(a, b);
    return r != 0 && kIsSigned<T> && (r < 0) != (b < 0) ? static_cast<T>(r + b) : r;
  }
};
struct FloorDivide {
  template <class T>
  static T apply(T a, T b) {
    const T q = truncated_quotient(a, b);
    return kIsSigned<T> && truncated_remainder(a, b) != 0 && (a < 0) != (b < 0) ? static_cast<T>(q - 1) : q;
  }
};
struct Pow {
  template <class T>
  static T apply(T a, T b) {
    if (kIsSigned<T> && b < 0) return a == 1 ? T{1} : a == static_cast<T>(-1) ? (b & 1 ? a : T{1}) : T{0};
    Unsigned<T> result = 1, base = static_cast<Unsigned<T>>(a);
    for (auto e = static_cast<Unsigned<T>>(b); e; e >>= 1, base *= base)
      if (e & 1) result *= base;
    return static_cast<T>(result);
  }
};
// Counts out of range, negative ones included, shift everything out.
struct ShiftLeft {
  template <class T>
  static T apply(T a, T b) {
    using U = Unsigned<T>;
    return static_cast<U>(b) < sizeof(T) * 8 ? static_cast<T>(static_cast<U>(a) << (b & (sizeof(T) * 8 - 1))) : T{0};
  }
};
struct ShiftRight {
  template <class T>
  static T apply(T a, T b) {
    const T last = static_cast<T>(sizeof(T) * 8 - 1);
    const T count = static_cast<Unsigned<T>>(b) < sizeof(T) * 8 ? b : last;
    const T shifted = static_cast<T>(a >> count);
    return count == b || kIsSigned<T> ? shifted : T{0};
  }
};

template <class T>
void select(void* out, const void* condition, const void* a, const void* b, int n, const double*) {
  T* y = static_cast<T*>(out);
  const int32_t* c = static_cast<const int32_t*>(condition);
  const T *x = static_cast<const T*>(a), *z = static_cast<const T*>(b);
  n = whole(n);
  NATIVE_INDEPENDENT
  for (int i = 0; i < n; ++i) y[i] = c[i] ? x[i] : z[i];
}

// Floats only.
UNARY_OP(Floor, (sizeof(T) == 4 ? __builtin_floorf(a) : __builtin_floor(a)))
UNARY_OP(Ceil, (sizeof(T) == 4 ? __builtin_ceilf(a) : __builtin_ceil(a)))
UNARY_OP(Round, (sizeof(T) == 4 ? __builtin_rintf(a) : __builtin_rint(a)))
UNARY_OP(Trunc, (sizeof(T) == 4 ? __builtin_truncf(a) : __builtin_trunc(a)))
BINARY_OP(Copysign, (sizeof(T) == 4 ? __builtin_copysignf(a, b) : __builtin_copysign(a, b)))
struct IsNan {
  template <class T>
  static int32_t apply(T a) {
    return a != a;
  }
};
struct IsFinite {
  template <class T>
  static int32_t apply(T a) {
    return Abs::apply(a) <= (sizeof(T) == 4 ? T{3.40282347e38f} : static_cast<T>(1.7976931348623157e308));
  }
};
struct IsInf {
  template <class T>
  static int32_t apply(T a) {
    return a == a && !IsFinite::apply(a);
  }
};
template <int value>
void fill(void* out, const void*, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; ++i) static_cast<int32_t*>(out)[i] = value;
}

struct Filler {
  TileOps table{};
  constexpr TileOp& at(Opcode code, Class column) { return table.op[static_cast<int>(code)][static_cast<int>(column)]; }

  template <class T>
  constexpr void numbers(Class c) {
    at(Opcode::copy, c) = map1<T, T, Copy>;
    at(Opcode::neg, c) = map1<T, T, Neg>;
    at(Opcode::abs, c) = map1<T, T, Abs>;
    at(Opcode::sign, c) = map1<T, T, Sign>;
    at(Opcode::square, c) = map1<T, T, Square>;
    at(Opcode::relu, c) = map1<T, T, Relu>;
    at(Opcode::relu6, c) = map1<T, T, Relu6>;
    at(Opcode::add, c) = map2<T, T, Add>;
    at(Opcode::sub, c) = map2<T, T, Sub>;
    at(Opcode::mul, c) = map2<T, T, Mul>;
    at(Opcode::maximum, c) = map2<T, T, Maximum>;
    at(Opcode::minimum, c) = map2<T, T, Minimum>;
    at(Opcode::eq, c) = map2<int32_t, T, Eq>;
    at(Opcode::ne, c) = map2<int32_t, T, Ne>;
    at(Opcode::lt, c) = map2<int32_t, T, Lt>;
    at(Opcode::le, c) = map2<int32_t, T, Le>;
    at(Opcode::gt, c) = map2<int32_t, T, Gt>;
    at(Opcode::ge, c) = map2<int32_t, T, Ge>;
    at(Opcode::fma, c) = map3<T, Fma>;
    at(Opcode::clip, c) = map3<T, Clip>;
    at(Opcode::select, c) = select<T>;
  }

  template <class T>
  constexpr void integers(Class c) {
    numbers<T>(c);
    at(Opcode::isnan, c) = at(Opcode::isinf, c) = fill<0>;
    at(Opcode::isfinite, c) = fill<1>;
    at(Opcode::floor_divide, c) = map2<T, T, FloorDivide>;
    at(Opcode::mod, c) = map2<T, T, Mod>;
    at(Opcode::fmod, c) = map2<T, T, Fmod>;
    at(Opcode::pow, c) = map2<T, T, Pow>;
    at(Opcode::bitwise_not, c) = map1<T, T, Not>;
    at(Opcode::bitwise_and, c) = map2<T, T, And>;
    at(Opcode::bitwise_or, c) = map2<T, T, Or>;
    at(Opcode::bitwise_xor, c) = map2<T, T, Xor>;
    at(Opcode::shift_left, c) = map2<T, T, ShiftLeft>;
    at(Opcode::shift_right, c) = map2<T, T, ShiftRight>;
  }

  template <class T>
  constexpr void floats(Class c) {
    numbers<T>(c);
    at(Opcode::reciprocal, c) = map1<T, T, Reciprocal>;
    at(Opcode::sqrt, c) = map1<T, T, Sqrt>;
    if constexpr (sizeof(T) == sizeof(float))
      at(Opcode::rsqrt, c) = map_vector<T, inverse_root>;
    else
      at(Opcode::rsqrt, c) = map1<T, T, Rsqrt>;
    at(Opcode::floor, c) = map1<T, T, Floor>;
    at(Opcode::ceil, c) = map1<T, T, Ceil>;
    at(Opcode::round, c) = map1<T, T, Round>;
    at(Opcode::trunc, c) = map1<T, T, Trunc>;
    at(Opcode::softsign, c) = map1<T, T, Softsign>;
    at(Opcode::hard_sigmoid, c) = map1<T, T, SixthOfRelu6>;
    at(Opcode::hard_silu, c) = map1<T, T, HardSilu>;
    at(Opcode::leaky_relu, c) = map_immediate<T, LeakyRelu>;
    at(Opcode::isnan, c) = map1<int32_t, T, IsNan>;
    at(Opcode::isinf, c) = map1<int32_t, T, IsInf>;
    at(Opcode::isfinite, c) = map1<int32_t, T, IsFinite>;
    at(Opcode::div, c) = map2<T, T, Div>;
    at(Opcode::copysign, c) = map2<T, T, Copysign>;
  }
};

constexpr TileOps make_table() {
  Filler f;
  f.floats<float>(Class::F32);
  f.floats<double>(Class::F64);
  f.integers<int32_t>(Class::I32);
  f.integers<uint32_t>(Class::U32);
  f.integers<int64_t>(Class::I64);
  f.integers<uint64_t>(Class::U64);
  f.at(Opcode::logical_not, Class::I32) = map1<int32_t, int32_t, LogicalNot>;
  f.at(Opcode::logical_and, Class::I32) = map2<int32_t, int32_t, And>;
  f.at(Opcode::logical_or, Class::I32) = map2<int32_t, int32_t, Or>;
  f.at(Opcode::logical_xor, Class::I32) = map2<int32_t, int32_t, Xor>;
  return f.table;
}

}  // namespace

extern const TileOps arithmetic_ops;
constexpr TileOps arithmetic_ops = make_table();

}  // namespace NATIVE_ISA
}  // namespace native
