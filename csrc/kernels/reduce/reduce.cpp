// Sums, means, products, extremes, any and all; positions of extremes.
#include "kernels/reduce/reduce.h"

#include <cmath>
#include <cstring>

#include "kernels/reduce/collapse.h"
#include "kernels/shape/scalar.h"
#include "kernels/shape/tasks.h"
#include "runtime/registry.h"

namespace native {
namespace {

// One task's share of a long row, in elements: partial results are rare, tasks are many.
constexpr int64_t kRowChunk = 64 << 10;
constexpr int64_t kStrip = 2048;  // accumulators of a strip of columns stay in the first-level cache
constexpr int64_t kMostTogether = 128 * 16;
// What leaves the second-level cache is taken by rows of a page: of the eight that are read at a time, shorter ones are
// not fetched ahead. (In elements; of float32 1024 are a page.)
constexpr int64_t kPage = 1024, kManyElements = 1 << 17;

DType accumulator(DType dtype) { return dtype == DType::F16 || dtype == DType::BF16 ? DType::F32 : dtype; }

// One stage with its division into units, fixed by the problem.
class StagePlan {
 public:
  StagePlan(ReduceOp op, DType dtype, const Stage& stage) : stage_(stage) {
    const int o = static_cast<int>(op), t = static_cast<int>(dtype), a = static_cast<int>(accumulator(dtype));
    const ReduceTable& table = reduce_table();
    rows_ = table.rows[o][t];
    columns_ = table.columns[o][t];
    join_rows_ = table.rows[o][a];
    join_columns_ = table.columns[o][a];
    in_ = static_cast<int64_t>(size_of(dtype));
    acc_ = static_cast<int64_t>(size_of(accumulator(dtype)));
    if (stage.inner == 1) {
      slots_ = ceil_div(stage.reduced, kRowChunk);
    } else {
      together_ = stage.reduced * stage.inner < kManyElements ? rows_together(stage) : rows_together(stage, kPage);
      const int64_t rows = stage.reduced / together_;
      chunk_ = std::clamp<int64_t>((64 << 10) / (together_ * stage.inner), 64, 256);
      whole_ = ceil_div(rows, chunk_);
      slots_ = whole_ + (stage.reduced % together_ != 0);
    }
  }
  int64_t result_bytes() const { return stage_.results() * acc_; }
  int64_t scratch_bytes() const { return slots_ > 1 ? result_bytes() * slots_ : 0; }

  void run(const void* x, void* out, void* scratch) const {
    char* partial = static_cast<char*>(slots_ > 1 ? scratch : out);
    if (stage_.inner == 1)
      rows(static_cast<const char*>(x), partial);
    else
      columns(static_cast<const char*>(x), partial);
    if (slots_ == 1) return;
    if (stage_.inner == 1) return join_rows_(partial, stage_.outer, slots_, out);
    const int64_t strips = ceil_div(stage_.inner, kStrip);
    parallel_ranges(stage_.outer * strips, scratch_bytes(), [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t o = unit / strips, j = unit % strips * kStrip;
        join_columns_(partial + (o * slots_ * stage_.inner + j) * acc_, slots_, stage_.inner,
                      std::min(kStrip, stage_.inner - j), static_cast<char*>(out) + (o * stage_.inner + j) * acc_);
      }
    });
  }

 private:
  int64_t input_bytes() const { return stage_.outer * stage_.reduced * stage_.inner * in_; }

  void rows(const char* x, char* partial) const {
    const int64_t n = stage_.reduced;
    parallel_ranges(stage_.outer * slots_, input_bytes(), [&](int64_t first, int64_t last) {
      if (slots_ == 1) return rows_(x + first * n * in_, last - first, n, partial + first * acc_);
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t at = unit % slots_ * kRowChunk;
        rows_(x + (unit / slots_ * n + at) * in_, 1, std::min(kRowChunk, n - at), partial + unit * acc_);
      }
    });
  }

  void columns(const char* x, char* partial) const {
    const int64_t n = stage_.reduced, inner = stage_.inner, strips = ceil_div(inner, kStrip);
    parallel_ranges(stage_.outer * slots_ * strips, input_bytes(), [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t slot = unit / strips % slots_, outer = unit / strips / slots_, j = unit % strips * kStrip;
        const int64_t from = slot < whole_ ? slot * chunk_ * together_ : n / together_ * together_;
        const int64_t to = slot < whole_ ? std::min(from + chunk_ * together_, n / together_ * together_) : n;
        const char* p = x + ((outer * n + from) * inner + j) * in_;
        char* y = partial + ((outer * slots_ + slot) * inner + j) * acc_;
        if (together_ > 1 && slot < whole_) {
          alignas(64) char sums[kMostTogether * 8];
          columns_(p, (to - from) / together_, together_ * inner, together_ * inner, sums);
          join_columns_(sums, together_, inner, inner, y);
        } else {
          columns_(p, to - from, inner, std::min(kStrip, inner - j), y);
        }
      }
    });
  }

  Stage stage_;
  ReduceTable::Rows rows_, join_rows_;
  ReduceTable::Columns columns_, join_columns_;
  int64_t in_, acc_;
  int64_t together_ = 1, chunk_ = 1;
  int64_t whole_ = 1;  // slots of whole groups of rows; one more may hold what is left
  int64_t slots_ = 1;  // partial results per result
};

template <class T, class A>
void finish(const A* from, T* to, int64_t n, A divisor) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(from[i] / divisor);
}

class Reduction : public Kernel {
 public:
  Reduction(ReduceOp op, bool mean, const Problem& p) : out_(p.out[0]) {
    DType dtype = p.in[0].dtype;
    int64_t tail = 1;
    if (is_complex(dtype)) {  // the parts are reduced side by side
      dtype = dtype == DType::C64 ? DType::F32 : DType::F64;
      tail = 2;
    }
    result_ = tail == 2 ? dtype : out_.dtype;
    const std::vector<Stage> stages = stages_of(p.in[0].shape, p.attrs.ints("axes"), tail);
    double count = 1;
    for (const Stage& stage : stages) {
      plans_.emplace_back(op, dtype, stage);
      dtype = accumulator(dtype);
      count *= static_cast<double>(stage.reduced);
    }
    results_ = stages.back().results();
    divisor_ = mean ? count : 1;
    direct_ = result_ == dtype && !mean;
    // Two buffers in turn for results between stages, one for partial results.
    for (const StagePlan& plan : plans_) {
      between_ = std::max(between_, align(plan.result_bytes()));
      partial_ = std::max(partial_, align(plan.scratch_bytes()));
    }
    if (direct_ && plans_.size() == 1) between_ = 0;
  }
  size_t scratch_bytes() const override { return static_cast<size_t>(2 * between_ + partial_); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    char* memory = static_cast<char*>(scratch);
    const void* x = in[0];
    for (size_t i = 0; i < plans_.size(); ++i) {
      void* y = direct_ && i + 1 == plans_.size() ? out[0] : memory + (i % 2) * between_;
      plans_[i].run(x, y, memory + 2 * between_);
      x = y;
    }
    if (direct_) return;
    const auto* sums = static_cast<const float*>(x);
    const float divisor = static_cast<float>(divisor_);
    if (result_ == DType::F16) return finish(sums, static_cast<F16*>(out[0]), results_, divisor);
    if (result_ == DType::BF16) return finish(sums, static_cast<Bf16*>(out[0]), results_, divisor);
    if (result_ == DType::F32) return finish(sums, static_cast<float*>(out[0]), results_, divisor);
    finish(static_cast<const double*>(x), static_cast<double*>(out[0]), results_, divisor_);
  }

 private:
  static int64_t align(int64_t bytes) { return ceil_div(bytes, 64) * 64; }

  Spec out_;
  DType result_;
  std::vector<StagePlan> plans_;
  int64_t results_ = 0, between_ = 0, partial_ = 0;
  double divisor_ = 1;
  bool direct_ = true;
};

// Of operands without elements: every result is the operation's identity.
class Constant : public Kernel {
 public:
  Constant(const Spec& out, double value) : out_(out), value_(value) {}
  void run(const void* const*, void* const* out, void*) const override {
    const int64_t n = out_.count();
    const size_t size = size_of(out_.dtype);
    char* y = static_cast<char*>(out[0]);
    for (int64_t i = 0; i < n; ++i) {
      switch (out_.dtype) {
        case DType::F16:
          fill(y + i * size, F16(static_cast<float>(value_)));
          break;
        case DType::BF16:
          fill(y + i * size, Bf16(static_cast<float>(value_)));
          break;
        case DType::F32:
          fill(y + i * size, static_cast<float>(value_));
          break;
        case DType::F64:
          fill(y + i * size, value_);
          break;
        default:  // little-endian integers: the first byte and zeros
          std::memset(y + i * size, 0, size);
          y[i * size] = static_cast<char>(value_);
      }
    }
  }

 private:
  template <class T>
  static void fill(char* to, T value) {
    std::memcpy(to, &value, sizeof(T));
  }
  Spec out_;
  double value_;
};

std::unique_ptr<Kernel> make(ReduceOp op, bool mean, double empty, const Problem& p) {
  const DType dtype = p.in[0].dtype;
  const bool pairs = is_complex(dtype) && op == ReduceOp::Sum;
  if (!pairs && (dtype > DType::F64 || !reduce_table().rows[static_cast<int>(op)][static_cast<int>(dtype)]))
    return nullptr;
  if (p.in[0].count() == 0) {
    if (pairs) return nullptr;
    return std::make_unique<Constant>(p.out[0], empty);
  }
  return std::make_unique<Reduction>(op, mean, p);
}

std::unique_ptr<Kernel> prepare_sum(const Problem& p) { return make(ReduceOp::Sum, false, 0, p); }
std::unique_ptr<Kernel> prepare_mean(const Problem& p) { return make(ReduceOp::Sum, true, std::nan(""), p); }
std::unique_ptr<Kernel> prepare_prod(const Problem& p) { return make(ReduceOp::Prod, false, 1, p); }
std::unique_ptr<Kernel> prepare_max(const Problem& p) { return make(ReduceOp::Max, false, 0, p); }
std::unique_ptr<Kernel> prepare_min(const Problem& p) { return make(ReduceOp::Min, false, 1, p); }

// argmax and argmin: [outer, reduced, inner] with one reduced axis.
class Position : public Kernel {
 public:
  Position(ReduceOp op, const Problem& p) {
    const Shape& dims = p.in[0].shape;
    const size_t axis = static_cast<size_t>(p.attrs.integer("axis"));
    stage_ = {1, dims[axis], 1};
    for (size_t i = 0; i < axis; ++i) stage_.outer *= dims[i];
    for (size_t i = axis + 1; i < dims.size(); ++i) stage_.inner *= dims[i];
    const int t = static_cast<int>(p.in[0].dtype);
    rows_ = reduce_table().rows[static_cast<int>(op)][t];
    find_ = reduce_table().find[t];
    columns_ = reduce_table().find_columns[op == ReduceOp::Min][t];
    size_ = static_cast<int64_t>(size_of(p.in[0].dtype));
  }
  void run(const void* const* in, void* const* out, void*) const override {
    const char* x = static_cast<const char*>(in[0]);
    int32_t* y = static_cast<int32_t*>(out[0]);
    const int64_t n = stage_.reduced, inner = stage_.inner, bytes = stage_.outer * n * inner * size_;
    if (inner == 1) {
      parallel_ranges(stage_.outer, bytes, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          alignas(8) char value[8];
          rows_(x + i * n * size_, 1, n, value);
          y[i] = static_cast<int32_t>(find_(x + i * n * size_, n, value));
        }
      });
      return;
    }
    const int64_t strips = ceil_div(inner, kColumns);
    parallel_ranges(stage_.outer * strips, bytes, [&](int64_t first, int64_t last) {
      for (int64_t unit = first; unit < last; ++unit) {
        const int64_t o = unit / strips, j = unit % strips * kColumns;
        alignas(64) char best[kColumns * 8];
        columns_(x + (o * n * inner + j) * size_, n, inner, std::min(kColumns, inner - j), best, y + o * inner + j);
      }
    });
  }

 private:
  static constexpr int64_t kColumns = 512;
  Stage stage_;
  ReduceTable::Rows rows_;
  ReduceTable::Find find_;
  ReduceTable::FindColumns columns_;
  int64_t size_;
};

std::unique_ptr<Kernel> position(ReduceOp op, const Problem& p) {
  if (p.in[0].dtype > DType::F64) return nullptr;
  return std::make_unique<Position>(op, p);
}
std::unique_ptr<Kernel> prepare_argmax(const Problem& p) { return position(ReduceOp::Max, p); }
std::unique_ptr<Kernel> prepare_argmin(const Problem& p) { return position(ReduceOp::Min, p); }

const Register sum{"reduce_sum", "blocked", 0, prepare_sum};
const Register mean{"reduce_mean", "blocked", 0, prepare_mean};
const Register prod{"reduce_prod", "blocked", 0, prepare_prod};
const Register max{"reduce_max", "blocked", 0, prepare_max};
const Register min{"reduce_min", "blocked", 0, prepare_min};
const Register any{"reduce_any", "blocked", 0, prepare_max};
const Register all{"reduce_all", "blocked", 0, prepare_min};
const Register argmax{"argmax", "find", 0, prepare_argmax};
const Register argmin{"argmin", "find", 0, prepare_argmin};

}  // namespace
}  // namespace native
