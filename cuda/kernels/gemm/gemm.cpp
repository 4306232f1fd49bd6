// matmul and linear: which kernel, which tile, how many splits, and the launch.
#include <algorithm>

#include "kernels/gemm/any_product.h"
#include "kernels/gemm/batch.h"
#include "kernels/gemm/choice.h"
#include "kernels/gemm/packing.h"
#include "kernels/gemm/params.h"
#include "kernels/gemm/problem.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::gemm;
using native::gemm::Matrices;

// Bytes along a row are counted in 32 bits.
constexpr int64_t kLongestRow = 1 << 28;

// Which of a kind's main loops: what its kernels' names have, and its tile.
struct Loop {
  const char* name;
  Tile tile;
};
Loop loop_of(const Kind& kind, bool large, bool turned_b) {
  if (!large) return {"small", kind.small};
  if (kind.name == "exact" && !turned_b) return {"wide", kExactWide};
  return {"large", kind.large};
}

class Product : public Kernel {
 public:
  Product(const Problem& problem, const Matrices& r, DataType type, const Batch& batch, Activation activation)
      : kind_(kind_of(type)),
        large_(blocks_of(kind_.large, r.m, r.n, r.batch) >= kEnoughLarge),
        packing_(r, kind_, large_),
        turned_b_(r.transpose_b && !packing_.wanted()),
        loop_(loop_of(kind_, large_, turned_b_)),
        blocks_(blocks_of(loop_.tile, r.m, r.n, r.batch)),
        product_(product_kernel(kind_, loop_.name, r.transpose_a, turned_b_)),
        join_("gemm/exact", "gemm_join") {
    p_.a = {nullptr, r.transpose_a ? r.m : r.k, 0};
    p_.b = {nullptr, packing_.wanted() ? packing_.row() : r.transpose_b ? r.k : r.n, 0};
    p_.m = static_cast<int>(r.m);
    p_.n = static_cast<int>(r.n);
    p_.k = static_cast<int>(r.k);
    p_.products = static_cast<int>(r.batch);
    p_.turned_a = r.transpose_a;
    p_.turned_b = turned_b_;
    p_.batch = batch;
    const DataType memory = *data_type(problem.in[0].dtype);
    p_.epilogue = {nullptr, nullptr, memory, *data_type(problem.out[0].dtype), activation};
    bias_ = problem.in.size() == 3;
    // As many parts as are not empty.
    p_.depth = depth_of(r.k, splits_of(r.k, blocks_), loop_.tile);
    splits_ = static_cast<int>(std::max<int64_t>(1, ceil_div(r.k, p_.depth)));
  }

  size_t scratch_bytes() const override {
    if (packing_.wanted()) return packing_.bytes();  // so many blocks are never split
    return splits_ > 1 ? sizeof(float) * static_cast<size_t>(splits_) * static_cast<size_t>(elements()) : 0;
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    if (elements() == 0) return;
    Params p = p_;
    place(p.a, in[0], p.batch.a);
    place(p.b, packing_.wanted() ? scratch : in[1], p.batch.b);
    if (packing_.wanted()) packing_.run(in[1], scratch);
    p.epilogue.bias = bias_ ? in[2] : nullptr;
    p.c = splits_ > 1 ? scratch : out[0];
    if (splits_ > 1) p.epilogue = {nullptr, nullptr, DataType::F32, DataType::F32, Activation::None};
    product_.launch({static_cast<unsigned>(blocks_), static_cast<unsigned>(splits_)}, loop_.tile.threads,
                    stage_bytes(kind_, loop_.tile), p);
    if (splits_ == 1) return;
    JoinParams join{static_cast<const float*>(scratch), out[0], elements(), p_.n, splits_, p_.epilogue};
    join.epilogue.bias = bias_ ? in[2] : nullptr;
    join_.launch({static_cast<unsigned>(std::min<int64_t>(ceil_div(elements(), 256), 4096))}, 256, 0, join);
  }

 private:
  int64_t elements() const { return int64_t{p_.products} * p_.m * p_.n; }

  void place(Operand& x, const void* data, const int64_t* strides) const {
    const int64_t chunk = 16 / static_cast<int64_t>(kind_.bytes);
    x.data = data;
    x.aligned = x.row % chunk == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
    for (int d = 0; d < p_.batch.dims; ++d) x.aligned = x.aligned && strides[d] % chunk == 0;
  }

  const Kind kind_;
  const bool large_;
  const Packing packing_;
  const bool turned_b_;
  const Loop loop_;
  const int64_t blocks_;
  const Function product_, join_;
  Params p_{};
  int splits_ = 1;
  bool bias_;
};

}  // namespace

std::unique_ptr<Kernel> gemm::any_product(const Problem& problem, const Matrices& r, Activation activation) {
  const DType dtype = problem.in[0].dtype, out = problem.out[0].dtype;
  auto type = data_type(dtype);
  if (!type || !data_type(out) || (out != dtype && out != DType::F32)) return nullptr;
  for (const Spec& spec : problem.in)
    if (spec.dtype != dtype) return nullptr;
  if (std::max({r.m, r.n, r.k, r.batch}) > INT32_MAX || blocks_of(kTensorSmall, r.m, r.n, r.batch) > INT32_MAX ||
      (r.transpose_a ? r.m : r.k) > kLongestRow || (r.transpose_b ? r.k : r.n) > kLongestRow)
    return nullptr;
  Batch batch;
  if (!batch_of(problem, r, &batch)) return nullptr;
  if (*type == DataType::F32 && tf32_wanted()) type = DataType::TF32;
  return std::make_unique<Product>(problem, r, *type, batch, activation);
}

namespace {

std::unique_ptr<Kernel> prepare_matmul(const Problem& problem) {
  return any_product(problem, native::gemm::matmul_matrices(problem), Activation::None);
}
std::unique_ptr<Kernel> prepare_linear(const Problem& problem) {
  const auto activation = native::gemm::activation_of(problem);
  if (!activation) return nullptr;
  return any_product(problem, native::gemm::linear_matrices(problem), *activation);
}

const RegisterCuda r_matmul{"matmul", "gemm", 10, prepare_matmul};
const RegisterCuda r_linear{"linear", "gemm", 10, prepare_linear};

}  // namespace
}  // namespace native::cuda
