// GRU over all time steps in float32, forward and backward, with the reset gate after or before the product.
#include "kernels/rnn/gates.h"

namespace native::recurrent {
namespace {

const gemm::Kernels<float>& kernels() { return gemm_table().f32; }

// x, h, w [units, 3 * units], (bias), (mask) -> outputs, h, and if they are kept: z, r, the new state and the product
// that r multiplies, and h before each step. With the reset gate after the product.
class Gru : public Kernel {
 public:
  explicit Gru(const Problem& p)
      : q_(p, p.in[0], p.in[1]),
        bias_(p.attrs.integer("has_bias") != 0),
        product_(q_.batch, q_.units, 3),
        schedule_(kernels(), q_, 3, true),
        states_(q_, schedule_, 2),
        cells_(cell_table()) {}

  bool alone() const override { return schedule_.alone(); }
  size_t scratch_bytes() const override {
    return static_cast<size_t>(product_.packed_size() + product_.room() + states_.size()) * sizeof(float);
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units;
    float *const states = f32(scratch), *const room = states + states_.size();
    const float* const weights = product_.bind(f32(in[2]), room + product_.room());
    states_.load(f32(in[1]), states, 0);
    schedule_.run(1, false, [&](int, int64_t s, Range rows, Range cut) {
      const auto inputs = [&](int64_t t) { return f32(in[0]) + q_.at(rows.first, t) * 3 * n; };
      Step step = step_of(q_, in, out, s, rows, 2);
      step.x = inputs(s);
      step.x_row = q_.steps * 3 * n;
      step.ahead = inputs(std::min(s + 1, q_.steps - 1));
      if (bias_) step.bias = f32(in[3]);
      step.h = states_.at(states, s % 2, rows.first);
      step.next = states_.at(states, (s + 1) % 2, rows.first);
      product_.run(weights, rows, cut, step.h, room, [&](const Products& products, int64_t first, int64_t count) {
        cells_.gru(step, products, first, count);
      });
    });
    states_.store(states, q_.steps % 2, f32(out[1]));
  }

 private:
  Sequence q_;
  bool bias_;
  GateProduct product_;
  Schedule schedule_;
  States states_;
  const CellTable& cells_;
};

// The same with the reset gate before the product, where r h is kept, and without a bias.
class GruBefore : public Kernel {
 public:
  explicit GruBefore(const Problem& p)
      : q_(p, p.in[0], p.in[1]),
        first_(kernels(), q_.batch, q_.units, 2, q_.units),
        second_(kernels(), q_.batch, q_.units, 1, q_.units),
        schedule_(kernels(), q_, 3, first_.cuts()),
        states_(q_, schedule_, kSums + 4),
        cells_(cell_table()) {}

  bool alone() const override { return schedule_.alone(); }
  size_t scratch_bytes() const override { return static_cast<size_t>(packed_size() + states_.size()) * sizeof(float); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units;
    const float* const w = f32(in[2]);
    float *const states = f32(scratch), *const packed = states + states_.size();
    const Product::Bound first = first_.bind(w, 3 * n, 1, packed);
    const Product::Bound second = second_.bind(w + 2 * n, 3 * n, 1, packed + first_.packed_size());
    states_.load(f32(in[1]), states, 0);
    schedule_.run(2, false, [&](int phase, int64_t t, Range rows, Range cut) {
      const float* const h = states_.at(states, t % 2, rows.first);
      float* const next = states_.at(states, (t + 1) % 2, rows.first);
      float* const sums = states_.at(states, kSums, rows.first);
      if (phase == 0)
        first_.run(first, rows.size(), cut, h, n, sums, 4 * n, false);
      else
        second_.run(second, rows.size(), cut, sums + 3 * n, 4 * n, sums + 2 * n, 4 * n, false);
      for (int64_t b = rows.first; b < rows.last; ++b) {
        const float* const x = f32(in[0]) + q_.at(b, t) * 3 * n + cut.first;
        const int64_t own = (b - rows.first) * n + cut.first;
        float* const gates = sums + (b - rows.first) * 4 * n + cut.first;
        if (phase == 0) {
          cells_.gru_reset(x, gates, h + own, n, cut.size());
          continue;
        }
        if (q_.counts(in, b, t))
          cells_.gru_mix(x, gates, h + own, next + own, n, cut.size());
        else
          copy(h + own, next + own, cut.size());
        write(in, out, b, t, cut, gates, h + own, next + own);
      }
    });
    states_.store(states, q_.steps % 2, f32(out[1]));
  }

 private:
  // Four values of a sequence side by side, behind h before and after a step.
  static constexpr int kSums = 2;

  int64_t packed_size() const { return first_.packed_size() + second_.packed_size(); }

  void write(const void* const* in, void* const* out, int64_t b, int64_t t, Range cut, const float* gates,
             const float* h, const float* next) const {
    const int64_t n = q_.units, at = q_.at(b, t), wide = cut.size();
    const bool counts = q_.counts(in, b, t);
    if (q_.keep) copy(h, f32(out[3]) + at * n + cut.first, wide);
    for (int64_t k = 0; q_.keep && k < 4; ++k) {
      float* const kept = f32(out[2]) + (at * 4 + k) * n + cut.first;
      if (counts)
        copy(gates + k * n, kept, wide);
      else
        zero(kept, wide);
    }
    const int64_t row = q_.output_row(b, t);
    if (row < 0) return;
    float* const y = f32(out[0]) + row * n + cut.first;
    if (q_.zero_output && !counts)
      zero(y, wide);
    else
      copy(next, y, wide);
  }

  Sequence q_;
  Product first_, second_;
  Schedule schedule_;
  States states_;
  const CellTable& cells_;
};

std::unique_ptr<Kernel> prepare_gru(const Problem& p) {
  return p.attrs.integer("reset_after") != 0 ? prepare_loop<Gru>(p) : prepare_loop<GruBefore>(p);
}

// x, h, w, (bias), cotangents of outputs and h, gates, h before each step, (mask) -> cotangents of x, of h,
// and, if the reset gate is after the product, of the state's products.
class GruGrad : public Kernel {
 public:
  explicit GruGrad(const Problem& p)
      : q_(p, p.in[0], p.in[1]),
        after_(p.attrs.integer("reset_after") != 0),
        rest_(p.attrs.integer("has_bias") != 0 ? 4 : 3),
        first_(kernels(), q_.batch, (after_ ? 3 : 2) * q_.units, 1, q_.units),
        second_(kernels(), q_.batch, q_.units, 1, q_.units),
        schedule_(kernels(), q_, 3, first_.cuts()),
        states_(q_, schedule_, 2),
        cells_(cell_table()) {}

  bool alone() const override { return schedule_.alone(); }
  size_t scratch_bytes() const override { return static_cast<size_t>(packed_size() + states_.size()) * sizeof(float); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units;
    const float* const w = f32(in[2]);
    float *const dx = f32(out[0]), *const ds = after_ ? f32(out[2]) : dx;
    float *const states = f32(scratch), *const packed = states + states_.size();
    const Product::Bound first = first_.bind(w, 1, 3 * n, packed);
    Product::Bound second{};
    if (!after_) second = second_.bind(w + 2 * n, 1, 3 * n, packed + first_.packed_size());
    states_.load(f32(in[rest_ + 1]), states, kH);
    const int phases = after_ ? 2 : 3;
    schedule_.run(phases, true, [&](int phase, int64_t t, Range rows, Range cut) {
      const int64_t row = q_.steps * 3 * n;  // from one sequence to the next
      const float* const products = ds + q_.at(rows.first, t) * 3 * n;
      float *const dh = states_.at(states, kH, rows.first), *const dreset = states_.at(states, kReset, rows.first);
      if (phase == phases - 1) {
        first_.run(first, rows.size(), cut, products, row, dh, n, true);
        return;
      }
      if (phase == 1) second_.run(second, rows.size(), cut, products + 2 * n, row, dreset, n, false);
      for (int64_t b = rows.first; b < rows.last; ++b) {
        const int64_t at = q_.at(b, t), own = (b - rows.first) * n + cut.first;
        const float* const gates = f32(in[rest_ + 2]) + at * 4 * n + cut.first;
        const float* const h = f32(in[rest_ + 3]) + at * n + cut.first;
        const int64_t wide = at * 3 * n + cut.first;
        if (phase == 1) {
          if (q_.counts(in, b, t)) cells_.gru_reset_grad(gates, h, dreset + own, dh + own, dx + wide, n, cut.size());
          continue;
        }
        const bool counts = q_.counts(in, b, t);
        const int64_t output = q_.output_row(b, t);
        if (output >= 0 && (counts || !q_.zero_output))
          cells_.add(f32(in[rest_]) + output * n + cut.first, dh + own, cut.size());
        if (!counts)
          for (int64_t k = 0; k < 3; ++k) {
            zero(dx + wide + k * n, cut.size());
            zero(ds + wide + k * n, cut.size());
          }
        else if (after_)
          cells_.gru_grad(gates, h, dh + own, dx + wide, ds + wide, n, cut.size());
        else
          cells_.gru_mix_grad(gates, h, dh + own, dx + wide, n, cut.size());
      }
    });
    states_.store(states, kH, f32(out[1]));
  }

 private:
  static constexpr int kH = 0, kReset = 1;  // cotangents of h and of r h

  int64_t packed_size() const { return first_.packed_size() + (after_ ? 0 : second_.packed_size()); }

  Sequence q_;
  bool after_;
  int rest_;  // the position of the first operand after the optional bias
  Product first_, second_;
  Schedule schedule_;
  States states_;
  const CellTable& cells_;
};

const Register gru{"gru", "steps", 10, prepare_gru};
const Register gru_grad{"gru_grad", "steps", 10, prepare_loop<GruGrad>};

}  // namespace
}  // namespace native::recurrent
