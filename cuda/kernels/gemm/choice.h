// How products of given sizes are shared out over a GPU: by the sizes alone, so that no sum depends on which
// GPU it is.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>

#include "kernels/gemm/tiles.h"
#include "kernels/types.h"

namespace native::cuda::gemm {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Large tiles are taken where they make so many blocks: on an H100 98 large blocks of a convolution took 75 us, four
// times as many small ones 63; 256 of a product took 48, and small ones 63.
constexpr int kEnoughLarge = 192;

inline int64_t blocks_of(const Tile& tile, int64_t m, int64_t n, int64_t products) {
  return ceil_div(m, tile.m) * ceil_div(n, tile.n) * products;
}

// The main loops of an operand type: what their kernels' names begin with, after the family's, and tiles.
struct Kind {
  std::string image, name;
  Tile large, small;
  size_t bytes;  // of an element
  int padding;   // of a tile's rows, elements
};
inline Kind kind_of(DataType type) {
  switch (type) {
    case DataType::F16:
      return {"tensor", "f16", kTensorLarge, kTensorSmall, 2, 0};
    case DataType::BF16:
      return {"tensor", "bf16", kTensorLarge, kTensorSmall, 2, 0};
    case DataType::TF32:
      return {"tensor", "tf32", kWideLarge, kWideSmall, 4, 0};
    default:
      return {"exact", "exact", kExactLarge, kExactSmall, 4, 4};
  }
}
inline size_t stage_bytes(const Kind& kind, const Tile& tile) {
  return static_cast<size_t>(tile.stages) * (tile.m + tile.n + 2 * kind.padding) * tile.depth * kind.bytes;
}

// How many parts k is split into where there are too few blocks for a GPU, and the terms of a part.
inline int splits_of(int64_t k, int64_t blocks) {
  const int64_t most = std::max<int64_t>(1, k / kLeastDepth);
  return static_cast<int>(blocks ? std::min(most, ceil_div(kEnoughBlocks, blocks)) : 1);
}
inline int depth_of(int64_t k, int splits, const Tile& tile) {
  return static_cast<int>(std::max<int64_t>(1, ceil_div(ceil_div(k, splits), tile.depth)) * tile.depth);
}

// Warp groups: which tile, or null where the kernels above are no slower. On an H100 (bench/NOTES.md):
// - A wave of large tiles takes as long as 1.6 to 1.7 waves of small ones: 4096^3, 4 waves or 8, 178 and 222 us;
//   3072x3072x1024, 3 or 5, 39 and 35; 512x4096x4096, one of either, 44 and 26.
// - Few tiles of many terms are done sooner in parts of k: 128x1024x4096, 8 tiles, took 22.6 us here and 19.5 in 6
//   parts; 256x1024x4096 22.7 and 27.4.
// - Below 2^25 multiply-adds all are as long as a launch.
inline const Tile* warpgroup_tile(int64_t m, int64_t n, int64_t k, int64_t products, int64_t multiprocessors) {
  const auto waves = [&](const Tile& tile) { return ceil_div(blocks_of(tile, m, n, products), multiprocessors); };
  const int64_t small = blocks_of(kWarpgroupSmall, m, n, products);
  if (ceil_div(k, kWarpgroupSmall.depth) > 4 * small || m * n * products < (1 << 25) / k) return nullptr;
  return waves(kWarpgroupLarge) * 5 < waves(kWarpgroupSmall) * 3 ? &kWarpgroupLarge : &kWarpgroupSmall;
}

// Whether products of float32 may round their operands to tf32 (NATIVE_CUDA_TF32).
inline bool tf32_wanted() {
  const char* text = std::getenv("NATIVE_CUDA_TF32");
  return text && *text && *text != '0';
}

}  // namespace native::cuda::gemm
