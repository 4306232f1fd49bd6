// Functions of float32 in float32 arithmetic (simd/math.h).
#include "kernels/elementwise/loops.simd.h"
#include "kernels/elementwise/tables.h"
#include "simd/math.h"

namespace native {
namespace NATIVE_ISA {
namespace {

vf32 log_sigmoid(vf32 x) { return -vsoftplus(-x); }

// The scale, and the scale times alpha.
constexpr float kSeluAbove = 1.05070099f, kSeluBelow = 1.75809934f;
vf32 selu(vf32 x) { return x > 0.0f ? kSeluAbove * x : kSeluBelow * vexpm1(vmin(splat(0.0f), x)); }

void elu(void* out, const void* a, const void*, const void*, int n, const double* immediates) {
  const float alpha = static_cast<float>(immediates[0]);
  for (int i = 0; i < n; i += kLanes<float>) {
    const vf32 x = load(static_cast<const float*>(a) + i);
    store(static_cast<float*>(out) + i, x > 0.0f ? x : alpha * vexpm1(vmin(splat(0.0f), x)));
  }
}

constexpr TileOps make_table() {
  TileOps table{};
  auto set = [&table](Opcode code, TileOp op) { table.op[static_cast<int>(code)][static_cast<int>(Class::F32)] = op; };
  set(Opcode::exp, map_vector<float, vexp>);
  set(Opcode::expm1, map_vector<float, vexpm1>);
  set(Opcode::log, map_vector<float, vlog>);
  set(Opcode::log1p, map_vector<float, vlog1p>);
  set(Opcode::tanh, map_vector<float, vtanh>);
  set(Opcode::erf, map_vector<float, verf>);
  set(Opcode::erfc, map_vector<float, verfc>);
  set(Opcode::sigmoid, map_vector<float, vsigmoid>);
  set(Opcode::log_sigmoid, map_vector<float, log_sigmoid>);
  set(Opcode::softplus, map_vector<float, vsoftplus>);
  set(Opcode::silu, map_vector<float, vsilu>);
  set(Opcode::gelu, map_vector<float, vgelu>);
  set(Opcode::gelu_tanh, map_vector<float, vgelu_tanh>);
  set(Opcode::selu, map_vector<float, selu>);
  set(Opcode::elu, elu);
  return table;
}

}  // namespace

extern const TileOps function_ops;
constexpr TileOps function_ops = make_table();

}  // namespace NATIVE_ISA
}  // namespace native
