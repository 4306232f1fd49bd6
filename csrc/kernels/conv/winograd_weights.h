// The weights of a 3x3 or 3x3x3 convolution as the products of Winograd's method take them: blocks of columns (the last
// one narrower), and of each block [position][depth][width]. A product has `depth` input and `columns`
// output channels; the gradient by the input has them the other way round. A block is best as wide as a panel
// of the matrix product in use, but every width serves every instruction set.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/dtype.h"
#include "kernels/conv/winograd.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/words.h"
#include "kernels/grid.h"

namespace native::conv {

class WinogradWeights {
 public:
  using Element = float;
  static constexpr int64_t kLine = 16;

  // `block`: columns of a block, a multiple of 16.
  WinogradWeights(int64_t depth, int64_t columns, int64_t block, const WinogradTile& tile)
      : depth_(depth), columns_(columns), block_(block), tile_(tile), positions_(tile.positions()) {}
  // The best width for the instruction set in use.
  static int64_t best_block() { return std::max<int64_t>(kLine, gemm_table().f32.nr); }

  // Elements of all blocks.
  int64_t size() const { return positions_ * depth_ * round_up(columns_, kLine); }
  int64_t blocks() const { return ceil_div(columns_, block_); }
  // Columns of a block, and elements of its rows: the same in whole cache lines, filled with zeros.
  int64_t columns(int64_t block) const { return std::min(block_, columns_ - block * block_); }
  int64_t width(int64_t block) const { return round_up(columns(block), kLine); }
  // Elements between positions.
  int64_t pitch(int64_t block) const { return depth_ * width(block); }
  int64_t offset(int64_t block) const { return positions_ * depth_ * block_ * block; }

  // From weights [taps][depth][columns], T float32 or bfloat16 as uint16_t. On the pool; `out` is 64-byte aligned.
  template <class T>
  void transform(const T* weights, float* out) const;
  // From [taps][columns][depth], the taps in reverse.
  template <class T>
  void transform_turned(const T* weights, float* out) const;

 private:
  int64_t cuts() const { return ceil_div(depth_, cut_); }

  int64_t depth_, columns_, block_;
  WinogradTile tile_;
  int64_t positions_;
  int64_t cut_ = tile_.planes == 1 ? 64 : 16;  // of the depth, a task
};

// The same of squares of side 2 in bfloat16, as dot instructions take them, for gradients by the input: a block is a
// panel of words, [position][word of depth][column].
class WinogradWords {
 public:
  using Element = uint32_t;
  static constexpr WinogradTile kTile{1, 2};

  WinogradWords(int64_t depth, int64_t columns)
      : kernels_(words_table().bf16), words_(kernels_, depth, columns), depth_(depth), columns_(columns) {}

  // Whether there are such products for tensors of that dtype and so many channels.
  static bool serve(DType dtype, int64_t depth) {
    return dtype == DType::BF16 && words_table().bf16.block && depth % words_table().bf16.terms == 0;
  }

  int64_t size() const { return blocks() * offset(1); }
  int64_t blocks() const { return words_.panels(); }
  int64_t columns(int64_t block) const { return std::min<int64_t>(kernels_.nr, columns_ - block * kernels_.nr); }
  int64_t width(int64_t /*block*/) const { return kernels_.nr; }
  int64_t pitch(int64_t /*block*/) const { return words_.panel(depth_); }
  int64_t offset(int64_t block) const { return block * kTile.positions() * words_.panel(depth_); }

  void transform_turned(const uint16_t* weights, uint32_t* out) const;

 private:
  const gemm::WordKernels& kernels_;
  gemm::PackedWords words_;
  int64_t depth_, columns_;
};

}  // namespace native::conv
