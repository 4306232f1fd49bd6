// Reductions over any axes: a chain of passes over [outer, reduced, inner].
#include <algorithm>
#include <optional>

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
  std::optional<Function> packed;  // four neighbouring columns a thread
};

// Columns of a block: the most that leave enough blocks, and at least a sector.
int64_t width_of(const Stage& s) {
  int64_t width = 32;
  while (width > 8 && s.outer * ceil_div(s.inner, width) < kEnoughBlocks) width /= 2;
  return width;
}

class Reduction : public Kernel {
 public:
  // `type` is "float" or "int", which in_type and out_type are numbers of; between passes it is 32 bits wide.
  Reduction(const Problem& problem, const std::string& type, const char* op, int in_type, int out_type, bool mean) {
    int now = in_type;
    double count = 1;
    for (Stage stage : stages_of(problem.in[0].shape, problem.attrs.ints("axes"))) {
      count *= static_cast<double>(stage.reduced);
      for (int64_t left = 0; left != 1; now = 0) left = stage.reduced = add(type, op, stage, now);
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
      const Pass& pass = passes_[i];
      Params p = pass.params;
      p.x = x;
      p.y = i + 1 == passes_.size() ? out[0] : static_cast<char*>(scratch) + (i % 2) * between_;
      const bool packed = pass.packed && reinterpret_cast<uintptr_t>(x) % 16 == 0;
      if (packed) p.across /= 4;
      (packed ? *pass.packed : pass.function).launch({static_cast<unsigned>(pass.blocks)}, kThreads, 0, p);
      x = p.y;
    }
  }

  bool fits() const {
    return std::all_of(passes_.begin(), passes_.end(), [](const Pass& p) { return p.blocks <= INT32_MAX; });
  }

 private:
  // The number of pieces.
  int64_t add(const std::string& type, const char* op, const Stage& s, int in_type) {
    const int64_t pieces = s.inner == 1 ? add_rows(type, op, s) : add_columns(type, op, s);
    passes_.back().params.in_type = in_type;
    return pieces;
  }
  int64_t add_rows(const std::string& type, const char* op, const Stage& s) {
    const bool few = s.reduced <= kShortRow;
    const int64_t pieces = ceil_div(s.reduced, kRowPiece), units = s.outer * pieces;
    const std::string name = few ? "reduce_short_rows_" : "reduce_rows_";
    add(s, kRowPiece, pieces, few ? ceil_div(units, kThreads / 32) : units, name + type + "_" + op);
    return pieces;
  }
  int64_t add_columns(const std::string& type, const char* op, const Stage& s) {
    const int64_t width = width_of(s);
    const bool packs = type == "float" && s.inner % 4 == 0;
    const int64_t most = kRowsOfThread * (kThreads / (width / (packs ? 4 : 1)));
    const int64_t piece = s.reduced <= most ? s.reduced : most / 2, pieces = ceil_div(s.reduced, piece);
    add(s, piece, pieces, s.outer * pieces * ceil_div(s.inner, width), "reduce_columns_" + type + "_" + op);
    passes_.back().params.across = static_cast<int>(width);
    if (packs) passes_.back().packed.emplace("reduce/reduce", std::string("reduce_packed_columns_") + op);
    return pieces;
  }
  void add(const Stage& s, int64_t piece, int64_t pieces, int64_t blocks, const std::string& name) {
    Params p{};
    p.outer = s.outer;
    p.reduced = s.reduced;
    p.inner = s.inner;
    p.piece = piece;
    p.pieces = static_cast<int>(pieces);
    p.divisor = 1;
    passes_.push_back({p, blocks, Function("reduce/reduce", name), std::nullopt});
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
