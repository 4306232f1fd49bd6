#include "runtime/executable.h"

#include <mutex>

#include "core/errors.h"
#include "core/fork_mutex.h"
#include "runtime/plan.h"
#include "runtime/regions.h"
#include "runtime/run.h"

namespace native {
namespace {

constexpr size_t kMostPlans = 64;

std::function<void()>& interrupt_check() {
  static std::function<void()>* check = new std::function<void()>;
  return *check;
}

ForkMutex& plans_mutex() {
  static ForkMutex* mutex = new ForkMutex(ForkMutex::Rank::Plans);
  return *mutex;
}

// A borrowed view for host calls, copied so that Python may keep it.
Array array_at(const Spec& spec, const void* data, const DevicePtr& device) {
  Array host = Array::empty(spec);
  device->copy_out(host.data(), data, spec.bytes());
  return host;
}

}  // namespace

void set_interrupt_check(std::function<void()> check) { interrupt_check() = std::move(check); }

void Run::poll(Clock::time_point now) {
  if (now - last_ < std::chrono::milliseconds(20) || !interrupt_check()) return;
  last_ = now;
  interrupt_check()();
}

Executable::Executable(std::shared_ptr<const Code> code, DevicePtr device)
    : code_(std::move(code)), device_(std::move(device)) {
  for (size_t i = 0; i < code_->inputs.size(); ++i) input_of_.emplace(code_->inputs[i], static_cast<int>(i));
  for (const auto& [value, array] : code_->constants) {
    constant_of_.emplace(value, static_cast<int>(constants_.size()));
    constants_.push_back(array.to(device_));
  }
}
Executable::~Executable() = default;

std::shared_ptr<const Plan> Executable::plan(const std::vector<int64_t>& sizes) const {
  {
    std::lock_guard lock(plans_mutex());
    for (auto at = plans_.begin(); at != plans_.end(); ++at)
      if (at->first == sizes) {
        plans_.splice(plans_.begin(), plans_, at);
        return plans_.front().second;
      }
  }
  auto made = std::make_shared<const Plan>(*code_, sizes, device_);
  std::lock_guard lock(plans_mutex());
  plans_.emplace_front(sizes, made);
  if (plans_.size() > kMostPlans) plans_.pop_back();
  return made;
}

size_t Executable::plans() const {
  std::lock_guard lock(plans_mutex());
  return plans_.size();
}
size_t Executable::arena_bytes(const std::vector<int64_t>& sizes) const { return plan(sizes)->arena_bytes; }

std::vector<std::pair<std::string, std::string>> Executable::chosen(const std::vector<int64_t>& sizes) const {
  std::vector<std::pair<std::string, std::string>> rows;
  auto bound = plan(sizes);
  for (const BoundStep& step : bound->steps) rows.emplace_back(step.step->op, step.kernel_name);
  return rows;
}

std::vector<Array> Executable::run_plan(const Plan& plan, const std::vector<Array>& inputs, Run& run,
                                        std::vector<double>* seconds) const {
  std::vector<Array> held;
  std::vector<const void*> in;
  for (size_t i = 0; i < inputs.size(); ++i) {
    held.push_back(inputs[i].to(device_));
    const Spec& expected = plan.specs[code_->inputs[i]];
    if (!(held.back().spec == expected))
      throw ShapeError("compiled function got " + to_string(held.back().spec) + " where it expects " +
                       to_string(expected));
    in.push_back(held.back().data());
  }
  std::vector<Array> results;
  std::vector<void*> out;
  for (int v : code_->outputs) {
    // An output that is an input or a constant needs no copy: arrays are immutable.
    if (auto found = input_of_.find(v); found != input_of_.end())
      results.push_back(held[found->second]);
    else if (auto constant = constant_of_.find(v); constant != constant_of_.end())
      results.push_back(constants_[constant->second]);
    else
      results.push_back(Array::empty(plan.specs[v], device_));
    const bool shared = input_of_.count(v) || constant_of_.count(v);
    out.push_back(shared ? nullptr : results.back().data());
  }
  std::vector<int> passed(out.size(), -1);
  execute(plan, in.data(), out.data(), run, seconds, &passed);
  for (size_t i = 0; i < passed.size(); ++i)
    if (passed[i] >= 0) results[i] = held[passed[i]].reshaped(results[i].spec.shape);
  return results;
}

std::vector<Array> Executable::run(const std::vector<Array>& inputs, const std::vector<int64_t>& sizes) const {
  Run run;
  return run_plan(*plan(sizes), inputs, run, nullptr);
}

std::vector<double> Executable::profile(const std::vector<Array>& inputs, const std::vector<int64_t>& sizes) const {
  std::vector<double> seconds;
  Run run;
  run_plan(*plan(sizes), inputs, run, &seconds);
  return seconds;
}

Run::Trail Executable::executed(const std::vector<Array>& inputs, const std::vector<int64_t>& sizes) const {
  Run::Trail trail;
  Run run(&trail);
  run_plan(*plan(sizes), inputs, run, nullptr);
  return trail;
}

void Executable::run_into(const void* const* inputs, void* const* outputs, const std::vector<int64_t>& sizes,
                          Run& run) const {
  execute(*plan(sizes), inputs, outputs, run, nullptr, nullptr);
}

void Executable::pass_unchanged(const BoundStep& step, const Plan& plan, const Executable& branch,
                                std::vector<void*>& out, std::vector<int>& passed) const {
  for (size_t k = 0; k < out.size(); ++k) {
    const Place& to = plan.places[step.step->out[k]];
    auto found = branch.input_of_.find(branch.code_->outputs[k]);
    if (to.kind != Place::Kind::Output || found == branch.input_of_.end()) continue;
    const Place& from = plan.places[step.step->in[1 + found->second]];
    if (from.kind != Place::Kind::Input) continue;
    passed[to.index] = static_cast<int>(from.index);
    out[k] = nullptr;
  }
}

void Executable::execute(const Plan& plan, const void* const* inputs, void* const* outputs, Run& run,
                         std::vector<double>* seconds, std::vector<int>* passed) const {
  Buffer arena(device_, plan.arena_bytes);
  Buffer scratch(device_, plan.scratch_bytes);
  auto data_of = [&](int v) -> void* {
    const Place& place = plan.places[v];
    switch (place.kind) {
      case Place::Kind::Input:
        return const_cast<void*>(inputs[place.index]);
      case Place::Kind::Constant:
        return constants_[place.index].data();
      case Place::Kind::Output:
        if (passed && (*passed)[place.index] >= 0) return const_cast<void*>(inputs[(*passed)[place.index]]);
        return outputs[place.index];
      case Place::Kind::Arena:
        return static_cast<char*>(arena.data()) + place.index;
      case Place::Kind::None:
        break;
    }
    return nullptr;
  };

  std::vector<const void*> in;
  std::vector<void*> out;
  for (const BoundStep& step : plan.steps) {
    const auto start = Run::Clock::now();
    run.step(step.step->op, step.kernel_name, start);
    in.clear();
    out.clear();
    switch (step.kind) {
      case BoundStep::Kind::Alias:
        break;
      case BoundStep::Kind::Kernel:
        for (int v : step.step->in) in.push_back(device_->kernel_address(data_of(v)));
        for (int v : step.step->out) out.push_back(device_->kernel_address(data_of(v)));
        step.kernel->run(in.data(), out.data(), device_->kernel_address(scratch.data()));
        break;
      case BoundStep::Kind::Host: {
        std::vector<Array> arguments;
        std::vector<Spec> expected;
        for (int v : step.step->in) arguments.push_back(array_at(plan.specs[v], data_of(v), device_));
        for (int v : step.step->out) expected.push_back(plan.specs[v]);
        std::vector<Array> results = step.host->call(arguments, expected, step.attrs);
        for (size_t i = 0; i < results.size(); ++i) {
          if (!(results[i].spec == expected[i]))
            throw ShapeError(step.step->op + ": host call returned " + to_string(results[i].spec) + ", expected " +
                             to_string(expected[i]));
          device_->copy_in(data_of(step.step->out[i]), results[i].data(), expected[i].bytes());
        }
        break;
      }
      case BoundStep::Kind::Region: {
        for (int v : step.step->in) in.push_back(data_of(v));
        for (int v : step.step->out) out.push_back(data_of(v));
        if (passed && step.step->op == "cond")
          pass_unchanged(step, plan, taken_branch(step, device_, in[0]), out, *passed);
        run_region(step, plan, device_, in.data(), out.data(), run);
        break;
      }
    }
    if (seconds) seconds->push_back(std::chrono::duration<double>(Run::Clock::now() - start).count());
  }
  for (const auto& [index, value] : plan.copies) {
    if (!outputs[index]) continue;
    device_->copy(outputs[index], data_of(value), plan.specs[value].bytes());
  }
}

}  // namespace native
