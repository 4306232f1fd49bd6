// conv, conv_bias_act and their gradients where every pixel is a window of its own: products of matrices in memory, by
// the kernels of those.
#include "kernels/conv/geometry.h"
#include "kernels/conv/join.h"
#include "kernels/conv/prepare.h"
#include "kernels/conv/product.h"
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
      : operands_(operands),
        product_(kind, sizes_of(g, direction)),
        epilogue_{nullptr, nullptr, memory, memory, activation} {}

  size_t scratch_bytes() const override {
    return product_.splits() > 1 ? sizeof(float) * static_cast<size_t>(product_.splits() * product_.elements()) : 0;
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    const bool parts = product_.splits() > 1;
    gemm::Epilogue epilogue = epilogue_;
    epilogue.bias = operands_ > 2 ? in[2] : nullptr;
    epilogue.residual = operands_ > 3 ? in[3] : nullptr;
    product_.launch(in[0], in[1], parts ? scratch : out[0], parts ? kPlain : epilogue);
    if (!parts) return;
    JoinParams join{};
    join.parts = static_cast<const float*>(scratch);
    join.c = out[0];
    join.pixels = static_cast<int>(product_.sizes().m);
    join.columns = static_cast<int>(product_.sizes().n);
    join.sets[0].elements = product_.elements();
    join.sets[0].splits = product_.splits();
    join.epilogue = epilogue;
    join_.launch(join, product_.splits());
  }

 private:
  static Product::Sizes sizes_of(const Geometry& g, Direction direction) {
    const int64_t pixels = g.in_pixels();
    switch (direction) {
      case Direction::Forward:
        return {pixels, g.cout, g.cin, g.cin, g.cout, false, false};
      case Direction::InputGrad:
        return {pixels, g.cin, g.cout, g.cout, g.cout, false, true};
      default:
        return {g.cin, g.cout, pixels, g.cin, g.cout, true, false};
    }
  }

  const size_t operands_;
  const Product product_;
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
