// What a launch of a depthwise convolution is told: each group has one channel of the input. Plain data, for
// device and host.
#pragma once

#include "kernels/divisor.h"
#include "kernels/gemm/params.h"

namespace native::cuda::depthwise {

constexpr int kThreads = 256;
// Results side by side that a thread computes, so that a weight is loaded once for all. What neighbours share
// of the array comes from the first cache: these kernels are bound by memory behind it.
constexpr int kAcross = 4;
// Taps whose gradients a thread sums at once: those of a 3x3 window, in as many registers, or four times as
// many for packs.
constexpr int kTaps = 9;

// Forward, or the gradient by the input. Channels are counted in packs.
struct Params {
  const void *source, *weights;
  void* result;
  int64_t threads;
  int source_size[3], result_size[3];
  int kernel[3], stride[3], low[3], dilation[3];
  Divisor by_stride[3];
  Divisor by_channels, by_width, by_height, by_depth;  // of the results; width in runs of kAcross
  int channels, source_channels, weight_channels;      // of a pixel, of a tap
  Divisor multiplier;                                  // results for each channel of the input
  DataType type;
  gemm::Epilogue epilogue;
};

// parts [pieces, taps, channels]: sums over pieces of the cotangent's pixels, in float32.
struct WeightParams {
  const void *x, *ct;
  float* parts;
  int x_size[3];
  int kernel[3], stride[3], low[3], dilation[3];
  Divisor by_size[3];        // of the cotangent
  int pixels, piece;         // of the cotangent; of those, how many a block sums over
  int channels, x_channels;  // packs of a pixel
  int across;                // packs side by side in a block: a power of 2
  Divisor multiplier;
  DataType type;
};

// Rows of a walk down: the first two that it meets it shares with the walk above, which reads them as well (walks of
// 28 rows took 59.0 us on an H100 where 14 took 60.6 and 7 took 67). And so many blocks give a GPU enough to do when
// each sums the weights' gradients: twice its multiprocessors, as twice as many took 64 us instead of 59.
constexpr int kLongestWalk = 32, kEnoughWalks = 264;

// Windows of 3x3 without strides. x is what they meet, y the weights or, for their gradient, the cotangent; out the
// result, or parts as above. Channels are counted in packs; a column of results is cut into walks of some rows.
struct WalkParams {
  const void *x, *y;
  void* out;
  int64_t threads;
  int x_height, x_width, height, width;
  int low_row, low_column;
  int channels, rows;  // rows of a walk
  Divisor by_channels, by_width, by_walks;
  int turned;                  // the weights, for the gradient by the input
  int columns, piece, across;  // walks in all; of a block; packs side by side in a block
  DataType type;
  gemm::Epilogue epilogue;
};

// out [elements]: sums of parts [pieces, elements]. A block has 8 elements side by side, a sector of memory, and
// takes 32 pieces at once: there are few elements and many pieces.
constexpr int kJoinAcross = 8, kJoinDown = kThreads / kJoinAcross;
struct JoinParams {
  const float* parts;
  void* out;
  int elements, pieces;
  DataType type;
};

}  // namespace native::cuda::depthwise
