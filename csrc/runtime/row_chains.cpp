#include "runtime/row_chains.h"

#include <tuple>
#include <unordered_set>

#include "kernels/grid.h"
#include "runtime/plan.h"

namespace native {
namespace {

// Of all that the steps read and write by rows. No step writes where another's values were, as rows are at different
// steps at the same time: of larger values that costs more than a thread's waiting for others.
constexpr int64_t kMostBytes = 2 << 20;

// Rows of a value as products see them.
int64_t rows_of(const Spec& spec) {
  return spec.shape.empty() || spec.shape.back() == 0 ? 0 : spec.count() / spec.shape.back();
}

// A chain that grows step by step.
class Growth {
 public:
  Growth(const std::vector<BoundStep>& steps, const std::vector<Spec>& specs, size_t first)
      : steps_(steps), specs_(specs), chain_{first, first, rows_of(specs[steps[first].step->out[0]])} {}

  // As many steps as it may have, the last of which is a kernel; or none.
  RowChain grow() {
    if (chain_.rows < RowChain::kLeastRows) return chain_;
    int kernels = 0;
    for (size_t s = chain_.first; s < steps_.size() && takes(steps_[s]); ++s)
      if (steps_[s].kind == BoundStep::Kind::Kernel) {
        ++kernels;
        chain_.end = s + 1;
      }
    if (kernels < 2) chain_.end = chain_.first;
    return chain_;
  }

 private:
  bool takes(const BoundStep& step) {
    const auto& [in, out] = std::tie(step.step->in, step.step->out);
    if (step.kind == BoundStep::Kind::Alias) {
      if (made_.count(in[0])) made_.insert(out[0]);
      return true;
    }
    if (step.kind != BoundStep::Kind::Kernel) return false;
    const auto by_row = step.kernel->by_rows(chain_.rows);
    if (!by_row) return false;
    const auto is_by_row = [&](size_t i) { return i < 64 && (*by_row >> i & 1) != 0; };
    for (size_t i = 0; i < in.size(); ++i)
      if (made_.count(in[i]) && !is_by_row(i)) return false;
    for (size_t i = 0; i < in.size(); ++i)
      if (is_by_row(i)) count(in[i]);
    for (int v : out) count(v);
    made_.insert(out.begin(), out.end());
    return bytes_ <= kMostBytes;
  }
  // Once each; an alias counts again, which is no harm.
  void count(int v) {
    if (counted_.insert(v).second) bytes_ += static_cast<int64_t>(specs_[v].bytes());
  }

  const std::vector<BoundStep>& steps_;
  const std::vector<Spec>& specs_;
  RowChain chain_;
  std::unordered_set<int> made_, counted_;  // values: by its steps, in bytes_
  int64_t bytes_ = 0;
};

}  // namespace

std::vector<RowChain> find_row_chains(const std::vector<BoundStep>& steps, const std::vector<Spec>& specs) {
  std::vector<RowChain> chains;
  for (size_t s = 0; s < steps.size(); ++s) {
    if (steps[s].kind != BoundStep::Kind::Kernel) continue;
    const RowChain chain = Growth(steps, specs, s).grow();
    if (chain.end == s) continue;
    chains.push_back(chain);
    s = chain.end - 1;
  }
  return chains;
}

RowRange RowChain::range(int64_t part, int64_t parts) const {
  const int64_t begin = share_begin(rows, parts, 1, part);
  return {rows, begin, share_begin(rows, parts, 1, part + 1) - begin};
}

}  // namespace native
