// What launches of softmax and its relatives are told. Plain data, for device and host.
#pragma once

#include "kernels/types.h"

namespace native::cuda::softmax {

constexpr int kThreads = 256;
// Rows up to this length have a warp each, 16 elements a lane at most; longer ones a block.
constexpr int kShortRow = 512;
// What a block keeps of a row in shared memory, so that memory is read once: all of the 48 KiB that a kernel
// may have without asking, less what sums take. Longer rows are read again.
constexpr int kKept = 12000;

// Rows of n elements, `inner` apart; row r begins at r / inner * n * inner + r % inner.
struct Params {
  const void *a, *b, *c;  // the primitive's operands in their order
  void* out;
  int64_t rows, inner;
  int n;
  DataType type;
  int label_bytes;  // of a label
  int label_signed;
  int kept;  // rows go through shared memory
};

}  // namespace native::cuda::softmax
