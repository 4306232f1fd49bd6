// Stable sorts of keys on the GPU, for sorts and scatters. Immutable, thread safe.
#pragma once

#include <cstdint>

#include "kernels/gather/sort_params.h"
#include "runtime/images.h"

namespace native::cuda {

// The order of keys [lines, n] of so many bits: positions along each line, stable. Keys stay as they are.
class KeySort {
 public:
  KeySort(int64_t lines, int64_t n, int bits);
  // What order() needs beside its operands: bytes of the device, aligned to 16.
  size_t scratch_bytes() const;
  // Begins to compute order [lines, n] and returns where it will be: in the scratch.
  const int32_t* order(uint32_t* keys, void* scratch) const;
  const sort::Lines& lines() const { return lines_; }

 private:
  size_t elements() const;
  bool short_lines() const { return lines_.n <= sort::kShortLine; }

  sort::Lines lines_;
  int passes_, tiles_;
  Function short_, count_, scan_, move_;
};

}  // namespace native::cuda
