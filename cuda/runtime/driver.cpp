#include "runtime/driver.h"

#include <dlfcn.h>

#include <cstdlib>

#include "emulator/emulated_driver.h"
#include "runtime/errors.h"

namespace native::cuda {

Driver open_driver(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    throw DeviceError("no NVIDIA driver: '" + library +
                      "' cannot be opened. Install the NVIDIA driver (580 or later for CUDA 13), use the CPU "
                      "(NATIVE_DEVICE=cpu), or set NATIVE_CUDA_DRIVER=emulator to run the kernels on the CPU. (" +
                      dlerror() + ")");
  Driver table;
#define NATIVE_CUDA_LOAD(name, arguments)                                    \
  table.name = reinterpret_cast<decltype(table.name)>(dlsym(handle, #name)); \
  if (!table.name)                                                           \
    throw DeviceError("the NVIDIA driver is too old: it has no " #name ". Install a driver of version 580 or later.");
  NATIVE_CUDA_FUNCTIONS(NATIVE_CUDA_LOAD)
#undef NATIVE_CUDA_LOAD
  return table;
}

const Driver& driver() {
  // Opened once; a failure is not remembered, so that a later try may succeed.
  static const Driver* table = [] {
    const char* which = std::getenv("NATIVE_CUDA_DRIVER");
    const std::string name = which && *which ? which : "libcuda.so.1";
    return new Driver(name == "emulator" ? emulator::driver_table() : open_driver(name));
  }();
  return *table;
}

}  // namespace native::cuda
