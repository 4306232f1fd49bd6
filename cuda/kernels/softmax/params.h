// What launches of softmax and its relatives are told. Plain data, for device and host.
#pragma once

#include "kernels/types.h"

namespace native::cuda::softmax {

// Threads of a block of the element by element loss.
constexpr int kThreads = 256;

// Threads of a row: a warp, or a whole block. A warp joins without barriers and is best as long as it can hold the row:
// rows of 1000 took 5.4 us on an H100 where a block of 256 took 17. Blocks of two warps wait little for each other.
// 1024 threads can hold a row of a vocabulary; tasks that hold two operands have room for half as much there.
constexpr int kWarp = 32, kWarps = 64, kBlock = 256, kWide = 1024, kWideOfTwo = 512;
constexpr int kRows = 4;  // of a block of warps
constexpr int threads_of_block(int group) { return group == kWarp ? kRows * kWarp : group; }

// A thread's share of a row: up to `packs` packs of `lanes` neighbouring elements in registers, so that memory is read
// once. No packs: as much as there is, read again as often as needed. A group is known when the kernel is compiled only
// where that saves instructions: each is code of its own.
struct Share {
  int lanes, packs, group = 0;
};
constexpr Share kFew{4, 2, kWarp}, kPacks{4, 8}, kSingles{1, 16}, kAny{1, 0, kWide};
constexpr int64_t longest(int group, Share share) {
  return share.packs ? int64_t{group} * share.lanes * share.packs : INT32_MAX - group;
}

// Rows of n elements, `inner` apart; row r begins at r / inner * n * inner + r % inner.
struct Params {
  const void *a, *b, *c;  // the primitive's operands in their order
  void* out;
  int64_t rows, inner;
  int n;
  int group;  // threads of a row
  DataType type;
  int label_bytes;  // of a label
  int label_signed;
};

}  // namespace native::cuda::softmax
