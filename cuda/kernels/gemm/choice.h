// How products of given sizes are shared out over a GPU: by the sizes alone, so that no sum depends on which
// GPU it is.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>

#include "kernels/gemm/tiles.h"
#include "kernels/types.h"
#include "runtime/images.h"

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
  bool layouts;  // a kernel for each, or one that is told when it is launched
};
inline Kind kind_of(DataType type) {
  switch (type) {
    case DataType::F16:
      return {"tensor", "f16", kTensorLarge, kTensorSmall, 2, 0, false};
    case DataType::BF16:
      return {"tensor", "bf16", kTensorLarge, kTensorSmall, 2, 0, false};
    case DataType::TF32:
      return {"tensor", "tf32", kWideLarge, kWideSmall, 4, 0, false};
    default:
      return {"exact", "exact", kExactLarge, kExactSmall, 4, 4, true};
  }
}
// The kernel of a main loop ("large", "small"), for operands that lie so.
inline Function product_kernel(const Kind& kind, const std::string& loop, bool turned_a, bool turned_b) {
  const std::string name = "gemm_" + kind.name + "_" + loop;
  return Function("gemm/" + kind.image, kind.layouts ? name + (turned_a ? "_t" : "_n") + (turned_b ? "t" : "n") : name);
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

// Tiles of warp groups: what their kernels' names have, and how long a wave of them takes, in parts of one another (on
// an H100: 4096^3, 4 waves of large tiles or 8 of small ones, 174 and 222 us; 3072x3072x1024, 3 or 5, 39 and 35;
// 2176^3, 2, 3 or 5 of narrow ones, 47, 42 and 57; 512^3, one of any, 8.8, 5.6 and 4.4).
struct WarpgroupTile {
  const char* name;
  Tile tile;
  int wave;
};
constexpr WarpgroupTile kWarpgroupTiles[] = {
    {"large", kWarpgroupLarge, 100}, {"small", kWarpgroupSmall, 61}, {"narrow", kWarpgroupNarrow, 45}};

// The one for a product, or null where the kernels above are no slower: few results, or few rows, of many terms, which
// parts of k do sooner (256x256x4096 in 9.8 us, here in 13.8, 64x1024x4096 in 10.2 and 14.3; but 256x1024x4096 in 22.1
// and 14.2), and below 2^20 multiply-adds, which take a launch and little more.
inline const WarpgroupTile* warpgroup_tile(int64_t m, int64_t n, int64_t k, int64_t products, int64_t multiprocessors) {
  const int64_t steps = ceil_div(k, kWarpgroupNarrow.depth);
  if (steps > 24 && (m <= 64 || steps > 2 * blocks_of(kTensorSmall, m, n, products))) return nullptr;
  if (m * n * products < (1 << 20) / k) return nullptr;
  const auto time = [&](const WarpgroupTile& t) {
    return ceil_div(blocks_of(t.tile, m, n, products), multiprocessors) * t.wave;
  };
  return std::min_element(std::begin(kWarpgroupTiles), std::end(kWarpgroupTiles),
                          [&](const auto& a, const auto& b) { return time(a) < time(b); });
}

// Whether products of float32 may round their operands to tf32 (NATIVE_CUDA_TF32).
inline bool tf32_wanted() {
  const char* text = std::getenv("NATIVE_CUDA_TF32");
  return text && *text && *text != '0';
}

}  // namespace native::cuda::gemm
