#include "runtime/side_by_side.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "kernels/grid.h"
#include "runtime/plan.h"
#include "runtime/pool.h"

namespace native {
namespace {

// How far behind a step its company is looked for: what is moved ahead lives the longer.
constexpr size_t kReach = 64;
// Steps of a group at most: operands, results and scratch of all of them are there at the same time.
constexpr size_t kMost = 8;

bool is_alone(const BoundStep& step) { return step.kind == BoundStep::Kind::Kernel && step.kernel->alone(); }
// Calls of the host stay in order, and regions may have some.
bool may_move(const BoundStep& step) {
  return step.kind == BoundStep::Kind::Kernel || step.kind == BoundStep::Kind::Alias;
}

// The steps that run beside one, and those that have to run before them.
class Company {
 public:
  Company(const std::vector<BoundStep>& steps, const std::vector<bool>& placed, size_t first) : steps_(steps) {
    join(first);
    for (size_t s = first + 1; s < std::min(steps.size(), first + kReach) && members_.size() < kMost; ++s)
      if (!placed[s]) look_at(s);
  }

  const std::vector<size_t>& members() const { return members_; }
  const std::set<size_t>& before() const { return before_; }

 private:
  void look_at(size_t s) {
    const Step& step = *steps_[s].step;
    const bool needs_members = std::any_of(step.in.begin(), step.in.end(), [&](int v) { return behind_.count(v) > 0; });
    if (needs_members) {
      behind_.insert(step.out.begin(), step.out.end());
      return;
    }
    if (is_alone(steps_[s]) && takes(s)) return;
    for (int v : step.out) made_[v] = s;
  }
  // Whether what a lone step needs may run before the members, beside which it then is.
  bool takes(size_t s) {
    std::set<size_t> needed = before_;
    if (!needs(*steps_[s].step, needed)) return false;
    before_ = std::move(needed);
    join(s);
    return true;
  }
  // Adds what the step needs of those behind the first; whether all of it may be moved.
  bool needs(const Step& step, std::set<size_t>& needed) const {
    return std::all_of(step.in.begin(), step.in.end(), [&](int v) {
      const auto found = made_.find(v);
      if (found == made_.end() || needed.count(found->second)) return true;
      needed.insert(found->second);
      return may_move(steps_[found->second]) && needs(*steps_[found->second].step, needed);
    });
  }
  void join(size_t s) {
    members_.push_back(s);
    behind_.insert(steps_[s].step->out.begin(), steps_[s].step->out.end());
  }

  const std::vector<BoundStep>& steps_;
  std::vector<size_t> members_;
  std::set<size_t> before_;
  std::unordered_set<int> behind_;        // values that depend on members
  std::unordered_map<int, size_t> made_;  // by whom others are made, of those behind the first member
};

class SideBySide final : public Kernel {
 public:
  explicit SideBySide(const std::vector<const BoundStep*>& steps) {
    for (const BoundStep* step : steps) {
      members_.push_back({step->kernel, in_, out_, bytes_});
      in_ += step->step->in.size();
      out_ += step->step->out.size();
      bytes_ += whole_lines(step->kernel->scratch_bytes());
    }
  }

  size_t scratch_bytes() const override { return bytes_; }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    pool::parallel_for(static_cast<int64_t>(members_.size()), [&](int64_t task) {
      const Member& member = members_[static_cast<size_t>(task)];
      member.kernel->run(in + member.in, out + member.out, static_cast<char*>(scratch) + member.scratch);
    });
  }

 private:
  struct Member {
    std::shared_ptr<const Kernel> kernel;
    size_t in, out, scratch;  // where its own begin
  };

  std::vector<Member> members_;
  size_t in_ = 0, out_ = 0, bytes_ = 0;
};

}  // namespace

std::vector<std::vector<size_t>> side_by_side(const std::vector<BoundStep>& steps) {
  if (std::count_if(steps.begin(), steps.end(), is_alone) < 2) return {};
  std::vector<std::vector<size_t>> order;
  std::vector<bool> placed(steps.size(), false);
  const auto place = [&](std::vector<size_t> together) {
    for (size_t s : together) placed[s] = true;
    order.push_back(std::move(together));
  };
  for (size_t s = 0; s < steps.size(); ++s) {
    if (placed[s]) continue;
    if (!is_alone(steps[s])) {
      place({s});
      continue;
    }
    const Company company(steps, placed, s);
    for (size_t before : company.before()) place({before});
    place(company.members());
  }
  return order;
}

std::unique_ptr<Kernel> make_side_by_side(const std::vector<const BoundStep*>& steps) {
  return std::make_unique<SideBySide>(steps);
}

}  // namespace native
