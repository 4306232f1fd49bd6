// A compiled function: straight-line code over values, bound to concrete sizes when it runs.
//
// Code is what a graph is lowered to. Sizes may be symbolic; for each assignment of sizes a Plan (concrete
// specs, prepared kernels, offsets in one arena) is made once and kept in a bounded cache. Running is
// thread safe: each run has its own arena and outputs. Nothing in a run changes state that the caller can
// see before its last steps, which cannot fail, so a failing run has no effect.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/array.h"
#include "runtime/registry.h"
#include "runtime/run.h"

namespace native {

// Work on the host: a Python function, called with the GIL. May throw.
class HostCall {
 public:
  virtual ~HostCall() = default;
  virtual std::vector<Array> call(const std::vector<Array>& inputs, const std::vector<Spec>& outputs,
                                  const Attrs& attrs) const = 0;
};
using HostCallPtr = std::shared_ptr<const HostCall>;

struct Code;

struct Step {
  std::string op;
  std::vector<int> in, out;  // values
  Attrs attrs;
  std::vector<std::shared_ptr<Code>> regions;  // bodies of cond, while_loop, scan
  HostCallPtr host;                            // set for explicit host calls
};

struct Code {
  std::vector<Spec> values;  // sizes may be symbolic
  std::vector<Step> steps;   // in order
  std::vector<int> inputs, outputs;
  std::vector<std::pair<int, Array>> constants;
  std::vector<std::pair<int, int>> updates;  // output, input: a variable's new value and the one before
};

// Who has inputs of a run, which may be written to where the code updates them.
class Owner {
 public:
  virtual ~Owner() = default;
  // From now on, while the owner exists, nobody takes another handle of what he has.
  virtual void close() = 0;
  // His handle of that input, after close(); null if it is not his.
  virtual const Array* handle(int input) const = 0;
};

// What runs a primitive that no kernel takes; set once by the bindings. Gets the primitive's name.
using HostFallback = std::function<HostCallPtr(const std::string& op)>;
void set_host_fallback(HostFallback fallback);
// Called now and then while code runs; throws to stop it (Ctrl-C). Set once by the bindings.
void set_interrupt_check(std::function<void()> check);

struct BoundStep;
struct RowChain;
class Plan;

class Executable {
 public:
  Executable(std::shared_ptr<const Code> code, DevicePtr device);
  ~Executable();

  // Sizes: the value of every symbol. Inputs in the order of code().inputs, of the sizes that the symbols
  // imply. Fresh outputs, except that an output which is an input or constant is that very array, and that updates are
  // in the memory of the owner's inputs where nobody else has a handle of it. If a run with an owner throws, nothing
  // was written there.
  std::vector<Array> run(const std::vector<Array>& inputs, const std::vector<int64_t>& sizes,
                         Owner* owner = nullptr) const;
  // The same into memory of the caller's: a region, as part of a run.
  void run_into(const void* const* inputs, void* const* outputs, const std::vector<int64_t>& sizes, Run& run) const;

  const Code& code() const { return *code_; }
  const DevicePtr& device() const { return device_; }
  // For the profiler and tests: per step of the plan for these sizes: the primitive and the kernel that
  // runs it ("alias", "host", "region" otherwise).
  std::vector<std::pair<std::string, std::string>> chosen(const std::vector<int64_t>& sizes) const;
  // Operands and results of the step that is `index` there, without attributes. Throws std::out_of_range.
  Problem problem(size_t index, const std::vector<int64_t>& sizes) const;
  // Seconds of each step over one run; runs like run().
  std::vector<double> profile(const std::vector<Array>& inputs, const std::vector<int64_t>& sizes) const;
  // What is executed, in order, with the bodies of regions: as chosen() has it. Runs like run().
  Run::Trail executed(const std::vector<Array>& inputs, const std::vector<int64_t>& sizes) const;
  size_t arena_bytes(const std::vector<int64_t>& sizes) const;
  // The first step and the end of each chain of steps that run over rows together, on as many threads as there are.
  std::vector<std::pair<size_t, size_t>> row_chains(const std::vector<int64_t>& sizes) const;
  size_t plans() const;

 private:
  std::shared_ptr<const Plan> plan(const std::vector<int64_t>& sizes) const;
  // What a whole run has beside a region: all may be null. `before_updates` says where they go; from then on nothing
  // but a failure ends the run.
  struct Extras {
    std::vector<double>* seconds = nullptr;
    std::vector<int>* passed = nullptr;
    std::function<void()> before_updates = nullptr;
    bool may_stop = true;
  };
  void execute(const Plan& plan, const void* const* inputs, void* const* outputs, Run& run, const Extras& extras) const;
  struct Memory;
  struct Operands;
  // The steps of memory.plan, one after another.
  void run_steps(const Memory& memory, Run& run, const Extras& extras) const;
  // Those of a chain together, rows by rows, unless they had better be run one after another. Whether it did.
  bool run_chain(const RowChain& chain, Operands& operands, Run& run, const Extras& extras) const;
  // Sets plan.updates' results: the memory of inputs that are the owner's alone, else fresh memory.
  void place_updates(const Plan& plan, const std::vector<Array>& held, const std::vector<Array>& inputs, Owner* owner,
                     std::vector<Array>& results) const;
  // Results of a branch that are what it was given are not copied: passed[output] = input. (A branch that
  // only adds up gradients passes on every weight and all state of the optimiser.)
  void pass_unchanged(const BoundStep& step, const Plan& plan, const Executable& branch, std::vector<void*>& out,
                      std::vector<int>& passed) const;
  std::vector<Array> run_plan(const Plan& plan, const std::vector<Array>& inputs, Run& run,
                              std::vector<double>* seconds, Owner* owner = nullptr) const;

  std::shared_ptr<const Code> code_;
  DevicePtr device_;
  std::vector<Array> constants_;  // on the device
  std::map<int, int> input_of_, constant_of_;

  // Latest first; guarded by one mutex for all executables, which is held for a look.
  mutable std::list<std::pair<std::vector<int64_t>, std::shared_ptr<const Plan>>> plans_;
};

}  // namespace native
