// Recurrent cells in float32. Rows are independent; small batches run on one thread.
#include "kernels/rnn/rnn.h"

#include <algorithm>

#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native::recurrent {
namespace {

struct Rows {
  int64_t units, count, each, tasks;
  explicit Rows(const Spec& state)
      : units(state.shape.empty() ? 0 : state.shape.back()), count(units > 0 ? state.count() / units : 0) {
    // An element costs a handful of exponentials: about 4K of them pay for waking a thread.
    const int64_t wanted = std::clamp<int64_t>(count * units / 4096, 1, 64);
    each = std::max<int64_t>((count + wanted - 1) / wanted, 1);
    tasks = (count + each - 1) / each;
  }
  template <class F>
  void run(const F& row) const {
    pool::parallel_for(tasks, [&](int64_t task) {
      const int64_t end = std::min(count, (task + 1) * each);
      for (int64_t i = task * each; i < end; ++i) row(i);
    });
  }
};

const float* f32(const void* p) { return static_cast<const float*>(p); }
float* f32(void* p) { return static_cast<float*>(p); }

class Cell : public Kernel {
 public:
  explicit Cell(const Spec& state) : rows_(state), table_(cell_table()) {}

 protected:
  Rows rows_;
  const CellTable& table_;
};

class Lstm : public Cell {
 public:
  using Cell::Cell;
  void run(const void* const* in, void* const* out, void*) const override {
    const int64_t n = rows_.units;
    rows_.run([&](int64_t i) {
      table_.lstm(f32(in[0]) + 4 * n * i, f32(in[1]) + n * i, f32(out[0]) + n * i, f32(out[1]) + n * i, n);
    });
  }
};

class LstmGrad : public Cell {
 public:
  using Cell::Cell;
  void run(const void* const* in, void* const* out, void*) const override {
    const int64_t n = rows_.units;
    rows_.run([&](int64_t i) {
      table_.lstm_grad(f32(in[0]) + 4 * n * i, f32(in[1]) + n * i, f32(in[2]) + n * i, f32(in[3]) + n * i,
                       f32(out[0]) + 4 * n * i, f32(out[1]) + n * i, n);
    });
  }
};

class Gru : public Cell {
 public:
  using Cell::Cell;
  void run(const void* const* in, void* const* out, void*) const override {
    const int64_t n = rows_.units;
    rows_.run([&](int64_t i) {
      table_.gru(f32(in[0]) + 3 * n * i, f32(in[1]) + 3 * n * i, f32(in[2]) + n * i, f32(out[0]) + n * i, n);
    });
  }
};

class GruGrad : public Cell {
 public:
  using Cell::Cell;
  void run(const void* const* in, void* const* out, void*) const override {
    const int64_t n = rows_.units;
    rows_.run([&](int64_t i) {
      table_.gru_grad(f32(in[0]) + 3 * n * i, f32(in[1]) + 3 * n * i, f32(in[2]) + n * i, f32(in[3]) + n * i,
                      f32(out[0]) + 3 * n * i, f32(out[1]) + 3 * n * i, f32(out[2]) + n * i, n);
    });
  }
};

// The state's position among the inputs.
template <class K, int kState>
std::unique_ptr<Kernel> prepare_cell(const Problem& p) {
  for (const Spec& spec : p.in)
    if (spec.dtype != DType::F32) return nullptr;
  return std::make_unique<K>(p.in[kState]);
}

const Register lstm{"lstm_cell", "rows", 10, prepare_cell<Lstm, 1>};
const Register lstm_grad{"lstm_cell_grad", "rows", 10, prepare_cell<LstmGrad, 1>};
const Register gru{"gru_cell", "rows", 10, prepare_cell<Gru, 2>};
const Register gru_grad{"gru_cell_grad", "rows", 10, prepare_cell<GruGrad, 2>};

}  // namespace
}  // namespace native::recurrent
