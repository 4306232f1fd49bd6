// Functions of float64 by libm, element by element; of float32 only the rare ones that have no other form.
#include "kernels/elementwise/loops.simd.h"
#include "kernels/elementwise/tables.h"

namespace native {
namespace NATIVE_ISA {
namespace {

template <class T, double (*function)(double)>
void map_scalar(void* out, const void* a, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; ++i)
    static_cast<T*>(out)[i] = static_cast<T>(function(static_cast<double>(static_cast<const T*>(a)[i])));
}
template <class T, double (*function)(double, double)>
void map_scalar2(void* out, const void* a, const void* b, const void*, int n, const double*) {
  for (int i = 0; i < n; ++i)
    static_cast<T*>(out)[i] = static_cast<T>(
        function(static_cast<double>(static_cast<const T*>(a)[i]), static_cast<double>(static_cast<const T*>(b)[i])));
}
#define LIBM(name) \
  double d_##name(double x) { return __builtin_##name(x); }
LIBM(tan)
LIBM(asin)
LIBM(acos)
LIBM(atan)
LIBM(cbrt)
#undef LIBM

double d_atan2(double a, double b) { return __builtin_atan2(a, b); }
double d_hypot(double a, double b) { return __builtin_hypot(a, b); }
double d_fmod(double a, double b) { return __builtin_fmod(a, b); }

// The remainder has the divisor's sign, also where it is zero.
double d_mod(double a, double b) {
  const double r = __builtin_fmod(a, b);
  if (r == 0) return __builtin_copysign(0.0, b);
  return (r < 0) != (b < 0) ? r + b : r;
}
double d_floor_divide(double a, double b) {
  if (b == 0) return a / b;
  double r = __builtin_fmod(a, b);
  double quotient = (a - r) / b;
  if (r != 0 && (r < 0) != (b < 0)) quotient -= 1;
  if (quotient == 0) return __builtin_copysign(0.0, a / b);
  const double floor = __builtin_floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

double d_logaddexp(double a, double b) {
  if (a == b) return a + 0.69314718055994530942;
  const double difference = a - b;
  if (difference != difference) return difference;
  return (a > b ? a : b) + __builtin_log1p(__builtin_exp(-__builtin_fabs(difference)));
}
double d_lgamma(double x) { return __builtin_lgamma(x); }

// Inverse of erf: a rational start (M. Giles), then Newton's steps on erf or erfc.
double d_erfinv(double x) {
  const double a = __builtin_fabs(x);
  if (!(a < 1)) return a == 1 ? __builtin_copysign(__builtin_inf(), x) : __builtin_nan("");
  double w = -__builtin_log((1 - a) * (1 + a)), y;
  constexpr double near[] = {1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087, -4.39150654e-06};
  constexpr double far[] = {2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773, -0.00367342844};
  const double* c = w < 5 ? near : far;
  w = w < 5 ? w - 2.5 : __builtin_sqrt(w) - 3;
  y = c[5];
  for (int i = 4; i >= 0; --i) y = y * w + c[i];
  y = y * a < 6 ? y * a : 6;
  for (int i = 0; i < 3; ++i) {
    // 1 - a is exact above a half, where erf itself would cancel.
    const double error = a < 0.5 ? __builtin_erf(y) - a : (1 - a) - __builtin_erfc(y);
    const double step = error * 0.88622692545275801365 * __builtin_exp(y * y);
    y -= step / (1 + y * step);
  }
  return __builtin_copysign(y, x);
}

// By recurrence to at least 10, then Stirling's series; reflected below 0.
double d_digamma(double x) {
  constexpr double pi = 3.14159265358979323846;
  if (x == 0) return __builtin_copysign(__builtin_inf(), -x);
  double total = 0, z = x;
  if (x < 0) {
    const double part = x - __builtin_rint(x);
    if (!(part != 0)) return __builtin_nan("");
    total = -pi / __builtin_tan(pi * part);
    z = 1 - x;
  }
  if (z == __builtin_inf()) return z;
  for (; z < 10; z += 1) total -= 1 / z;
  const double s = 1 / (z * z);
  constexpr double c[] = {1.0 / 12, -1.0 / 120, 1.0 / 252, -1.0 / 240, 1.0 / 132, -691.0 / 32760, 1.0 / 12};
  double tail = c[6];
  for (int i = 5; i >= 0; --i) tail = tail * s + c[i];
  return total + __builtin_log(z) - 0.5 / z - tail * s;
}

template <class T, class Bits>
void nextafter(void* out, const void* a, const void* b, const void*, int n, const double*) {
  for (int i = 0; i < n; ++i) {
    const T from = static_cast<const T*>(a)[i], to = static_cast<const T*>(b)[i];
    T y = to;
    if (from != from || to != to) {
      y = from + to;
    } else if (from != to) {
      Bits bits = __builtin_bit_cast(Bits, from);
      if (from == 0)
        y = to > 0 ? __builtin_bit_cast(T, Bits{1}) : -__builtin_bit_cast(T, Bits{1});
      else
        y = __builtin_bit_cast(T, static_cast<Bits>((to > from) == (from > 0) ? bits + 1 : bits - 1));
    }
    static_cast<T*>(out)[i] = y;
  }
}

constexpr TileOps make_table() {
  TileOps table{};
  auto at = [&table](Opcode code, Class c) -> TileOp& { return table.op[static_cast<int>(code)][static_cast<int>(c)]; };
  at(Opcode::tan, Class::F64) = map_scalar<double, d_tan>;
  at(Opcode::asin, Class::F64) = map_scalar<double, d_asin>;
  at(Opcode::acos, Class::F64) = map_scalar<double, d_acos>;
  at(Opcode::atan, Class::F64) = map_scalar<double, d_atan>;
  at(Opcode::cbrt, Class::F64) = map_scalar<double, d_cbrt>;
  at(Opcode::erfinv, Class::F64) = map_scalar<double, d_erfinv>;
  at(Opcode::lgamma, Class::F64) = map_scalar<double, d_lgamma>;
  at(Opcode::digamma, Class::F64) = map_scalar<double, d_digamma>;
  at(Opcode::atan2, Class::F64) = map_scalar2<double, d_atan2>;
  at(Opcode::hypot, Class::F64) = map_scalar2<double, d_hypot>;
  at(Opcode::fmod, Class::F64) = map_scalar2<double, d_fmod>;
  at(Opcode::mod, Class::F64) = map_scalar2<double, d_mod>;
  at(Opcode::floor_divide, Class::F64) = map_scalar2<double, d_floor_divide>;
  at(Opcode::logaddexp, Class::F64) = map_scalar2<double, d_logaddexp>;
  at(Opcode::erfinv, Class::F32) = map_scalar<float, d_erfinv>;
  at(Opcode::lgamma, Class::F32) = map_scalar<float, d_lgamma>;
  at(Opcode::digamma, Class::F32) = map_scalar<float, d_digamma>;
  at(Opcode::floor_divide, Class::F32) = map_scalar2<float, d_floor_divide>;
  at(Opcode::nextafter, Class::F32) = nextafter<float, uint32_t>;
  at(Opcode::nextafter, Class::F64) = nextafter<double, uint64_t>;
  return table;
}

}  // namespace

extern const TileOps double_ops;
constexpr TileOps double_ops = make_table();

}  // namespace NATIVE_ISA
}  // namespace native
