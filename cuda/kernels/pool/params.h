// What a launch of a pooling is told. Plain data, for device and host.
#pragma once

#include "kernels/divisor.h"
#include "kernels/types.h"

namespace native::cuda::pooling {

constexpr int kThreads = 256;
// No place of a window, whose places are numbered; as the operand `places` has it.
constexpr uint16_t kNowhere = 0xFFFF;
constexpr uint8_t kNoPlace = 0xFF;

// Windows over [n, size, channels], one for each of [n, positions]; missing dimensions in front are 1.
struct Params {
  const void *a, *b, *c;  // the primitive's operands in their order
  void* out;
  uint16_t* numbers;  // max_pool_grad only: where in each window its first largest is
  uint8_t* places;    // max_pool_places only: the same, its second result
  int packs;          // of the result: a thread for each
  int channels;       // packs of a pixel
  int size[3], positions[3], window[3], stride[3], low[3];
  Divisor by_channels, by[3];  // of the result's pixels
  DataType type;
  int count_padding;
};

}  // namespace native::cuda::pooling
