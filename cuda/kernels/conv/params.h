// What a launch of a convolution is told. Plain data, for device and host.
#pragma once

#include "kernels/divisor.h"
#include "kernels/gemm/params.h"

namespace native::cuda::conv {

enum class Direction : int { Forward, InputGrad, WeightGrad };

// Bytes of shared memory beside the stages, for each row of a tile over windows: where its window begins, and
// where its result goes.
constexpr int kBytesOfRow = 20;

// Windows that slide over an array [n, size, channels], as a matrix that is not in memory: a row for each
// position, a column for each tap and channel. Position j and tap t meet the array at j * stride + start +
// t * step; outside of it are zeros.
struct Windows {
  const void* data;
  int channels, group;  // of a pixel; of those, how many a window takes
  int size[3];
  int stride[3], start[3], step[3];
  Divisor positions[3], taps[3], by_group;
  int aligned;  // chunks of 16 bytes lie within a tap, at addresses that are multiples
};

// The weights [taps, channels in, channels out] as the matrix that carries cotangents back: a row for each
// channel in, a column for each tap of the windows and channel out.
struct Filter {
  int64_t first, tap[3];  // elements: to the first tap taken, and from one to the next
};

// Where the result of a position goes in an array [n, size]: to j * stride + start.
struct Target {
  int size[3], stride[3], start[3];
};

// C[group, m, n] = epilogue(A * B); A are windows, B is the matrix in memory or the filter in it.
struct Params {
  Windows windows;
  gemm::Operand b;
  Filter filter;  // the gradient by the input only
  Target target;  // not the gradient by the weights
  void* c;
  int64_t elements;  // of C, or of a part, which lie so far apart
  int row;           // elements of C from one of its rows, or pixels, to the next
  int m, n, k;
  int depth;  // terms of a part
  Direction direction;
  gemm::Epilogue epilogue;
};

// That of a part.
constexpr gemm::Epilogue kPlain{nullptr, nullptr, DataType::F32, DataType::F32, Activation::None};

// Positions of a result that meet the same taps, and so have the same terms.
struct Set {
  int64_t first;     // of float32: where its parts begin, [splits, n, positions, columns]
  int64_t elements;  // of a part
  int positions[3];
  int splits;  // none where no tap is met, and kWritten where the results are in their places already
};
constexpr int kMostSets = 64;
constexpr int kWritten = -1;

// The second launch where terms are split: C [pixels, columns] = epilogue(sum over the parts, in an order that follows
// from the problem alone). Columns are counted in packs.
constexpr int kJoinThreads = 256;
struct JoinParams {
  const float* parts;
  void* c;
  int pixels, columns;
  int shares;   // threads that take turns at the parts of a pack: a power of 2, up to a warp
  int across;   // of a block's packs: a power of 2
  int strided;  // of the sets there are several: a pixel's is its place modulo the strides
  Divisor size[3], stride[3];
  Set sets[kMostSets];
  gemm::Epilogue epilogue;
};

// The gradient by the input [n, size, channels] = the sum of parts [splits, groups, n, source_size, taps, channels of a
// group], of which each has what a window gives to the pixels that it meets.
constexpr int kOverlapThreads = 256;
struct OverlapParams {
  const float* parts;
  void* result;
  int64_t elements;  // of a part
  int results, splits, windows;
  int source_size[3], kernel[3], low[3], dilation[3];
  Divisor by_stride[3], by_size[3], by_channels, by_group;
  DataType type;
};

}  // namespace native::cuda::conv
