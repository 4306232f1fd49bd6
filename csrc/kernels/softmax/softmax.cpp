// Drivers of softmax, log-softmax and the cross-entropies: rows, or columns of any axis, cut into tasks.
#include "kernels/softmax/softmax.h"

#include "kernels/floating.h"
#include "kernels/norm/driver.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native {
namespace {

const SoftmaxTable* softmax_table(DType dtype) { return floating_entry(softmax_tables(), dtype); }

// x seen as [outer, n, inner] around an axis.
struct Around {
  int64_t outer = 1, n, inner = 1;
  Around(const Shape& shape, int64_t axis) : n(shape[static_cast<size_t>(axis)]) {
    for (size_t i = 0; i < shape.size(); ++i) {
      if (static_cast<int64_t>(i) < axis) outer *= shape[i];
      if (static_cast<int64_t>(i) > axis) inner *= shape[i];
    }
  }
};

constexpr int64_t kStrip = 256;  // columns of a task

// softmax(x), log_softmax(x), and their gradients (ct, y).
class AlongAxis : public Kernel {
 public:
  AlongAxis(const Problem& p, const SoftmaxTable* table, bool log, bool grad)
      : a_(p.in[0].shape, p.attrs.integer("axis")),
        size_(size_of(p.in[0].dtype)),
        table_(table),
        log_(log),
        grad_(grad),
        // An exponential or two an element: twice the work of a plain pass.
        tasks_(a_.outer, 2 * a_.n) {}

  void run(const void* const* in, void* const* out, void*) const override {
    if (a_.inner == 1) {
      pool::parallel_for(tasks_.count, [&](int64_t task) { rows(in, out, tasks_.begin(task), tasks_.size(task)); });
      return;
    }
    const int64_t strips = (a_.inner + kStrip - 1) / kStrip;
    pool::parallel_for(a_.outer * strips, [&](int64_t task) {
      const int64_t column = task % strips * kStrip, count = std::min(kStrip, a_.inner - column);
      const int64_t first = task / strips * a_.n * a_.inner + column;
      void* result = at(out[0], first, size_);
      if (grad_)
        table_->columns_grad(at(in[0], first, size_), at(in[1], first, size_), result, a_.n, a_.inner, count, log_);
      else
        table_->columns(at(in[0], first, size_), result, a_.n, a_.inner, count, log_);
    });
  }
  std::optional<uint64_t> by_rows(int64_t rows) const override {
    if (a_.inner != 1 || a_.outer % rows != 0) return std::nullopt;
    return grad_ ? 3 : 1;
  }
  void run_rows(const void* const* in, void* const* out, const RowRange& range) const override {
    const int64_t each = a_.outer / range.all;
    rows(in, out, range.first * each, range.count * each);
  }

 private:
  void rows(const void* const* in, void* const* out, int64_t row, int64_t count) const {
    const int64_t first = row * a_.n;
    void* result = at(out[0], first, size_);
    if (grad_)
      table_->rows_grad(at(in[0], first, size_), at(in[1], first, size_), result, count, a_.n, log_);
    else
      table_->rows(at(in[0], first, size_), result, count, a_.n, log_);
  }
  Around a_;
  size_t size_;
  const SoftmaxTable* table_;
  bool log_, grad_;
  RowTasks tasks_;
};

template <bool log, bool grad>
std::unique_ptr<Kernel> prepare_axis(const Problem& problem) {
  const SoftmaxTable* table = softmax_table(problem.in[0].dtype);
  if (table == nullptr || problem.in[0].count() == 0) return nullptr;
  return std::make_unique<AlongAxis>(problem, table, log, grad);
}

int64_t label_at(const void* labels, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::U8:
      return static_cast<const uint8_t*>(labels)[i];
    case DType::I8:
      return static_cast<const int8_t*>(labels)[i];
    case DType::U16:
      return static_cast<const uint16_t*>(labels)[i];
    case DType::I16:
      return static_cast<const int16_t*>(labels)[i];
    case DType::U32:
      return static_cast<const uint32_t*>(labels)[i];
    case DType::I32:
      return static_cast<const int32_t*>(labels)[i];
    default:
      return static_cast<const int64_t*>(labels)[i];  // beyond 2^63 an uint64 is outside all the same
  }
}

// Losses [...] of logits [..., n] and their gradients; the operands are ct (gradients only), logits, and
// labels or targets.
class RowLoss : public Kernel {
 public:
  RowLoss(const Problem& p, const SoftmaxTable* table, bool grad)
      : logits_(p.in[grad]),
        labels_(p.in[grad + 1]),
        n_(logits_.shape.back()),
        size_(size_of(logits_.dtype)),
        table_(table),
        grad_(grad),
        by_label_(is_integer(labels_.dtype)),
        tasks_(logits_.count() / n_, 2 * n_) {}
  size_t scratch_bytes() const override { return by_label_ ? static_cast<size_t>(tasks_.rows) * sizeof(int64_t) : 0; }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    int64_t* labels = static_cast<int64_t*>(scratch);
    pool::parallel_for(tasks_.count, [&](int64_t task) {
      const int64_t row = tasks_.begin(task), rows = tasks_.size(task), first = row * n_;
      const void *ct = at(in[0], row, size_), *x = at(in[grad_], first, size_);
      void* result = at(out[0], grad_ ? first : row, size_);
      if (by_label_) {
        for (int64_t i = row; i < row + rows; ++i) labels[i] = label_at(in[grad_ + 1], labels_.dtype, i);
        if (grad_)
          table_->label_loss_grad(ct, x, labels + row, result, rows, n_);
        else
          table_->label_loss(x, labels + row, result, rows, n_);
      } else {
        const void* targets = at(in[grad_ + 1], first, size_);
        if (grad_)
          table_->target_loss_grad(ct, x, targets, result, rows, n_);
        else
          table_->target_loss(x, targets, result, rows, n_);
      }
    });
  }

 private:
  Spec logits_, labels_;
  int64_t n_;
  size_t size_;
  const SoftmaxTable* table_;
  bool grad_, by_label_;
  RowTasks tasks_;
};

template <bool grad>
std::unique_ptr<Kernel> prepare_loss(const Problem& problem) {
  const Spec& logits = problem.in[grad];
  const SoftmaxTable* table = softmax_table(logits.dtype);
  if (table == nullptr || logits.count() == 0) return nullptr;
  return std::make_unique<RowLoss>(problem, table, grad);
}

class SigmoidLoss : public Kernel {
 public:
  SigmoidLoss(const Spec& x, const SoftmaxTable* table)
      : size_(size_of(x.dtype)), table_(table), tasks_(x.count(), 4) {}
  void run(const void* const* in, void* const* out, void*) const override {
    pool::parallel_for(tasks_.count, [&](int64_t task) {
      const int64_t first = tasks_.begin(task);
      table_->sigmoid_loss(at(in[0], first, size_), at(in[1], first, size_), at(out[0], first, size_),
                           tasks_.size(task));
    });
  }

 private:
  size_t size_;
  const SoftmaxTable* table_;
  RowTasks tasks_;
};

std::unique_ptr<Kernel> prepare_sigmoid(const Problem& problem) {
  const SoftmaxTable* table = softmax_table(problem.in[0].dtype);
  if (table == nullptr || problem.in[0].count() == 0) return nullptr;
  return std::make_unique<SigmoidLoss>(problem.in[0], table);
}

const Register softmax{"softmax", "axis", 10, prepare_axis<false, false>};
const Register softmax_grad{"softmax_grad", "axis", 10, prepare_axis<false, true>};
const Register log_softmax{"log_softmax", "axis", 10, prepare_axis<true, false>};
const Register log_softmax_grad{"log_softmax_grad", "axis", 10, prepare_axis<true, true>};
const Register sparse{"sparse_softmax_cross_entropy", "rows", 10, prepare_loss<false>};
const Register sparse_grad{"sparse_softmax_cross_entropy_grad", "rows", 10, prepare_loss<true>};
const Register dense{"softmax_cross_entropy", "rows", 10, prepare_loss<false>};
const Register dense_grad{"softmax_cross_entropy_grad", "rows", 10, prepare_loss<true>};
const Register sigmoid{"sigmoid_cross_entropy", "elementwise", 10, prepare_sigmoid};

}  // namespace
}  // namespace native
