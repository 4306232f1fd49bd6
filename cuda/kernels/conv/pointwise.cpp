// conv, conv_bias_act and their gradients where every pixel is a window of its own: products of matrices in memory, by
// the kernels of those.
#include "kernels/conv/choice.h"
#include "kernels/conv/geometry.h"
#include "kernels/conv/join.h"
#include "kernels/conv/prepare.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"

namespace native::cuda {
namespace {

using namespace cuda::conv;
using native::conv::Geometry;

class Pointwise : public Kernel {
 public:
  Pointwise(const Geometry& g, Direction direction, const gemm::Kind& kind, DataType memory, Activation activation,
            size_t operands)
      : kind_(kind),
        operands_(operands),
        sizes_(sizes_of(g, direction)),
        share_(share_of(kind, kMatrices, sizes_.m, sizes_.n, sizes_.k, 1)),
        tile_(share_.large ? kind.large : kind.small),
        product_("gemm/" + kind.image,
                 "gemm_" + kind.name + (share_.large ? "_large_" : "_small_") + sizes_.transposes),
        epilogue_{nullptr, nullptr, memory, memory, activation} {}

  size_t scratch_bytes() const override {
    return share_.splits > 1 ? sizeof(float) * static_cast<size_t>(share_.splits * sizes_.m * sizes_.n) : 0;
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const bool parts = share_.splits > 1;
    gemm::Epilogue epilogue = epilogue_;
    epilogue.bias = operands_ > 2 ? in[2] : nullptr;
    epilogue.residual = operands_ > 3 ? in[3] : nullptr;
    gemm::Params p{};
    p.a = matrix(in[0], sizes_.row_a);
    p.b = matrix(in[1], sizes_.row_b);
    p.c = parts ? scratch : out[0];
    p.m = static_cast<int>(sizes_.m);
    p.n = static_cast<int>(sizes_.n);
    p.k = static_cast<int>(sizes_.k);
    p.depth = share_.depth;
    p.products = 1;
    p.epilogue = parts ? kPlain : epilogue;
    const int64_t blocks = gemm::blocks_of(tile_, sizes_.m, sizes_.n, 1);
    product_.launch({static_cast<unsigned>(blocks), static_cast<unsigned>(share_.splits)}, tile_.threads,
                    gemm::stage_bytes(kind_, tile_), p);
    if (!parts) return;
    JoinParams join{};
    join.parts = static_cast<const float*>(scratch);
    join.c = out[0];
    join.pixels = p.m;
    join.columns = p.n;
    join.sets[0].elements = sizes_.m * sizes_.n;
    join.sets[0].splits = share_.splits;
    join.epilogue = epilogue;
    join_.launch(join, share_.splits);
  }

 private:
  struct Sizes {
    int64_t m, n, k, row_a, row_b;
    const char* transposes;
  };
  static Sizes sizes_of(const Geometry& g, Direction direction) {
    const int64_t pixels = g.in_pixels();
    switch (direction) {
      case Direction::Forward:
        return {pixels, g.cout, g.cin, g.cin, g.cout, "nn"};
      case Direction::InputGrad:
        return {pixels, g.cin, g.cout, g.cout, g.cout, "nt"};
      default:
        return {g.cin, g.cout, pixels, g.cin, g.cout, "tn"};
    }
  }
  gemm::Operand matrix(const void* data, int64_t row) const {
    return {data, row, row % (16 / static_cast<int64_t>(kind_.bytes)) == 0 && on_chunk(data)};
  }

  const gemm::Kind kind_;
  const size_t operands_;
  const Sizes sizes_;
  const Share share_;
  const gemm::Tile tile_;
  const Function product_;
  const Join join_;
  const gemm::Epilogue epilogue_;
};

// Its sizes are counted in 32 bits, and so are bytes along a row.
bool fits(const Geometry& g) {
  for (int d = 0; d < 3; ++d)
    if (g.kernel[d] != 1 || g.stride[d] != 1 || g.low[d] != 0 || g.in[d] != g.out[d]) return false;
  return g.groups == 1 && !g.empty() && g.in_pixels() < INT32_MAX && std::max(g.cin, g.cout) < 1 << 28 &&
         gemm::blocks_of(gemm::kTensorSmall, g.in_pixels(), std::max(g.cin, g.cout), 1) < INT32_MAX;
}

template <Direction direction>
constexpr auto kPrepare = prepare<Pointwise, direction, fits>;

const RegisterCuda forward{{"conv", "conv_bias_act"}, "pointwise", 20, kPrepare<Direction::Forward>};
const RegisterCuda input_grad{"conv_input_grad", "pointwise", 20, kPrepare<Direction::InputGrad>};
const RegisterCuda weight_grad{"conv_weight_grad", "pointwise", 20, kPrepare<Direction::WeightGrad>};

}  // namespace
}  // namespace native::cuda
