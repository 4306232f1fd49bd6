// One primitive, now. Prepared kernels are kept in a bounded cache by problem. Thread safe.
#pragma once

#include <optional>
#include <vector>

#include "core/array.h"
#include "runtime/registry.h"

namespace native {

// Is there a kernel for the problem? (Else the caller goes to the host.)
bool has_kernel(const Problem& problem);
// Runs the kernel into fresh arrays, or returns nothing when no kernel accepts the problem. It runs where
// an input is that is not on the CPU; the others are copied there. Throws MemoryLimitError.
std::optional<std::vector<Array>> run_eager(const Problem& problem, const std::vector<Array>& inputs);

// The cached kernel of a problem; null when none accepts.
std::shared_ptr<const Kernel> cached_kernel(const Problem& problem, const DevicePtr& device = cpu_device());
void clear_kernel_cache();

}  // namespace native
