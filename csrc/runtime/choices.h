// Choices of kernels that come before the registry's order: one forced by name, for whoever works on kernels, and those
// that a race on this machine found, for whoever asked for it. Both may change the rounding of results.
//
// Safe from several threads. Kernels that were prepared before a choice stay as they are: clear_kernel_cache() ends
// those of eager calls.
#pragma once

#include <string>

#include "runtime/registry.h"

namespace native {

// Only kernels of that name serve the primitive from now on; an empty name ends it.
void force_kernel(const std::string& op, const std::string& name);

// On the instruction set of that name the problem asks this kernel first; an empty name ends it.
void choose_kernel(const Problem& problem, const std::string& isa, const std::string& name);

struct Choice {
  std::string name;     // empty: none was made
  bool forced = false;  // no other kernel is asked
};
// What was chosen for the problem on the instruction set in use.
Choice choice_of(const Problem& problem);

}  // namespace native
