// Code bound to concrete sizes: prepared kernels and a static memory plan. Immutable once made.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/executable.h"
#include "runtime/recordings.h"
#include "runtime/row_chains.h"

namespace native {

// Where the bytes of a value are during a run.
struct Place {
  enum class Kind { None, Input, Constant, Output, Arena } kind = Kind::None;
  size_t index = 0;  // of the input, constant or output; byte offset in the arena
};

// A region bound to its own plan by the executable that runs it.
struct BoundStep {
  enum class Kind { Kernel, Alias, Host, Region } kind;
  const Step* step;
  std::shared_ptr<const Kernel> kernel;
  std::string kernel_name;
  HostCallPtr host;
  Attrs attrs;  // sizes filled in
  std::vector<std::shared_ptr<Executable>> regions;
};

class Plan {
 public:
  Plan(const Code& code, const std::vector<int64_t>& sizes, const DevicePtr& device);

  std::vector<int64_t> sizes;
  std::vector<Spec> specs;  // by value, concrete
  std::vector<BoundStep> steps;
  std::vector<RowChain> chains;             // in order
  std::vector<Place> places;                // by value
  std::vector<std::pair<int, int>> copies;  // output index, value: outputs that share another's place
  // Of the code's updates those that may be written to where their input is, by the steps from `first_update` to the
  // last; these steps do not throw.
  std::vector<std::pair<int, int>> updates;
  size_t first_update = 0;
  size_t arena_bytes = 0;
  size_t scratch_bytes = 0;
  size_t most_operands = 0;  // inputs or outputs of a step, or of a chain
  // Nothing but kernels of a device that can record them.
  bool recordable = false;
  mutable Recordings recordings;
  mutable InputCopies input_copies;

 private:
  std::vector<std::unique_ptr<Step>> joined_;  // what joined steps point to

  void bind_steps(const Code& code, const DevicePtr& device);
  // Those together that run side by side.
  void join_lone_steps();
  // The last steps, as far as they do not depend on each other, with those joined to one whose kernels join.
  void join_last_steps(const Code& code);
  // The steps from `first` on become these groups; join(members) is the kernel of a group of several, by the name of
  // its first with `suffix` behind it.
  using Groups = std::vector<std::vector<size_t>>;
  using Join = std::function<std::unique_ptr<Kernel>(const std::vector<const BoundStep*>& members)>;
  void arrange(size_t first, const Groups& groups, const Join& join, const char* suffix);
  BoundStep joined(const std::vector<const BoundStep*>& members, const Join& join, const char* suffix);
  void place_values(const Code& code);
  void find_updates(const Code& code);
  void count_operands();
};

// Steps whose output is the input's bytes under another shape.
bool is_alias(const std::string& op);

}  // namespace native
