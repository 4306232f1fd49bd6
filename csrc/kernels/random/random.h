#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/cpu.h"

namespace native {

// Blocks of Philox are generated sixteen at a time; their 64 words are stored word by word (all first words,
// all second words, ...), so that vectors of any length are stored whole and neighbours in a block are the
// pairs that Box-Muller needs.
inline constexpr int64_t kGroupBlocks = 16;
inline constexpr int64_t kGroupWords = 64;

// In each table: float16, bfloat16, float32, float64.
struct RandomTable {
  // Fills `groups` groups of output, the first one being number `first`: 64 elements each, 32 of float64.
  using Fill = void (*)(const uint32_t* key, int64_t first, int64_t groups, void* out);
  // out = word >= threshold ? x * scale : 0 for `count` elements that begin at group `first`.
  using Dropout = void (*)(const uint32_t* key, int64_t first, int64_t count, const void* x, uint32_t threshold,
                           double scale, void* out);
  Fill bits;
  Fill uniform[4];
  Fill normal[3], truncated[3];  // float64 is the driver's
  Dropout dropout[4];
};

NATIVE_BF16_TABLE(RandomTable, random_table)

// Distributions drawn by rejection; in each table: float32, float64. Computed in float64.
struct RejectionTable {
  // Elements [first, last) of whole tensors; `lane` of the counters is free for this draw, and the one behind it.
  void (*gamma[2])(const uint32_t* key, uint32_t lane, int64_t first, int64_t last, const void* alpha, void* out);
  void (*binomial[2])(const uint32_t* key, int64_t first, int64_t last, const void* counts, const void* probabilities,
                      void* out);
};

NATIVE_ISA_TABLE(RejectionTable, rejection_table)

}  // namespace native
