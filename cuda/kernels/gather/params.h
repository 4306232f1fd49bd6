// What launches of gathers, scatters and sorts are told. Plain data, for device and host.
#pragma once

#include "kernels/divisor.h"
#include "kernels/types.h"

namespace native::cuda::gather {

constexpr int kThreads = 256, kDepth = 8;

// Positions along the first `depth` axes of an array: [count, depth] of int32 or int64 (wide). Negative ones
// count from the end, what is outside is clipped.
struct Places {
  const void* indices;
  int wide, depth;
  int size[kDepth];
};

// to [outer, count, inner] = from [outer, rows, inner] at places; in units, that is elements or parts of rows.
struct TakeParams {
  const void* from;
  void* to;
  Places places;
  int units;  // of `to`
  int rows;
  Divisor by_inner, by_count;
};

// to [outer, taken, inner] = from [outer, size, inner], a position for each element.
struct AlongParams {
  const void* from;
  void* to;
  Places places;  // one axis
  int elements;   // of `to`
  Divisor by_inner, by_taken;
};

// to [outer, depth, inner] has `one` where the index [outer, inner] says so.
struct OneHotParams {
  const void* indices;
  void* to;
  int index_bytes, index_signed;
  uint64_t one;
  int elements, depth;
  Divisor by_inner, by_depth;
};

// Where each value belongs in an ascending vector.
struct SearchParams {
  const void *sorted, *values;
  int32_t* to;
  int size, count, type;  // DataType or IntegerType
  int right;              // after equal ones
};

}  // namespace native::cuda::gather
