// One pass of a reduction, and its division. Plain data, for device and host.
#pragma once

#include "kernels/types.h"

namespace native::cuda::reduce {

// A long axis is reduced in pieces, and then the pieces: more blocks, and sums of fewer terms. So many
// elements of a row for the 256 threads of a block: 16 loads a thread.
constexpr int kRowPiece = 4096;
// Rows up to this length have a warp each, 8 of them a block.
constexpr int kShortRow = 512;
// Moments and logsumexp of columns: a block has 32 of them, a sector or more of each row, and 8 threads for each
// column. So many rows make a piece.
constexpr int kColumnPiece = 256;
// Other reductions of columns: a block has 8 to 32 neighbours, the fewer the fewer blocks there would be. Up to so
// many rows a thread are reduced at once, more in pieces of half as many.
constexpr int kRowsOfThread = 32;
constexpr int kEnoughBlocks = 128;
constexpr int kThreads = 256;

// x [outer, reduced, inner] to y [outer, pieces, inner].
struct Params {
  const void* x;
  void* y;
  int64_t outer, reduced, inner;
  int64_t piece;  // elements of a piece
  int pieces;
  int across;             // threads beside each other in a block over columns: a power of 2, up to a warp
  int in_type, out_type;  // DataType or IntegerType
  float divisor;          // of the result, float only
};

// One pass of moments or logsumexp: x [outer, reduced, inner], or what an earlier pass left of it, to parts
// [3, outer, pieces, inner] of float32 (counts, and two numbers), or in the last pass to y (and y2).
struct PairParams {
  const void* x;
  const float* parts;
  float* next;
  void *y, *y2;
  int64_t outer, reduced, inner;
  int64_t piece;
  int pieces;
  DataType type;
};

// A scan of x [outer, n, inner] along n; y[i] = x[i] y[i - 1] + b[i] for a recurrence.
struct ScanParams {
  const void *x, *b;
  void* y;
  int64_t outer, n, inner;
  int down;  // threads of a column: a power of 2
  int reverse;
  int type;  // DataType or IntegerType
};

}  // namespace native::cuda::reduce
