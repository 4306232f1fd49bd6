// What a dense layer quantised to int8 is made of, which only graphs have:
//   quantise_rows     x -> int8, and a scale for each row
//   quantised_linear  int8 by packed words, times the scales of rows and of columns, bias and activation: float32
#include <algorithm>
#include <memory>

#include "kernels/gemm/problem.h"
#include "kernels/gemm/words.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native {
namespace {

// x [..., k] -> x times the scale of its row, rounded, and scale = top / (largest of a row + least). Rows are as many
// as there are scales.
class QuantiseRows final : public Kernel {
 public:
  explicit QuantiseRows(const Problem& p)
      : rows_(p.out[1].count()),
        k_(p.in[0].count() / std::max<int64_t>(1, rows_)),
        top_(static_cast<float>(p.attrs.real("top"))),
        least_(static_cast<float>(p.attrs.real("least"))) {}

  void run(const void* const* in, void* const* out, void*) const override {
    constexpr int64_t kPiece = 32768;  // elements of a task
    const int64_t each = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, k_));
    pool::parallel_for(ceil_div(rows_, each),
                       [&](int64_t task) { quantise(in, out, task * each, std::min(each, rows_ - task * each)); });
  }
  std::optional<uint64_t> by_rows(int64_t rows) const override {
    return rows_ % rows == 0 ? std::optional<uint64_t>(1) : std::nullopt;
  }
  void run_rows(const void* const* in, void* const* out, const RowRange& range) const override {
    const int64_t each = rows_ / range.all;
    quantise(in, out, range.first * each, range.count * each);
  }

 private:
  void quantise(const void* const* in, void* const* out, int64_t first, int64_t count) const {
    words_table().quantise_rows(static_cast<const float*>(in[0]) + first * k_, count, k_, top_, least_,
                                static_cast<int8_t*>(out[0]) + first * k_, static_cast<float*>(out[1]) + first);
  }
  int64_t rows_, k_;
  float top_, least_;
};

// x [..., k] int8, words of w, scales of rows, scales [n] of columns, (bias [n]) -> [..., n].
class QuantisedLinear final : public Kernel {
 public:
  QuantisedLinear(const Problem& p, const gemm::Matrices& m, Activation activation)
      : plan_(words_table().i8,
              {.m = m.m, .n = m.n, .k = m.k, .activation = activation, .packed = true, .quantised = true}),
        rows_(m.m),
        bias_(p.in.size() == 5) {}

  size_t scratch_bytes() const override { return plan_.scratch_size(); }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    plan_.run(in[0], in[1], out[0], {}, scratch, scales(in));
  }
  std::optional<uint64_t> by_rows(int64_t rows) const override {
    return rows == rows_ && plan_.by_rows() ? std::optional<uint64_t>(1 | 1 << 2) : std::nullopt;
  }
  void run_rows(const void* const* in, void* const* out, const RowRange& range) const override {
    plan_.run_rows(in[0], in[1], out[0], {}, range.first, range.count, scales(in));
  }

 private:
  gemm::Scales scales(const void* const* in) const {
    const auto f32 = [in](int i) { return static_cast<const float*>(in[i]); };
    return {f32(2), f32(3), bias_ ? f32(4) : nullptr};
  }
  const gemm::WordPlan plan_;
  const int64_t rows_;
  const bool bias_;
};

std::unique_ptr<Kernel> prepare_rows(const Problem& problem) {
  return words_table().quantise_rows ? std::make_unique<QuantiseRows>(problem) : nullptr;
}

std::unique_ptr<Kernel> prepare_linear(const Problem& problem) {
  const gemm::Matrices m = gemm::linear_matrices(problem);
  const auto activation = gemm::activation_of(problem);
  if (!words_table().i8.block || !activation) return nullptr;
  if (m.m == 0) return std::make_unique<Nothing>();
  return std::make_unique<QuantisedLinear>(problem, m, *activation);
}

const Register rows{"quantise_rows", "rows", 10, prepare_rows};
const Register linear{"quantised_linear", "words", 10, prepare_linear};

}  // namespace
}  // namespace native
