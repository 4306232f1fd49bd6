// What the launches of a stable sort are told. Plain data, for device and host.
#pragma once

#include "kernels/divisor.h"
#include "kernels/types.h"

namespace native::cuda::sort {

constexpr int kThreads = 256;
// A pass of the radix sort takes 8 bits. Its tiles have 8 keys a thread: the counts of a tile, 256, are few
// beside its 2048 keys.
constexpr int kDigits = 256, kRounds = 8, kTile = kThreads * kRounds;
// Lines up to this length are not sorted by digits: each key's place is counted, by as many comparisons as
// there are keys.
constexpr int kShortLine = 256;

// Lines of x [outer, n, inner] along its middle axis: line l is (l / inner, l % inner).
struct Lines {
  int lines, n;
  Divisor by_n, by_inner;
};

// keys [lines, n]: unsigned, in the order of the elements; NaN after everything, zeros equal.
struct KeyParams {
  const void* x;
  uint32_t* keys;
  Lines lines;
  int type;  // DataType or IntegerType
  int descending;
};

// order [lines, n]: positions along a line by ascending keys, equal ones as they were.
struct ShortParams {
  const uint32_t* keys;
  int32_t* order;
  Lines lines;
};

// One pass: stable by the 8 bits from `shift`. counts [lines, digits, tiles].
struct PassParams {
  const uint32_t* keys;
  const int32_t* order;  // null at first: as they are
  uint32_t* next_keys;
  int32_t* next_order;
  int32_t* counts;
  int lines, n, tiles, shift;
};

// to [outer, k, inner]: the first k of each line, values or positions.
struct TakeParams {
  const void* x;
  const int32_t* order;
  void* to;
  Lines lines;
  Divisor by_k;
};

}  // namespace native::cuda::sort
