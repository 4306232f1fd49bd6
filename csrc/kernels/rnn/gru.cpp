// GRU over all time steps in float32, forward and backward, with the reset gate after or before the product.
#include "kernels/rnn/sequence.h"

namespace native::recurrent {
namespace {

const gemm::Kernels<float>& kernels() { return gemm_table().f32; }

// x, h, w [units, 3 * units], (bias), (mask) -> outputs, h, and if they are kept: z, r, the new state and what
// r multiplies (its product if after, r h if before), and h before each step.
class Gru : public Kernel {
 public:
  explicit Gru(const Problem& p)
      : q_(p, p.in[0], p.in[1]),
        after_(p.attrs.integer("reset_after") != 0),
        bias_(p.attrs.integer("has_bias") != 0),
        first_(kernels(), q_.batch, q_.units, after_ ? 3 : 2, q_.units),
        second_(kernels(), q_.batch, q_.units, 1, q_.units),
        schedule_(kernels(), q_, 3, first_.cuts()),
        cells_(cell_table()) {}

  size_t scratch_bytes() const override {
    return static_cast<size_t>(packed() + 6 * q_.batch * q_.units) * sizeof(float);
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units, size = q_.batch * n;
    const float* const w = f32(in[2]);
    const float* const bias = bias_ ? f32(in[3]) : nullptr;
    float* const s = f32(scratch) + packed();
    float* const states[2] = {s + 4 * size, s + 5 * size};
    const Product::Bound first = first_.bind(w, 3 * n, 1, f32(scratch));
    Product::Bound second{};
    if (!after_) second = second_.bind(w + 2 * n, 3 * n, 1, f32(scratch) + first_.packed_size());
    copy(f32(in[1]), states[0], size);
    schedule_.run(after_ ? 1 : 2, false, [&](int phase, int64_t t, Range rows, Range cut) {
      const float* const h = states[t % 2];
      float* const next = states[(t + 1) % 2];
      float* const sums = s + rows.first * 4 * n;
      if (phase == 0)
        first_.run(first, rows.size(), cut, h + rows.first * n, n, sums, 4 * n, false, bias);
      else
        second_.run(second, rows.size(), cut, sums + 3 * n, 4 * n, sums + 2 * n, 4 * n, false);
      for (int64_t b = rows.first; b < rows.last; ++b) {
        const float* const x = f32(in[0]) + q_.at(b, t) * 3 * n + cut.first;
        const int64_t own = b * n + cut.first;
        float* const products = s + b * 4 * n + cut.first;
        float* const gates = after_ && q_.keep ? f32(out[2]) + q_.at(b, t) * 4 * n + cut.first : products;
        if (phase == 0 && !after_) {
          cells_.gru_reset(x, products, h + own, n, cut.size());
          continue;
        }
        if (!q_.counts(in, b, t))
          copy(h + own, next + own, cut.size());
        else if (after_)
          cells_.gru(x, products, gates, h + own, next + own, n, cut.size());
        else
          cells_.gru_mix(x, gates, h + own, next + own, n, cut.size());
        write(in, out, b, t, cut, gates, h + own, next + own);
      }
    });
    copy(states[q_.steps % 2], f32(out[1]), size);
  }

 private:
  int64_t packed() const { return first_.packed_size() + (after_ ? 0 : second_.packed_size()); }

  void write(const void* const* in, void* const* out, int64_t b, int64_t t, Range cut, const float* gates,
             const float* h, const float* next) const {
    const int64_t n = q_.units, at = q_.at(b, t), wide = cut.size();
    const bool counts = q_.counts(in, b, t);
    if (q_.keep) copy(h, f32(out[3]) + at * n + cut.first, wide);
    for (int64_t k = 0; q_.keep && k < 4; ++k) {
      float* const kept = f32(out[2]) + (at * 4 + k) * n + cut.first;
      if (!counts)
        zero(kept, wide);
      else if (kept != gates + k * n)
        copy(gates + k * n, kept, wide);
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
  bool after_, bias_;
  Product first_, second_;
  Schedule schedule_;
  const CellTable& cells_;
};

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
        cells_(cell_table()) {}

  size_t scratch_bytes() const override { return static_cast<size_t>(packed() + q_.batch * q_.units) * sizeof(float); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units, size = q_.batch * n;
    const float* const w = f32(in[2]);
    float *const dx = f32(out[0]), *const dh = f32(out[1]), *const ds = after_ ? f32(out[2]) : dx;
    float* const dreset = f32(scratch) + packed();
    const Product::Bound first = first_.bind(w, 1, 3 * n, f32(scratch));
    Product::Bound second{};
    if (!after_) second = second_.bind(w + 2 * n, 1, 3 * n, f32(scratch) + first_.packed_size());
    copy(f32(in[rest_ + 1]), dh, size);
    const int phases = after_ ? 2 : 3;
    schedule_.run(phases, true, [&](int phase, int64_t t, Range rows, Range cut) {
      const int64_t row = q_.steps * 3 * n;  // from one sequence to the next
      const float* const products = ds + q_.at(rows.first, t) * 3 * n;
      if (phase == phases - 1) {
        first_.run(first, rows.size(), cut, products, row, dh + rows.first * n, n, true);
        return;
      }
      if (phase == 1) second_.run(second, rows.size(), cut, products + 2 * n, row, dreset + rows.first * n, n, false);
      for (int64_t b = rows.first; b < rows.last; ++b) {
        const int64_t at = q_.at(b, t), own = b * n + cut.first;
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
  }

 private:
  int64_t packed() const { return first_.packed_size() + (after_ ? 0 : second_.packed_size()); }

  Sequence q_;
  bool after_;
  int rest_;  // the position of the first operand after the optional bias
  Product first_, second_;
  Schedule schedule_;
  const CellTable& cells_;
};

const Register gru{"gru", "steps", 10, prepare_loop<Gru>};
const Register gru_grad{"gru_grad", "steps", 10, prepare_loop<GruGrad>};

}  // namespace
}  // namespace native::recurrent
