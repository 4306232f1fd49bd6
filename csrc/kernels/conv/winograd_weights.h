// The weights of a 3x3 convolution as the products of Winograd's F(2x2, 3x3) take them: blocks of 64 columns
// (the last one narrower), and of each block [position of 16][depth][width]. A product has `depth` input and
// `columns` output channels; the gradient by the input has them the other way round.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/grid.h"

namespace native::conv {

class WinogradWeights {
 public:
  static constexpr int64_t kPositions = 16, kBlock = 64, kLine = 16;

  WinogradWeights(int64_t depth, int64_t columns) : depth_(depth), columns_(columns) {}

  // Elements of all blocks.
  int64_t size() const { return kPositions * depth_ * round_up(columns_, kLine); }
  int64_t blocks() const { return ceil_div(columns_, kBlock); }
  // Columns of a block, and elements of its rows: the same in whole cache lines, filled with zeros.
  int64_t columns(int64_t block) const { return std::min(kBlock, columns_ - block * kBlock); }
  int64_t width(int64_t block) const { return round_up(columns(block), kLine); }
  // Elements between positions.
  int64_t pitch(int64_t block) const { return depth_ * width(block); }
  int64_t offset(int64_t block) const { return kPositions * depth_ * kBlock * block; }

  // From weights [3][3][depth][columns]. On the pool; `out` is 64-byte aligned.
  void transform(const float* weights, float* out) const;
  // From [3][3][columns][depth], turned by half a circle.
  void transform_turned(const float* weights, float* out) const;

 private:
  int64_t depth_, columns_;
};

}  // namespace native::conv
