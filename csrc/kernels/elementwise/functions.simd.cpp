// Functions that float32 and float64 have in common (simd/math.h, math_normal.h, math_angle.h), and powers of float64.
#include "kernels/elementwise/loops.simd.h"
#include "kernels/elementwise/tables.h"
#include "simd/math_angle.h"
#include "simd/math_normal.h"
#include "simd/math_pow.h"

namespace native {
namespace NATIVE_ISA {
namespace {

template <class V>
V log_sigmoid(V x) {
  return -vsoftplus(-x);
}

template <class T>
[[gnu::flatten]] void elu(void* out, const void* a, const void*, const void*, int n, const double* immediates) {
  const T alpha = static_cast<T>(immediates[0]);
  for (int i = 0; i < n; i += kLanes<T>) {
    const Vec<T> x = load(static_cast<const T*>(a) + i);
    store(static_cast<T*>(out) + i, x > T{0} ? x : alpha * vexpm1(vmin(Vec<T>{}, x)));
  }
}

// Angles too large for the reduction are rare; libm takes their vectors.
template <class T, Vec<T> (*function)(Vec<T>), double (*exact)(double)>
[[gnu::flatten]] void map_angles(void* out, const void* a, const void*, const void*, int n, const double*) {
  for (int i = 0; i < n; i += kLanes<T>) {
    const Vec<T> x = load(static_cast<const T*>(a) + i);
    Vec<T> y = function(x);
    if (any_above(vabs(x), Constants<T>::kLargestAngle))
      for (int j = 0; j < kLanes<T>; ++j) y[j] = static_cast<T>(exact(static_cast<double>(x[j])));
    store(static_cast<T*>(out) + i, y);
  }
}
double exact_sin(double x) { return __builtin_sin(x); }
double exact_cos(double x) { return __builtin_cos(x); }

[[gnu::flatten]] void pow(void* out, const void* a, const void* b, const void*, int n, const double*) {
  for (int i = 0; i < n; i += kLanes<double>) {
    const vf64 x = load(static_cast<const double*>(a) + i), y = load(static_cast<const double*>(b) + i);
    store(static_cast<double*>(out) + i, vpow(x, y));
  }
}

struct Filler {
  TileOps table{};

  template <class T>
  constexpr void functions(Class c) {
    auto set = [&](Opcode code, TileOp op) { table.op[static_cast<int>(code)][static_cast<int>(c)] = op; };
    using V = Vec<T>;
    set(Opcode::exp, map_vector<T, vexp<V>>);
    set(Opcode::exp2, map_vector<T, vexp2<V>>);
    set(Opcode::expm1, map_vector<T, vexpm1<V>>);
    set(Opcode::log, map_vector<T, vlog<V>>);
    set(Opcode::log1p, map_vector<T, vlog1p<V>>);
    set(Opcode::log2, map_vector<T, vlog2<V>>);
    set(Opcode::log10, map_vector<T, vlog10<V>>);
    set(Opcode::sin, map_angles<T, vsin<V>, exact_sin>);
    set(Opcode::cos, map_angles<T, vcos<V>, exact_cos>);
    set(Opcode::sinh, map_vector<T, vsinh<V>>);
    set(Opcode::cosh, map_vector<T, vcosh<V>>);
    set(Opcode::tanh, map_vector<T, vtanh<V>>);
    set(Opcode::asinh, map_vector<T, vasinh<V>>);
    set(Opcode::acosh, map_vector<T, vacosh<V>>);
    set(Opcode::atanh, map_vector<T, vatanh<V>>);
    set(Opcode::erf, map_vector<T, verf<V>>);
    set(Opcode::erfc, map_vector<T, verfc<V>>);
    set(Opcode::sigmoid, map_vector<T, vsigmoid<V>>);
    set(Opcode::log_sigmoid, map_vector<T, log_sigmoid<V>>);
    set(Opcode::softplus, map_vector<T, vsoftplus<V>>);
    set(Opcode::silu, map_vector<T, vsilu<V>>);
    set(Opcode::gelu, map_vector<T, vgelu<V>>);
    set(Opcode::gelu_slope, map_vector<T, vgelu_slope<V>>);
    set(Opcode::gelu_tanh, map_vector<T, vgelu_tanh<V>>);
    set(Opcode::selu, map_vector<T, vselu<V>>);
    set(Opcode::elu, elu<T>);
  }
};

constexpr TileOps make_table() {
  Filler f;
  f.functions<float>(Class::F32);
  f.functions<double>(Class::F64);
  f.table.op[static_cast<int>(Opcode::pow)][static_cast<int>(Class::F64)] = pow;
  return f.table;
}

}  // namespace

extern const TileOps function_ops;
constexpr TileOps function_ops = make_table();

}  // namespace NATIVE_ISA
}  // namespace native
