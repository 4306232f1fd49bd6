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
  Steps(const Problem& p, bool cuts)
      : q_(p, p.in[0], p.in[1]), schedule_(gemm_table().f32, q_, 4, cuts), states_(q_, schedule_, 3) {}

 protected:
  // inputs(b, s): the row of the inputs of step s and sequence b, and how far it is to that of the next sequence.
  // product(rows, cut, s, h, cells) calls cells(products, first, count) for all units of the cut; h is that of the
  // rows.
  template <class Input, class Multiply>
  void run(const void* const* in, void* const* out, float* memory, const Input& inputs, const Multiply& product) const {
    constexpr int kC = 2;  // behind h before and after a step
    states_.load(f32(in[1]), memory, 0);
    states_.load(f32(in[2]), memory, kC);
    schedule_.run(1, false, [&](int, int64_t s, Range rows, Range cut) {
      Step step = step_of(q_, in, out, s, rows, 3);
      std::tie(step.x, step.x_row) = inputs(rows.first, s);
      step.ahead = s + 1 < q_.steps ? inputs(rows.first, s + 1).first : step.x;
      step.h = states_.at(memory, s % 2, rows.first);
      step.next = states_.at(memory, (s + 1) % 2, rows.first);
      step.c = states_.at(memory, kC, rows.first);
      if (q_.keep) step.kept_c = f32(out[5]) + q_.at(rows.first, s) * q_.units;
      product(rows, cut, s, step.h,
              [&](const Products& z, int64_t first, int64_t count) { cells_.lstm(step, z, first, count); });
    });
    states_.store(memory, q_.steps % 2, f32(out[1]));
    states_.store(memory, kC, f32(out[2]));
  }

  // Rows of projected inputs.
  std::pair<const float*, int64_t> projected(const void* const* in, int64_t b, int64_t s) const {
    return {f32(in[0]) + q_.at(b, s) * 4 * q_.units, q_.steps * 4 * q_.units};
  }

  Sequence q_;
  Schedule schedule_;
  States states_;
  const CellTable& cells_ = cell_table();
};

// x, h, c, w [units, 4 * units], (mask) -> outputs, h, c, and if they are kept: activated gates, and h and c
// before each step.
class Lstm : public Kernel, Steps {
 public:
  explicit Lstm(const Problem& p) : Steps(p, true), product_(q_.batch, q_.units, 4) {}

  bool alone() const override { return schedule_.alone(); }
  size_t scratch_bytes() const override {
    return static_cast<size_t>(product_.packed_size() + product_.room() + states_.size()) * sizeof(float);
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float *const states = f32(scratch), *const room = states + states_.size();
    const float* const weights = product_.bind(f32(in[3]), room + product_.room());
    Steps::run(
        in, out, states, [&](int64_t b, int64_t s) { return projected(in, b, s); },
        [&](Range rows, Range cut, int64_t, const float* h, const auto& cells) {
          product_.run(weights, rows, cut, h, room, cells);
        });
  }

 private:
  GateProduct product_;
};

// The same by words of w. If it projects, x is bfloat16 [batch, steps, inputs], the words are those of the weights of x
// above those of h, and what is added is a bias [4 * units] in float32, which follows them.
class NarrowLstm : public Kernel, Steps {
 public:
  explicit NarrowLstm(const Problem& p)
      : Steps(p, p.in[1].shape[1] % words_table().bf16.nr == 0),
        inputs_(p.attrs.integer("projects") != 0 ? p.in[0].shape[2] : 0),
        product_(inputs_, q_.units, 4) {}

  bool alone() const override { return schedule_.alone(); }
  size_t scratch_bytes() const override {
    return static_cast<size_t>(states_.size() + 4 * q_.batch * q_.units) * sizeof(float);
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units;
    const auto* const words = static_cast<const uint32_t*>(in[3]);
    float* const room = f32(scratch) + states_.size();
    Steps::run(
        in, out, f32(scratch),
        [&](int64_t b, int64_t s) { return inputs_ > 0 ? std::pair{f32(in[4]), int64_t{0}} : projected(in, b, s); },
        [&](Range rows, Range cut, int64_t s, const float* h, const auto& cells) {
          const auto* const x = static_cast<const uint16_t*>(in[0]) + q_.at(rows.first, s) * inputs_;
          float* const z = room + rows.first * 4 * n;
          product_.run(words, rows.size(), cut, x, q_.steps * inputs_, h, z);
          cells(Products{z + cut.first, 4 * n, n, cells_.lanes}, cut.first, cut.size());
        });
  }

 private:
  int64_t inputs_;
  NarrowProduct product_;
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
        states_(q_, schedule_, 2),
        cells_(cell_table()) {}

  bool alone() const override { return schedule_.alone(); }
  size_t scratch_bytes() const override {
    return static_cast<size_t>(product_.packed_size() + states_.size()) * sizeof(float);
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units;
    float *const dx = f32(out[0]), *const memory = f32(scratch);
    const Product::Bound weights = product_.bind(f32(in[3]), 1, 4 * n, memory + states_.size());
    for (int which : {kH, kC}) states_.load(f32(in[5 + which]), memory, which);
    schedule_.run(2, true, [&](int phase, int64_t s, Range rows, Range cut) {
      if (phase == 0) {
        for (int64_t b = rows.first; b < rows.last; ++b)
          step(in, b, s, cut, dx, states_.at(memory, kH, b), states_.at(memory, kC, b));
        return;
      }
      // A step that does not count has dx = 0 and kept dh; where all count, dh is only now written.
      product_.run(weights, rows.size(), cut, dx + q_.at(rows.first, s) * 4 * n, q_.steps * 4 * n,
                   states_.at(memory, kH, rows.first), n, q_.mask >= 0);
    });
    for (int which : {kH, kC}) states_.store(memory, which, f32(out[1 + which]));
  }

 private:
  static constexpr int kH = 0, kC = 1;  // the cotangents of states

  // dh, dc: those of sequence b.
  void step(const void* const* in, int64_t b, int64_t s, Range cut, float* dx, float* dh, float* dc) const {
    const int64_t n = q_.units, at = q_.at(b, s), wide = cut.size();
    const bool counts = q_.counts(in, b, s);
    dx += at * 4 * n + cut.first;
    dh += cut.first;
    dc += cut.first;
    const int64_t row = q_.output_row(b, s);
    if (row >= 0 && (counts || !q_.zero_output)) cells_.add(f32(in[4]) + row * n + cut.first, dh, wide);
    if (!counts) {
      for (int64_t k = 0; k < 4; ++k) zero(dx + k * n, wide);
      return;
    }
    cells_.lstm_grad(f32(in[7]) + at * 4 * n + cut.first, f32(in[9]) + at * n + cut.first, dh, dc, dx, n, wide);
    if (q_.mask >= 0) zero(dh, wide);
  }

  Sequence q_;
  Product product_;
  Schedule schedule_;
  States states_;
  const CellTable& cells_;
};

const Register lstm{"lstm", "steps", 10, prepare_loop<Lstm>};
const Register narrow_lstm{"narrow_lstm", "steps", 10, prepare_narrow};
const Register lstm_grad{"lstm_grad", "steps", 10, prepare_loop<LstmGrad>};

}  // namespace
}  // namespace native::recurrent
