// LSTM over all time steps in float32, forward and backward; forward also with products in bfloat16 (narrow_lstm, which
// only graphs have).
#include <tuple>

#include "kernels/rnn/gates.h"
#include "kernels/rnn/narrow.h"

namespace native::recurrent {
namespace {

// What both ways of an LSTM's step share: its states, and all but the product.
class Steps {
 public:
  explicit Steps(const Problem& p) : q_(p, p.in[0], p.in[1]), cells_(cell_table()) {}

 protected:
  // In floats: c, and h before and after a step.
  int64_t state_size() const { return 3 * q_.batch * q_.units; }

  // inputs(b, s): the row of the inputs of step s and sequence b, and how far it is to that of the next sequence.
  // product(rows, cut, s, h, cells) calls cells(products, first, count) for all units of the cut.
  template <class Input, class Multiply>
  void run(const Schedule& schedule, const void* const* in, void* const* out, float* states, const Input& inputs,
           const Multiply& product) const {
    const int64_t n = q_.units, size = q_.batch * n;
    float* const c = states + 2 * size;
    copy(f32(in[1]), states, size);
    copy(f32(in[2]), c, size);
    schedule.run(1, false, [&](int, int64_t s, Range rows, Range cut) {
      Step step = step_of(q_, in, out, s, rows, 3);
      const int64_t own = rows.first * n;
      const float* const h = states + s % 2 * size;
      std::tie(step.x, step.x_row) = inputs(rows.first, s);
      step.ahead = s + 1 < q_.steps ? inputs(rows.first, s + 1).first : step.x;
      step.h = h + own;
      step.next = states + (s + 1) % 2 * size + own;
      step.c = c + own;
      if (q_.keep) step.kept_c = f32(out[5]) + q_.at(rows.first, s) * n;
      product(rows, cut, s, h,
              [&](const Products& z, int64_t first, int64_t count) { cells_.lstm(step, z, first, count); });
    });
    copy(states + q_.steps % 2 * size, f32(out[1]), size);
    copy(c, f32(out[2]), size);
  }

  // Rows of projected inputs.
  std::pair<const float*, int64_t> projected(const void* const* in, int64_t b, int64_t s) const {
    return {f32(in[0]) + q_.at(b, s) * 4 * q_.units, q_.steps * 4 * q_.units};
  }

  Sequence q_;
  const CellTable& cells_;
};

// x, h, c, w [units, 4 * units], (mask) -> outputs, h, c, and if they are kept: activated gates, and h and c
// before each step.
class Lstm : public Kernel, Steps {
 public:
  explicit Lstm(const Problem& p)
      : Steps(p), product_(q_.batch, q_.units, 4), schedule_(gemm_table().f32, q_, 4, true) {}

  size_t scratch_bytes() const override {
    return static_cast<size_t>(product_.packed_size() + product_.room() + state_size()) * sizeof(float);
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float* const room = f32(scratch) + product_.packed_size();
    const float* const weights = product_.bind(f32(in[3]), f32(scratch));
    Steps::run(
        schedule_, in, out, room + product_.room(), [&](int64_t b, int64_t s) { return projected(in, b, s); },
        [&](Range rows, Range cut, int64_t, const float* h, const auto& cells) {
          product_.run(weights, rows, cut, h, room, cells);
        });
  }

 private:
  GateProduct product_;
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

  size_t scratch_bytes() const override {
    return static_cast<size_t>(state_size() + 4 * q_.batch * q_.units) * sizeof(float);
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units;
    const auto* const words = static_cast<const uint32_t*>(in[3]);
    float* const room = f32(scratch) + state_size();
    Steps::run(
        schedule_, in, out, f32(scratch),
        [&](int64_t b, int64_t s) { return inputs_ > 0 ? std::pair{f32(in[4]), int64_t{0}} : projected(in, b, s); },
        [&](Range rows, Range cut, int64_t s, const float* h, const auto& cells) {
          const auto* const x = static_cast<const uint16_t*>(in[0]) + q_.at(rows.first, s) * inputs_;
          float* const z = room + rows.first * 4 * n;
          product_.run(words, rows.size(), cut, x, q_.steps * inputs_, h + rows.first * n, z);
          cells(Products{z + cut.first, 4 * n, n, cells_.lanes}, cut.first, cut.size());
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
