// Reductions over any axes: a chain of passes over [outer, reduced, inner].
#include <algorithm>

#include "kernels/reduce/collapse.h"
#include "kernels/reduce/params.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::reduce;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Pass {
  Params params{};
  int64_t blocks;
  Function function;
};

class Reduction : public Kernel {
 public:
  // `type` is "float" or "int", which in_type and out_type are numbers of; between passes it is 32 bits wide.
  Reduction(const Problem& problem, const std::string& type, const char* op, int in_type, int out_type, bool mean) {
    int now = in_type;
    double count = 1;
    for (const Stage& stage : stages_of(problem.in[0].shape, problem.attrs.ints("axes"))) {
      count *= static_cast<double>(stage.reduced);
      const int64_t piece = stage.inner == 1 ? kRowPiece : kColumnPiece, pieces = ceil_div(stage.reduced, piece);
      add(type, op, stage, piece, pieces, now);
      now = 0;
      if (pieces > 1) add(type, op, {stage.outer, pieces, stage.inner}, pieces, 1, now);
    }
    passes_.back().params.out_type = out_type;
    passes_.back().params.divisor = mean ? static_cast<float>(count) : 1;
    for (size_t i = 0; i + 1 < passes_.size(); ++i) {
      const Params& p = passes_[i].params;
      between_ = std::max(between_, ceil_div(p.outer * p.pieces * p.inner * 4, 64) * 64);
    }
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(2 * between_); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const void* x = in[0];
    for (size_t i = 0; i < passes_.size(); ++i) {
      Params p = passes_[i].params;
      p.x = x;
      p.y = i + 1 == passes_.size() ? out[0] : static_cast<char*>(scratch) + (i % 2) * between_;
      passes_[i].function.launch({static_cast<unsigned>(passes_[i].blocks)}, kThreads, 0, p);
      x = p.y;
    }
  }

  bool fits() const {
    return std::all_of(passes_.begin(), passes_.end(), [](const Pass& p) { return p.blocks <= INT32_MAX; });
  }

 private:
  void add(const std::string& type, const char* op, const Stage& s, int64_t piece, int64_t pieces, int in_type) {
    const bool rows = s.inner == 1, few = s.reduced <= kShortRow;
    const int64_t units = s.outer * pieces;
    const int64_t blocks = !rows ? units * ceil_div(s.inner, 32) : few ? ceil_div(units, kThreads / 32) : units;
    const std::string name = std::string("reduce_") + (!rows ? "columns" : few ? "short_rows" : "rows");
    passes_.push_back({{nullptr, nullptr, s.outer, s.reduced, s.inner, piece, static_cast<int>(pieces), in_type, 0, 1},
                       blocks,
                       Function("reduce/reduce", name + "_" + type + "_" + op)});
  }

  std::vector<Pass> passes_;
  int64_t between_ = 0;
};

std::unique_ptr<Kernel> prepare(const Problem& p, const char* op, bool mean = false) {
  if (p.in[0].count() == 0) return nullptr;
  std::unique_ptr<Reduction> kernel;
  const DType in = p.in[0].dtype, out = p.out[0].dtype;
  if (data_type(in) && data_type(out))
    kernel = std::make_unique<Reduction>(p, "float", op, static_cast<int>(*data_type(in)),
                                         static_cast<int>(*data_type(out)), mean);
  else if (integer_type(in) && integer_type(out) && !mean)
    kernel = std::make_unique<Reduction>(p, "int", op, static_cast<int>(*integer_type(in)),
                                         static_cast<int>(*integer_type(out)), false);
  return kernel && kernel->fits() ? std::move(kernel) : nullptr;
}

std::unique_ptr<Kernel> prepare_sum(const Problem& p) { return prepare(p, "sum"); }
std::unique_ptr<Kernel> prepare_mean(const Problem& p) { return prepare(p, "sum", true); }
std::unique_ptr<Kernel> prepare_prod(const Problem& p) { return prepare(p, "prod"); }
std::unique_ptr<Kernel> prepare_max(const Problem& p) { return prepare(p, "max"); }
std::unique_ptr<Kernel> prepare_min(const Problem& p) { return prepare(p, "min"); }

// argmax and argmin along one axis.
class Position : public Kernel {
 public:
  Position(const Params& params, const std::string& name) : p_(params), function_("reduce/position", name) {}
  void run(const void* const* in, void* const* out, void*) const override {
    Params p = p_;
    p.x = in[0];
    p.y = out[0];
    const int64_t blocks = p.inner == 1 ? p.outer : ceil_div(p.outer * p.inner, kThreads);
    function_.launch({static_cast<unsigned>(blocks)}, kThreads, 0, p);
  }

 private:
  const Params p_;
  const Function function_;
};

std::unique_ptr<Kernel> position(const Problem& problem, const char* op) {
  const Spec& x = problem.in[0];
  const auto axis = static_cast<size_t>(problem.attrs.integer("axis"));
  Params p{};
  p.outer = p.inner = 1;
  p.reduced = x.shape[axis];
  for (size_t i = 0; i < axis; ++i) p.outer *= x.shape[i];
  for (size_t i = axis + 1; i < x.shape.size(); ++i) p.inner *= x.shape[i];
  const bool real = data_type(x.dtype).has_value();
  if ((!real && !integer_type(x.dtype)) || x.count() == 0 || p.outer * p.inner > INT32_MAX) return nullptr;
  p.in_type = real ? static_cast<int>(*data_type(x.dtype)) : static_cast<int>(*integer_type(x.dtype));
  const std::string name = std::string("position_") + (p.inner == 1 ? "rows_" : "columns_");
  return std::make_unique<Position>(p, name + (real ? "float_" : "int_") + op);
}
std::unique_ptr<Kernel> prepare_argmax(const Problem& p) { return position(p, "max"); }
std::unique_ptr<Kernel> prepare_argmin(const Problem& p) { return position(p, "min"); }

const RegisterCuda argmax{"argmax", "first", 0, prepare_argmax};
const RegisterCuda argmin{"argmin", "first", 0, prepare_argmin};
const RegisterCuda sum{"reduce_sum", "pieces", 0, prepare_sum};
const RegisterCuda mean{"reduce_mean", "pieces", 0, prepare_mean};
const RegisterCuda prod{"reduce_prod", "pieces", 0, prepare_prod};
const RegisterCuda max{"reduce_max", "pieces", 0, prepare_max};
const RegisterCuda min{"reduce_min", "pieces", 0, prepare_min};
const RegisterCuda any{"reduce_any", "pieces", 0, prepare_max};
const RegisterCuda all{"reduce_all", "pieces", 0, prepare_min};

}  // namespace
}  // namespace native::cuda
