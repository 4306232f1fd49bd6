// What `_core` gives to a module beside it that adds a device: a table of functions, in the capsule
// `_core.companion`. Both modules are built from one source by one compiler; the version says so.
#pragma once

#include <string>

#include "core/array.h"
#include "runtime/registry.h"

namespace native {

// To be raised when this table changes, or Device, Kernel, Problem or what they are made of.
inline constexpr int kCompanionVersion = 5;
inline constexpr const char* kCompanionName = "keras_native.companion";

struct Companion {
  int version;
  void (*register_device)(const DevicePtr& device);
  void (*register_kernel)(const KernelEntry& entry);
  // An elementwise problem as a tile program (program.h); "" if it is none.
  std::string (*tile_program)(const Problem& problem);
};

}  // namespace native
