// Moments and logsumexp over any axes: pieces of the innermost, then merges.
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
  PairParams params;
  int64_t blocks;
  Function function;
  int64_t results() const { return params.outer * params.pieces * params.inner; }
};

class PairReduction : public Kernel {
 public:
  PairReduction(const Problem& problem, const std::string& of) {
    const auto stages = stages_of(problem.in[0].shape, problem.attrs.ints("axes"));
    const Stage& s = stages.front();
    const bool rows = s.inner == 1, few = s.reduced <= kShortRow;
    const int64_t piece = rows ? kRowPiece : kColumnPiece, pieces = ceil_div(s.reduced, piece);
    const int64_t units = s.outer * pieces;
    const int64_t blocks = !rows ? units * ceil_div(s.inner, 32) : few ? ceil_div(units, kThreads / 32) : units;
    const std::string name = !rows ? "columns_" : few ? "short_rows_" : "rows_";
    add({s.outer, s.reduced, s.inner}, piece, pieces, blocks, name + of, problem);
    if (pieces > 1) add_merge({s.outer, pieces, s.inner}, of, problem);
    for (size_t i = 1; i < stages.size(); ++i) add_merge(stages[i], of, problem);
    for (size_t i = 0; i + 1 < passes_.size(); ++i)
      between_ = std::max(between_, ceil_div(3 * passes_[i].results(), 16) * 16);
  }

  size_t scratch_bytes() const override { return 2 * sizeof(float) * static_cast<size_t>(between_); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const float* parts = nullptr;
    for (size_t i = 0; i < passes_.size(); ++i) {
      PairParams p = passes_[i].params;
      p.x = in[0];
      p.parts = parts;
      const bool last = i + 1 == passes_.size();
      p.next = last ? nullptr : static_cast<float*>(scratch) + (i % 2) * between_;
      if (last) p.y = out[0], p.y2 = two_ ? out[1] : nullptr;
      passes_[i].function.launch({static_cast<unsigned>(passes_[i].blocks)}, kThreads, 0, p);
      parts = p.next;
    }
  }

  bool fits() const {
    return std::all_of(passes_.begin(), passes_.end(), [](const Pass& p) { return p.blocks <= INT32_MAX; });
  }

 private:
  void add(const Stage& s, int64_t piece, int64_t pieces, int64_t blocks, const std::string& name, const Problem& p) {
    PairParams params{};
    params.outer = s.outer;
    params.reduced = s.reduced;
    params.inner = s.inner;
    params.piece = piece;
    params.pieces = static_cast<int>(pieces);
    params.type = *data_type(p.in[0].dtype);
    passes_.push_back({params, blocks, Function("reduce/pair", "pair_" + name)});
    two_ = p.out.size() == 2;
  }
  void add_merge(const Stage& s, const std::string& of, const Problem& p) {
    add(s, s.reduced, 1, ceil_div(s.results(), kThreads / 32), "merge_" + of, p);
  }

  std::vector<Pass> passes_;
  int64_t between_ = 0;
  bool two_ = false;
};

std::unique_ptr<Kernel> prepare(const Problem& problem, const char* of) {
  if (problem.in[0].count() == 0 || !data_type(problem.in[0].dtype)) return nullptr;
  auto kernel = std::make_unique<PairReduction>(problem, of);
  return kernel->fits() ? std::move(kernel) : nullptr;
}
std::unique_ptr<Kernel> prepare_moments(const Problem& p) { return prepare(p, "moments"); }
std::unique_ptr<Kernel> prepare_logsumexp(const Problem& p) { return prepare(p, "logsumexp"); }

const RegisterCuda moments{"moments", "pieces", 0, prepare_moments};
const RegisterCuda logsumexp{"reduce_logsumexp", "pieces", 0, prepare_logsumexp};

}  // namespace
}  // namespace native::cuda
