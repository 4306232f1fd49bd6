// What launches of normalisations are told. Plain data, for device and host.
#pragma once

#include "kernels/types.h"

namespace native::cuda::norm {

constexpr int kThreads = 256;
// Rows up to this length have a warp each; longer ones a block.
constexpr int kShortRow = 512;
// What a block keeps of x in shared memory, so that memory is read once: all of the 48 KiB that a kernel may
// have without asking, less what sums take. Longer rows are read again.
constexpr int kKept = 12000;
// Columns: a block has 32 of them, a sector or more of each row, in a piece of the rows: the most, or down to the least
// as long as there would be few blocks. The sums of a piece stay close to its elements, and pieces are joined in an
// order that follows from the sizes.
constexpr int kMostRows = 256, kLeastRows = 64, kEnoughBlocks = 96;

// What is left of a result: all of it, [0, inf) or [0, 6].
enum class Clip : int { None, Relu, Relu6 };

// x [samples, rows, channels]. Each row by itself (layer and RMS norm: one sample), or each channel of a sample,
// `each` neighbouring channels together (batch norm: one sample, each = 1). Gradients and residual as x;
// parameters [channels]; null where not given.
struct Params {
  const void *x, *ct, *residual, *gamma, *beta;
  const void *given_mean, *given_variance;  // [channels]
  void *y, *dx, *dgamma, *dbeta, *mean, *variance;
  // Float32 between launches. parts: two numbers of each piece's channels, [samples, pieces, 2, channels].
  float* parts;
  // Of each row: mean, 1 / deviation, [2, rows].
  float* row_statistics;
  // Of each sample's channels, [kFactors, samples, channels].
  float* factors;
  int64_t rows;
  int samples, channels, each, pieces;
  int piece;                      // rows
  int lanes;                      // that share the pieces of a channel: a power of 2, up to a warp
  DataType type, parameter_type;  // of x and what lies like it; of what is [channels]
  Clip clip;
  float eps;
  int centred, kept;
};

// What factors holds, in this order: mean; 1 / deviation; that times gamma; then for dx = ct scale + (x - mean)
// slope + offset; then the sums over the rows of ct and ct x^, x^ being what is normalised.
enum Factor : int { kMean, kInverse, kScale, kSlope, kOffset, kSum, kProduct, kFactors };

}  // namespace native::cuda::norm
