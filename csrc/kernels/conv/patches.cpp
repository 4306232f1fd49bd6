// Convolution of bfloat16 by the dot instruction, and its gradient by the weights, of what is neither 1x1 nor taken by
// Winograd's method: the patch of x under each result becomes a row, and rows by weights are a matrix product.
// The forward pass makes the patches of some results at a time, the gradient those of all.
#include <algorithm>
#include <cstring>

#include "kernels/conv/geometry.h"
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

class Patches final : public Kernel {
 public:
  Patches(const Geometry& g, bool weight_grad, Activation activation, size_t operands)
      : g_(g),
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
  // Lines of results: rows of pixels of all images.
  int64_t all_lines() const { return g_.batch * g_.out[0] * g_.out[1]; }
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

  void gather(const BFloat16* x, int64_t first, int64_t count, BFloat16* patches) const {
    pool::parallel_for(count, [&](int64_t i) {
      const int64_t line = first + i, h = line % g_.out[1], d = line / g_.out[1] % g_.out[0],
                    n = line / g_.out[1] / g_.out[0];
      BFloat16* to = patches + i * g_.out[2] * row_;
      for (int64_t w = 0; w < g_.out[2]; ++w, to += row_) take_patch(x, n, {d, h, w}, to);
    });
  }

  void take_patch(const BFloat16* x, int64_t n, const Triple& result, BFloat16* to) const {
    const int64_t run = g_.kernel[2] * g_.cin, w = result[2] * g_.stride[2] - g_.low[2];
    // Taps [begin, end) of a run lie inside the image.
    const int64_t step = g_.dilation[2];
    const int64_t begin = std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, -w), step), 0, g_.kernel[2]);
    const int64_t end = std::clamp<int64_t>(ceil_div(std::max<int64_t>(0, g_.in[2] - w), step), begin, g_.kernel[2]);
    for (int64_t kd = 0; kd < g_.kernel[0]; ++kd)
      for (int64_t kh = 0; kh < g_.kernel[1]; ++kh, to += run) {
        const int64_t d = result[0] * g_.stride[0] - g_.low[0] + kd * g_.dilation[0];
        const int64_t h = result[1] * g_.stride[1] - g_.low[1] + kh * g_.dilation[1];
        if (d < 0 || d >= g_.in[0] || h < 0 || h >= g_.in[1] || begin == end) {
          std::fill_n(to, run, BFloat16{});
          continue;
        }
        const BFloat16* from = x + (((n * g_.in[0] + d) * g_.in[1] + h) * g_.in[2] + w) * g_.cin;
        std::fill_n(to, begin * g_.cin, BFloat16{});
        if (step == 1)
          std::memcpy(to + begin * g_.cin, from + begin * g_.cin,
                      static_cast<size_t>((end - begin) * g_.cin) * sizeof(BFloat16));
        else
          for (int64_t k = begin; k < end; ++k)
            std::memcpy(to + k * g_.cin, from + k * step * g_.cin, static_cast<size_t>(g_.cin) * sizeof(BFloat16));
        std::fill_n(to + end * g_.cin, (g_.kernel[2] - end) * g_.cin, BFloat16{});
      }
    if (pads()) *to = {};
  }

  const Geometry g_;
  const bool weight_grad_;
  const size_t operands_;
  const int64_t terms_, row_;  // of a patch: elements, and those of a row
  const int64_t lines_;        // whose patches are made at a time
  const Product<BFloat16> product_, last_product_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !has_word_products() || g->groups != 1 || g->empty() || g->out_pixels() == 0 || problem.in.size() > 4)
    return nullptr;
  if (problem.out[0].dtype != DType::BF16) return nullptr;
  for (const Spec& spec : problem.in)
    if (spec.dtype != DType::BF16) return nullptr;
  const bool weight_grad = problem.op == "conv_weight_grad";
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
