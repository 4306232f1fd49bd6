// Depthwise conv, conv_bias_act and their gradients: kernels of their own, as products would leave most of a
// tile empty.
#include <algorithm>

#include "kernels/conv/depthwise_params.h"
#include "kernels/conv/geometry.h"
#include "kernels/gemm/choice.h"
#include "kernels/types_of.h"
#include "runtime/gpu.h"
#include "runtime/images.h"

namespace native::cuda {
namespace {

using namespace cuda::depthwise;
using gemm::ceil_div;
using native::conv::Geometry;

constexpr int64_t kMost = INT32_MAX - kThreads;

bool is_depthwise(const Geometry& g) { return g.groups > 1 && g.groups == g.cin && !g.empty() && g.out_pixels() > 0; }

// Four neighbouring channels at once, where there is a result for each channel of the input, and addresses allow.
bool has_packs(const Geometry& g) { return g.cin == g.cout && g.cin % 4 == 0; }
bool in_packs(const Geometry& g, size_t element, std::initializer_list<const void*> data) {
  return has_packs(g) && std::all_of(data.begin(), data.end(), [&](const void* x) {
           return reinterpret_cast<uintptr_t>(x) % (4 * element) == 0;
         });
}

template <class P>
void fill(P& p, const Geometry& g) {
  for (int d = 0; d < 3; ++d) {
    p.kernel[d] = static_cast<int>(g.kernel[d]);
    p.stride[d] = static_cast<int>(g.stride[d]);
    p.low[d] = static_cast<int>(g.low[d]);
    p.dilation[d] = static_cast<int>(g.dilation[d]);
  }
  p.multiplier = divisor(g.group_out());
}

// Windows of 3x3 without strides, and a channel of the result for each of the input: kernels that walk down rows.
bool walks(const Geometry& g) {
  for (int d = 0; d < 3; ++d)
    if (g.stride[d] != 1 || g.dilation[d] != 1 || g.kernel[d] != (d ? 3 : 1)) return false;
  return has_packs(g) && g.in[0] == 1 && g.out[0] == 1;
}

// Along g.out, or for the gradient by the input along g.in, with the window turned around.
WalkParams walk(const Geometry& g, bool back, DataType type) {
  const auto &x = back ? g.out : g.in, &results = back ? g.in : g.out;
  WalkParams p{};
  p.x_height = static_cast<int>(x[1]);
  p.x_width = static_cast<int>(x[2]);
  p.height = static_cast<int>(results[1]);
  p.width = static_cast<int>(results[2]);
  p.low_row = static_cast<int>(back ? 2 - g.low[1] : g.low[1]);
  p.low_column = static_cast<int>(back ? 2 - g.low[2] : g.low[2]);
  p.turned = back;
  p.channels = static_cast<int>(g.cout / 4);
  p.rows = static_cast<int>(ceil_div(p.height, ceil_div(p.height, kLongestWalk)));
  const int64_t walks = ceil_div(p.height, p.rows);
  p.columns = static_cast<int>(g.batch * p.width * walks);
  p.threads = int64_t{p.columns} * p.channels;
  p.by_channels = divisor(p.channels);
  p.by_width = divisor(p.width);
  p.by_walks = divisor(walks);
  p.type = type;
  return p;
}

// Forward, or the gradient by the input.
class Depthwise : public Kernel {
 public:
  Depthwise(const Geometry& g, bool back, const Problem& problem, DataType type, Activation activation)
      : g_(g),
        back_(back),
        operands_(problem.in.size()),
        element_(size_of(problem.in[0].dtype)),
        single_("conv/depthwise", back ? "depthwise_input_grad_1" : "depthwise_forward_1"),
        packed_("conv/depthwise", back ? "depthwise_input_grad_4" : "depthwise_forward_4"),
        walk_("conv/depthwise_walk", "depthwise_walk_forward") {
    const auto &source = back ? g.out : g.in, &result = back ? g.in : g.out;
    fill(p_, g);
    for (int d = 0; d < 3; ++d) {
      p_.source_size[d] = static_cast<int>(source[d]);
      p_.result_size[d] = static_cast<int>(result[d]);
      p_.by_stride[d] = divisor(g.stride[d]);
    }
    p_.by_width = divisor(ceil_div(result[2], kAcross));
    p_.by_height = divisor(result[1]);
    p_.by_depth = divisor(result[0]);
    p_.type = type;
    p_.epilogue = {nullptr, nullptr, type, type, activation};
    if (walks(g)) along_ = walk(g, back, type);
  }

  void run(const void* const* in, void* const* out, void*) const override {
    Params p = p_;
    p.source = in[0];
    p.weights = in[1];
    p.result = out[0];
    p.epilogue.bias = operands_ > 2 ? in[2] : nullptr;
    p.epilogue.residual = operands_ > 3 ? in[3] : nullptr;
    const bool packs = in_packs(g_, element_, {in[0], in[1], out[0], p.epilogue.bias, p.epilogue.residual});
    if (packs && along_) {
      WalkParams along = *along_;
      along.x = in[0], along.y = in[1], along.out = out[0];
      along.epilogue = p.epilogue;
      walk_.launch({static_cast<unsigned>(ceil_div(along.threads, kThreads))}, kThreads, 0, along);
      return;
    }
    const int64_t lanes = packs ? 4 : 1;
    p.weight_channels = static_cast<int>(g_.cout / lanes);
    p.source_channels = static_cast<int>((back_ ? g_.cout : g_.cin) / lanes);
    p.channels = static_cast<int>((back_ ? g_.cin : g_.cout) / lanes);
    p.by_channels = divisor(p.channels);
    p.threads = g_.batch * p.result_size[0] * p.result_size[1] * p.by_width.value * p.channels;
    const auto blocks = static_cast<unsigned>(ceil_div(p.threads, kThreads));
    (packs ? packed_ : single_).launch({blocks}, kThreads, 0, p);
  }

 private:
  const Geometry g_;
  const bool back_;
  const size_t operands_, element_;
  const Function single_, packed_, walk_;
  Params p_{};
  std::optional<WalkParams> along_;
};

// Sums over pieces of the pixels, and then over the pieces.
class DepthwiseWeightGrad : public Kernel {
 public:
  DepthwiseWeightGrad(const Geometry& g, const Problem& problem, DataType type)
      : g_(g),
        element_(size_of(problem.in[0].dtype)),
        single_("conv/depthwise", "depthwise_weight_grad_1"),
        packed_("conv/depthwise", "depthwise_weight_grad_4"),
        walk_("conv/depthwise_walk", "depthwise_walk_weight_grad"),
        join_("conv/depthwise_walk", "depthwise_join") {
    fill(p_, g);
    for (int d = 0; d < 3; ++d) {
      p_.x_size[d] = static_cast<int>(g.in[d]);
      p_.by_size[d] = divisor(g.out[d]);
    }
    p_.pixels = static_cast<int>(g.out_pixels());
    p_.type = type;
    // As few across as hold all channels: the other threads take other pixels. By the sizes alone, as are the
    // pieces, so that no sum depends on addresses.
    p_.across = 8;
    while (p_.across < 32 && p_.across < (has_packs(g) ? g.cout / 4 : g.cout)) p_.across *= 2;
    // As many pieces as give a GPU enough to do (four such blocks are about one of
    // a product's), if each thread still has some pixels.
    const int64_t strips = ceil_div(g.cout, 128) * ceil_div(g.taps(), kTaps);
    const int64_t wanted = ceil_div(4 * gemm::kEnoughBlocks, strips), least = 256;
    p_.piece = static_cast<int>(std::max(least, ceil_div(g.out_pixels(), wanted)));
    pieces_ = ceil_div(g.out_pixels(), p_.piece);
    if (walks(g)) plan_walk(type);
  }

  size_t scratch_bytes() const override {
    return sizeof(float) * static_cast<size_t>(std::max(pieces_, along_pieces_) * elements());
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    WeightParams p = p_;
    p.x = in[0];
    p.ct = in[1];
    p.parts = static_cast<float*>(scratch);
    const bool packs = in_packs(g_, element_, {in[0], in[1]});
    if (packs && along_) {
      WalkParams along = *along_;
      along.x = in[0], along.y = in[1], along.out = scratch;
      const Extent grid{static_cast<unsigned>(ceil_div(along.channels, along.across)),
                        static_cast<unsigned>(along_pieces_)};
      walk_.launch(grid, kThreads, 0, along);
      return join(p.parts, out[0], along_pieces_);
    }
    const int64_t lanes = packs ? 4 : 1;
    p.channels = static_cast<int>(g_.cout / lanes);
    p.x_channels = static_cast<int>(g_.cin / lanes);
    const Extent grid{static_cast<unsigned>(ceil_div(p.channels, p.across)),
                      static_cast<unsigned>(ceil_div(g_.taps(), kTaps)), static_cast<unsigned>(pieces_)};
    (packs ? packed_ : single_).launch(grid, kThreads, 0, p);
    join(p.parts, out[0], pieces_);
  }

 private:
  // Strips of all channels if a block has room for them, and pieces of as many columns as leave each thread some.
  void plan_walk(DataType type) {
    WalkParams along = walk(g_, false, type);
    const int64_t strips = ceil_div(along.channels, kThreads / 4);
    along.across = static_cast<int>(ceil_div(along.channels, strips));
    const int64_t down = kThreads / along.across;
    along.piece = static_cast<int>(ceil_div(ceil_div(along.columns, ceil_div(kEnoughWalks, strips)), down) * down);
    along_pieces_ = ceil_div(along.columns, along.piece);
    along_ = along;
  }
  void join(const float* parts, void* out, int64_t pieces) const {
    const JoinParams p{parts, out, static_cast<int>(elements()), static_cast<int>(pieces), p_.type};
    join_.launch({static_cast<unsigned>(ceil_div(elements(), kJoinAcross))}, kThreads, 0, p);
  }
  int64_t elements() const { return g_.taps() * g_.cout; }

  const Geometry g_;
  const size_t element_;
  const Function single_, packed_, walk_, join_;
  WeightParams p_{};
  int64_t pieces_, along_pieces_ = 0;
  std::optional<WalkParams> along_;
};

// The geometry of a depthwise problem of one float dtype whose sizes fit.
std::optional<Geometry> geometry(const Problem& problem) {
  const auto g = native::conv::geometry_of(problem);
  if (!g || !is_depthwise(*g) || !data_type(problem.in[0].dtype)) return std::nullopt;
  for (const Spec& spec : problem.in)
    if (spec.dtype != problem.in[0].dtype) return std::nullopt;
  if (std::max(g->in_pixels() * g->cin, g->out_pixels() * g->cout) * kAcross > kMost || g->taps() > kMost)
    return std::nullopt;
  for (int d = 0; d < 3; ++d)
    if (g->stride[d] > kMost || (g->out[d] - 1) * g->stride[d] > kMost) return std::nullopt;
  return g;
}

template <bool back>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry(problem);
  if (!g) return nullptr;
  return std::make_unique<Depthwise>(*g, back, problem, *data_type(problem.in[0].dtype),
                                     native::conv::activation_of(problem));
}
std::unique_ptr<Kernel> prepare_weight_grad(const Problem& problem) {
  const auto g = geometry(problem);
  if (!g || ceil_div(g->out_pixels(), 256) > 65535) return nullptr;
  return std::make_unique<DepthwiseWeightGrad>(*g, problem, *data_type(problem.in[0].dtype));
}

const RegisterCuda forward{"conv", "depthwise", 20, prepare<false>};
const RegisterCuda fused{"conv_bias_act", "depthwise", 20, prepare<false>};
const RegisterCuda input_grad{"conv_input_grad", "depthwise", 20, prepare<true>};
const RegisterCuda weight_grad{"conv_weight_grad", "depthwise", 20, prepare_weight_grad};

}  // namespace
}  // namespace native::cuda
