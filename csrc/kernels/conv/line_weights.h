// The weights of a convolution by lines of taps as the products of fast algorithms take them (fast_fir.h): of each
// pass blocks of columns, the last one narrower, and of a block [position][row][product][depth][width], rows of the
// window in the order in which they are read. Blocks of every width serve every instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/conv/line.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"

namespace native::conv {

class LineWeights {
 public:
  static constexpr int64_t kLine = 16;  // floats of a cache line

  // `block`: columns of a block, a multiple of 16. `line` must outlive this.
  LineWeights(const Line& line, int64_t block);
  // The best width for the instruction set in use: that of a panel of its matrix product.
  static int64_t best_block() { return std::max<int64_t>(kLine, gemm_table().f32.nr); }

  // Elements of all passes.
  int64_t size() const { return starts_.back(); }
  int64_t blocks() const { return ceil_div(line_.columns, block_); }
  // The first column of a block.
  int64_t column(int64_t block) const { return block * block_; }
  // Columns of a block, and elements of its rows: the same in whole cache lines, filled with zeros.
  int64_t columns(int64_t block) const { return std::min(block_, line_.columns - column(block)); }
  int64_t width(int64_t block) const { return round_up(columns(block), kLine); }
  // Of a block of a pass, in front of its first position.
  int64_t offset(size_t pass, int64_t block) const {
    return starts_[pass] + line_.passes[pass].fir.products() * line_.rows.count * line_.depth * column(block);
  }

  // From taps [row][taps][depth][columns]. On the pool; `out` is 64-byte aligned.
  void transform(const float* taps, float* out) const;

 private:
  void transform_chunk(const FirChunk& chunk, int64_t row, const float* taps, size_t pass, int64_t block,
                       float* out) const;

  const Line& line_;
  const int64_t block_;
  std::vector<int64_t> starts_;  // of each pass, and the end of the last
};

}  // namespace native::conv
