// A copy between two strided layouts, as a launch is told. Plain data, for device and host.
#pragma once

#include <stdint.h>

#include "kernels/divisor.h"

namespace native::cuda::shape {

constexpr int kThreads = 256, kDims = 6, kWindowDims = 8;

// A block whose start is known on the device alone: start[d] is moved into [0, limit[d]], then counts
// stride[d] elements.
struct Window {
  const void* start;  // int32 or int64, or null
  int wide, dims;
  int64_t limit[kWindowDims], stride[kWindowDims];
};

// Strides are in elements, of either sign; those of the source may be 0.
struct Params {
  const void* from;
  void* to;
  uint32_t elements;
  int dims;
  uint32_t size[kDims];  // slowest first
  int64_t from_stride[kDims], to_stride[kDims];
  Window window;  // moves one of both sides
  int window_to;  // this one
};

// Side of a tile of a transposed copy: 32 elements of 4 bytes are four sectors.
constexpr int kSide = 32;

// to [columns, rows] = from [rows, columns], both contiguous along the last axis, for each place of other axes.
struct TransposedParams {
  const void* from;
  void* to;
  int rows, columns;
  int zeros;                          // of the target's, after those rows
  int64_t row_stride, column_stride;  // of the source's rows, of the target's
  Divisor by_columns, by_rows;        // tiles
  int dims;
  int size[kDims];  // slowest first
  int64_t from_stride[kDims], to_stride[kDims];
};

struct ConstantParams {
  void* to;
  int64_t elements;
  uint64_t value;  // its bits
};

}  // namespace native::cuda::shape
