// Gradients by the weights as fast algorithms make them: for each position the sum over tiles (or strips) of results of
// products of transformed values, [depth][columns], which is transformed back once. How these sums are cut into tasks,
// and the product of a block of tiles.
#pragma once

#include <cstdint>

#include "kernels/gemm/gemm.h"

namespace native::conv {

struct TileSums {
  // Of `depth` input and `columns` output channels; `products` of each tile; `block` tiles at a time by a panel of
  // output channels, in elements of which `line` fill a cache line.
  TileSums(int64_t depth, int64_t columns, int64_t products, int64_t tiles, int64_t block, int64_t panel, int64_t line);

  // sums[channels, width] (+)= values[count, channels]^T * cotangents[count, width]: the block but for where its
  // operands are. The values have rows of `slab` elements, the cotangents rows of `panel`.
  gemm::Block<float> product(int64_t count, int64_t channels, int64_t width, bool accumulate) const;

  int64_t columns, panel;
  int64_t part;                          // elements of the sums of all positions
  int64_t slab, slabs, splits;           // tasks: slabs of `slab` input channels, ranges of tiles
  int64_t value_pitch, cotangent_pitch;  // elements between positions
};

}  // namespace native::conv
