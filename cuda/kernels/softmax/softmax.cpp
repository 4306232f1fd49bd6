// Softmax, its logarithm, the cross-entropies and their gradients.
#include <algorithm>

#include "kernels/softmax/params.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::softmax;

// Elements of a row are counted in 32 bits, with room for a block.
constexpr int64_t kLongestRow = INT32_MAX - kThreads;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Kernels are named after their primitives.
class Rows : public Kernel {
 public:
  Rows(const Problem& problem, const Params& params)
      : p_(params),
        group_(params.n <= kShortRow ? 32 : kThreads),
        function_("softmax/softmax", problem.op + (group_ == 32 ? "_short_rows" : "_rows")) {
    p_.kept = p_.n * (kThreads / group_) <= kKept;
  }

  void run(const void* const* in, void* const* out, void*) const override {
    Params p = p_;
    const void** const operands[] = {&p.a, &p.b, &p.c};
    for (int i = 0; i < operands_; ++i) *operands[i] = in[i];
    p.out = out[0];
    const size_t floats = kThreads / 32 + (p.kept ? static_cast<size_t>(p.n) * (kThreads / group_) : 0);
    function_.launch({static_cast<unsigned>(ceil_div(p.rows, kThreads / group_))}, kThreads, floats * sizeof(float), p);
  }

  void operands(size_t count) { operands_ = static_cast<int>(count); }

 private:
  Params p_;
  int operands_ = 1;
  const int group_;
  const Function function_;
};

std::unique_ptr<Kernel> rows(const Problem& problem, const Params& params) {
  if (params.rows > INT32_MAX) return nullptr;
  auto kernel = std::make_unique<Rows>(problem, params);
  kernel->operands(problem.in.size());
  return kernel;
}

// softmax(x), log_softmax(x), and their gradients (ct, y).
std::unique_ptr<Kernel> prepare_axis(const Problem& problem) {
  const Shape& shape = problem.in[0].shape;
  const auto type = data_type(problem.in[0].dtype);
  const auto axis = static_cast<size_t>(problem.attrs.integer("axis"));
  if (!type || problem.in[0].count() == 0 || shape[axis] > kLongestRow) return nullptr;
  Params p{};
  p.type = *type;
  p.n = static_cast<int>(shape[axis]);
  p.rows = problem.in[0].count() / p.n;
  p.inner = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) p.inner *= shape[i];
  return rows(problem, p);
}

// Losses [...] of logits [..., n] and their gradients; operands are ct (gradients only), logits, labels or
// targets.
template <bool grad>
std::unique_ptr<Kernel> prepare_loss(const Problem& problem) {
  const Spec &logits = problem.in[grad], &labels = problem.in[grad + 1];
  const auto type = data_type(logits.dtype);
  if (!type || logits.count() == 0 || logits.shape.back() > kLongestRow) return nullptr;
  Params p{};
  p.type = *type;
  p.n = static_cast<int>(logits.shape.back());
  p.rows = logits.count() / p.n;
  p.inner = 1;
  p.label_bytes = static_cast<int>(size_of(labels.dtype));
  p.label_signed = labels.dtype >= DType::I8 && labels.dtype <= DType::I64;
  return rows(problem, p);
}

class SigmoidLoss : public Kernel {
 public:
  explicit SigmoidLoss(const Params& params) : p_(params), function_("softmax/softmax", "sigmoid_cross_entropy") {}
  void run(const void* const* in, void* const* out, void*) const override {
    Params p = p_;
    p.a = in[0];
    p.b = in[1];
    p.out = out[0];
    function_.launch({static_cast<unsigned>(std::min<int64_t>(ceil_div(p.rows, kThreads), 8192))}, kThreads, 0, p);
  }

 private:
  const Params p_;
  const Function function_;
};

std::unique_ptr<Kernel> prepare_sigmoid(const Problem& problem) {
  const auto type = data_type(problem.in[0].dtype);
  if (!type || problem.in[0].count() == 0) return nullptr;
  Params p{};
  p.type = *type;
  p.rows = problem.in[0].count();
  return std::make_unique<SigmoidLoss>(p);
}

const RegisterCuda plain{"softmax", "rows", 10, prepare_axis};
const RegisterCuda softmax_grad{"softmax_grad", "rows", 10, prepare_axis};
const RegisterCuda log_softmax{"log_softmax", "rows", 10, prepare_axis};
const RegisterCuda log_softmax_grad{"log_softmax_grad", "rows", 10, prepare_axis};
const RegisterCuda sparse{"sparse_softmax_cross_entropy", "rows", 10, prepare_loss<false>};
const RegisterCuda sparse_grad{"sparse_softmax_cross_entropy_grad", "rows", 10, prepare_loss<true>};
const RegisterCuda dense{"softmax_cross_entropy", "rows", 10, prepare_loss<false>};
const RegisterCuda dense_grad{"softmax_cross_entropy_grad", "rows", 10, prepare_loss<true>};
const RegisterCuda sigmoid{"sigmoid_cross_entropy", "elementwise", 10, prepare_sigmoid};

}  // namespace
}  // namespace native::cuda
