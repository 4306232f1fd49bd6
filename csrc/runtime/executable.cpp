#include "runtime/executable.h"

#include <atomic>
#include <mutex>

#include "core/errors.h"
#include "core/fork_mutex.h"
#include "runtime/plan.h"
#include "runtime/pool.h"
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

// The array, or a copy where its memory is somebody else's, who may write to it after the run.
Array owned(const Array& array) {
  if (!array.buffer->adopted()) return array;
  Array copy = Array::empty(array.spec, array.device());
  array.device()->copy(copy.data(), array.data(), array.spec.bytes());
  return copy;
}

// Memory for a run; a refusal says for which sizes it is.
Buffer memory_of(const DevicePtr& device, size_t bytes, const char* purpose, const std::vector<int64_t>& sizes) {
  try {
    return Buffer(device, bytes);
  } catch (const MemoryLimitError& error) {
    throw MemoryLimitError(std::string(error.what()) + ", for the " + purpose +
                           " of compiled code whose open sizes are " + to_string(Shape(sizes)));
  }
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

std::vector<std::pair<size_t, size_t>> Executable::row_chains(const std::vector<int64_t>& sizes) const {
  std::vector<std::pair<size_t, size_t>> found;
  const auto bound = plan(sizes);
  for (const RowChain& chain : bound->chains)
    if (chain.parts(pool::threads()) > 0) found.emplace_back(chain.first, chain.end);
  return found;
}

std::vector<std::pair<std::string, std::string>> Executable::chosen(const std::vector<int64_t>& sizes) const {
  std::vector<std::pair<std::string, std::string>> rows;
  auto bound = plan(sizes);
  for (const BoundStep& step : bound->steps) rows.emplace_back(step.step->op, step.kernel_name);
  return rows;
}

Problem Executable::problem(size_t index, const std::vector<int64_t>& sizes) const {
  const auto bound = plan(sizes);
  const Step& step = *bound->steps.at(index).step;
  Problem problem{step.op, {}, {}, {}};
  for (int v : step.in) problem.in.push_back(bound->specs[v]);
  for (int v : step.out) problem.out.push_back(bound->specs[v]);
  return problem;
}

std::vector<Array> Executable::run_plan(const Plan& plan, const std::vector<Array>& inputs, Run& run,
                                        std::vector<double>* seconds, Owner* owner) const {
  std::vector<Array> held;
  std::vector<const void*> in;
  held.reserve(inputs.size());
  in.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    held.push_back(plan.input_copies.bring(i, inputs[i], device_));
    const Spec& expected = plan.specs[code_->inputs[i]];
    if (!(held.back().spec == expected))
      throw ShapeError("compiled function got " + to_string(held.back().spec) + " where it expects " +
                       to_string(expected));
    in.push_back(held.back().data());
  }
  std::vector<Array> results;
  std::vector<void*> out;
  results.reserve(code_->outputs.size());
  out.reserve(code_->outputs.size());
  std::vector<bool> updated(code_->outputs.size(), false);
  for (const auto& [output, input] : plan.updates) updated[output] = true;
  for (int v : code_->outputs) {
    // An output that is an input or a constant needs no copy: arrays are immutable.
    if (auto found = input_of_.find(v); found != input_of_.end())
      results.push_back(owned(held[found->second]));
    else if (auto constant = constant_of_.find(v); constant != constant_of_.end())
      results.push_back(constants_[constant->second]);
    else if (updated[results.size()])
      results.emplace_back();  // placed when its turn comes
    else
      results.push_back(Array::empty(plan.specs[v], device_));
    const bool given = input_of_.count(v) || constant_of_.count(v) || updated[out.size()];
    out.push_back(given ? nullptr : results.back().data());
  }
  std::vector<int> passed(out.size(), -1);
  const auto pass_on = [&] {
    for (size_t i = 0; i < passed.size(); ++i)
      if (passed[i] >= 0) results[i] = owned(held[passed[i]]).reshaped(results[i].spec.shape);
  };
  const auto before_updates = [&] {
    pass_on();  // these are handles too: what a branch passed on is not written to
    place_updates(plan, held, inputs, owner, results);
    for (const auto& [output, input] : plan.updates) out[output] = results[output].data();
  };
  execute(plan, in.data(), out.data(), run, {.seconds = seconds, .passed = &passed, .before_updates = before_updates});
  if (plan.updates.empty()) pass_on();  // else it is done, as no branch stands among the updates
  return results;
}

void Executable::place_updates(const Plan& plan, const std::vector<Array>& held, const std::vector<Array>& inputs,
                               Owner* owner, std::vector<Array>& results) const {
  // The owner's handle, the caller's and this run's.
  constexpr long kHandles = 3;
  if (owner) owner->close();
  for (const auto& [output, input] : plan.updates) {
    const BufferPtr& buffer = inputs[input].buffer;
    const Array* handle = owner ? owner->handle(input) : nullptr;
    const bool alone = handle && handle->buffer == buffer && held[input].buffer == buffer && !buffer->adopted() &&
                       buffer.use_count() == kHandles;
    const Spec& spec = plan.specs[code_->outputs[output]];
    results[output] = alone ? Array{spec, buffer} : Array::empty(spec, device_);
  }
  // Others who had a handle have read what they wanted before they gave it up.
  std::atomic_thread_fence(std::memory_order_acquire);
}

std::vector<Array> Executable::run(const std::vector<Array>& inputs, const std::vector<int64_t>& sizes,
                                   Owner* owner) const {
  Run run;
  return run_plan(*plan(sizes), inputs, run, nullptr, owner);
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
  execute(*plan(sizes), inputs, outputs, run, {});
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

// Where the values of a run are.
struct Executable::Memory {
  const Plan& plan;
  const std::vector<Array>& constants;
  const void* const* inputs;
  void* const* outputs;
  char* arena;
  void* scratch;
  const std::vector<int>* passed;

  void* at(int v) const {
    const Place& place = plan.places[v];
    switch (place.kind) {
      case Place::Kind::Input:
        return const_cast<void*>(inputs[place.index]);
      case Place::Kind::Constant:
        return constants[place.index].data();
      case Place::Kind::Output:
        if (passed && (*passed)[place.index] >= 0) return const_cast<void*>(inputs[(*passed)[place.index]]);
        return outputs[place.index];
      case Place::Kind::Arena:
        return arena + place.index;
      case Place::Kind::None:
        break;
    }
    return nullptr;
  }
};

// Addresses of operands as kernels take them, step after step.
struct Executable::Operands {
  const Memory& memory;
  const Device& device;
  std::vector<const void*> in;
  std::vector<void*> out;

  Operands(const Memory& m, const Device& d) : memory(m), device(d) {
    in.reserve(memory.plan.most_operands);
    out.reserve(memory.plan.most_operands);
  }
  void clear() {
    in.clear();
    out.clear();
  }
  void add(const Step& step) {
    for (int v : step.in) in.push_back(device.kernel_address(memory.at(v)));
    for (int v : step.out) out.push_back(device.kernel_address(memory.at(v)));
  }
};

void Executable::execute(const Plan& plan, const void* const* inputs, void* const* outputs, Run& run,
                         const Extras& extras) const {
  const Buffer arena = memory_of(device_, plan.arena_bytes, "values", plan.sizes);
  const Buffer scratch = memory_of(device_, plan.scratch_bytes, "kernels", plan.sizes);
  const Memory memory{plan,           constants_,   inputs, outputs, static_cast<char*>(arena.data()),
                      scratch.data(), extras.passed};
  if (!plan.recordable || extras.seconds || run.watched()) return run_steps(memory, run, extras);
  run.poll();
  // A recording is found by all addresses, and where it is replayed no step's turn comes.
  if (extras.before_updates) extras.before_updates();
  const Extras placed{.passed = extras.passed, .may_stop = !extras.before_updates};
  Recordings::Addresses addresses{arena.data(), scratch.data()};
  addresses.insert(addresses.end(), inputs, inputs + code_->inputs.size());
  addresses.insert(addresses.end(), outputs, outputs + code_->outputs.size());
  plan.recordings.run(*device_, addresses, [&] { run_steps(memory, run, placed); });
}

bool Executable::run_chain(const RowChain& chain, Operands& operands, Run& run, const Extras& extras) const {
  const Plan& plan = operands.memory.plan;
  const std::vector<BoundStep>& steps = plan.steps;
  const int64_t parts = chain.parts(pool::threads());
  if (parts == 0 || extras.seconds || chain.end > plan.first_update) return false;
  operands.clear();
  for (size_t s = chain.first; s < chain.end; ++s) {
    run.step(steps[s].step->op, steps[s].kernel_name, Run::Clock::now(), extras.may_stop);
    if (steps[s].kind == BoundStep::Kind::Kernel) operands.add(*steps[s].step);
  }
  pool::parallel_for(parts, [&](int64_t part) {
    const RowRange range = chain.range(part, parts);
    const void* const* from = operands.in.data();
    void* const* to = operands.out.data();
    for (size_t s = chain.first; s < chain.end; ++s) {
      const BoundStep& step = steps[s];
      if (step.kind != BoundStep::Kind::Kernel) continue;
      step.kernel->run_rows(from, to, range);
      from += step.step->in.size();
      to += step.step->out.size();
    }
  });
  return true;
}

void Executable::run_steps(const Memory& memory, Run& run, const Extras& extras) const {
  const Plan& plan = memory.plan;
  Operands operands(memory, *device_);
  std::vector<const void*>& in = operands.in;
  std::vector<void*>& out = operands.out;
  auto chain = plan.chains.begin();
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    if (chain != plan.chains.end() && chain->first == s) {
      const RowChain& rows = *chain++;
      if (run_chain(rows, operands, run, extras)) {
        s = rows.end - 1;
        continue;
      }
    }
    const BoundStep& step = plan.steps[s];
    const auto start = Run::Clock::now();
    if (s == plan.first_update && extras.before_updates) extras.before_updates();
    run.step(step.step->op, step.kernel_name, start, extras.may_stop && s < plan.first_update);
    operands.clear();
    switch (step.kind) {
      case BoundStep::Kind::Alias:
        break;
      case BoundStep::Kind::Kernel:
        operands.add(*step.step);
        step.kernel->run(in.data(), out.data(), device_->kernel_address(memory.scratch));
        break;
      case BoundStep::Kind::Host: {
        std::vector<Array> arguments;
        std::vector<Spec> expected;
        for (int v : step.step->in) arguments.push_back(array_at(plan.specs[v], memory.at(v), device_));
        for (int v : step.step->out) expected.push_back(plan.specs[v]);
        std::vector<Array> results = step.host->call(arguments, expected, step.attrs);
        for (size_t i = 0; i < results.size(); ++i) {
          if (!(results[i].spec == expected[i]))
            throw ShapeError(step.step->op + ": host call returned " + to_string(results[i].spec) + ", expected " +
                             to_string(expected[i]));
          device_->copy_in(memory.at(step.step->out[i]), results[i].data(), expected[i].bytes());
        }
        break;
      }
      case BoundStep::Kind::Region: {
        for (int v : step.step->in) in.push_back(memory.at(v));
        for (int v : step.step->out) out.push_back(memory.at(v));
        if (extras.passed && step.step->op == "cond")
          pass_unchanged(step, plan, taken_branch(step, device_, in[0]), out, *extras.passed);
        run_region(step, plan, device_, in.data(), out.data(), run);
        break;
      }
    }
    if (extras.seconds) device_->wait();
    if (extras.seconds) extras.seconds->push_back(std::chrono::duration<double>(Run::Clock::now() - start).count());
  }
  for (const auto& [index, value] : plan.copies)
    if (memory.outputs[index]) device_->copy(memory.outputs[index], memory.at(value), plan.specs[value].bytes());
}

}  // namespace native
