// A step of a recurrence: the product of the state by the weights of all gates, and the cells behind it.
#pragma once

#include "kernels/rnn/sequence.h"

namespace native::recurrent {

// The product goes by vectors of units: the columns of all gates of 16 units, say, for all rows, so that their cells
// find it in the first-level cache. Weights w [units, gates * units] are packed so for a run; a single row reads them
// where they lie. Immutable.
class GateProduct {
 public:
  GateProduct(int64_t batch, int64_t units, int gates)
      : batch_(batch),
        units_(units),
        wide_(round_up(units, cells_.lanes)),
        gates_(gates),
        vectors_(std::min(gates, kernels_.nr / cells_.lanes)),
        single_(kernels_, batch, units, gates, units) {}

  // In floats: of the weights, and of products on their way.
  int64_t packed_size() const { return batch_ == 1 ? 0 : wide_ / cells_.lanes * of_vector(); }
  int64_t room() const { return batch_ * gates_ * wide_; }

  // The weights as run() takes them, `packed` being memory for them.
  const float* bind(const float* w, float* packed) const {
    if (batch_ == 1) return w;
    const int64_t vector = of_vector(), each = cells_.lanes * std::max<int64_t>(kPackVectors, kPackWork / vector);
    pool::parallel_for(ceil_div(units_, each), [&](int64_t piece) {
      const int64_t first = piece * each, n = std::min(each, units_ - first);
      cells_.pack(w, units_, units_, gates_, vectors_, first, n, packed + first / cells_.lanes * vector);
    });
    return packed;
  }

  // Calls cells(products, first, count) for parts of the units `cut`, which begins with a vector. h: the states of
  // these rows. Calls for other rows or units may run at the same time.
  template <class Cells>
  void run(const float* weights, Range rows, Range cut, const float* h, float* room, const Cells& cells) const {
    if (batch_ == 1) {
      single_.run(single_.bind(weights, gates_ * units_, 1, nullptr), 1, cut, h, units_, room, 0, false);
      return cells(Products{room + cut.first, 0, units_, cells_.lanes}, cut.first, cut.size());
    }
    const int64_t lanes = cells_.lanes, columns = gates_ * lanes, row = vectors_ * lanes;
    const int64_t group = std::min(kGroup, ceil_div(cut.size(), lanes));
    float* const z = room + gates_ * (rows.first * wide_ + cut.first * batch_);
    gemm::Block<float> block{};
    block.m = rows.size();
    block.n = columns;
    block.k = units_;
    block.a = {h, units_, 1};
    block.sliver = kernels_.mr * units_;
    block.c_row = group * columns;
    block.close = packed_size() <= kClose;
    for (int64_t first = cut.first; first < cut.last; first += group * lanes) {
      const int64_t n = std::min(group * lanes, cut.last - first);
      for (int64_t j = 0; j < n; j += lanes) {
        block.b = {weights + (first + j) / lanes * of_vector(), row, row * units_};
        block.c = z + j / lanes * columns;
        kernels_.block(block);
      }
      cells(Products{z, block.c_row, lanes, columns}, first, n);
    }
  }

 private:
  static constexpr int64_t kPackWork = 32768;    // elements of a task
  static constexpr int64_t kPackVectors = 8;     // a task's at least: runs of memory that are worth a visit
  static constexpr int64_t kClose = 160 * 1024;  // elements of weights that stay in the second-level cache
  // Vectors that cells take at once, for the same reason.
  static constexpr int64_t kGroup = 8;

  // Elements that the weights of a vector of units take.
  int64_t of_vector() const { return ceil_div(gates_, vectors_) * vectors_ * cells_.lanes * units_; }

  const gemm::Kernels<float>& kernels_ = gemm_table().f32;
  const CellTable& cells_ = cell_table();
  int64_t batch_, units_, wide_;
  int gates_, vectors_;
  Product single_;
};

// What does not depend on the cell of the step s of some sequences. `kept`: where gates and states stand among the
// results, if they are kept.
inline Step step_of(const Sequence& q, const void* const* in, void* const* out, int64_t s, Range rows, int kept) {
  const int64_t n = q.units, at = q.at(rows.first, s), row = q.output_row(rows.first, s);
  Step step{};
  step.rows = rows.size();
  step.units = n;
  step.apart = q.steps;
  if (q.mask >= 0) step.counts = static_cast<const uint8_t*>(in[q.mask]) + at;
  if (row >= 0) step.y = f32(out[0]) + row * n;
  step.y_row = q.sequences ? q.steps * n : n;
  step.zero_output = q.zero_output;
  if (q.keep) {
    step.gates = f32(out[kept]) + at * 4 * n;
    step.kept_h = f32(out[kept + 1]) + at * n;
  }
  return step;
}

}  // namespace native::recurrent
