// LSTM and GRU over all time steps: a launch for each step, two where the reset gate comes before the product.
#include "kernels/rnn/params.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::rnn;

const float* f32(const void* p) { return static_cast<const float*>(p); }
float* f32(void* p) { return static_cast<float*>(p); }

// What all loops share.
class Loop : public Kernel {
 public:
  // x [batch, steps, gates * units], state [batch, units]; the mask is the last operand.
  Loop(const Problem& problem, int gates)
      : gates_(gates),
        reverse_(problem.attrs.integer("reverse") != 0),
        keep_(problem.attrs.integer("keep", 1) != 0),
        bias_(problem.attrs.integer("has_bias", 0) != 0),
        mask_(problem.attrs.integer("has_mask") ? static_cast<int>(problem.in.size()) - 1 : -1) {
    p_.batch = static_cast<int>(problem.in[0].shape[0]);
    p_.steps = static_cast<int>(problem.in[0].shape[1]);
    p_.units = static_cast<int>(problem.in[1].shape[1]);
    p_.zero_output = problem.attrs.integer("zero_output") != 0;
    p_.sequences = problem.attrs.integer("sequences") != 0;
  }

 protected:
  static Function function(const char* name) { return Function("rnn/rnn", name); }
  int64_t size() const { return int64_t{p_.batch} * p_.units; }
  int row() const { return gates_ * p_.units; }
  Params begin(const void* const* in) const {
    Params p = p_;
    if (mask_ >= 0) p.mask = static_cast<const uint8_t*>(in[mask_]);
    return p;
  }
  void at(Params& p, int step) const {
    p.step = step;
    p.time = reverse_ ? p.steps - 1 - step : step;
  }
  // The state [batch, units] before a step, of which the first and the last are operands.
  float* state(const void* first, void* last, float* scratch, int step) const {
    if (step == 0) return const_cast<float*>(f32(first));
    return step == p_.steps ? f32(last) : scratch + step % 2 * size();
  }
  // The product by the columns of w, from gate `first` on.
  void forwards(Params& p, const void* w, int first, const float* a) const {
    p.a = a;
    p.a_row = p.units;
    p.w = f32(w) + first * p.units;
    p.w_row = row();
    p.w_column = 1;
    p.depth = p.units;
  }
  // The product of the cotangents `d` [batch, steps, gates * units] at p.time by `gates` rows of w^T, from
  // `first` on.
  void backwards(Params& p, const void* w, int first, int gates, const float* d) const {
    p.a = d + int64_t{p.time} * row() + first * p.units;
    p.a_row = int64_t{p.steps} * row();
    p.w = f32(w) + first * p.units;
    p.w_row = 1;
    p.w_column = row();
    p.depth = gates * p.units;
  }
  void launch(const Function& f, const Params& p) const {
    const int64_t blocks = ((p.batch + kRows - 1) / kRows) * int64_t{(p.units + kUnits - 1) / kUnits};
    f.launch({static_cast<unsigned>(blocks)}, kThreads, 0, p);
  }

  Params p_{};
  const int gates_;
  const bool reverse_, keep_, bias_;
  const int mask_;
};

// x, h, c, w [units, 4 * units], (mask) -> outputs, h, c, and if they are kept: activated gates, h and c before
// each step.
class Lstm : public Loop {
 public:
  explicit Lstm(const Problem& problem) : Loop(problem, 4), cell_(function("rnn_lstm")) {}
  size_t scratch_bytes() const override { return 2 * sizeof(float) * static_cast<size_t>(size()); }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = begin(in);
    p.x = f32(in[0]);
    p.outputs = f32(out[0]);
    p.next_c = f32(out[2]);
    if (keep_) p.gates = f32(out[3]), p.kept_h = f32(out[4]), p.kept_c = f32(out[5]);
    for (int step = 0; step < p.steps; ++step) {
      at(p, step);
      p.h = state(in[1], out[1], f32(scratch), step);
      p.next_h = state(in[1], out[1], f32(scratch), step + 1);
      p.c = step == 0 ? f32(in[2]) : p.next_c;
      forwards(p, in[3], 0, p.h);
      launch(cell_, p);
    }
  }

 private:
  const Function cell_;
};

// x, h, w [units, 3 * units], (bias), (mask) -> outputs, h, and if they are kept: z, r, the new state and what r
// multiplies (its product if after, r h if before), and h before each step.
class Gru : public Loop {
 public:
  explicit Gru(const Problem& problem)
      : Loop(problem, 3),
        after_(problem.attrs.integer("reset_after") != 0),
        cell_(function(after_ ? "rnn_gru" : "rnn_gru_reset")),
        mix_(function("rnn_gru_mix")) {}
  size_t scratch_bytes() const override { return 5 * sizeof(float) * static_cast<size_t>(size()); }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    Params p = begin(in);
    float* const states = f32(scratch);
    p.z = states + 2 * size();
    p.r = p.z + size();
    p.reset = p.r + size();
    p.x = f32(in[0]);
    p.bias = bias_ ? f32(in[3]) : nullptr;
    p.outputs = f32(out[0]);
    if (keep_) p.gates = f32(out[2]), p.kept_h = f32(out[3]);
    for (int step = 0; step < p.steps; ++step) {
      at(p, step);
      p.h = state(in[1], out[1], states, step);
      p.next_h = state(in[1], out[1], states, step + 1);
      forwards(p, in[2], 0, p.h);
      launch(cell_, p);
      if (after_) continue;
      forwards(p, in[2], 2, p.reset);
      launch(mix_, p);
    }
  }

 private:
  const bool after_;
  const Function cell_, mix_;
};

// x, h, c, w, cotangents of outputs, h and c, gates, h and c before each step, (mask) -> cotangents of x, h, c.
class LstmGrad : public Loop {
 public:
  explicit LstmGrad(const Problem& problem)
      : Loop(problem, 4), cell_(function("rnn_lstm_grad")), last_(function("rnn_last")) {}
  void run(const void* const* in, void* const* out, void*) const override {
    Params p = begin(in);
    p.given_outputs = f32(in[4]);
    p.given_gates = f32(in[7]);
    p.given_c = f32(in[9]);
    p.dx = f32(out[0]);
    p.next_passed = f32(out[1]);
    p.next_dc = f32(out[2]);
    p.passed = f32(in[5]);
    p.dc = f32(in[6]);
    for (int step = p.steps - 1; step >= 0; --step) {
      at(p, step);
      launch(cell_, p);
      p.passed = p.next_passed;
      p.dc = p.next_dc;
      backwards(p, in[3], 0, 4, p.dx);
    }
    launch(last_, p);
  }

 private:
  const Function cell_, last_;
};

// x, h, w, (bias), cotangents of outputs and h, gates, h before each step, (mask) -> cotangents of x, of h, and,
// if the reset gate is after the product, of the state's products.
class GruGrad : public Loop {
 public:
  explicit GruGrad(const Problem& problem)
      : Loop(problem, 3),
        after_(problem.attrs.integer("reset_after") != 0),
        cell_(function(after_ ? "rnn_gru_grad" : "rnn_gru_mix_grad")),
        reset_(function("rnn_gru_reset_grad")),
        last_(function("rnn_last")) {}
  void run(const void* const* in, void* const* out, void*) const override {
    Params p = begin(in);
    const void* const* rest = in + (bias_ ? 4 : 3);
    p.given_outputs = f32(rest[0]);
    p.passed = f32(rest[1]);
    p.given_gates = f32(rest[2]);
    p.given_h = f32(rest[3]);
    p.dx = f32(out[0]);
    p.next_passed = f32(out[1]);
    if (after_) p.ds = f32(out[2]);
    for (int step = p.steps - 1; step >= 0; --step) {
      at(p, step);
      launch(cell_, p);
      p.passed = p.next_passed;
      if (!after_) {
        backwards(p, in[2], 2, 1, p.dx);
        launch(reset_, p);
      }
      backwards(p, in[2], 0, after_ ? 3 : 2, after_ ? p.ds : p.dx);
    }
    launch(last_, p);
  }

 private:
  const bool after_;
  const Function cell_, reset_, last_;
};

template <class K>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const Spec& x = problem.in[0];
  const int64_t units = problem.in[1].shape[1];
  if (x.dtype != DType::F32 || x.count() == 0 || x.shape[0] * units > INT32_MAX || 16 * units * units > INT32_MAX)
    return nullptr;
  return std::make_unique<K>(problem);
}

const RegisterCuda lstm{"lstm", "steps", 10, prepare<Lstm>};
const RegisterCuda lstm_grad{"lstm_grad", "steps", 10, prepare<LstmGrad>};
const RegisterCuda gru{"gru", "steps", 10, prepare<Gru>};
const RegisterCuda gru_grad{"gru_grad", "steps", 10, prepare<GruGrad>};

}  // namespace
}  // namespace native::cuda
