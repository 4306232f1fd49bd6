// matmul of 8-bit integers, and of float64.
#include <algorithm>

#include "kernels/gemm/batch.h"
#include "kernels/gemm/choice.h"
#include "kernels/gemm/params.h"
#include "kernels/gemm/problem.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::gemm;
using native::gemm::Matrices;

// Offsets inside a tile are computed in 32 bits.
constexpr int64_t kLongestRow = 1 << 22;

int64_t blocks_of(const Matrices& r, const Tile& tile) { return cuda::gemm::blocks_of(tile, r.m, r.n, r.batch); }

struct Choice {
  std::string image, name;
  Tile tile;
  int64_t chunk;  // elements in 16 bytes
  int shared;     // bytes
};

class WholeProduct : public Kernel {
 public:
  WholeProduct(const Matrices& r, const Batch& batch, const Choice& choice, size_t out_bytes)
      : choice_(choice), blocks_(blocks_of(r, choice.tile)), function_(choice.image, choice.name) {
    Params& p = q_.product;
    p.a.row = r.transpose_a ? r.m : r.k;
    p.b.row = r.transpose_b ? r.k : r.n;
    p.m = static_cast<int>(r.m);
    p.n = static_cast<int>(r.n);
    p.k = static_cast<int>(r.k);
    p.depth = static_cast<int>(std::max<int64_t>(1, ceil_div(r.k, choice.tile.depth)) * choice.tile.depth);
    p.products = static_cast<int>(r.batch);
    p.turned_a = r.transpose_a;
    p.turned_b = r.transpose_b;
    p.batch = batch;
    q_.out_bytes = static_cast<int>(out_bytes);
  }

  void run(const void* const* in, void* const* out, void*) const override {
    if (blocks_ == 0) return;
    IntegerParams q = q_;
    place(q.product.a, in[0], q.product.batch.a);
    place(q.product.b, in[1], q.product.batch.b);
    q.product.c = out[0];
    const Extent grid{static_cast<unsigned>(blocks_)};
    if (choice_.image == "gemm/integers")
      function_.launch(grid, choice_.tile.threads, choice_.shared, q);
    else
      function_.launch(grid, choice_.tile.threads, choice_.shared, q.product);
  }

 private:
  void place(Operand& x, const void* data, const int64_t* strides) const {
    x.data = data;
    x.aligned = x.row % choice_.chunk == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
    for (int d = 0; d < q_.product.batch.dims; ++d) x.aligned = x.aligned && strides[d] % choice_.chunk == 0;
  }

  const Choice choice_;
  const int64_t blocks_;
  const Function function_;
  IntegerParams q_{};
};

Choice choose(DType type, const Matrices& r) {
  if (type == DType::F64)
    return {"gemm/doubles", std::string("gemm_double_") + (r.transpose_a ? "t" : "n") + (r.transpose_b ? "t" : "n"),
            kDouble, 2, double_shared(kDouble)};
  const bool large = blocks_of(r, kByteLarge) >= kEnoughBlocks;
  const Tile tile = large ? kByteLarge : kByteSmall;
  const std::string name = std::string(type == DType::I8 ? "gemm_s8" : "gemm_u8") + (large ? "_large" : "_small");
  return {"gemm/integers", name, tile, 16, tile.stages * (tile.m + tile.n) * tile.depth};
}

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const DType type = problem.in[0].dtype, out = problem.out[0].dtype;
  const bool bytes = type == DType::I8 || type == DType::U8;
  if ((!bytes && type != DType::F64) || (out != type && !(bytes && out == DType::I32))) return nullptr;
  const Matrices r = native::gemm::matmul_matrices(problem);
  if (std::max({r.m, r.n, r.k, r.batch}) > INT32_MAX || blocks_of(r, kByteSmall) > INT32_MAX ||
      (r.transpose_a ? r.m : r.k) > kLongestRow || (r.transpose_b ? r.k : r.n) > kLongestRow)
    return nullptr;
  Batch batch;
  if (!batch_of(problem, r, &batch)) return nullptr;
  return std::make_unique<WholeProduct>(r, batch, choose(type, r), size_of(out));
}

const RegisterCuda r_matmul{"matmul", "others", 5, prepare};

}  // namespace
}  // namespace native::cuda
