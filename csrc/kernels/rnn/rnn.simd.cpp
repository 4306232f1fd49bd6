#include "kernels/rnn/rnn.h"

#include "simd/math.h"
#include "simd/vec.h"

namespace native::recurrent {
namespace NATIVE_ISA {
namespace {

constexpr int kL = kLanes<float>;

// Calls body(offset, lanes) for whole vectors, then once for the rest.
template <class F>
inline void each_vector(int64_t n, const F& body) {
  int64_t i = 0;
  for (; i + kL <= n; i += kL) body(i, kL);
  if (i < n) body(i, static_cast<int>(n - i));
}
inline vf32 take(const float* p, int lanes) { return lanes == kL ? load(p) : load_part(p, lanes); }
inline void put(float* p, vf32 v, int lanes) {
  if (lanes == kL)
    store(p, v);
  else
    store_part(p, v, lanes);
}

// Derivatives of the logistic function and of tanh, from their values.
inline vf32 sigmoid_slope(vf32 y) { return y * (1.0f - y); }
inline vf32 tanh_slope(vf32 y) { return 1.0f - y * y; }

void lstm(const float* x, const float* z, float* gates, float* c, float* h, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const auto sum = [&](int64_t gate) {
      return take(x + gate * units + j, lanes) + take(z + gate * units + j, lanes);
    };
    const vf32 i = vsigmoid(sum(0)), f = vsigmoid(sum(1)), g = vtanh(sum(2)), o = vsigmoid(sum(3));
    const vf32 state = f * take(c + j, lanes) + i * g;
    put(gates + j, i, lanes);
    put(gates + units + j, f, lanes);
    put(gates + 2 * units + j, g, lanes);
    put(gates + 3 * units + j, o, lanes);
    put(c + j, state, lanes);
    put(h + j, o * vtanh(state), lanes);
  });
}

void lstm_grad(const float* gates, const float* c, const float* dh, float* dc, float* dz, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const auto gate = [&](int64_t k) { return take(gates + k * units + j, lanes); };
    const vf32 i = gate(0), f = gate(1), g = gate(2), o = gate(3);
    const vf32 before = take(c + j, lanes), ct = take(dh + j, lanes);
    const vf32 t = vtanh(f * before + i * g);
    const vf32 flow = take(dc + j, lanes) + ct * o * tanh_slope(t);
    put(dz + j, flow * g * sigmoid_slope(i), lanes);
    put(dz + units + j, flow * before * sigmoid_slope(f), lanes);
    put(dz + 2 * units + j, flow * i * tanh_slope(g), lanes);
    put(dz + 3 * units + j, ct * t * sigmoid_slope(o), lanes);
    put(dc + j, flow * f, lanes);
  });
}

void gru(const float* x, const float* s, float* gates, const float* h, float* next, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 z = vsigmoid(take(x + j, lanes) + take(s + j, lanes));
    const vf32 r = vsigmoid(take(x + units + j, lanes) + take(s + units + j, lanes));
    const vf32 state = take(s + 2 * units + j, lanes);
    const vf32 fresh = vtanh(take(x + 2 * units + j, lanes) + r * state);
    put(gates + j, z, lanes);
    put(gates + units + j, r, lanes);
    put(gates + 2 * units + j, fresh, lanes);
    put(gates + 3 * units + j, state, lanes);
    put(next + j, z * take(h + j, lanes) + (1.0f - z) * fresh, lanes);
  });
}

void gru_grad(const float* gates, const float* h, float* dh, float* dx, float* ds, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const auto gate = [&](int64_t k) { return take(gates + k * units + j, lanes); };
    const vf32 z = gate(0), r = gate(1), fresh = gate(2), state = gate(3);
    const vf32 ct = take(dh + j, lanes);
    const vf32 dz = ct * (take(h + j, lanes) - fresh) * sigmoid_slope(z);
    const vf32 dn = ct * (1.0f - z) * tanh_slope(fresh);
    const vf32 dr = dn * state * sigmoid_slope(r);
    put(dx + j, dz, lanes);
    put(ds + j, dz, lanes);
    put(dx + units + j, dr, lanes);
    put(ds + units + j, dr, lanes);
    put(dx + 2 * units + j, dn, lanes);
    put(ds + 2 * units + j, dn * r, lanes);
    put(dh + j, ct * z, lanes);
  });
}

void gru_reset(const float* x, float* s, const float* h, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 z = vsigmoid(take(x + j, lanes) + take(s + j, lanes));
    const vf32 r = vsigmoid(take(x + units + j, lanes) + take(s + units + j, lanes));
    put(s + j, z, lanes);
    put(s + units + j, r, lanes);
    put(s + 3 * units + j, r * take(h + j, lanes), lanes);
  });
}

void gru_mix(const float* x, float* s, const float* h, float* next, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 z = take(s + j, lanes);
    const vf32 fresh = vtanh(take(x + 2 * units + j, lanes) + take(s + 2 * units + j, lanes));
    put(s + 2 * units + j, fresh, lanes);
    put(next + j, z * take(h + j, lanes) + (1.0f - z) * fresh, lanes);
  });
}

void gru_mix_grad(const float* gates, const float* h, float* dh, float* dx, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 z = take(gates + j, lanes), fresh = take(gates + 2 * units + j, lanes);
    const vf32 ct = take(dh + j, lanes);
    put(dx + j, ct * (take(h + j, lanes) - fresh) * sigmoid_slope(z), lanes);
    put(dx + 2 * units + j, ct * (1.0f - z) * tanh_slope(fresh), lanes);
    put(dh + j, ct * z, lanes);
  });
}

void gru_reset_grad(const float* gates, const float* h, const float* dreset, float* dh, float* dx, int64_t units,
                    int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 r = take(gates + units + j, lanes), ct = take(dreset + j, lanes);
    put(dx + units + j, ct * take(h + j, lanes) * sigmoid_slope(r), lanes);
    put(dh + j, take(dh + j, lanes) + ct * r, lanes);
  });
}

void add(const float* x, float* sum, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) { put(sum + j, take(sum + j, lanes) + take(x + j, lanes), lanes); });
}

}  // namespace

extern const CellTable cell_table;
const CellTable cell_table = {&lstm,         &lstm_grad,      &gru, &gru_grad, &gru_reset, &gru_mix,
                              &gru_mix_grad, &gru_reset_grad, &add};

}  // namespace NATIVE_ISA
}  // namespace native::recurrent
