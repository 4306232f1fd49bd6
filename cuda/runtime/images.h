// Compiled kernels built into this module: one image for each .cu file of kernels/, which CMake embeds.
#pragma once

#include <string>
#include <string_view>

#include "runtime/device.h"

namespace native::cuda {

struct Image {
  std::string name;    // "gemm/exact" for kernels/gemm/exact.cu
  const char* ptx;     // for the emulator
  const char* fatbin;  // machine code of the architectures chosen, and PTX for later ones
};

// In static initialisers of the units that CMake writes.
struct RegisterImage {
  explicit RegisterImage(const Image& image);
};
// Names of all; empty in a build without nvcc.
std::vector<std::string> image_names();
const char* image_ptx(const std::string& name);
std::string_view image_fatbin(const std::string& name);

// A kernel of an image, loaded when it is first made. Immutable, thread safe.
class Function {
 public:
  // Throws DeviceError when the driver does not take the image or has no such kernel in it.
  Function(const std::string& image, const std::string& name);
  // All kernels of the project take one struct.
  template <class Params>
  void launch(Extent grid, unsigned threads, size_t shared, const Params& params) const {
    run(grid, threads, shared, &params);
  }

 private:
  void run(Extent grid, unsigned threads, size_t shared, const void* params) const;

  std::string name_;
  FunctionHandle handle_;
};

}  // namespace native::cuda
