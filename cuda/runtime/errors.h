// Failures of the GPU part: Python's RuntimeError, or MemoryError.
#pragma once

#include <stdexcept>
#include <string>

#include "runtime/driver.h"

namespace native::cuda {

struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct DeviceMemoryError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws what fits when `result` is a failure: what was tried, the driver's name for it, what to do.
void check(const Driver& driver, Result result, const std::string& what);

}  // namespace native::cuda
