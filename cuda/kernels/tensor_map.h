// What a bulk copy is told of a tensor. Plain data, for device and host.
#pragma once

#include <stdint.h>

namespace native::cuda {

// The driver's CUtensorMap, which the driver alone reads and writes. A kernel gets it in its parameters.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

// Elements of a row in shared memory, where they have 16 bits: 128 bytes, over which chunks of 16 bytes are swizzled.
constexpr int kSwizzledRow = 64;

}  // namespace native::cuda
