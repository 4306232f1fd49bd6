// What the launches of a scatter are told. Plain data, for device and host.
#pragma once

#include "kernels/gather/params.h"

namespace native::cuda::scatter {

constexpr int kThreads = 256;
// Updates of one row are joined one after another within pieces of so many: long enough that parts are few,
// short enough that a row which gets all of the updates keeps many threads busy.
constexpr int kPiece = 32;

// keys [count]: the row that each update is for.
struct KeyParams {
  uint32_t* keys;
  gather::Places places;
  int count;
  // Positions along an axis of [outer, size, inner], one for each element: rows are elements. Else by_inner.value
  // is 0.
  Divisor by_inner, by_taken;
};

// out [outer, rows, inner], which is x already or zero, joined by updates [outer, count, inner] in the order of
// the count. `order` has the updates of each row together.
struct JoinParams {
  const void *x, *updates;  // x is null for zeros
  void *out, *parts;        // parts: 32 bits for [outer, pieces, begun here or before, inner]
  const uint32_t* keys;
  const int32_t* order;
  int elements;  // of the updates
  int count, rows, type;
  Divisor by_inner, by_count;
};

}  // namespace native::cuda::scatter
