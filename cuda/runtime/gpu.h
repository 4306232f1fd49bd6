// The GPU as a device of the core's, and the kernels that it has: what `_core` learns when this module is
// attached to it. The one device is gpu:0.
#pragma once

#include <initializer_list>

#include "runtime/companion.h"
#include "runtime/registry.h"

namespace native::cuda {

// What devices of this module call their kernels.
inline constexpr const char* kKernels = "cuda";

// Put `static const RegisterCuda r{"softmax", "rows", 10, prepare_softmax};` in a driver unit. The kernels
// get addresses of the device and enqueue their work in its stream.
struct RegisterCuda {
  RegisterCuda(const char* op, const char* name, int priority, Prepare prepare);
  // One kernel of several primitives.
  RegisterCuda(std::initializer_list<const char*> ops, const char* name, int priority, Prepare prepare);
};

// Registers kernels and device, once. Throws DeviceError when there is no GPU, the build has no kernels, or
// the core is of another version.
void attach(const Companion& core);

// An elementwise problem as a tile program, "" if it is none; once attached.
std::string tile_program(const Problem& problem);

}  // namespace native::cuda
