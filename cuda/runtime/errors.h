// Failures of the GPU part: Python's RuntimeError, or MemoryError.
#pragma once

#include <stdexcept>
#include <string>

#include "core/errors.h"
#include "runtime/driver.h"

namespace native::cuda {

struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Kernels that the driver does not take, now or later.
struct RefusedImage : DeviceError {
  using DeviceError::DeviceError;
};
// A base of the core's, which may be what catches it: memory is asked for with arrays, kernels, copies and graphs.
struct DeviceMemoryError : MemoryLimitError {
  using MemoryLimitError::MemoryLimitError;
};

// Throws what fits when `result` is a failure: what was tried, the driver's name for it, what to do.
void check(const Driver& driver, Result result, const std::string& what);

}  // namespace native::cuda
