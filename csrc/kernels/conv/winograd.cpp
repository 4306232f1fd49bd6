// 3x3 convolution of stride 1 by Winograd's method, forward and gradient by the input (the same with flipped weights).
// By F(2x2, 3x3): 2.25 times fewer multiply-adds than the direct loop, and by measurement no less exact. By
// F(4x4, 3x3), which is asked for: 4 times fewer, and a larger error. An infinity or NaN spreads over the squares of
// results whose pixels it is among.
//
// Elements of bfloat16 are transformed and multiplied in float32, and results rounded once. Gradients alone are made by
// dot instructions, which want transformed values rounded, too: their error is 2.3 units of rounding (2^-9) instead of
// 0.4, for up to twice the speed. Gradients of a network in bfloat16 differ more than that by what is kept of each
// layer.
//
// A task takes a block of squares small enough that their transformed values stay in the second-level
// cache, then for each block of output channels runs the matrix product of each position and
// transforms back while the products are hot.
#include "kernels/conv/winograd.h"

#include <algorithm>
#include <cstring>

#include "kernels/conv/activate.h"
#include "kernels/conv/geometry.h"
#include "kernels/conv/winograd_weights.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t kTasks = 8;  // enough to keep 4 threads even

// One plane of a batch of images.
struct Plane {
  int64_t height, width, channels;
};

enum class Kind {
  Forward,
  InputGrad,
  Prepared,  // forward, the weights transformed already
};

Plane source_of(const Geometry& g, Kind kind) {
  return kind == Kind::InputGrad ? Plane{g.out[1], g.out[2], g.cout} : Plane{g.in[1], g.in[2], g.cin};
}
Plane result_of(const Geometry& g, Kind kind) {
  return kind == Kind::InputGrad ? Plane{g.in[1], g.in[2], g.cin} : Plane{g.out[1], g.out[2], g.cout};
}

// sums[s][width] = the values of `count` squares, `row` elements apart, by a block of weights of one position.
void multiply(const WinogradWeights& weights, int64_t block, const float* panel, const float* values, int64_t row,
              int64_t depth, int64_t count, float* sums) {
  const gemm::Kernels<float>& kernels = gemm_table().f32;
  const int64_t width = weights.width(block);
  gemm::Block<float> product{};
  product.m = count;
  product.n = weights.columns(block);
  product.k = depth;
  product.a = {values, row, 1};
  product.sliver = kernels.mr * row;
  // What is fetched ahead is the next panel, or that of the next position.
  product.b = {panel, width, width <= kernels.nr ? weights.pitch(block) : kernels.nr};
  product.c = sums;
  product.c_row = width;
  kernels.block(product);
}
void multiply(const WinogradWords& weights, int64_t block, const uint32_t* panel, const uint16_t* values, int64_t row,
              int64_t depth, int64_t count, float* sums) {
  gemm::WordBlock product{};
  product.m = count;
  product.n = weights.columns(block);
  product.k = depth;
  product.a = reinterpret_cast<const char*>(values);
  product.a_row = 2 * row;
  product.a_word = 4;
  product.panel = const_cast<uint32_t*>(panel);
  product.sum = sums;
  product.sum_row = weights.width(block);
  words_table().bf16.block(product);
}

// T: elements of tensors; V: of what they are transformed into, multiplied by Weights.
template <class T, class V, class Weights>
class Winograd final : public Kernel {
 public:
  // Pooled: the largest of each square of side 2 is the result.
  Winograd(const Geometry& g, Kind kind, bool pooled, Activation activation, size_t operands, const Weights& weights,
           int side)
      : side_(side),
        patch_(winograd_patch(side)),
        positions_(winograd_positions(side)),
        kind_(kind),
        pooled_(pooled),
        operands_(operands),
        activation_(activation),
        transform_(winograd_transforms<T, V>(side)),
        source_(source_of(g, kind)),
        result_(result_of(g, kind)),
        weights_(weights) {
    for (int i = 0; i < 2; ++i) low_[i] = kind == Kind::InputGrad ? 2 - g.low[1 + i] : g.low[1 + i];
    squares_high_ = ceil_div(reached(result_.height, source_.height, low_[0]), side_);
    squares_wide_ = ceil_div(reached(result_.width, source_.width, low_[1]), side_);
    images_ = g.batch;
    squares_ = images_ * squares_high_ * squares_wide_;
    // One line more than the channels, so that positions do not fall on the same cache sets.
    row_ = source_.channels + static_cast<int64_t>(64 / sizeof(V));
    constexpr int64_t kValueBytes = 320 << 10;
    const int64_t most = kValueBytes / (positions_ * row_ * static_cast<int64_t>(sizeof(V)));
    const int64_t unit = gemm_table().f32.mr;
    // No more tiles than amortise a panel of weights: what they read and write is then close.
    block_ = std::max(unit, even_share(squares_, std::clamp<int64_t>(most, 3 * unit, 4 * unit), unit));
    // Few squares are transformed again for each range of output channels, so that all threads have work.
    ranges_ = std::clamp<int64_t>(kTasks / std::max<int64_t>(1, ceil_div(squares_, block_)), 1, weights_.blocks());
  }

  size_t scratch_bytes() const override { return weight_bytes() + whole_lines(source_.channels * sizeof(T)); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    auto* const own = static_cast<Weight*>(scratch);
    if constexpr (!kNarrow)
      if (kind_ == Kind::Forward) weights_.transform(static_cast<const T*>(in[1]), own);
    if (kind_ == Kind::InputGrad) weights_.transform_turned(static_cast<const T*>(in[1]), own);
    T* const zeros = reinterpret_cast<T*>(static_cast<char*>(scratch) + weight_bytes());
    std::memset(zeros, 0, source_.channels * sizeof(T));
    const Operands operands{.weights = kind_ == Kind::Prepared ? static_cast<const Weight*>(in[1]) : own,
                            .source = static_cast<const T*>(in[0]),
                            .bias = operands_ > 2 ? static_cast<const T*>(in[2]) : nullptr,
                            .residual = operands_ > 3 ? static_cast<const T*>(in[3]) : nullptr,
                            .zeros = zeros,
                            .result = static_cast<T*>(out[0])};
    clear_rest(operands.result);
    pool::parallel_for(ceil_div(squares_, block_) * ranges_, [&](int64_t task) {
      const int64_t first = task / ranges_ * block_, range = task % ranges_;
      run_block(first, std::min(block_, squares_ - first), weights_.blocks() * range / ranges_,
                weights_.blocks() * (range + 1) / ranges_, operands);
    });
  }

 private:
  using Weight = typename Weights::Element;
  static constexpr bool kNarrow = sizeof(V) < sizeof(float);
  struct Operands {
    const Weight* weights;
    const T *source, *bias, *residual, *zeros;
    T* result;
  };

  // How many results from the first one on have sources that are not padding: what a cropped convolution leaves out has
  // no gradient.
  int64_t reached(int64_t results, int64_t sources, int64_t low) const {
    return kind_ == Kind::InputGrad ? std::clamp<int64_t>(sources + low, 0, results) : results;
  }

  void clear_rest(T* result) const {
    const int64_t high = std::min(result_.height, squares_high_ * side_), row = result_.width * result_.channels;
    const int64_t done = std::min(result_.width, squares_wide_ * side_) * result_.channels;
    if (high == result_.height && done == row) return;
    pool::parallel_for(images_, [&](int64_t n) {
      T* const image = result + n * result_.height * row;
      for (int64_t h = 0; h < high; ++h) std::fill(image + h * row + done, image + (h + 1) * row, T(0));
      std::fill(image + high * row, image + result_.height * row, T(0));
    });
  }

  size_t weight_bytes() const {
    return kind_ == Kind::Prepared ? 0 : whole_lines(static_cast<size_t>(weights_.size()) * sizeof(Weight));
  }

  // A block of squares and the blocks [begin, end) of output channels.
  void run_block(int64_t first, int64_t count, int64_t begin, int64_t end, const Operands& operands) const {
    const size_t value_bytes = whole_lines(positions_ * count * row_ * sizeof(V));
    const size_t product_bytes = whole_lines(positions_ * count * weights_.width(0) * sizeof(float));
    char* const memory =
        static_cast<char*>(pool::thread_scratch(value_bytes + product_bytes + side_ * side_ * count * sizeof(T*)));
    V* const values = reinterpret_cast<V*>(memory);
    float* const products = reinterpret_cast<float*>(memory + value_bytes);
    T** const results = reinterpret_cast<T**>(memory + value_bytes + product_bytes);
    for (int64_t s = 0; s < count; ++s)
      take_square(first + s, operands, values + s * row_, count * row_, results + side_ * side_ * s);
    for (int64_t block = begin; block < end; ++block) {
      for (int64_t p = 0; p < positions_; ++p)
        multiply(weights_, block, operands.weights + weights_.offset(block) + p * weights_.pitch(block),
                 values + p * count * row_, row_, source_.channels, count,
                 products + p * count * weights_.width(block));
      write_squares(block, count, operands, products, results);
    }
  }

  void write_squares(int64_t block, int64_t count, const Operands& operands, const float* products,
                     T* const* results) const {
    const int64_t first = block * weights_.width(0), columns = weights_.columns(block), width = weights_.width(block);
    const T* const bias = operands.bias ? operands.bias + first : nullptr;
    for (int64_t s = 0; s < count; ++s) {
      const float* const square_products = products + s * width;
      if (pooled_) {
        T* const pixel = results[side_ * side_ * s] + first;
        transform_.largest(square_products, count * width, columns, bias, inner_activation(activation_), pixel);
        continue;
      }
      T* square[kMostSide * kMostSide] = {};
      const T* added[kMostSide * kMostSide];
      for (int i = 0; i < side_ * side_; ++i) {
        T* const pixel = results[side_ * side_ * s + i];
        square[i] = pixel ? pixel + first : nullptr;
        added[i] = square[i] && operands.residual ? operands.residual + (square[i] - operands.result) : nullptr;
      }
      transform_.output(square_products, count * width, columns, bias, operands.residual ? added : nullptr,
                        inner_activation(activation_), square);
      if constexpr (sizeof(T) == sizeof(float))
        for (T* pixel : square)
          if (pixel) finish(activation_, 1, columns, pixel, columns);
    }
  }

  // Transforms the source of a square, and finds where its results go.
  void take_square(int64_t square, const Operands& operands, V* value, int64_t pitch, T** results) const {
    const int64_t w = square % squares_wide_ * side_, h = square / squares_wide_ % squares_high_ * side_,
                  n = square / squares_wide_ / squares_high_;
    const T* patch[winograd_positions(kMostSide)];
    const T** pixel = patch;
    for (int64_t row = h - low_[0]; row < h - low_[0] + patch_; ++row)
      for (int64_t column = w - low_[1]; column < w - low_[1] + patch_; ++column) {
        const bool inside = row >= 0 && row < source_.height && column >= 0 && column < source_.width;
        *pixel++ = inside ? operands.source + ((n * source_.height + row) * source_.width + column) * source_.channels
                          : operands.zeros;
      }
    // What the next square reads and none before it has read.
    for (int64_t row = patch_ - side_; row < patch_; ++row) {
      const T* const last = patch[(row + 1) * patch_ - 1];
      for (int64_t c = 0; last != operands.zeros && c < side_ * source_.channels; c += 64 / sizeof(T))
        __builtin_prefetch(last + source_.channels + c);
    }
    transform_.input(patch, source_.channels, value, pitch);
    if (pooled_) {
      *results = operands.result + square * result_.channels;
      return;
    }
    for (int64_t row = h; row < h + side_; ++row)
      for (int64_t column = w; column < w + side_; ++column) {
        const bool inside = row < result_.height && column < result_.width;
        *results++ = inside ? operands.result + ((n * result_.height + row) * result_.width + column) * result_.channels
                            : nullptr;
      }
  }

  const int64_t side_, patch_, positions_;  // of a square of results, of its pixels of x; products of a square
  const Kind kind_;
  const bool pooled_;
  const size_t operands_;
  const Activation activation_;
  const WinogradTransforms<T, V>& transform_;
  const Plane source_, result_;
  const Weights weights_;
  int64_t low_[2];
  int64_t images_, squares_high_, squares_wide_, squares_;
  int64_t row_;     // elements between the values of neighbouring squares
  int64_t block_;   // squares of a task
  int64_t ranges_;  // of output channels
};

std::unique_ptr<Kernel> make(const Problem& problem, const Geometry& g, Kind kind, bool pooled, int64_t block,
                             int side) {
  const Activation activation = activation_of(problem);
  const size_t operands = problem.in.size();
  if (pooled && (side != 2 || !pools_with(activation))) return nullptr;
  const WinogradWeights weights(source_of(g, kind).channels, result_of(g, kind).channels, block, side);
  if (problem.out[0].dtype == DType::F32)
    return std::make_unique<Winograd<float, float, WinogradWeights>>(g, kind, pooled, activation, operands, weights,
                                                                     side);
  // Longer activations are applied to finished results, which bfloat16 has rounded then.
  if (activation > Activation::Relu6) return nullptr;
  return std::make_unique<Winograd<uint16_t, float, WinogradWeights>>(g, kind, pooled, activation, operands, weights,
                                                                      side);
}

Kind kind_of(const Problem& problem) { return problem.op == "conv_input_grad" ? Kind::InputGrad : Kind::Forward; }

template <int side, bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !winograd_fits(problem, *g) || (best && !winograd_pays(problem, *g, side))) return nullptr;
  return make(problem, *g, kind_of(problem), problem.op == "conv_pool", WinogradWeights::best_block(), side);
}

template <bool best>
std::unique_ptr<Kernel> prepare_words(const Problem& problem) {
  const auto g = geometry_of(problem);
  if (!g || !winograd_fits(problem, *g) || (best && !winograd_pays(problem, *g, 2))) return nullptr;
  if (!WinogradWords::serve(problem.out[0].dtype, g->cout)) return nullptr;
  return std::make_unique<Winograd<uint16_t, uint16_t, WinogradWords>>(
      *g, Kind::InputGrad, false, Activation::None, problem.in.size(), WinogradWords(g->cout, g->cin), 2);
}

// `winograd_conv` is conv_bias_act (or conv, of two operands, or conv_pool) with what `winograd_weights` made of its
// weights.
std::unique_ptr<Kernel> prepare_prepared(const Problem& problem) {
  const Shape &x = problem.in[0].shape, &y = problem.out[0].shape;
  const Ints& padding = problem.attrs.ints("padding");
  Geometry g{};
  g.batch = x[0];
  g.in = {1, x[1], x[2]};
  const bool pooled = problem.attrs.integer("pooled", 0) != 0;
  g.out = {1, y[1] << pooled, y[2] << pooled};
  g.low = {0, padding[0], padding[2]};
  g.cin = x[3];
  g.cout = y[3];
  return make(problem, g, Kind::Prepared, pooled, problem.attrs.integer("block"),
              static_cast<int>(problem.attrs.integer("side")));
}

constexpr char kProblems[] =
    "float32 or bfloat16, 3x3 of stride 1, from 32 channels on both sides and 16 squares of results on";
constexpr char kProblems4[] = "the same, where NATIVE_WINOGRAD is 4";
constexpr char kWords[] =
    "the same in bfloat16, where the processor has its dot product, with an even number of channels";
constexpr char kAble[] = "float32 or bfloat16, 3x3 of stride 1";
const Register prepared{"winograd_conv", "winograd", 30, prepare_prepared};
constexpr std::initializer_list<const char*> kServed = {"conv", "conv_bias_act", "conv_pool", "conv_input_grad"};
const Register kernels[] = {
    {kServed, "winograd", 30, prepare<2, true>, kProblems},
    {kServed, "winograd", kOnlyByChoice, prepare<2, false>, kAble},
    {kServed, "winograd4", 35, prepare<4, true>, kProblems4},
    {kServed, "winograd4", kOnlyByForce, prepare<4, false>, kAble},
    {"conv_input_grad", "winograd-words", 32, prepare_words<true>, kWords},
    {"conv_input_grad", "winograd-words", kOnlyByForce, prepare_words<false>, kWords},
};

}  // namespace

bool winograd_fits(const Problem& problem, const Geometry& g) {
  const DType dtype = problem.out[0].dtype;
  for (const Spec& spec : problem.in)
    if (spec.dtype != dtype) return false;
  if (dtype != DType::F32 && dtype != DType::BF16) return false;
  if (g.groups != 1 || g.in[0] != 1 || g.out[0] != 1) return false;
  return g.kernel == Triple{1, 3, 3} && g.stride == Triple{1, 1, 1} && g.dilation == Triple{1, 1, 1};
}

bool winograd_pays(const Problem& problem, const Geometry& g, int side) {
  if (side > winograd_side()) return false;
  // Fewer channels do not pay for the transforms of the pixels, fewer squares not for those of the weights: the
  // gradient by the weights transforms a sum for each task.
  constexpr int64_t kChannels = 32;
  const int64_t least = problem.op == "conv_weight_grad" ? 100 : 16;
  const Triple& result = problem.op == "conv_input_grad" ? g.in : g.out;
  const int64_t squares = g.batch * ceil_div(result[1], side) * ceil_div(result[2], side);
  // Dot instructions compute pixels one by one faster than float32 does squares a quarter of which is thrown away.
  const bool forward = problem.op == "conv" || problem.op == "conv_bias_act";
  if (forward && WinogradWords::serve(problem.out[0].dtype, g.cin) && 10 * squares > 3 * g.out_pixels()) return false;
  return g.cin >= kChannels && g.cout >= kChannels && squares >= least;
}

}  // namespace native::conv
