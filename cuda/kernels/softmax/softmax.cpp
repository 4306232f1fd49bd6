// Softmax, its logarithm, the cross-entropies and their gradients.
#include <algorithm>
#include <initializer_list>

#include "kernels/softmax/params.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::softmax;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Variant {
  const char* name;
  Share share;
  int group;
};

// Kernels are named after their primitives; those of packs are for rows of whole packs at aligned addresses.
class Rows : public Kernel {
 public:
  Rows(const Problem& problem, const Params& params, int held)
      : p_(params),
        operands_(static_cast<int>(problem.in.size())),
        pack_bytes_(4 * size_of(problem.in[0].dtype)),
        single_(choose({{"_singles", kSingles, kWarp}, {"_singles", kSingles, kBlock}, {"_any", kAny, kWide}})),
        packed_(choose({{"_few", kFew, kWarp},
                        {"_packs", kPacks, kWarp},
                        {"_packs", kPacks, kWarps},
                        {"_packs", kPacks, kBlock},
                        {"_packs", kPacks, held == 1 ? kWide : kWideOfTwo},
                        {"_any", kAny, kWide}})),
        of_singles_("softmax/softmax", problem.op + single_.name),
        of_packs_("softmax/softmax", problem.op + packed_.name) {}

  void run(const void* const* in, void* const* out, void*) const override {
    Params p = p_;
    const void** const operands[] = {&p.a, &p.b, &p.c};
    bool whole = p.n % 4 == 0 && p.inner == 1 && aligned(out[0]);
    for (int i = 0; i < operands_; ++i) {
      *operands[i] = in[i];
      whole = whole && aligned(in[i]);
    }
    p.out = out[0];
    p.group = (whole ? packed_ : single_).group;
    const int threads = threads_of_block(p.group);
    (whole ? of_packs_ : of_singles_)
        .launch({static_cast<unsigned>(ceil_div(p.rows, threads / p.group))}, threads, 0, p);
  }

 private:
  // Asked of operands that are no rows as well: labels begin as allocations do.
  bool aligned(const void* x) const { return reinterpret_cast<uintptr_t>(x) % pack_bytes_ == 0; }
  Variant choose(std::initializer_list<Variant> variants) const {
    return *std::find_if(variants.begin(), variants.end(),
                         [&](const Variant& v) { return p_.n <= longest(v.group, v.share); });
  }

  const Params p_;
  const int operands_;
  const size_t pack_bytes_;
  const Variant single_, packed_;
  const Function of_singles_, of_packs_;
};

std::unique_ptr<Kernel> rows(const Problem& problem, const Params& params, int held) {
  if (params.rows > INT32_MAX) return nullptr;
  return std::make_unique<Rows>(problem, params, held);
}

// softmax(x), log_softmax(x), and their gradients (ct, y).
template <int held>
std::unique_ptr<Kernel> prepare_axis(const Problem& problem) {
  const Shape& shape = problem.in[0].shape;
  const auto type = data_type(problem.in[0].dtype);
  const auto axis = static_cast<size_t>(problem.attrs.integer("axis"));
  if (!type || problem.in[0].count() == 0 || shape[axis] > longest(kWide, kAny)) return nullptr;
  Params p{};
  p.type = *type;
  p.n = static_cast<int>(shape[axis]);
  p.rows = problem.in[0].count() / p.n;
  p.inner = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) p.inner *= shape[i];
  return rows(problem, p, held);
}

// Losses [...] of logits [..., n] and their gradients; operands are ct (gradients only), logits, labels or
// targets.
template <bool grad, int held>
std::unique_ptr<Kernel> prepare_loss(const Problem& problem) {
  const Spec &logits = problem.in[grad], &labels = problem.in[grad + 1];
  const auto type = data_type(logits.dtype);
  if (!type || logits.count() == 0 || logits.shape.back() > longest(kWide, kAny)) return nullptr;
  Params p{};
  p.type = *type;
  p.n = static_cast<int>(logits.shape.back());
  p.rows = logits.count() / p.n;
  p.inner = 1;
  p.label_bytes = static_cast<int>(size_of(labels.dtype));
  p.label_signed = labels.dtype >= DType::I8 && labels.dtype <= DType::I64;
  return rows(problem, p, held);
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

const RegisterCuda plain{"softmax", "rows", 10, prepare_axis<1>};
const RegisterCuda softmax_grad{"softmax_grad", "rows", 10, prepare_axis<2>};
const RegisterCuda log_softmax{"log_softmax", "rows", 10, prepare_axis<1>};
const RegisterCuda log_softmax_grad{"log_softmax_grad", "rows", 10, prepare_axis<2>};
const RegisterCuda sparse{"sparse_softmax_cross_entropy", "rows", 10, prepare_loss<false, 1>};
const RegisterCuda sparse_grad{"sparse_softmax_cross_entropy_grad", "rows", 10, prepare_loss<true, 1>};
const RegisterCuda dense{"softmax_cross_entropy", "rows", 10, prepare_loss<false, 2>};
const RegisterCuda dense_grad{"softmax_cross_entropy_grad", "rows", 10, prepare_loss<true, 2>};
const RegisterCuda sigmoid{"sigmoid_cross_entropy", "elementwise", 10, prepare_sigmoid};

}  // namespace
}  // namespace native::cuda
