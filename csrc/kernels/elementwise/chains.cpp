#include "kernels/elementwise/chains.h"

#include <algorithm>

namespace native {
namespace {

class Scheduler {
 public:
  Scheduler(const std::vector<TileStep>& steps, const TileRegisters& registers, bool chain)
      : steps_(steps),
        registers_(registers),
        chain_(chain),
        waits_(steps.size()),
        users_(steps.size()),
        leaves_(steps.size()) {
    const std::vector<bool>& leaves = registers.leaves;
    std::vector<int> writer(leaves.size(), -1);
    for (size_t i = 0; i < steps.size(); ++i) {
      for (int place = 0; place < steps[i].operands; ++place) {
        const int w = writer[operand(steps[i], place)];
        if (w < 0 || (!users_[w].empty() && users_[w].back() == static_cast<int>(i))) continue;
        users_[w].push_back(static_cast<int>(i));
        ++waits_[i];
      }
      writer[steps[i].dst] = static_cast<int>(i);
    }
    for (size_t r = 0; r < leaves.size(); ++r)
      if (leaves[r] && writer[r] >= 0) leaves_[writer[r]] = true;
    for (size_t i = 0; i < steps.size(); ++i)
      if (waits_[i] == 0) ready_.push_back(static_cast<int>(i));
  }

  std::vector<TileStage> run() {
    while (!ready_.empty()) {
      for (int i = next(true); i >= 0; i = next(true)) chain_from(i);
      close_chain();
      for (int i = next(false); i >= 0; i = next(false)) {
        stages_.push_back({steps_[i], {}});
        done(i);
      }
    }
    return std::move(stages_);
  }

 private:
  static int operand(const TileStep& step, int place) { return place == 0 ? step.a : place == 1 ? step.b : step.c; }
  bool chainable(const TileStep& step) const {
    Link link{};
    return chain_ && chains().bind(&link, step.code, step.type, 0);
  }

  // The first step that is ready and can, or cannot, be in a chain; -1 if there is none.
  int next(bool in_chain) const {
    int first = -1;
    for (int i : ready_)
      if (chainable(steps_[i]) == in_chain && (first < 0 || i < first)) first = i;
    return first;
  }

  void done(int i) {
    ready_.erase(std::find(ready_.begin(), ready_.end(), i));
    for (int u : users_[i])
      if (--waits_[u] == 0) ready_.push_back(u);
  }

  // TileStep i and, as long as a result's next reader can follow it at once, that reader.
  void chain_from(int i) {
    move(LinkKind::Load, steps_[i].a);
    for (int kept = 0; i >= 0;) {
      append(steps_[i], kept);
      ++operations_;
      last_ = steps_[i];
      done(i);
      const int reader = follower(i);
      const bool again = reader >= 0 && reads(steps_[reader], steps_[i].dst) > 1;
      const size_t here = reader >= 0;
      if (leaves_[i] || users_[i].size() > here || again) move(LinkKind::Store, steps_[i].dst);
      if (reader >= 0) kept = place_of(steps_[reader], steps_[i].dst);
      i = reader;
    }
  }

  int follower(int i) const {
    int first = -1;
    for (int u : users_[i])
      if (waits_[u] == 0 && chainable(steps_[u]) && first < 0) first = u;
    return first;
  }
  static int reads(const TileStep& step, int r) {
    int count = 0;
    for (int place = 0; place < step.operands; ++place) count += operand(step, place) == r;
    return count;
  }
  static int place_of(const TileStep& step, int r) { return step.a == r ? 0 : step.b == r ? 1 : 2; }

  void append(const TileStep& step, int kept) {
    int others[2] = {-1, -1}, count = 0;
    for (int place = 0; place < step.operands; ++place)
      if (place != kept) others[count++] = operand(step, place);
    Link link{nullptr, LinkKind::Operation, others[0], others[1], 0, 0, static_cast<float>(step.immediates[0])};
    add(link, step.code, step.type, kept);
  }
  void move(LinkKind kind, int r) { add({nullptr, kind, r, -1, 0, 0, 0}, Opcode::copy, Class::F32, 0); }
  void add(Link link, Opcode code, Class type, int kept) {
    const auto mask = [&](int r) { return r >= 0 && registers_.repeats[r] ? int64_t{0} : int64_t{-1}; };
    link.mask_a = mask(link.a);
    link.mask_b = mask(link.b);
    chains().bind(&link, code, type, kept);
    links_.push_back(link);
  }

  void close_chain() {
    bool held = false;
    for (int place = 0; place < last_.operands; ++place) held |= registers_.held[operand(last_, place)];
    if (operations_ == 1 && !held) links_.clear();  // a step by itself has less to do
    if (!links_.empty()) move(LinkKind::End, -1);
    if (operations_ > 0) stages_.push_back({last_, std::move(links_)});
    links_.clear();
    operations_ = 0;
  }

  const std::vector<TileStep>& steps_;
  const TileRegisters& registers_;
  bool chain_;
  std::vector<int> waits_, ready_;  // operands that are not computed; steps that have all of theirs
  std::vector<std::vector<int>> users_;
  std::vector<bool> leaves_;
  std::vector<Link> links_;
  int operations_ = 0;
  TileStep last_{};
  std::vector<TileStage> stages_;
};

}  // namespace

std::vector<TileStage> schedule(const std::vector<TileStep>& steps, const TileRegisters& registers, bool chain) {
  return Scheduler(steps, registers, chain).run();
}

}  // namespace native
