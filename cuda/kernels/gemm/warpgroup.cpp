// matmul and linear of bfloat16 and float16 by warp groups, on GPUs of compute capability 9.0.
#include <algorithm>

#include "kernels/gemm/any_product.h"
#include "kernels/gemm/batch.h"
#include "kernels/gemm/choice.h"
#include "kernels/gemm/params.h"
#include "kernels/gemm/problem.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"
#include "runtime/tensor_map.h"

namespace native::cuda {
namespace {

using namespace cuda::gemm;
using native::gemm::Matrices;

constexpr int kCapability = 90;
// Sizes are counted in 32 bits, a tile beyond the last as well.
constexpr int64_t kMost = 1 << 30;
// Elements in 16 bytes: rows of what bulk copies read and write are multiples of them.
constexpr int64_t kChunk = 8;

bool aligned(const void* data, uintptr_t bytes) { return reinterpret_cast<uintptr_t>(data) % bytes == 0; }

std::string name_of(DataType type, const WarpgroupTile& choice) {
  return std::string("gemm_warpgroup_") + (type == DataType::BF16 ? "bf16_" : "f16_") + choice.name;
}

class WarpgroupProduct : public Kernel {
 public:
  WarpgroupProduct(const Problem& problem, const Matrices& r, DataType type, const Batch& batch, Activation activation,
                   const WarpgroupTile& choice, std::unique_ptr<Kernel> otherwise)
      : r_(r),
        tile_(choice.tile),
        type_(type == DataType::BF16 ? TensorType::BF16 : TensorType::F16),
        matrices_a_(problem.in[0].count() / (r.m * r.k)),
        matrices_b_(problem.in[1].count() / (r.n * r.k)),
        bias_(problem.in.size() == 3),
        function_("gemm/warpgroup", name_of(type, choice)),
        otherwise_(std::move(otherwise)) {
    Params& q = p_.product;
    q.m = static_cast<int>(r.m);
    q.n = static_cast<int>(r.n);
    q.k = static_cast<int>(r.k);
    q.products = static_cast<int>(r.batch);
    q.turned_a = r.transpose_a;
    q.turned_b = r.transpose_b;
    q.batch = batch;
    for (int d = 0; d < batch.dims; ++d) {
      q.batch.a[d] /= r.m * r.k;
      q.batch.b[d] /= r.n * r.k;
    }
    q.epilogue = {nullptr, nullptr, type, *data_type(problem.out[0].dtype), activation};
    p_.tiles = static_cast<int>(blocks_of(tile_, r.m, r.n, r.batch));
    p_.copied = q.epilogue.out_type == type && r.n % kChunk == 0;
  }

  size_t scratch_bytes() const override { return otherwise_->scratch_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    if (!aligned(in[0], 16) || !aligned(in[1], 16) || !aligned(bias_ ? in[2] : nullptr, 4))
      return otherwise_->run(in, out, scratch);
    const auto size = [](int64_t n) { return static_cast<uint64_t>(n); };
    const auto operand = [&](const void* data, bool by_terms, int64_t outer, int side, int64_t matrices) {
      const uint32_t box = static_cast<uint32_t>(side);
      return by_terms ? tensor_map(type_, data, {{size(r_.k), kSwizzledRow}, {size(outer), box}, {size(matrices), 1}})
                      : tensor_map(type_, data,
                                   {{size(outer), kSwizzledRow}, {size(r_.k), kSwizzledRow}, {size(matrices), 1}});
    };
    WarpgroupParams p = p_;
    p.a = operand(in[0], !r_.transpose_a, r_.m, tile_.m, matrices_a_);
    p.b = operand(in[1], r_.transpose_b, r_.n, tile_.n, matrices_b_);
    p.copied = p.copied && aligned(out[0], 16);
    if (p.copied)
      p.c =
          tensor_map(type_, out[0], {{size(r_.n), kSwizzledRow}, {size(r_.m), kWarpgroupCopied}, {size(r_.batch), 1}});
    p.product.c = out[0];
    p.product.epilogue.bias = bias_ ? in[2] : nullptr;
    const int blocks = std::min(p.tiles, device().multiprocessors());
    function_.launch({static_cast<unsigned>(blocks)}, tile_.threads, warpgroup_shared(tile_), p);
  }

 private:
  const Matrices r_;
  const Tile tile_;
  const TensorType type_;
  const int64_t matrices_a_, matrices_b_;
  const bool bias_;
  const Function function_;
  const std::unique_ptr<Kernel> otherwise_;  // at addresses that bulk copies do not take
  WarpgroupParams p_{};
};

// Activations but bounds are as exact as results of 16 bits show.
bool takes(DType type, DType out, Activation activation) {
  return (type == DType::BF16 || type == DType::F16) &&
         (out == type || (out == DType::F32 && activation <= Activation::Relu6));
}

std::unique_ptr<Kernel> prepare(const Problem& problem, const Matrices& r, Activation activation) {
  const DType dtype = problem.in[0].dtype;
  if (device().capability() != kCapability || !takes(dtype, problem.out[0].dtype, activation)) return nullptr;
  for (const Spec& spec : problem.in)
    if (spec.dtype != dtype) return nullptr;
  if (std::min({r.m, r.n, r.k, r.batch}) == 0 || std::max({r.m, r.n, r.k, r.batch}) > kMost ||
      blocks_of(kWarpgroupNarrow, r.m, r.n, r.batch) > kMost)
    return nullptr;
  if ((r.transpose_a ? r.m : r.k) % kChunk != 0 || (r.transpose_b ? r.k : r.n) % kChunk != 0) return nullptr;
  const WarpgroupTile* tile = warpgroup_tile(r.m, r.n, r.k, r.batch, device().multiprocessors());
  Batch batch;
  if (!tile || !batch_of(problem, r, &batch)) return nullptr;
  auto otherwise = any_product(problem, r, activation);
  if (!otherwise) return nullptr;
  return std::make_unique<WarpgroupProduct>(problem, r, *data_type(dtype), batch, activation, *tile,
                                            std::move(otherwise));
}

std::unique_ptr<Kernel> prepare_matmul(const Problem& problem) {
  return prepare(problem, native::gemm::matmul_matrices(problem), Activation::None);
}
std::unique_ptr<Kernel> prepare_linear(const Problem& problem) {
  const auto activation = native::gemm::activation_of(problem);
  if (!activation) return nullptr;
  return prepare(problem, native::gemm::linear_matrices(problem), *activation);
}

const RegisterCuda r_matmul{"matmul", "warpgroup", 20, prepare_matmul};
const RegisterCuda r_linear{"linear", "warpgroup", 20, prepare_linear};

}  // namespace
}  // namespace native::cuda
