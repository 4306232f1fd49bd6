// Convolution of bfloat16 by the dot instruction, and its gradient by the weights, of what is neither 1x1 nor taken by
// Winograd's method: the patch of x under each result becomes a row, and rows by weights are a matrix product.
// The forward pass makes the patches of some results at a time, the gradient those of all.
#include <algorithm>
#include <cstring>

#include "kernels/conv/patch_rows.h"
#include "kernels/conv/product.h"
#include "kernels/grid.h"
#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native::conv {
namespace {

// Bytes of patches made at a time: some of the third-level cache. And of all patches of a gradient, at most.
constexpr int64_t kPieceBytes = 4 << 20, kMostBytes = 256 << 20;

// A row of patches has an even number of elements, so that the products need no copy.
int64_t row_length(const Geometry& g) { return round_up(g.taps() * g.cin, 2); }
// So many sums that several tasks may have their own: those of first layers.
constexpr int64_t kFewSums = 64 << 10;

class Patches final : public Kernel {
 public:
  Patches(const Geometry& g, bool weight_grad, Activation activation, size_t operands)
      : g_(g),
        patches_(g),
        weight_grad_(weight_grad),
        operands_(operands),
        terms_(g.taps() * g.cin),
        row_(row_length(g)),
        // Whole lines of results.
        lines_(weight_grad ? all_lines() : std::clamp<int64_t>(kPieceBytes / (2 * row_ * g.out[2]), 1, all_lines())),
        product_(sizes(lines_), activation),
        last_product_(sizes(all_lines() % lines_ == 0 ? lines_ : all_lines() % lines_), activation) {}

  size_t scratch_bytes() const override {
    return patch_bytes() + weight_bytes() + std::max(product_.scratch_bytes(), last_product_.scratch_bytes());
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const BFloat16* const x = static_cast<const BFloat16*>(in[0]);
    const BFloat16* const other = static_cast<const BFloat16*>(in[1]);
    BFloat16* const result = static_cast<BFloat16*>(out[0]);
    BFloat16* const patches = static_cast<BFloat16*>(scratch);
    BFloat16* const padded = reinterpret_cast<BFloat16*>(static_cast<char*>(scratch) + patch_bytes());
    void* const rest = static_cast<char*>(scratch) + patch_bytes() + weight_bytes();
    const size_t weight_size = static_cast<size_t>(terms_ * g_.cout) * sizeof(BFloat16);
    if (weight_grad_) {
      gather(x, 0, lines_, patches);
      product_.run(patches, other, pads() ? padded : result, nullptr, nullptr, rest);
      if (pads()) std::memcpy(result, padded, weight_size);
      return;
    }
    if (pads()) {
      std::memcpy(padded, other, weight_size);
      std::fill_n(padded + terms_ * g_.cout, g_.cout, BFloat16{});
    }
    const BFloat16* const bias = operands_ > 2 ? static_cast<const BFloat16*>(in[2]) : nullptr;
    const BFloat16* const residual = operands_ > 3 ? static_cast<const BFloat16*>(in[3]) : nullptr;
    for (int64_t line = 0; line < all_lines(); line += lines_) {
      const bool last = line + lines_ >= all_lines();
      const int64_t at = line * g_.out[2] * g_.cout;
      gather(x, line, std::min(lines_, all_lines() - line), patches);
      (last ? last_product_ : product_)
          .run(patches, pads() ? padded : other, result + at, bias, residual ? residual + at : nullptr, rest);
    }
  }

 private:
  int64_t all_lines() const { return patches_.lines(); }
  bool pads() const { return row_ != terms_; }
  size_t patch_bytes() const { return whole_lines(static_cast<size_t>(lines_ * g_.out[2] * row_) * sizeof(BFloat16)); }
  size_t weight_bytes() const {
    return pads() ? whole_lines(static_cast<size_t>(row_ * g_.cout) * sizeof(BFloat16)) : 0;
  }
  ProductSizes sizes(int64_t lines) const {
    const int64_t pixels = lines * g_.out[2];
    if (weight_grad_) return {row_, g_.cout, pixels, true, false};
    return {pixels, g_.cout, row_, false, false};
  }

  void gather(const BFloat16* x, int64_t first, int64_t count, BFloat16* to) const {
    pool::parallel_for(count, [&](int64_t i) { patches_.take_line(x, first + i, to + i * g_.out[2] * row_, pads()); });
  }

  const Geometry g_;
  const PatchRows patches_;
  const bool weight_grad_;
  const size_t operands_;
  const int64_t terms_, row_;  // of a patch: elements, and those of a row
  const int64_t lines_;        // whose patches are made at a time
  const Product<BFloat16> product_, last_product_;
};

// The gradient by weights that are few: a task makes patches of some lines at a time, which stay in its cache, and adds
// their products to sums of its own.
class FewWeights final : public Kernel {
 public:
  explicit FewWeights(const Geometry& g)
      : g_(g),
        patches_(g),
        kernels_(words_table().bf16),
        terms_(patches_.terms()),
        lines_(std::clamp<int64_t>(kTaskBytes / (2 * terms_ * g.out[2]), 1, patches_.lines())),
        splits_(std::clamp<int64_t>(patches_.lines() / lines_, 1, 16)),
        // A line between rows, which would fall into one cache set.
        word_row_(4 * round_up(terms_, 32) + 64) {}

  size_t scratch_bytes() const override { return static_cast<size_t>(splits_ * sums()) * sizeof(float); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const BFloat16 *x = static_cast<const BFloat16*>(in[0]), *ct = static_cast<const BFloat16*>(in[1]);
    float* const partial = static_cast<float*>(scratch);
    pool::parallel_for(splits_, [&](int64_t split) {
      const int64_t end = share_begin(patches_.lines(), splits_, 1, split + 1);
      const int64_t begin = share_begin(patches_.lines(), splits_, 1, split);
      for (int64_t line = begin; line < end; line += lines_)
        add_lines(x, ct, line, std::min(lines_, end - line), line > begin, partial + split * sums());
    });
    for (int64_t split = 1; split < splits_; ++split)
      for (int64_t i = 0; i < sums(); ++i) partial[i] += partial[split * sums() + i];
    gemm_vector_table().narrow_bf16(partial, static_cast<uint16_t*>(out[0]), sums());
  }

 private:
  static constexpr int64_t kTaskBytes = 128 << 10;  // of patches
  int64_t sums() const { return terms_ * g_.cout; }

  void add_lines(const BFloat16* x, const BFloat16* ct, int64_t first, int64_t count, bool accumulate,
                 float* sums) const {
    const int64_t pixels = count * g_.out[2], words = ceil_div(pixels, kernels_.terms);
    const size_t patch_bytes = whole_lines(static_cast<size_t>(2 * pixels * terms_));
    const size_t word_bytes = static_cast<size_t>(words * word_row_);
    char* const memory = static_cast<char*>(
        pool::thread_scratch(patch_bytes + word_bytes + static_cast<size_t>(4 * words * kernels_.nr)));
    for (int64_t i = 0; i < count; ++i)
      patches_.take_line(x, first + i, reinterpret_cast<BFloat16*>(memory) + i * g_.out[2] * terms_, false);
    char* const a = memory + patch_bytes;
    kernels_.pack_rows(memory, 2 * terms_, pixels, terms_, a, word_row_);
    gemm::WordBlock block{};
    block.m = terms_;
    block.k = pixels;
    block.a = a;
    block.a_row = 4;
    block.a_word = word_row_;
    block.b_row = 2 * g_.cout;
    block.panel = reinterpret_cast<uint32_t*>(a + word_bytes);
    block.sum_row = g_.cout;
    block.accumulate = accumulate;
    for (int64_t column = 0; column < g_.cout; column += kernels_.nr) {
      block.n = std::min<int64_t>(kernels_.nr, g_.cout - column);
      block.b = reinterpret_cast<const char*>(ct + first * g_.out[2] * g_.cout + column);
      block.sum = sums + column;
      kernels_.block(block);
    }
  }

  const Geometry g_;
  const PatchRows patches_;
  const gemm::WordKernels& kernels_;
  const int64_t terms_;
  const int64_t lines_;   // whose patches are made at a time
  const int64_t splits_;  // tasks
  const int64_t word_row_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !has_word_products() || g->groups != 1 || g->empty() || g->out_pixels() == 0 || problem.in.size() > 4)
    return nullptr;
  if (problem.out[0].dtype != DType::BF16) return nullptr;
  for (const Spec& spec : problem.in)
    if (spec.dtype != DType::BF16) return nullptr;
  const bool weight_grad = problem.op == "conv_weight_grad";
  if (weight_grad && g->taps() * g->cin * g->cout <= kFewSums) return std::make_unique<FewWeights>(*g);
  if (weight_grad && 2 * g->out_pixels() * row_length(*g) > kMostBytes) return nullptr;
  return std::make_unique<Patches>(*g, weight_grad, activation_of(problem), problem.in.size());
}

const Register entries[] = {
    {"conv", "patches", 5, prepare},
    {"conv_bias_act", "patches", 5, prepare},
    {"conv_weight_grad", "patches", 5, prepare},
};

}  // namespace
}  // namespace native::conv
