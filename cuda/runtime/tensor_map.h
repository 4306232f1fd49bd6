// Maps of tensors for bulk copies (compute capability 9.0 and later).
#pragma once

#include <initializer_list>

#include "runtime/driver.h"

namespace native::cuda {

// An axis of a tensor, and how much of it a copy takes: 1 to 256 elements.
struct TensorAxis {
  uint64_t size;
  uint32_t box;
};

// A row-major tensor without gaps of 1 to 5 axes, innermost first; chunks of boxes are swizzled over 128 bytes, which
// an innermost box must not exceed, or lie as they are. `data` and rows are multiples of 16 bytes; no axis is empty.
// The map is for these addresses alone, and belongs in a launch's parameters. Throws DeviceError.
TensorMap tensor_map(TensorType type, const void* data, std::initializer_list<TensorAxis> axes,
                     TensorSwizzle swizzle = TensorSwizzle::Bytes128);

}  // namespace native::cuda
