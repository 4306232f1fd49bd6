// What launches of random number kernels are told. Plain data, for device and host.
#pragma once

#include <stdint.h>

#include "kernels/types.h"

namespace native::cuda::random {

constexpr int kThreads = 256;
// A group is 16 blocks of Philox, a thread each; word w of block j is element 16 w + j of the group's 64
// (engine/primitives/random.py defines the order).
constexpr int kBlocks = 16, kWords = 64;

struct Params {
  const uint32_t* key;     // two words
  const void *low, *high;  // of integers: scalars
  const void* x;           // of dropout
  void* out;
  int64_t count;
  DataType type;
  uint32_t threshold;  // a word below it drops the element
  float scale;
};

}  // namespace native::cuda::random
