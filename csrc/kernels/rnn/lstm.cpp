// LSTM over all time steps in float32, forward and backward; forward also with products in bfloat16 (narrow_lstm, which
// only graphs have).
#include "kernels/rnn/narrow.h"
#include "kernels/rnn/sequence.h"

namespace native::recurrent {
namespace {

// What both ways of an LSTM's step share: its sizes, and all but the product.
class Steps {
 public:
  explicit Steps(const Problem& p) : q_(p, p.in[0], p.in[1]), cells_(cell_table()) {}

 protected:
  // Products, c, and h before and after a step.
  size_t state_bytes() const { return static_cast<size_t>(7 * q_.batch * q_.units) * sizeof(float); }

  // product(rows, cut, s, h, z) for each step s, with h and z those of the first of the rows; x(at): what is added to
  // z in row `at` of the inputs.
  template <class Input, class Multiply>
  void run(const Schedule& schedule, const void* const* in, void* const* out, float* z, const Input& x,
           const Multiply& product) const {
    const int64_t n = q_.units, size = q_.batch * n;
    float* const c = z + 4 * size;
    float* const states[2] = {c + size, c + 2 * size};
    copy(f32(in[1]), states[0], size);
    copy(f32(in[2]), c, size);
    schedule.run(1, false, [&](int, int64_t s, Range rows, Range cut) {
      const float* const h = states[s % 2];
      float* const next = states[(s + 1) % 2];
      product(rows, cut, s, h + rows.first * n, z + rows.first * 4 * n);
      for (int64_t b = rows.first; b < rows.last; ++b) step(in, out, b, s, cut, x(q_.at(b, s)), z, c, h, next);
    });
    copy(states[q_.steps % 2], f32(out[1]), size);
    copy(c, f32(out[2]), size);
  }

  Sequence q_;

 private:
  void step(const void* const* in, void* const* out, int64_t b, int64_t s, Range cut, const float* x, float* z,
            float* c, const float* h, float* next) const {
    const int64_t n = q_.units, at = q_.at(b, s), own = b * n + cut.first, wide = cut.size();
    const bool counts = q_.counts(in, b, s);
    float* const products = z + b * 4 * n + cut.first;
    float* const gates = q_.keep ? f32(out[3]) + at * 4 * n + cut.first : products;
    if (q_.keep) {
      copy(h + own, f32(out[4]) + at * n + cut.first, wide);
      copy(c + own, f32(out[5]) + at * n + cut.first, wide);
    }
    if (counts) {
      cells_.lstm(x + cut.first, products, gates, c + own, next + own, n, wide);
    } else {
      copy(h + own, next + own, wide);
      for (int64_t k = 0; k < 4; ++k) zero(gates + k * n, wide);
    }
    const int64_t row = q_.output_row(b, s);
    if (row < 0) return;
    float* const y = f32(out[0]) + row * n + cut.first;
    if (counts || !q_.zero_output)
      copy(next + own, y, wide);
    else
      zero(y, wide);
  }

  const CellTable& cells_;
};

// x, h, c, w [units, 4 * units], (mask) -> outputs, h, c, and if they are kept: activated gates, and h and c
// before each step.
class Lstm : public Kernel, Steps {
 public:
  explicit Lstm(const Problem& p)
      : Steps(p),
        product_(gemm_table().f32, q_.batch, q_.units, 4, q_.units),
        schedule_(gemm_table().f32, q_, 4, product_.cuts()) {}

  size_t scratch_bytes() const override {
    return static_cast<size_t>(product_.packed_size()) * sizeof(float) + state_bytes();
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units;
    const Product::Bound weights = product_.bind(f32(in[3]), 4 * n, 1, f32(scratch));
    Steps::run(
        schedule_, in, out, f32(scratch) + product_.packed_size(), [&](int64_t at) { return f32(in[0]) + at * 4 * n; },
        [&](Range rows, Range cut, int64_t, const float* h, float* z) {
          product_.run(weights, rows.size(), cut, h, n, z, 4 * n, false);
        });
  }

 private:
  Product product_;
  Schedule schedule_;
};

// The same by words of w. If it projects, x is bfloat16 [batch, steps, inputs], the words are those of the weights of x
// above those of h, and what is added is a bias [4 * units] in float32, which follows them.
class NarrowLstm : public Kernel, Steps {
 public:
  explicit NarrowLstm(const Problem& p)
      : Steps(p),
        inputs_(p.attrs.integer("projects") != 0 ? p.in[0].shape[2] : 0),
        product_(inputs_, q_.units, 4),
        schedule_(gemm_table().f32, q_, 4, q_.units % words_table().bf16.nr == 0) {}

  size_t scratch_bytes() const override { return state_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units;
    const auto* const words = static_cast<const uint32_t*>(in[3]);
    Steps::run(
        schedule_, in, out, f32(scratch),
        [&](int64_t at) { return inputs_ > 0 ? f32(in[4]) : f32(in[0]) + at * 4 * n; },
        [&](Range rows, Range cut, int64_t s, const float* h, float* z) {
          const auto* const x = static_cast<const uint16_t*>(in[0]) + q_.at(rows.first, s) * inputs_;
          product_.run(words, rows.size(), cut, x, q_.steps * inputs_, h, z);
        });
  }

 private:
  int64_t inputs_;
  NarrowProduct product_;
  Schedule schedule_;
};

std::unique_ptr<Kernel> prepare_narrow(const Problem& p) {
  if (!words_table().bf16.block) return nullptr;
  if (p.in[0].shape[0] == 0) return std::make_unique<Nothing>();
  return p.in[0].count() == 0 ? nullptr : std::make_unique<NarrowLstm>(p);
}

// x, h, c, w, cotangents of outputs, h and c, gates, h and c before each step, (mask) -> cotangents of x, h, c.
class LstmGrad : public Kernel {
 public:
  explicit LstmGrad(const Problem& p)
      : q_(p, p.in[0], p.in[1]),
        product_(gemm_table().f32, q_.batch, 4 * q_.units, 1, q_.units),
        schedule_(gemm_table().f32, q_, 4, product_.cuts()),
        cells_(cell_table()) {}

  size_t scratch_bytes() const override { return static_cast<size_t>(product_.packed_size()) * sizeof(float); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units, size = q_.batch * n;
    const Product::Bound weights = product_.bind(f32(in[3]), 1, 4 * n, f32(scratch));
    float *const dx = f32(out[0]), *const dh = f32(out[1]), *const dc = f32(out[2]);
    copy(f32(in[5]), dh, size);
    copy(f32(in[6]), dc, size);
    schedule_.run(2, true, [&](int phase, int64_t s, Range rows, Range cut) {
      if (phase == 0) {
        for (int64_t b = rows.first; b < rows.last; ++b) step(in, b, s, cut, dx, dh, dc);
        return;
      }
      // A step that does not count has dx = 0 and kept dh; where all count, dh is only now written.
      product_.run(weights, rows.size(), cut, dx + q_.at(rows.first, s) * 4 * n, q_.steps * 4 * n, dh + rows.first * n,
                   n, q_.mask >= 0);
    });
  }

 private:
  void step(const void* const* in, int64_t b, int64_t s, Range cut, float* dx, float* dh, float* dc) const {
    const int64_t n = q_.units, at = q_.at(b, s), wide = cut.size();
    const bool counts = q_.counts(in, b, s);
    dx += at * 4 * n + cut.first;
    dh += b * n + cut.first;
    const int64_t row = q_.output_row(b, s);
    if (row >= 0 && (counts || !q_.zero_output)) cells_.add(f32(in[4]) + row * n + cut.first, dh, wide);
    if (!counts) {
      for (int64_t k = 0; k < 4; ++k) zero(dx + k * n, wide);
      return;
    }
    cells_.lstm_grad(f32(in[7]) + at * 4 * n + cut.first, f32(in[9]) + at * n + cut.first, dh, dc + b * n + cut.first,
                     dx, n, wide);
    if (q_.mask >= 0) zero(dh, wide);
  }

  Sequence q_;
  Product product_;
  Schedule schedule_;
  const CellTable& cells_;
};

const Register lstm{"lstm", "steps", 10, prepare_loop<Lstm>};
const Register narrow_lstm{"narrow_lstm", "steps", 10, prepare_narrow};
const Register lstm_grad{"lstm_grad", "steps", 10, prepare_loop<LstmGrad>};

}  // namespace
}  // namespace native::recurrent
