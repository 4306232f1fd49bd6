// What launches of softmax and its relatives are told. Plain data, for device and host.
#pragma once

#include "kernels/types.h"

namespace native::cuda::softmax {

// Threads of a block of the element by element loss.
constexpr int kThreads = 256;

// How rows are shared out: `group` threads have a row, each up to `packs` packs of `lanes` neighbouring elements
// in registers, so that memory is read once. No packs: rows of any length, read again as often as needed.
struct RowShape {
  int group, lanes, packs;
  constexpr int threads() const { return group == 32 ? 128 : group; }
  constexpr int64_t longest() const { return packs ? int64_t{group} * lanes * packs : INT32_MAX - group; }
};
// The first that fits is taken. A warp joins without barriers and is best as long as it can hold the row: rows of 1000
// took 5.4 us on an H100 where a block took 17. 1024 threads can hold a row of a vocabulary; tasks that hold two
// operands have room for half as much there.
constexpr RowShape kFewPacks{32, 4, 2}, kWarpPacks{32, 4, 8}, kLongPacks{32, 4, 16}, kBlockPacks{256, 4, 8};
constexpr RowShape kWidePacks{1024, 4, 8}, kWidePacksOfTwo{512, 4, 8};
constexpr RowShape kWarp{32, 1, 16}, kBlock{256, 1, 16}, kAny{1024, 1, 0};

// Rows of n elements, `inner` apart; row r begins at r / inner * n * inner + r % inner.
struct Params {
  const void *a, *b, *c;  // the primitive's operands in their order
  void* out;
  int64_t rows, inner;
  int n;
  DataType type;
  int label_bytes;  // of a label
  int label_signed;
};

}  // namespace native::cuda::softmax
