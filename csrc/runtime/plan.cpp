#include "runtime/plan.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>

#include "core/errors.h"
#include "core/symbols.h"
#include "runtime/side_by_side.h"
#include "runtime/through_host.h"

namespace native {
namespace {

HostFallback& host_fallback() {
  static HostFallback* fallback = new HostFallback;
  return *fallback;
}

constexpr size_t kAlign = 64;
size_t aligned(size_t bytes) { return (std::max<size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign; }

// Best-fit allocation over time: blocks are handed out in step order and come back after the last use.
class ArenaPlanner {
 public:
  size_t take(size_t bytes) {
    bytes = aligned(bytes);
    auto best = free_.end();
    for (auto at = free_.begin(); at != free_.end(); ++at)
      if (at->second >= bytes && (best == free_.end() || at->second < best->second)) best = at;
    if (best == free_.end()) {
      // Grow the last block when it reaches the end of the arena.
      size_t offset = end_;
      if (!free_.empty()) {
        auto last = std::prev(free_.end());
        if (last->first + last->second == end_) {
          offset = last->first;
          free_.erase(last);
        }
      }
      end_ = offset + bytes;
      return offset;
    }
    const auto [offset, size] = *best;
    free_.erase(best);
    if (size > bytes) free_[offset + bytes] = size - bytes;
    return offset;
  }

  void give(size_t offset, size_t bytes) {
    bytes = aligned(bytes);
    auto next = free_.lower_bound(offset);
    if (next != free_.end() && offset + bytes == next->first) {
      bytes += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second == offset) {
        before->second += bytes;
        return;
      }
    }
    free_[offset] = bytes;
  }

  size_t end() const { return end_; }

 private:
  std::map<size_t, size_t> free_;  // offset -> bytes
  size_t end_ = 0;
};

}  // namespace

void set_host_fallback(HostFallback fallback) { host_fallback() = std::move(fallback); }

bool is_alias(const std::string& op) {
  return op == "reshape" || op == "stop_gradient" || op == "copy" || op == "barrier";
}

Plan::Plan(const Code& code, const std::vector<int64_t>& bound, const DevicePtr& device) : sizes(bound) {
  specs.reserve(code.values.size());
  for (const Spec& value : code.values) {
    specs.push_back({value.dtype, symbols::evaluate(value.shape, sizes)});
    specs.back().count();  // refuses negative and overflowing sizes before anything is allocated
  }
  bind_steps(code, device);
  join_lone_steps();
  join_last_steps(code);
  // Every thread reads all weights for its rows. Those that a training step has just written are in other caches, and
  // tasks of columns read some of them only.
  if (code.updates.empty()) chains = find_row_chains(steps, specs);
  place_values(code);
  find_updates(code);
  count_operands();
  recordable = device->records() && std::all_of(steps.begin(), steps.end(), [](const BoundStep& step) {
                 return step.kind == BoundStep::Kind::Alias ||
                        (step.kind == BoundStep::Kind::Kernel && !borrowed(step.kernel_name));
               });
}

void Plan::bind_steps(const Code& code, const DevicePtr& device) {
  for (const Step& step : code.steps) {
    BoundStep bound{BoundStep::Kind::Kernel, &step, nullptr, "", step.host, symbols::evaluate(step.attrs, sizes), {}};
    if (is_alias(step.op)) {
      bound.kind = BoundStep::Kind::Alias;
      bound.kernel_name = "alias";
      if (specs[step.in[0]].count() != specs[step.out[0]].count())
        throw ShapeError("cannot reshape " + to_string(specs[step.in[0]].shape) + " to " +
                         to_string(specs[step.out[0]].shape));
    } else if (!step.regions.empty()) {
      bound.kind = BoundStep::Kind::Region;
      bound.kernel_name = "region";
      for (const auto& region : step.regions) bound.regions.push_back(std::make_shared<Executable>(region, device));
    } else if (step.host) {
      bound.kind = BoundStep::Kind::Host;
      bound.kernel_name = "host";
    } else {
      Problem problem{step.op, {}, {}, bound.attrs};
      for (int v : step.in) problem.in.push_back(specs[v]);
      for (int v : step.out) problem.out.push_back(specs[v]);
      bound.kernel = prepare_on(device, problem, &bound.kernel_name);
      if (bound.kernel) {
        scratch_bytes = std::max(scratch_bytes, bound.kernel->scratch_bytes());
      } else {
        bound.kind = BoundStep::Kind::Host;
        bound.kernel_name = "host";
        if (host_fallback()) bound.host = host_fallback()(step.op);
        if (!bound.host) throw UnsupportedError("no kernel for " + to_string(problem));
      }
    }
    steps.push_back(std::move(bound));
  }
}

BoundStep Plan::joined(const std::vector<const BoundStep*>& members, const Join& join, const char* suffix) {
  auto step = std::make_unique<Step>();
  const BoundStep& first = *members.front();
  step->op = first.step->op;
  for (const BoundStep* member : members) {
    step->in.insert(step->in.end(), member->step->in.begin(), member->step->in.end());
    step->out.insert(step->out.end(), member->step->out.begin(), member->step->out.end());
  }
  BoundStep bound{first.kind, step.get(), join(members), first.kernel_name + suffix, nullptr, {}, {}};
  scratch_bytes = std::max(scratch_bytes, bound.kernel->scratch_bytes());
  joined_.push_back(std::move(step));
  return bound;
}

void Plan::arrange(size_t first, const Groups& groups, const Join& join, const char* suffix) {
  std::vector<BoundStep> arranged;
  for (const std::vector<size_t>& group : groups) {
    if (group.size() == 1) {
      arranged.push_back(std::move(steps[group.front()]));
      continue;
    }
    std::vector<const BoundStep*> members;
    for (size_t s : group) members.push_back(&steps[s]);
    arranged.push_back(joined(members, join, suffix));
  }
  steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(first), steps.end());
  std::move(arranged.begin(), arranged.end(), std::back_inserter(steps));
}

void Plan::join_lone_steps() {
  const Groups order = side_by_side(steps);
  const auto join = [](const std::vector<const BoundStep*>& members) { return make_side_by_side(members); };
  if (!order.empty()) arrange(0, order, join, "_beside");
}

void Plan::join_last_steps(const Code& code) {
  std::vector<bool> read(code.values.size(), false);  // by the steps from `first` on
  size_t first = steps.size();
  while (first > 0 && steps[first - 1].kind == BoundStep::Kind::Kernel) {
    const Step& step = *steps[first - 1].step;
    if (std::any_of(step.out.begin(), step.out.end(), [&](int v) { return read[v]; })) break;
    for (int v : step.in) read[v] = true;
    --first;
  }
  Groups groups;
  for (size_t s = first; s < steps.size(); ++s) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const std::vector<size_t>& members) {
      return steps[members.front()].kernel->joins(*steps[s].kernel);
    });
    group == groups.end() ? groups.push_back({s}) : group->push_back(s);
  }
  if (groups.size() == steps.size() - first) return;
  // What cannot be written to where variables are does not come between what can (find_updates).
  const auto updates = [&](const std::vector<size_t>& members) {
    const BoundStep& bound = steps[members.front()];
    return std::any_of(code.updates.begin(), code.updates.end(), [&](const auto& update) {
      const auto& [in, out] = std::tie(bound.step->in, bound.step->out);
      const auto i = std::find(in.begin(), in.end(), code.inputs[update.second]) - in.begin();
      const auto o = std::find(out.begin(), out.end(), code.outputs[update.first]) - out.begin();
      return static_cast<size_t>(i) < in.size() && static_cast<size_t>(o) < out.size() &&
             bound.kernel->may_overwrite(o, i);
    });
  };
  std::stable_partition(groups.begin(), groups.end(), [&](const auto& members) { return !updates(members); });
  const auto join = [](const std::vector<const BoundStep*>& members) {
    std::vector<const Kernel*> kernels;
    for (const BoundStep* member : members) kernels.push_back(member->kernel.get());
    return kernels.front()->joined(kernels);
  };
  arrange(first, groups, join, "_group");
}

void Plan::place_values(const Code& code) {
  const size_t count = code.values.size();
  places.assign(count, {});
  // Aliases share the place of their root.
  std::vector<int> root(count);
  std::iota(root.begin(), root.end(), 0);
  for (const Step& step : code.steps)
    if (is_alias(step.op)) root[step.out[0]] = root[step.in[0]];

  for (size_t i = 0; i < code.inputs.size(); ++i) places[code.inputs[i]] = {Place::Kind::Input, i};
  for (size_t i = 0; i < code.constants.size(); ++i) places[code.constants[i].first] = {Place::Kind::Constant, i};
  for (size_t i = 0; i < code.outputs.size(); ++i) {
    Place& place = places[root[code.outputs[i]]];
    if (place.kind == Place::Kind::None)
      place = {Place::Kind::Output, i};
    else
      copies.emplace_back(static_cast<int>(i), code.outputs[i]);
  }

  std::vector<size_t> last_use(count, 0);
  for (size_t s = 0; s < steps.size(); ++s) {
    for (int v : steps[s].step->in) last_use[root[v]] = s;
    for (int v : steps[s].step->out) last_use[root[v]] = s;
  }
  // Rows of a chain are at different steps of it at the same time.
  std::vector<size_t> until(steps.size());
  std::iota(until.begin(), until.end(), 0);
  for (const RowChain& chain : chains) std::fill(until.begin() + chain.first, until.begin() + chain.end, chain.end - 1);
  for (size_t& s : last_use)
    if (!steps.empty()) s = until[s];
  std::vector<std::vector<int>> dies(steps.size());
  ArenaPlanner arena;
  for (size_t s = 0; s < steps.size(); ++s) {
    if (steps[s].kind != BoundStep::Kind::Alias) {
      for (int v : steps[s].step->out) {
        if (places[v].kind != Place::Kind::None) continue;
        places[v] = {Place::Kind::Arena, arena.take(specs[v].bytes())};
        dies[last_use[v]].push_back(v);
      }
    }
    for (int v : dies[s]) arena.give(places[v].index, specs[v].bytes());
  }
  for (size_t v = 0; v < count; ++v) places[v] = places[root[v]];
  arena_bytes = arena.end();
}

void Plan::find_updates(const Code& code) {
  constexpr int kNone = -1;
  std::vector<int> updated(code.outputs.size(), kNone);  // input, of each output
  for (const auto& [output, input] : code.updates) updated[output] = input;
  std::vector<bool> read(code.inputs.size(), false);  // by steps behind the one looked at, or by the caller
  for (int v : code.outputs)
    if (places[v].kind == Place::Kind::Input) read[places[v].index] = true;
  // A step may have all variables of a model (join_last_steps): each operand is looked at once.
  const auto updates_of = [&](const BoundStep& step) {
    std::vector<std::pair<int, int>> found;
    if (step.kind != BoundStep::Kind::Kernel) return found;
    const auto& [in, out] = std::tie(step.step->in, step.step->out);
    std::unordered_map<size_t, int> operand;  // of each input, or none where there are two
    for (size_t i = 0; i < in.size(); ++i)
      if (places[in[i]].kind == Place::Kind::Input)
        if (const auto [at, first] = operand.try_emplace(places[in[i]].index, static_cast<int>(i)); !first)
          at->second = kNone;
    for (size_t o = 0; o < out.size(); ++o) {
      if (places[out[o]].kind != Place::Kind::Output) continue;
      const int output = static_cast<int>(places[out[o]].index), input = updated[output];
      if (input == kNone || read[input]) continue;
      const auto at = operand.find(input);
      if (at == operand.end() || at->second == kNone) continue;
      if (step.kernel->may_overwrite(o, at->second) && specs[out[o]].bytes() == specs[in[at->second]].bytes())
        found.emplace_back(output, input);
    }
    return found;
  };
  for (first_update = steps.size(); first_update > 0; --first_update) {
    const BoundStep& step = steps[first_update - 1];
    const auto found = updates_of(step);
    if (found.empty()) return;
    updates.insert(updates.end(), found.begin(), found.end());
    for (int v : step.step->in)
      if (places[v].kind == Place::Kind::Input) read[places[v].index] = true;
  }
}

void Plan::count_operands() {
  for (const BoundStep& step : steps)
    most_operands = std::max({most_operands, step.step->in.size(), step.step->out.size()});
  for (const RowChain& chain : chains) {
    size_t in = 0, out = 0;
    for (size_t s = chain.first; s < chain.end; ++s) in += steps[s].step->in.size(), out += steps[s].step->out.size();
    most_operands = std::max({most_operands, in, out});
  }
}

}  // namespace native
