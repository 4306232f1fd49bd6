// LSTM over all time steps in float32, forward and backward.
#include "kernels/rnn/sequence.h"

namespace native::recurrent {
namespace {

// x, h, c, w [units, 4 * units], (mask) -> outputs, h, c, and if they are kept: activated gates, and h and c
// before each step. Or w [4 * units, units] in bfloat16, by which h is multiplied in bfloat16.
class Lstm : public Kernel {
 public:
  explicit Lstm(const Problem& p)
      : q_(p, p.in[0], p.in[1]),
        narrow_(p.in[3].dtype == DType::BF16),
        product_(gemm_table().f32, q_.batch, q_.units, 4, q_.units, narrow_),
        schedule_(gemm_table().f32, q_, 4, product_.cuts()),
        cells_(cell_table()) {}

  size_t scratch_bytes() const override {
    return static_cast<size_t>(product_.packed_size() + 7 * q_.batch * q_.units) * sizeof(float);
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const int64_t n = q_.units, size = q_.batch * n;
    float* const packed = f32(scratch);
    float* const z = packed + product_.packed_size();
    float* const c = z + 4 * size;
    float* const states[2] = {c + size, c + 2 * size};
    const Product::Bound weights =
        narrow_ ? product_.bind_narrow(in[3], packed) : product_.bind(f32(in[3]), 4 * n, 1, packed);
    copy(f32(in[1]), states[0], size);
    copy(f32(in[2]), c, size);
    schedule_.run(1, false, [&](int, int64_t s, Range rows, Range cut) {
      const float* const h = states[s % 2];
      float* const next = states[(s + 1) % 2];
      product_.run(weights, rows.size(), cut, h + rows.first * n, n, z + rows.first * 4 * n, 4 * n, false);
      for (int64_t b = rows.first; b < rows.last; ++b) step(in, out, b, s, cut, z, c, h, next);
    });
    copy(states[q_.steps % 2], f32(out[1]), size);
    copy(c, f32(out[2]), size);
  }

 private:
  void step(const void* const* in, void* const* out, int64_t b, int64_t s, Range cut, float* z, float* c,
            const float* h, float* next) const {
    const int64_t n = q_.units, at = q_.at(b, s), own = b * n + cut.first, wide = cut.size();
    const bool counts = q_.counts(in, b, s);
    float* const products = z + b * 4 * n + cut.first;
    float* const gates = q_.keep ? f32(out[3]) + at * 4 * n + cut.first : products;
    if (q_.keep) {
      copy(h + own, f32(out[4]) + at * n + cut.first, wide);
      copy(c + own, f32(out[5]) + at * n + cut.first, wide);
    }
    if (counts) {
      cells_.lstm(f32(in[0]) + at * 4 * n + cut.first, products, gates, c + own, next + own, n, wide);
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

  Sequence q_;
  bool narrow_;
  Product product_;
  Schedule schedule_;
  const CellTable& cells_;
};

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
const Register lstm_grad{"lstm_grad", "steps", 10, prepare_loop<LstmGrad>};

}  // namespace
}  // namespace native::recurrent
