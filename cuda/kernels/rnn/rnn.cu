// One time step of an LSTM or a GRU, forward or backward: the recurrent product fused with the gates.
#include "kernels/rnn/step.cuh"

namespace native::cuda::rnn {
namespace {

// Derivatives of the logistic function and of tanh, from their values.
__device__ inline float sigmoid_slope(float y) { return y * (1 - y); }
__device__ inline float tanh_slope(float y) { return 1 - y * y; }

__device__ inline void emit(const Params& p, const Unit& unit, float next) {
  p.next_h[unit.own] = next;
  const int64_t at = unit.output(p);
  if (at >= 0) p.outputs[at] = unit.counts || !p.zero_output ? next : 0;
}

// Activated gates, zero where the step does not count.
template <int gates>
__device__ inline void keep_gates(const Params& p, const Unit& unit, const float (&values)[gates]) {
  if (!p.gates) return;
#pragma unroll
  for (int k = 0; k < gates; ++k) p.gates[unit.at(p, gates, k)] = unit.counts ? values[k] : 0;
}

// Gates i, f, g, o.
__device__ inline void lstm(const Params& p, const Unit& unit, const float (&sums)[4]) {
  float v[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float sum = p.x[unit.at(p, 4, k)] + sums[k];
    v[k] = k == 2 ? tanhf(sum) : sigmoid(sum);
  }
  const float h = p.h[unit.own], c = p.c[unit.own], state = unit.counts ? v[1] * c + v[0] * v[2] : c;
  keep_gates(p, unit, v);
  if (p.kept_h) p.kept_h[unit.at(p, 1, 0)] = h, p.kept_c[unit.at(p, 1, 0)] = c;
  p.next_c[unit.own] = state;
  emit(p, unit, unit.counts ? v[3] * tanhf(state) : h);
}

// The reset gate after the product: gates z, r, new and the product.
__device__ inline void gru(const Params& p, const Unit& unit, const float (&sums)[3]) {
  float s[3];
#pragma unroll
  for (int k = 0; k < 3; ++k) s[k] = p.bias ? sums[k] + p.bias[k * p.units + unit.u] : sums[k];
  const float z = sigmoid(p.x[unit.at(p, 3, 0)] + s[0]), r = sigmoid(p.x[unit.at(p, 3, 1)] + s[1]);
  const float fresh = tanhf(p.x[unit.at(p, 3, 2)] + r * s[2]), h = p.h[unit.own];
  keep_gates<4>(p, unit, {z, r, fresh, s[2]});
  if (p.kept_h) p.kept_h[unit.at(p, 1, 0)] = h;
  emit(p, unit, unit.counts ? z * h + (1 - z) * fresh : h);
}

// Before the product, in two halves.
__device__ inline void gru_reset(const Params& p, const Unit& unit, const float (&sums)[2]) {
  const float r = sigmoid(p.x[unit.at(p, 3, 1)] + sums[1]);
  p.z[unit.own] = sigmoid(p.x[unit.at(p, 3, 0)] + sums[0]);
  p.r[unit.own] = r;
  p.reset[unit.own] = r * p.h[unit.own];
}
__device__ inline void gru_mix(const Params& p, const Unit& unit, const float (&sums)[1]) {
  const float z = p.z[unit.own], h = p.h[unit.own], fresh = tanhf(p.x[unit.at(p, 3, 2)] + sums[0]);
  keep_gates<4>(p, unit, {z, p.r[unit.own], fresh, p.reset[unit.own]});
  if (p.kept_h) p.kept_h[unit.at(p, 1, 0)] = h;
  emit(p, unit, unit.counts ? z * h + (1 - z) * fresh : h);
}

// The cotangent of h after the step: what came back through the product, what passed it by, and the output's.
__device__ inline float cotangent(const Params& p, const Unit& unit, float sum) {
  float total = p.passed[unit.own] + sum;
  const int64_t at = unit.output(p);
  if (at >= 0 && (unit.counts || !p.zero_output)) total += p.given_outputs[at];
  return total;
}

// The product of the first step goes back to the first state.
__device__ inline void last(const Params& p, const Unit& unit, const float (&sums)[1]) {
  p.next_passed[unit.own] = p.passed[unit.own] + sums[0];
}

__device__ inline void lstm_grad(const Params& p, const Unit& unit, const float (&sums)[1]) {
  const float ct = cotangent(p, unit, sums[0]), dc = p.dc[unit.own];
  float v[4], d[4] = {};
#pragma unroll
  for (int k = 0; k < 4; ++k) v[k] = p.given_gates[unit.at(p, 4, k)];
  const float before = p.given_c[unit.at(p, 1, 0)], t = tanhf(v[1] * before + v[0] * v[2]);
  const float flow = dc + ct * v[3] * tanh_slope(t);
  if (unit.counts) {
    d[0] = flow * v[2] * sigmoid_slope(v[0]);
    d[1] = flow * before * sigmoid_slope(v[1]);
    d[2] = flow * v[0] * tanh_slope(v[2]);
    d[3] = ct * t * sigmoid_slope(v[3]);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) p.dx[unit.at(p, 4, k)] = d[k];
  p.next_dc[unit.own] = unit.counts ? flow * v[1] : dc;
  p.next_passed[unit.own] = unit.counts ? 0 : ct;
}

__device__ inline void gru_grad(const Params& p, const Unit& unit, const float (&sums)[1]) {
  const float ct = cotangent(p, unit, sums[0]);
  float v[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) v[k] = p.given_gates[unit.at(p, 4, k)];
  const float z = v[0], r = v[1], fresh = v[2], h = p.given_h[unit.at(p, 1, 0)];
  const float dz = ct * (h - fresh) * sigmoid_slope(z), dn = ct * (1 - z) * tanh_slope(fresh);
  const float d[3] = {dz, dn * v[3] * sigmoid_slope(r), dn}, s[3] = {d[0], d[1], dn * r};
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    p.dx[unit.at(p, 3, k)] = unit.counts ? d[k] : 0;
    p.ds[unit.at(p, 3, k)] = unit.counts ? s[k] : 0;
  }
  p.next_passed[unit.own] = unit.counts ? ct * z : ct;
}

// The halves of the other GRU backwards.
__device__ inline void gru_mix_grad(const Params& p, const Unit& unit, const float (&sums)[1]) {
  const float ct = cotangent(p, unit, sums[0]), h = p.given_h[unit.at(p, 1, 0)];
  const float z = p.given_gates[unit.at(p, 4, 0)], fresh = p.given_gates[unit.at(p, 4, 2)];
  p.dx[unit.at(p, 3, 0)] = unit.counts ? ct * (h - fresh) * sigmoid_slope(z) : 0;
  p.dx[unit.at(p, 3, 2)] = unit.counts ? ct * (1 - z) * tanh_slope(fresh) : 0;
  p.next_passed[unit.own] = unit.counts ? ct * z : ct;
}
__device__ inline void gru_reset_grad(const Params& p, const Unit& unit, const float (&sums)[1]) {
  const float r = p.given_gates[unit.at(p, 4, 1)], h = p.given_h[unit.at(p, 1, 0)];
  p.dx[unit.at(p, 3, 1)] = unit.counts ? sums[0] * h * sigmoid_slope(r) : 0;
  if (unit.counts) p.next_passed[unit.own] += sums[0] * r;
}

}  // namespace

#define KERNEL(name, gates, turned)                                                                     \
  extern "C" __global__ void __launch_bounds__(kThreads) rnn_##name(const __grid_constant__ Params p) { \
    step<gates, turned>(p, [&](const Unit& unit, const float (&sums)[gates]) { name(p, unit, sums); }); \
  }

KERNEL(lstm, 4, false)
KERNEL(gru, 3, false)
KERNEL(gru_reset, 2, false)
KERNEL(gru_mix, 1, false)
KERNEL(lstm_grad, 1, true)
KERNEL(gru_grad, 1, true)
KERNEL(gru_mix_grad, 1, true)
KERNEL(gru_reset_grad, 1, true)
KERNEL(last, 1, true)

}  // namespace native::cuda::rnn
