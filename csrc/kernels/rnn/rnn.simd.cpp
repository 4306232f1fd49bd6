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

void lstm(const float* z, const float* c, float* h, float* next, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 i = vsigmoid(take(z + j, lanes));
    const vf32 f = vsigmoid(take(z + n + j, lanes));
    const vf32 g = vtanh(take(z + 2 * n + j, lanes));
    const vf32 o = vsigmoid(take(z + 3 * n + j, lanes));
    const vf32 state = f * take(c + j, lanes) + i * g;
    put(next + j, state, lanes);
    put(h + j, o * vtanh(state), lanes);
  });
}

// The derivative y (1 - y), without the cancellation that 1 - y suffers near 1.
inline vf32 slope(const Logistic& s) {
  const vf32 d = 1.0f + s.e;
  return s.e / (d * d);
}

void lstm_grad(const float* z, const float* c, const float* dh, const float* dnext, float* dz, float* dc, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const Logistic i = logistic(take(z + j, lanes));
    const Logistic f = logistic(take(z + n + j, lanes));
    const vf32 g = vtanh(take(z + 2 * n + j, lanes));
    const Logistic o = logistic(take(z + 3 * n + j, lanes));
    const vf32 before = take(c + j, lanes);
    const vf32 t = vtanh(f.y * before + i.y * g);
    const vf32 ct = take(dh + j, lanes);
    const vf32 flow = take(dnext + j, lanes) + ct * o.y * (1.0f - t * t);
    put(dz + j, flow * g * slope(i), lanes);
    put(dz + n + j, flow * before * slope(f), lanes);
    put(dz + 2 * n + j, flow * i.y * (1.0f - g * g), lanes);
    put(dz + 3 * n + j, ct * t * slope(o), lanes);
    put(dc + j, flow * f.y, lanes);
  });
}

void gru(const float* x, const float* s, const float* h, float* next, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 u = vsigmoid(take(x + j, lanes) + take(s + j, lanes));
    const vf32 r = vsigmoid(take(x + n + j, lanes) + take(s + n + j, lanes));
    const vf32 fresh = vtanh(take(x + 2 * n + j, lanes) + r * take(s + 2 * n + j, lanes));
    put(next + j, u * take(h + j, lanes) + (1.0f - u) * fresh, lanes);
  });
}

void gru_grad(const float* x, const float* s, const float* h, const float* ct, float* dx, float* ds, float* dh,
              int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const Logistic u = logistic(take(x + j, lanes) + take(s + j, lanes));
    const Logistic r = logistic(take(x + n + j, lanes) + take(s + n + j, lanes));
    const vf32 state = take(s + 2 * n + j, lanes);
    const vf32 fresh = vtanh(take(x + 2 * n + j, lanes) + r.y * state);
    const vf32 flow = take(ct + j, lanes);
    const vf32 du = flow * (take(h + j, lanes) - fresh) * slope(u);
    const vf32 dn = flow * (1.0f - u.y) * (1.0f - fresh * fresh);
    const vf32 dr = dn * state * slope(r);
    put(dx + j, du, lanes);
    put(ds + j, du, lanes);
    put(dx + n + j, dr, lanes);
    put(ds + n + j, dr, lanes);
    put(dx + 2 * n + j, dn, lanes);
    put(ds + 2 * n + j, dn * r.y, lanes);
    put(dh + j, flow * u.y, lanes);
  });
}

}  // namespace

extern const CellTable cell_table;
const CellTable cell_table = {&lstm, &lstm_grad, &gru, &gru_grad};

}  // namespace NATIVE_ISA
}  // namespace native::recurrent
