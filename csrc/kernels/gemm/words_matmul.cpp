// The primitives matmul and linear on words: bfloat16 by vdpbf16ps, int8 into int32 by vpdpbusd; and linear by weights
// that were packed before (packed_linear by the result of pack_words), which only graphs have.
#include <memory>
#include <utility>

#include "kernels/gemm/problem.h"
#include "kernels/gemm/words.h"

namespace native {
namespace {

using gemm::Matrices;
using gemm::WordKernels;
using gemm::WordPlan;

class WordMatmul final : public Kernel {
 public:
  WordMatmul(const WordKernels& kernels, Matrices matrices, Activation activation, bool out_bf16, bool bias,
             bool packed, bool wide_a)
      : matrices_(std::move(matrices)), plan_(kernels, problem(activation, out_bf16, packed, wide_a)), bias_(bias) {}

  size_t scratch_bytes() const override { return plan_.scratch_size(); }
  void run(const void* const* in, void* const* out, void* scratch) const override {
    plan_.run(in[0], in[1], out[0], epilogue(in), scratch);
  }
  std::optional<uint64_t> by_rows(int64_t rows) const override {
    return rows == matrices_.m && plan_.by_rows() ? std::optional<uint64_t>(1) : std::nullopt;
  }
  void run_rows(const void* const* in, void* const* out, const RowRange& range) const override {
    plan_.run_rows(in[0], in[1], out[0], epilogue(in), range.first, range.count);
  }

 private:
  gemm::Epilogue<uint16_t> epilogue(const void* const* in) const {
    return {.bias = bias_ ? static_cast<const uint16_t*>(in[2]) : nullptr};
  }
  WordPlan::Problem problem(Activation activation, bool out_bf16, bool packed, bool wide_a) const {
    const Matrices& p = matrices_;
    const bool indexed = !p.index_a.empty();
    return {p.m,
            p.n,
            p.k,
            p.transpose_a,
            p.transpose_b,
            p.batch,
            indexed ? p.index_a.data() : nullptr,
            indexed ? p.index_b.data() : nullptr,
            activation,
            out_bf16,
            packed,
            wide_a};
  }

  const Matrices matrices_;
  const WordPlan plan_;
  const bool bias_;
};

// The kernel, or nullptr where this instruction set has none or there is nothing to multiply.
std::unique_ptr<Kernel> make(const WordKernels& kernels, const Problem& problem, Matrices matrices,
                             Activation activation, bool packed = false) {
  if (!kernels.block || matrices.m * matrices.n * matrices.k * matrices.batch == 0) return nullptr;
  return std::make_unique<WordMatmul>(kernels, std::move(matrices), activation, problem.out[0].dtype == DType::BF16,
                                      problem.in.size() == 3, packed, problem.in[0].dtype == DType::F32);
}

const WordKernels& kernels_of(DType dtype) { return dtype == DType::I8 ? words_table().i8 : words_table().bf16; }

bool all_are(const Problem& problem, DType dtype) {
  for (const Spec& spec : problem.in)
    if (spec.dtype != dtype) return false;
  return true;
}

bool is_bf16(const Problem& problem) {
  const DType out = problem.out[0].dtype;
  return all_are(problem, DType::BF16) && (out == DType::BF16 || out == DType::F32);
}

std::unique_ptr<Kernel> prepare_bf16(const Problem& problem) {
  if (!is_bf16(problem)) return nullptr;
  return make(words_table().bf16, problem, gemm::matmul_matrices(problem), Activation::None);
}

std::unique_ptr<Kernel> prepare_linear(const Problem& problem) {
  const auto activation = gemm::activation_of(problem);
  if (!is_bf16(problem) || !activation) return nullptr;
  return make(words_table().bf16, problem, gemm::linear_matrices(problem), *activation);
}

std::unique_ptr<Kernel> prepare_int8(const Problem& problem) {
  const DType out = problem.out[0].dtype;
  if (!all_are(problem, DType::I8) || (out != DType::I32 && out != DType::U32)) return nullptr;
  return make(words_table().i8, problem, gemm::matmul_matrices(problem), Activation::None);
}

std::unique_ptr<Kernel> prepare_packed(const Problem& problem) {
  const auto activation = gemm::activation_of(problem);
  if (!activation || problem.in[1].dtype != DType::U32) return nullptr;
  if (problem.out[0].count() == 0) return std::make_unique<Nothing>();
  return make(kernels_of(problem.in[0].dtype), problem, gemm::linear_matrices(problem), *activation, true);
}

// w -> its words.
class PackWords final : public Kernel {
 public:
  PackWords(const gemm::PackedWords& words, bool transposed) : words_(words), transposed_(transposed) {}
  void run(const void* const* in, void* const* out, void*) const override {
    words_.pack(in[0], transposed_, static_cast<uint32_t*>(out[0]));
  }

 private:
  const gemm::PackedWords words_;
  const bool transposed_;
};

std::unique_ptr<Kernel> prepare_words(const Problem& problem) {
  const Spec& w = problem.in[0];
  const bool transposed = problem.attrs.integer("transpose_w") != 0;
  return std::make_unique<PackWords>(
      gemm::PackedWords(kernels_of(w.dtype), w.shape[transposed ? 1 : 0], w.shape[transposed ? 0 : 1]), transposed);
}

const Register entries[] = {
    {"matmul", "vdpbf16ps", 20, prepare_bf16, "bfloat16 where the processor has its dot product"},
    {"linear", "vdpbf16ps", 20, prepare_linear, "bfloat16 where the processor has its dot product"},
    {"packed_linear", "words", 20, prepare_packed},
    {"pack_words", "words", 20, prepare_words},
    {"matmul", "vpdpbusd", 20, prepare_int8, "int8 into int32 where the processor has VNNI"},
};

}  // namespace
}  // namespace native
