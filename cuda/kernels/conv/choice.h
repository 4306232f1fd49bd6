// How convolutions of given sizes are shared out over a GPU: by the sizes alone, so that no sum depends on which GPU it
// is. What a choice takes is estimated by what an H100 took (bench/NOTES.md).
#pragma once

#include <algorithm>

#include "kernels/conv/params.h"
#include "kernels/gemm/choice.h"

namespace native::cuda::conv {

// Main loops differ by what feeds them: windows, in one of the directions, or matrices in memory.
constexpr int kMatrices = 3;

constexpr int64_t kMultiprocessors = 132;
// A part has at least so many terms, and there are at most so many parts.
constexpr int64_t kLeastTerms = 128, kMostParts = 512;

// Nanoseconds of one multiprocessor.
struct TileCost {
  int64_t term;   // of a block's results
  int64_t start;  // until the first term is there, and to write results after the last
  int64_t alone;  // percent: a block that nobody shares the multiprocessor with
};
inline TileCost cost_of(const gemm::Kind& kind, int loop, bool large) {
  constexpr int64_t kExact[2][4] = {{52, 60, 33, 32}, {140, 154, 140, 98}};
  constexpr int64_t kTensor[2][4] = {{10, 12, 7, 6}, {31, 33, 33, 10}};
  const bool exact = kind.image == "exact";
  const int64_t term = (exact ? kExact : kTensor)[large][loop];
  // Elements of tf32 are twice as wide as those that were timed.
  return {exact ? term : term * static_cast<int64_t>(kind.bytes) / 2, large ? 3000 : 1000,
          !large              ? 140
          : loop == kMatrices ? 118
                              : 100};
}

// The second launch, and what a part's float32 sums take to be written and read, 3 bytes a picosecond.
constexpr int64_t kJoin = 3000;
inline int64_t join_cost(int64_t splits, int64_t elements) {
  return splits > 1 ? kJoin + splits * elements * 8 / 3000 : 0;
}

// The tile, parts, and terms of a part.
struct Share {
  bool large;
  int splits, depth;
};
// Of products [m, n] of k terms.
inline Share share_of(const gemm::Kind& kind, int loop, int64_t m, int64_t n, int64_t k, int64_t products) {
  Share best{false, 1, 0};
  int64_t least = INT64_MAX;
  for (const bool large : {false, true}) {
    const gemm::Tile& tile = large ? kind.large : kind.small;
    // Half of a large tile's columns would be in vain for few channels.
    if (large && n <= kind.small.n) break;
    const TileCost cost = cost_of(kind, loop, large);
    const int64_t blocks = gemm::blocks_of(tile, m, n, products);
    for (int64_t parts = 1; parts <= std::clamp<int64_t>(k / kLeastTerms, 1, kMostParts); ++parts) {
      const int64_t depth = gemm::depth_of(k, static_cast<int>(parts), tile), splits = gemm::ceil_div(k, depth);
      const int64_t turns = gemm::ceil_div(blocks * splits, kMultiprocessors);
      const int64_t percent = turns == 1 ? cost.alone : turns * 100;
      const int64_t all = percent * (depth * cost.term + cost.start) / 100 + join_cost(splits, m * n * products);
      if (all < least) {
        least = all;
        best = {large, static_cast<int>(splits), static_cast<int>(depth)};
      }
    }
  }
  return best;
}

}  // namespace native::cuda::conv
