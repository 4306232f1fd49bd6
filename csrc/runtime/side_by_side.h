// Steps that do not need each other and work on one thread each, run at the same time: two directions of a recurrent
// layer on one sequence, say.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "runtime/registry.h"

namespace native {

struct BoundStep;

// The steps in an order in which they may run, most of them by themselves and those that had better run side by side
// together. Empty where none had.
std::vector<std::vector<size_t>> side_by_side(const std::vector<BoundStep>& steps);

// A kernel that runs these, a task each: its operands are theirs, one kernel's after another's.
std::unique_ptr<Kernel> make_side_by_side(const std::vector<const BoundStep*>& steps);

}  // namespace native
