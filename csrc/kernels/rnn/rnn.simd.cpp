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

// The functions of gates, exact to a few units: of x less n ln 2, which is rounded once where products and sums join.
inline Reduced<vf32> reduced(vf32 x) {
#if defined(__FMA__)
  const Rounded<vf32> power = rounded(x, 1.44269504088896340736f);
  return {x - power.n * 0.693147180559945309417f, power.shifted, power.n};
#else
  return reduce_by_ln2(x);
#endif
}
// 0 below -87, where an infinite state times it is no number.
inline vf32 logistic(vf32 x) {
  const vf32 least = splat(-87.0f);
  const auto y = reduced(vmax(least, vmin(splat(24.0f), x)));
  // exp(-x) = (1 + growth) / s.
  const vf32 s = power_of_2(y.shifted, 0);
  const vf32 result = quotient(s, (s + 1.0f) + growth(-y.r));
  return x < least ? vf32{} : result;
}
// e / (e + 2) for e = exp(2 x) - 1.
inline vf32 hyperbolic(vf32 x) {
  const auto y = reduced(vmax(splat(-20.0f), vmin(splat(20.0f), x + x)));
  const vf32 s = power_of_2(y.shifted, 0), r = y.r;
  const vf32 e = s * (r * r * polynomial(r, Constants<float>::kExpm1) + r) + (s - 1.0f);
  return quotient(e, e + 2.0f);
}

void pack(const float* w, int64_t depth, int64_t units, int gates, int vectors, int64_t first, int64_t n, float* out) {
  const int64_t row = vectors * kL, of_vector = (gates + vectors - 1) / vectors * row * depth;
  for (int64_t p = 0; p < depth; ++p)
    for (int k = 0; k < gates; ++k) {
      const float* const from = w + (p * gates + k) * units + first;
      float* const to = out + (k / vectors * depth + p) * row + k % vectors * kL;
      each_vector(n, [&](int64_t j, int lanes) { store(to + j / kL * of_vector, take(from + j, lanes)); });
    }
}

// What a cell leaves for the gradient.
inline void keep(const Step& s, int64_t row, int64_t unit, int lanes, vf32 a, vf32 b, vf32 c, vf32 d) {
  float* const gates = s.gates + row * s.apart * 4 * s.units + unit;
  put(gates, a, lanes);
  put(gates + s.units, b, lanes);
  put(gates + 2 * s.units, c, lanes);
  put(gates + 3 * s.units, d, lanes);
}
// What it leaves as its state and output.
inline void leave(const Step& s, int64_t row, int64_t unit, int lanes, vf32 state, vf32 output) {
  put(s.next + row * s.units + unit, state, lanes);
  if (s.y) put(s.y + row * s.y_row + unit, output, lanes);
}

// What a row of a step that does not count leaves.
inline void idle(const Step& s, int64_t row, int64_t first, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 state = take(s.h + row * s.units + first + j, lanes), none{};
    leave(s, row, first + j, lanes, state, s.zero_output ? none : state);
    if (s.gates) keep(s, row, first + j, lanes, none, none, none, none);
  });
}

// Calls cell(row, at, unit, lanes) for vectors of all rows that count, `at` being the unit's place among those of z.
template <class Cell>
inline void each_cell(const Step& s, int64_t first, int64_t n, const Cell& cell) {
  for (int64_t row = 0; row < s.rows; ++row)
    if (!s.counts || s.counts[row * s.apart])
      each_vector(n, [&](int64_t j, int lanes) { cell(row, j, first + j, lanes); });
}

// What is left to do of all rows: those that do not count, and states before the step that are kept.
inline void begin(const Step& s, int64_t first, int64_t n) {
  if (!s.kept_h && !s.counts) return;
  for (int64_t row = 0; row < s.rows; ++row) {
    if (s.kept_h)
      each_vector(n, [&](int64_t j, int lanes) {
        const int64_t from = row * s.units + first + j, to = row * s.apart * s.units + first + j;
        put(s.kept_h + to, take(s.h + from, lanes), lanes);
        if (s.kept_c) put(s.kept_c + to, take(s.c + from, lanes), lanes);
      });
    if (s.counts && !s.counts[row * s.apart]) idle(s, row, first, n);
  }
}

// The inputs that will be read next, at row 0 and unit 0: those behind the units [first, first + n), or of the next
// step.
inline const float* inputs_ahead(const Step& s, int64_t first, int64_t n) {
  return first + n < s.units ? s.x + n : s.ahead - first;
}

// In two turns, so that no cell waits for the tangent of its own state. (By value: what is stored might else be part of
// them.)
template <bool kept>
void lstm_cells(const Step s, const Products z, int64_t first, int64_t n) {
  const float* const ahead = inputs_ahead(s, first, n);
  each_cell(s, first, n, [&](int64_t row, int64_t at, int64_t unit, int lanes) {
    const float* const x = s.x + row * s.x_row + unit;
    float* const products = z.data + row * z.row + at / kL * z.vector;
    const auto sum = [&](int64_t k) {
      __builtin_prefetch(ahead + row * s.x_row + k * s.units + unit, 0, 2);
      return take(x + k * s.units, lanes) + take(products + k * z.gate, lanes);
    };
    const vf32 i = logistic(sum(0)), f = logistic(sum(1)), g = hyperbolic(sum(2)), o = logistic(sum(3));
    if constexpr (kept) keep(s, row, unit, lanes, i, f, g, o);
    float* const c = s.c + row * s.units + unit;
    put(c, f * take(c, lanes) + i * g, lanes);
    put(products, o, lanes);
  });
  each_cell(s, first, n, [&](int64_t row, int64_t at, int64_t unit, int lanes) {
    const vf32 o = take(z.data + row * z.row + at / kL * z.vector, lanes);
    const vf32 h = o * hyperbolic(take(s.c + row * s.units + unit, lanes));
    leave(s, row, unit, lanes, h, h);
  });
}
void lstm(const Step& s, const Products& z, int64_t first, int64_t n) {
  begin(s, first, n);
  (s.gates ? lstm_cells<true> : lstm_cells<false>)(s, z, first, n);
}

void lstm_grad(const float* gates, const float* c, const float* dh, float* dc, float* dz, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const auto gate = [&](int64_t k) { return take(gates + k * units + j, lanes); };
    const vf32 i = gate(0), f = gate(1), g = gate(2), o = gate(3);
    const vf32 before = take(c + j, lanes), ct = take(dh + j, lanes);
    const vf32 t = hyperbolic(f * before + i * g);
    const vf32 flow = take(dc + j, lanes) + ct * o * tanh_slope(t);
    put(dz + j, flow * g * sigmoid_slope(i), lanes);
    put(dz + units + j, flow * before * sigmoid_slope(f), lanes);
    put(dz + 2 * units + j, flow * i * tanh_slope(g), lanes);
    put(dz + 3 * units + j, ct * t * sigmoid_slope(o), lanes);
    put(dc + j, flow * f, lanes);
  });
}

// As above: no cell waits for its own reset gate.
template <bool kept>
void gru_cells(const Step s, const Products products, int64_t first, int64_t n) {
  const float* const ahead = inputs_ahead(s, first, n);
  const auto at_gate = [&](int64_t row, int64_t at, int64_t k) {
    return products.data + row * products.row + k * products.gate + at / kL * products.vector;
  };
  const auto input = [&](int64_t row, int64_t unit, int64_t k, int lanes) {
    const int64_t from = row * s.x_row + k * s.units + unit;
    __builtin_prefetch(ahead + from, 0, 2);
    return take(s.x + from, lanes);
  };
  const auto product = [&](const float* sum, int64_t unit, int64_t k, int lanes) {
    return s.bias ? take(sum, lanes) + take(s.bias + k * s.units + unit, lanes) : take(sum, lanes);
  };
  each_cell(s, first, n, [&](int64_t row, int64_t at, int64_t unit, int lanes) {
    for (int64_t k = 0; k < 2; ++k) {
      float* const gate = at_gate(row, at, k);
      put(gate, logistic(input(row, unit, k, lanes) + product(gate, unit, k, lanes)), lanes);
    }
  });
  each_cell(s, first, n, [&](int64_t row, int64_t at, int64_t unit, int lanes) {
    const vf32 z = take(at_gate(row, at, 0), lanes), r = take(at_gate(row, at, 1), lanes);
    const vf32 state = product(at_gate(row, at, 2), unit, 2, lanes);
    const vf32 fresh = hyperbolic(input(row, unit, 2, lanes) + r * state);
    const vf32 h = z * take(s.h + row * s.units + unit, lanes) + (1.0f - z) * fresh;
    if constexpr (kept) keep(s, row, unit, lanes, z, r, fresh, state);
    leave(s, row, unit, lanes, h, h);
  });
}
void gru(const Step& s, const Products& products, int64_t first, int64_t n) {
  begin(s, first, n);
  (s.gates ? gru_cells<true> : gru_cells<false>)(s, products, first, n);
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
    const vf32 z = logistic(take(x + j, lanes) + take(s + j, lanes));
    const vf32 r = logistic(take(x + units + j, lanes) + take(s + units + j, lanes));
    put(s + j, z, lanes);
    put(s + units + j, r, lanes);
    put(s + 3 * units + j, r * take(h + j, lanes), lanes);
  });
}

void gru_mix(const float* x, float* s, const float* h, float* next, int64_t units, int64_t n) {
  each_vector(n, [&](int64_t j, int lanes) {
    const vf32 z = take(s + j, lanes);
    const vf32 fresh = hyperbolic(take(x + 2 * units + j, lanes) + take(s + 2 * units + j, lanes));
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
const CellTable cell_table = {kL,       &pack,         &lstm,           &gru, &lstm_grad, &gru_grad, &gru_reset,
                              &gru_mix, &gru_mix_grad, &gru_reset_grad, &add};

}  // namespace NATIVE_ISA
}  // namespace native::recurrent
