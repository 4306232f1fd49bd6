// What the loops of all recurrent layers share: sizes, the product of a state by its weights, and the order
// of work.
//
// Operands are [batch, time, ...], as Keras has them: a sequence is a task's own, whatever the length. Step s
// reads time s, or from the end if `reverse`; results are in the order of steps. What a step with a false mask
// would compute is dropped: the state stays.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "kernels/rnn/rnn.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native::recurrent {

struct Range {
  int64_t first, last;
  int64_t size() const { return last - first; }
};

struct Sequence {
  int64_t batch, steps, units;
  bool reverse, zero_output, sequences, keep;
  int mask;  // position among the operands, -1 for none

  // State [batch, units], inputs [batch, steps, gates * units]; the mask is the last operand.
  Sequence(const Problem& p, const Spec& x, const Spec& state)
      : batch(x.shape[0]),
        steps(x.shape[1]),
        units(state.shape[1]),
        reverse(p.attrs.integer("reverse") != 0),
        zero_output(p.attrs.integer("zero_output") != 0),
        sequences(p.attrs.integer("sequences") != 0),
        keep(p.attrs.integer("keep", 1) != 0),
        mask(p.attrs.integer("has_mask") != 0 ? static_cast<int>(p.in.size()) - 1 : -1) {}

  // Row of an operand [batch, steps, ...] that step s of sequence b reads.
  int64_t at(int64_t b, int64_t s) const { return b * steps + (reverse ? steps - 1 - s : s); }
  // Row of the outputs, -1 where the step has none.
  int64_t output_row(int64_t b, int64_t s) const {
    if (sequences) return b * steps + s;
    return s == steps - 1 ? b : -1;
  }
  bool counts(const void* const* in, int64_t b, int64_t s) const {
    return mask < 0 || static_cast<const uint8_t*>(in[mask])[at(b, s)] != 0;
  }
};

inline const float* f32(const void* p) { return static_cast<const float*>(p); }
inline float* f32(void* p) { return static_cast<float*>(p); }
inline void copy(const float* from, float* to, int64_t n) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}
inline void zero(float* to, int64_t n) { std::memset(to, 0, static_cast<size_t>(n) * sizeof(float)); }

// C = A B (or C += A B) for a matrix B [depth, blocks * units] that is used at every step: element (p, j) is
// w[p * row + j * column]. It is packed once; a single row reads it where it lies.
class Product {
 public:
  Product(const gemm::Kernels<float>& kernels, int64_t rows, int64_t depth, int64_t blocks, int64_t units)
      : kernels_(kernels), depth_(depth), blocks_(blocks), units_(units), single_(rows == 1) {}

  // In floats.
  int64_t packed_size() const { return single_ ? 0 : gemm::packed_b_size(kernels_, depth_, blocks_ * units_); }
  // In place of a product, where the columns of each block can be cut.
  bool cuts() const { return single_ || units_ % kernels_.nr == 0; }

  // B bound to memory for one run.
  struct Bound {
    const float* w;
    int64_t row, column;
    float* packed;
  };
  Bound bind(const float* w, int64_t row, int64_t column, float* packed) const {
    if (!single_) kernels_.pack_b({w, row, column}, depth_, blocks_ * units_, packed, depth_ * kernels_.nr);
    return {w, row, column, packed};
  }

  // The columns `cut` of every block.
  void run(const Bound& b, int64_t rows, Range cut, const float* a, int64_t a_row, float* c, int64_t c_row,
           bool accumulate) const {
    if (cut.size() == units_) return columns(b, rows, 0, blocks_ * units_, a, a_row, c, c_row, accumulate);
    for (int64_t k = 0; k < blocks_; ++k)
      columns(b, rows, k * units_ + cut.first, cut.size(), a, a_row, c, c_row, accumulate);
  }

 private:
  void columns(const Bound& b, int64_t rows, int64_t j, int64_t n, const float* a, int64_t a_row, float* c,
               int64_t c_row, bool accumulate) const {
    const size_t bytes = sizeof(float) * static_cast<size_t>(gemm::block_packed_scratch_size(kernels_) + n);
    float* const scratch = static_cast<float*>(pool::thread_scratch(bytes));
    if (!single_)
      return gemm::block_packed(kernels_, rows, n, depth_, {a, a_row, 1},
                                {b.packed + j * depth_, kernels_.nr, depth_ * kernels_.nr}, c + j, c_row, accumulate,
                                {}, scratch);
    float* const y = accumulate ? scratch : c + j;
    if (b.column == 1)
      kernels_.gemv(n, depth_, a, 1, b.w + j, b.row, y);
    else
      kernels_.dots(1, n, depth_, a, depth_, b.w + j * b.column, b.column, y, n);
    if (accumulate) cell_table().add(y, c + j, n);
  }

  const gemm::Kernels<float>& kernels_;
  int64_t depth_, blocks_, units_;
  bool single_;
};

// A step is a number of phases; a phase needs of other units only what earlier phases made. Sequences need
// nothing of each other.
class Schedule {
 public:
  Schedule(const gemm::Kernels<float>& kernels, const Sequence& q, int64_t blocks, bool cuts)
      : q_(q), weights_(blocks * q.units * q.units) {
    if (cuts && q.batch < kManySequences && weights_ >= kStreamedWeights) {
      // Few sequences, and weights that one core's cache does not hold: each thread takes some units of all. Of
      // more than 8 tasks each would wait more than it works.
      const int64_t least = std::max<int64_t>(1, kCutWork / (q.batch * blocks * q.units));
      const int64_t parts = std::clamp<int64_t>((q.units + least / 2) / least, 1, 8);
      each_ = std::min(round_up(ceil_div(q.units, parts), kernels.nr), q.units);
    } else {
      // Each thread takes some sequences through all steps and meets no other until the end.
      const int64_t worth = std::max<int64_t>(1, q.batch * q.steps * weights_ / kTaskWork);
      const int64_t tasks = std::min(row_tasks(q.batch), worth);
      each_ = ceil_div(q.batch, tasks > 1 ? tasks / 2 * 2 : 1);
      by_rows_ = true;
    }
  }

  // Whether there is one task, and work for two.
  bool alone() const { return by_rows_ && each_ >= q_.batch && q_.batch * q_.steps * weights_ >= 2 * kTaskWork; }
  // How many sequences a task has.
  int64_t rows() const { return by_rows_ ? each_ : q_.batch; }

  // phase(index, s, rows, units) for the steps in order, or from the last to the first.
  template <class F>
  void run(int phases, bool backwards, const F& phase) const {
    const auto step = [&](int64_t i) { return backwards ? q_.steps - 1 - i : i; };
    if (by_rows_) {
      pool::parallel_for((q_.batch + each_ - 1) / each_, [&](int64_t task) {
        const Range rows{task * each_, std::min(q_.batch, (task + 1) * each_)};
        for (int64_t i = 0; i < q_.steps; ++i)
          for (int p = 0; p < phases; ++p) phase(p, step(i), rows, Range{0, q_.units});
      });
      return;
    }
    for (int64_t i = 0; i < q_.steps; ++i)
      for (int p = 0; p < phases; ++p)
        pool::parallel_for((q_.units + each_ - 1) / each_, [&](int64_t task) {
          phase(p, step(i), Range{0, q_.batch}, Range{task * each_, std::min(q_.units, (task + 1) * each_)});
        });
  }

 private:
  static constexpr int64_t kStreamedWeights = 160 * 1024;  // elements
  static constexpr int64_t kTaskWork = 200000;             // multiply-adds of a task, some 5 microseconds
  static constexpr int64_t kCutWork = 130000;              // of a task that meets others at every step
  static constexpr int64_t kManySequences = 30;            // as many as are better not cut by units

  // Four sequences at a time use the weights about as well as sixteen do, two three quarters as well, or with 16
  // registers half. An even number of tasks, as two threads do not end together with an odd one.
  static int64_t row_tasks(int64_t batch) {
    constexpr int64_t kFewest = 3, kLeast = 4, kBest = 16;
    if (batch < 4 * kLeast) return std::clamp<int64_t>(batch / kFewest, 1, 2);
    return round_up(ceil_div(batch, kBest), 4);
  }

  Sequence q_;
  int64_t weights_;  // elements
  int64_t each_;
  bool by_rows_ = false;
};

// `count` values [batch, units] that are written at every step: one behind the other for the sequences of a task, and
// a page apart from those of others, since what a processor fetches ahead of a row would be lines that another thread
// writes. For the same reason they stand before packed weights, beyond whose end products fetch.
class States {
 public:
  States(const Sequence& q, const Schedule& schedule, int64_t count)
      : batch_(q.batch),
        units_(q.units),
        rows_(schedule.rows()),
        apart_(round_up(count * rows_ * units_, kLine) + kPage) {}

  // In floats: of the memory for them.
  int64_t size() const { return ceil_div(batch_, rows_) * apart_; }
  // The value `which` of sequence b and those behind it in its task.
  float* at(float* memory, int64_t which, int64_t b) const {
    return memory + b / rows_ * apart_ + (which * rows_ + b % rows_) * units_;
  }
  // From and to a whole [batch, units].
  void load(const float* whole, float* memory, int64_t which) const {
    for (int64_t b = 0; b < batch_; b += rows_) copy(whole + b * units_, at(memory, which, b), of_task(b));
  }
  void store(float* memory, int64_t which, float* whole) const {
    for (int64_t b = 0; b < batch_; b += rows_) copy(at(memory, which, b), whole + b * units_, of_task(b));
  }

 private:
  static constexpr int64_t kPage = 1024, kLine = 16;  // in floats; packed weights behind them begin a line
  int64_t of_task(int64_t b) const { return std::min(rows_, batch_ - b) * units_; }

  int64_t batch_, units_, rows_, apart_;
};

// A loop K over time for what it can do: float32, and something to compute.
template <class K>
std::unique_ptr<Kernel> prepare_loop(const Problem& p) {
  const Spec& x = p.in[0];
  if (x.dtype != DType::F32 || x.count() == 0) return nullptr;
  return std::make_unique<K>(p);
}

}  // namespace native::recurrent
