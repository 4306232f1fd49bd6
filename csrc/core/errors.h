// Exceptions of the core. The bindings turn them into ValueError, TypeError, MemoryError,
// NotImplementedError and KeyboardInterrupt.
#pragma once

#include <stdexcept>
#include <string>

namespace native {

struct ShapeError : std::invalid_argument {  // ValueError
  using std::invalid_argument::invalid_argument;
};
struct DTypeError : std::invalid_argument {  // TypeError
  using std::invalid_argument::invalid_argument;
};
struct UnsupportedError : std::runtime_error {  // NotImplementedError and AttributeError
  using std::runtime_error::runtime_error;
};
struct MemoryLimitError : std::runtime_error {  // MemoryError, with a message
  using std::runtime_error::runtime_error;
};

}  // namespace native
