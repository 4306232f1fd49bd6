#include "kernels/conv/tile_sums.h"

#include <algorithm>

#include "kernels/grid.h"

namespace native::conv {

TileSums::TileSums(int64_t depth, int64_t columns, int64_t products, int64_t tiles, int64_t block, int64_t panel,
                   int64_t line)
    : columns(columns), panel(panel), part(products * depth * columns) {
  // Channels of a block's values, a few hundred kilobytes: where depth is a multiple of that, products are by eight
  // steps.
  slab = round_up(ceil_div(depth, ceil_div(depth, gemm::kSlab)), line);
  slabs = ceil_div(depth, slab);
  // Partial sums are large: more tasks would spend on adding them what more threads gain.
  const int64_t tasks = part * static_cast<int64_t>(sizeof(float)) > (512 << 10) ? 8 : 16;
  constexpr int64_t kLeastTiles = 64;  // of a task
  splits = std::clamp<int64_t>(tasks / slabs, 1, ceil_div(tiles, kLeastTiles));
  if (splits > 1 && splits * slabs % 2 != 0) ++splits;  // as much for each of two threads
  // One line more, so that positions do not fall on the same cache sets.
  value_pitch = block * slab + line;
  cotangent_pitch = block * panel + line;
}

gemm::Block<float> TileSums::product(int64_t count, int64_t channels, int64_t width, bool accumulate) const {
  const gemm::Kernels<float>& kernels = gemm_table().f32;
  gemm::Block<float> block{};
  block.m = channels;
  block.n = width;
  block.k = count;
  block.a = {nullptr, 1, slab};
  block.sliver = kernels.mr;
  block.b = {nullptr, panel, kernels.nr};
  block.behind = cotangent_pitch;
  block.c_row = columns;
  block.accumulate = accumulate;
  return block;
}

}  // namespace native::conv
