// The product of a recurrence in bfloat16: a step's input and the state beside it, rounded, by weights that were
// packed as words before, in one sum of float32. So the products of the inputs never lie in memory.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/gemm/words.h"
#include "kernels/rnn/sequence.h"

namespace native::recurrent {

// Immutable. Words are gemm::PackedWords of [inputs + units, blocks * units], which is one block deep.
class NarrowProduct {
 public:
  NarrowProduct(int64_t inputs, int64_t units, int64_t blocks)
      : inputs_(inputs), units_(units), blocks_(blocks), words_(kernels_, inputs + units, blocks * units) {}

  // z[rows, blocks * units] = [x h] B, in the columns `cut` of every block, which begin a panel unless they are all.
  // Rows of x, bfloat16, are x_row elements apart; those of h have no gaps.
  void run(const uint32_t* words, int64_t rows, Range cut, const uint16_t* x, int64_t x_row, const float* h,
           float* z) const {
    const int64_t depth = inputs_ + units_, row = depth + depth % 2;
    auto* const a = static_cast<uint16_t*>(pool::thread_scratch(sizeof(uint16_t) * static_cast<size_t>(rows * row)));
    for (int64_t i = 0; i < rows; ++i) {
      uint16_t* const to = a + i * row;
      if (inputs_ > 0) std::memcpy(to, x + i * x_row, sizeof(uint16_t) * static_cast<size_t>(inputs_));
      vectors_.narrow_bf16(h + i * units_, to + inputs_, units_);
      if (row > depth) to[depth] = 0;  // completes the last word
    }
    if (cut.size() == units_) return columns(words, rows, a, row, 0, blocks_ * units_, z);
    for (int64_t k = 0; k < blocks_; ++k) columns(words, rows, a, row, k * units_ + cut.first, cut.size(), z);
  }

 private:
  void columns(const uint32_t* words, int64_t rows, const uint16_t* a, int64_t a_row, int64_t first, int64_t count,
               float* z) const {
    const int64_t nr = kernels_.nr;
    gemm::WordBlock block{};
    block.m = rows;
    block.k = inputs_ + units_;
    block.a = reinterpret_cast<const char*>(a);
    block.a_row = 2 * a_row;
    block.a_word = 4;
    block.sum_row = blocks_ * units_;
    for (int64_t j = first; j < first + count; j += nr) {
      block.n = std::min(nr, first + count - j);
      block.panel = const_cast<uint32_t*>(words) + j / nr * words_.panel(block.k);  // only read, as block.b is null
      block.sum = z + j;
      kernels_.block(block);
    }
  }

  const gemm::WordKernels& kernels_ = words_table().bf16;
  const gemm::VectorTable& vectors_ = gemm_vector_table();
  int64_t inputs_, units_, blocks_;
  gemm::PackedWords words_;
};

}  // namespace native::recurrent
