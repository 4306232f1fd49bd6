// Products in float32 by a B that was packed before (packed_linear by the result of pack_panels), which only graphs
// have: weights that do not change are packed once.
#include <memory>

#include "kernels/gemm/gemm.h"
#include "kernels/gemm/problem.h"
#include "runtime/registry.h"

namespace native {
namespace {

using gemm::Form;

class PackPanels final : public Kernel {
 public:
  PackPanels(const Shape& weights, bool transposed)
      : kernels_(gemm_table().f32),
        k_(weights.end()[transposed ? -1 : -2]),
        n_(weights.end()[transposed ? -2 : -1]),
        transposed_(transposed) {}
  void run(const void* const* in, void* const* out, void*) const override {
    const float* const b = static_cast<const float*>(in[0]);
    const gemm::Operand<float> rows{b, n_, 1}, columns{b, 1, k_};
    gemm::pack_panels(kernels_, transposed_ ? columns : rows, k_, n_, static_cast<float*>(out[0]));
  }

 private:
  const gemm::Kernels<float>& kernels_;
  const int64_t k_, n_;
  const bool transposed_;
};

class PanelProduct final : public Kernel {
 public:
  PanelProduct(int64_t m, int64_t n, int64_t k, Activation activation, size_t operands)
      : m_(m), plan_(gemm_table().f32, m, n, k, false, Form::Panels), activation_(activation), operands_(operands) {}

  size_t scratch_bytes() const override { return sizeof(float) * static_cast<size_t>(plan_.scratch_size()); }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    plan_.run(at(in, 0), at(in, 1), static_cast<float*>(out[0]), epilogue(in), static_cast<float*>(scratch));
  }
  std::optional<uint64_t> by_rows(int64_t rows) const override {
    constexpr uint64_t kA = 1 << 0, kAdded = 1 << 3;
    return rows == m_ && plan_.by_rows() ? std::optional(kA | kAdded) : std::nullopt;
  }
  void run_rows(const void* const* in, void* const* out, const RowRange& range) const override {
    plan_.run_rows(at(in, 0), at(in, 1), static_cast<float*>(out[0]), epilogue(in), range.first, range.count);
  }

 private:
  const float* at(const void* const* in, size_t i) const {
    return i < operands_ ? static_cast<const float*>(in[i]) : nullptr;
  }
  gemm::Epilogue<float> epilogue(const void* const* in) const { return {at(in, 2), activation_, at(in, 3)}; }

  const int64_t m_;
  const gemm::Plan<float> plan_;
  const Activation activation_;
  const size_t operands_;
};

bool are_floats(const Problem& problem) {
  for (const auto* specs : {&problem.in, &problem.out})
    for (const Spec& spec : *specs)
      if (spec.dtype != DType::F32) return false;
  return true;
}

// Whether the panels are those of the instruction set in use, which tests and benchmarks may change.
bool fits(const Problem& problem) { return problem.attrs.integer("panel") == gemm_table().f32.nr; }

std::unique_ptr<Kernel> prepare_pack(const Problem& problem) {
  if (!are_floats(problem) || !fits(problem)) return nullptr;
  return std::make_unique<PackPanels>(problem.in[0].shape, problem.attrs.integer("transpose_w", 0) != 0);
}

std::unique_ptr<Kernel> prepare_product(const Problem& problem) {
  const auto activation = gemm::activation_of(problem);
  if (!activation || !are_floats(problem) || !fits(problem) || problem.in.size() > 4) return nullptr;
  const gemm::Matrices p = gemm::linear_matrices(problem);
  return std::make_unique<PanelProduct>(p.m, p.n, p.k, *activation, problem.in.size());
}

const Register kernels[] = {
    {"pack_panels", "panels", 10, prepare_pack},
    {"packed_linear", "panels", 10, prepare_product, "float32"},
};

}  // namespace
}  // namespace native
