// 3x3 and 3x3x3 convolution of stride 1 by Winograd's method, forward and gradient by the input (the same with flipped
// weights). By F(2x2, 3x3): 2.25 times fewer multiply-adds than the direct loop, and by measurement no less exact; by
// F(2x2x2, 3x3x3) 3.4 times fewer. By F(4x4, 3x3), which is asked for: 4 times fewer, and a larger error. An infinity
// or NaN spreads over the tiles of results whose pixels it is among.
//
// Elements of bfloat16 are transformed and multiplied in float32, and results rounded once. Gradients alone are made by
// dot instructions, which want transformed values rounded, too: their error is 2.3 units of rounding (2^-9) instead of
// 0.4, for up to twice the speed. Gradients of a network in bfloat16 differ more than that by what is kept of each
// layer.
//
// A task takes a block of tiles small enough that their transformed values stay in the second-level
// cache, then for each block of output channels runs the matrix product of each position and
// transforms back while the products are hot. Where weights are many, for each position it runs those of all blocks of
// output channels and then transforms back, so that weights are read once for many tiles.
#include "kernels/conv/winograd.h"

#include <algorithm>
#include <cstring>

#include "kernels/conv/activate.h"
#include "kernels/conv/winograd_tiles.h"
#include "kernels/conv/winograd_weights.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"
#include "simd/nontemporal.h"

namespace native::conv {
namespace {

constexpr int64_t kTasks = 8;  // enough to keep 4 threads even
// Weights of more bytes come from memory for each block of tiles. Blocks are then of so many units of the product's
// rows, although their transformed values and products are more than the second-level cache holds.
constexpr int64_t kFarWeightBytes = 4 << 20, kDeepUnits = 11;

// A batch of images, of one plane if they are flat.
struct Images {
  Triple size;
  int64_t channels;
};

enum class Kind {
  Forward,
  InputGrad,
  Prepared,  // forward, the weights transformed already
};

Images source_of(const Geometry& g, Kind kind) {
  return kind == Kind::InputGrad ? Images{g.out, g.cout} : Images{g.in, g.cin};
}
Images result_of(const Geometry& g, Kind kind) {
  return kind == Kind::InputGrad ? Images{g.in, g.cin} : Images{g.out, g.cout};
}

// sums[s][width] = the values of `count` tiles, `row` elements apart, by a block of weights of one position.
// `next`: from its panel to the one whose turn comes then.
void multiply(const WinogradWeights& weights, int64_t block, const float* panel, int64_t next, const float* values,
              int64_t row, int64_t depth, int64_t count, float* sums) {
  const gemm::Kernels<float>& kernels = gemm_table().f32;
  const int64_t width = weights.width(block);
  gemm::Block<float> product{};
  product.m = count;
  product.n = weights.columns(block);
  product.k = depth;
  product.a = {values, row, 1};
  product.sliver = kernels.mr * row;
  product.b = {panel, width, kernels.nr};
  product.behind = next;
  product.c = sums;
  product.c_row = width;
  kernels.block(product);
}
void multiply(const WinogradWords& weights, int64_t block, const uint32_t* panel, int64_t /*next*/,
              const uint16_t* values, int64_t row, int64_t depth, int64_t count, float* sums) {
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
  // Pooled: the largest of each tile of side 2 is the result; of two results the second says which it is.
  Winograd(const Geometry& g, Kind kind, bool pooled, Activation activation, size_t operands, size_t results,
           const Weights& weights, const WinogradTile& tile)
      : tile_(tile),
        positions_(tile.positions()),
        kind_(kind),
        pooled_(pooled),
        operands_(operands),
        has_places_(results > 1),
        activation_(activation),
        transform_(winograd_transforms<T, V>(tile)),
        source_(source_of(g, kind)),
        result_(result_of(g, kind)),
        weights_(weights),
        low_(low_of(g, kind)),
        images_(g.batch),
        tiles_(images_, reached(), tile),
        past_caches_(writes_past_caches()) {
    // One line more than the channels, so that positions do not fall on the same cache sets.
    row_ = source_.channels + static_cast<int64_t>(64 / sizeof(V));
    constexpr int64_t kValueBytes = 320 << 10;
    const int64_t most = kValueBytes / (positions_ * row_ * static_cast<int64_t>(sizeof(V)));
    const int64_t unit = gemm_table().f32.mr;
    deep_ = !kNarrow && tiles_.count() > 4 * unit &&
            weights_.size() * static_cast<int64_t>(sizeof(Weight)) > kFarWeightBytes;
    // No more rows than amortise a panel of weights: what they read and write is then close.
    const int64_t most_tiles = deep_ ? kDeepUnits * unit : std::clamp<int64_t>(most, 3 * unit, 4 * unit);
    block_ = std::max(unit, even_share(tiles_.count(), most_tiles, unit));
    // Few tiles are transformed again for each range of output channels, so that all threads have work.
    ranges_ =
        std::clamp<int64_t>(kTasks / std::max<int64_t>(1, ceil_div(tiles_.count(), block_)), 1, weights_.blocks());
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
                            .result = static_cast<T*>(out[0]),
                            .places = has_places_ ? static_cast<uint8_t*>(out[1]) : nullptr};
    clear_rest(operands.result);
    pool::parallel_for(ceil_div(tiles_.count(), block_) * ranges_, [&](int64_t task) {
      const int64_t first = task / ranges_ * block_, range = task % ranges_;
      run_block(first, std::min(block_, tiles_.count() - first), weights_.blocks() * range / ranges_,
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
    uint8_t* places;  // of the largest in their tiles, or null
  };

  static Triple low_of(const Geometry& g, Kind kind) {
    if (kind != Kind::InputGrad) return g.low;
    return {g.kernel[0] - 1 - g.low[0], g.kernel[1] - 1 - g.low[1], g.kernel[2] - 1 - g.low[2]};
  }

  // How many results from the first one on have sources that are not padding: what a cropped convolution leaves out has
  // no gradient.
  Triple reached() const {
    Triple results = result_.size;
    for (int i = 0; kind_ == Kind::InputGrad && i < 3; ++i)
      results[i] = std::clamp<int64_t>(source_.size[i] + low_[i], 0, results[i]);
    return results;
  }

  // Half lines of a tile's four pixels in turn still fill up before they go out. Of more pixels, as of larger tiles, it
  // was not measured.
  bool writes_past_caches() const {
    const int64_t pixel = result_.channels * static_cast<int64_t>(sizeof(T));
    const auto [depth, height, width] = result_.size;
    return sizeof(T) == sizeof(float) && tile_.results() == 4 && activation_ <= Activation::Relu6 &&
           is_far(images_ * depth * height * width * pixel) && pixel % kLineBytes == 0;
  }

  void clear_rest(T* result) const {
    Triple done;
    for (int i = 0; i < 3; ++i) done[i] = std::min(result_.size[i], tiles_.covered(i));
    if (done == result_.size) return;
    const int64_t row = result_.size[2] * result_.channels, kept = done[2] * result_.channels;
    pool::parallel_for(images_ * result_.size[0], [&](int64_t index) {
      T* const plane = result + index * result_.size[1] * row;
      const int64_t rows = index % result_.size[0] < done[0] ? done[1] : 0;
      for (int64_t h = 0; h < rows; ++h) std::fill(plane + h * row + kept, plane + (h + 1) * row, T(0));
      std::fill(plane + rows * row, plane + result_.size[1] * row, T(0));
    });
  }

  size_t weight_bytes() const {
    return kind_ == Kind::Prepared ? 0 : whole_lines(static_cast<size_t>(weights_.size()) * sizeof(Weight));
  }

  // Elements between positions: with a line more where they are many, so that they do not fall on the same cache sets.
  int64_t pitch(int64_t count, int64_t row) const { return count * row + (tile_.planes == 1 ? 0 : 16); }

  // A block of tiles and the blocks [begin, end) of output channels.
  void run_block(int64_t first, int64_t count, int64_t begin, int64_t end, const Operands& operands) const {
    const size_t value_bytes = whole_lines(positions_ * pitch(count, row_) * sizeof(V));
    const int64_t block_products = positions_ * pitch(count, weights_.width(0));
    const int64_t together = deep_ ? end - begin : 1;
    const size_t product_bytes = whole_lines(together * block_products * sizeof(float));
    char* const memory =
        static_cast<char*>(pool::thread_scratch(value_bytes + product_bytes + tile_.results() * count * sizeof(T*)));
    V* const values = reinterpret_cast<V*>(memory);
    float* const products = reinterpret_cast<float*>(memory + value_bytes);
    T** const results = reinterpret_cast<T**>(memory + value_bytes + product_bytes);
    for (int64_t s = 0; s < count; ++s)
      take_tile(first + s, operands, values + s * row_, pitch(count, row_), results + tile_.results() * s);
    const auto sums = [&](int64_t block) { return products + (block - begin) % together * block_products; };
    for (int64_t done = begin; done < end; done += together) {
      for (int64_t p = 0; p < positions_; ++p)
        for (int64_t block = done; block < done + together; ++block)
          multiply(weights_, block, operands.weights + weights_.offset(block) + p * weights_.pitch(block),
                   deep_ ? weights_.offset(1) : weights_.pitch(block), values + p * pitch(count, row_), row_,
                   source_.channels, count, sums(block) + p * pitch(count, weights_.width(block)));
      for (int64_t block = done; block < done + together; ++block)
        write_tiles(block, count, operands, sums(block), results);
    }
  }

  void write_tiles(int64_t block, int64_t count, const Operands& operands, const float* products,
                   T* const* results) const {
    const int64_t first = block * weights_.width(0), columns = weights_.columns(block), width = weights_.width(block);
    const T* const bias = operands.bias ? operands.bias + first : nullptr;
    for (int64_t s = 0; s < count; ++s, results += tile_.results()) {
      const float* const tile_products = products + s * width;
      if (pooled_) {
        transform_.largest(tile_products, pitch(count, weights_.width(block)), columns, bias,
                           inner_activation(activation_), results[0] + first,
                           operands.places ? operands.places + (results[0] - operands.result) + first : nullptr);
        continue;
      }
      T* tile[kMostTileResults] = {};
      const T* added[kMostTileResults];
      for (int i = 0; i < tile_.results(); ++i) {
        tile[i] = results[i] ? results[i] + first : nullptr;
        added[i] = tile[i] && operands.residual ? operands.residual + (tile[i] - operands.result) : nullptr;
      }
      transform_.output(tile_products, pitch(count, weights_.width(block)), columns, bias,
                        operands.residual ? added : nullptr, inner_activation(activation_),
                        past_caches_ && at_line(operands.result), tile);
      if constexpr (sizeof(T) == sizeof(float))
        for (T* pixel : tile)
          if (pixel) finish(activation_, 1, columns, pixel, columns);
    }
  }

  // Transforms the sources of a tile, and finds where its results go.
  void take_tile(int64_t index, const Operands& operands, V* value, int64_t pitch, T** results) const {
    const TileGrid::Place at = tiles_.place(index);
    const T* sources[kMostTilePositions];
    tiles_.list_sources(at, low_, source_.size, source_.channels, operands.source, operands.zeros, sources);
    tiles_.fetch_next(sources, operands.zeros, source_.channels, source_.channels);
    transform_.input(sources, source_.channels, value, pitch);
    if (pooled_)
      *results = operands.result + index * result_.channels;
    else
      tiles_.list_results<T*>(at, result_.size, result_.channels, operands.result, nullptr, results);
  }

  const WinogradTile tile_;
  const int64_t positions_;  // products of a tile
  const Kind kind_;
  const bool pooled_;
  const size_t operands_;
  const bool has_places_;
  const Activation activation_;
  const WinogradTransforms<T, V>& transform_;
  const Images source_, result_;
  const Weights weights_;
  const Triple low_;  // zeros in front of the sources
  const int64_t images_;
  const TileGrid tiles_;
  const bool past_caches_;
  bool deep_;       // weights are far: positions before blocks of output channels, and many tiles
  int64_t row_;     // elements between the values of neighbouring tiles
  int64_t block_;   // tiles of a task
  int64_t ranges_;  // of output channels
};

std::unique_ptr<Kernel> make(const Problem& problem, const Geometry& g, Kind kind, bool pooled, int64_t block,
                             const WinogradTile& tile) {
  const Activation activation = activation_of(problem);
  const size_t operands = problem.in.size(), results = problem.out.size();
  if (pooled && (tile.side != 2 || !pools_with(activation))) return nullptr;
  const WinogradWeights weights(source_of(g, kind).channels, result_of(g, kind).channels, block, tile);
  if (problem.out[0].dtype == DType::F32)
    return std::make_unique<Winograd<float, float, WinogradWeights>>(g, kind, pooled, activation, operands, results,
                                                                     weights, tile);
  // Longer activations are applied to finished results, which bfloat16 has rounded then.
  if (activation > Activation::Relu6) return nullptr;
  return std::make_unique<Winograd<uint16_t, float, WinogradWeights>>(g, kind, pooled, activation, operands, results,
                                                                      weights, tile);
}

template <int side, bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto choice = winograd_choice(problem, side, best);
  if (!choice) return nullptr;
  const Kind kind = problem.op == "conv_input_grad" ? Kind::InputGrad : Kind::Forward;
  return make(problem, choice->geometry, kind, problem.op == "conv_pool", WinogradWeights::best_block(), choice->tile);
}

template <bool best>
std::unique_ptr<Kernel> prepare_words(const Problem& problem) {
  const auto choice = winograd_choice(problem, 2, best);
  if (!choice || choice->tile.planes > 1) return nullptr;
  if (!WinogradWords::serve(problem.out[0].dtype, choice->geometry.cout)) return nullptr;
  const Geometry& g = choice->geometry;
  return std::make_unique<Winograd<uint16_t, uint16_t, WinogradWords>>(
      g, Kind::InputGrad, false, Activation::None, problem.in.size(), 1, WinogradWords(g.cout, g.cin), choice->tile);
}

// `winograd_conv` is conv_bias_act (or conv, of two operands, or conv_pool) with what `winograd_weights` made of its
// weights.
std::unique_ptr<Kernel> prepare_prepared(const Problem& problem) {
  const Shape &x = problem.in[0].shape, &y = problem.out[0].shape;
  const Ints& padding = problem.attrs.ints("padding");
  const bool pooled = problem.attrs.integer("pooled", 0) != 0;
  const size_t rank = x.size() - 2;
  Geometry g{};
  g.batch = x[0];
  g.in = g.out = {1, 1, 1};
  for (size_t i = 0; i < rank; ++i) {
    const size_t at = 3 - rank + i;
    g.in[at] = x[1 + i], g.out[at] = y[1 + i] << pooled, g.low[at] = padding[2 * i];
  }
  g.cin = x.back();
  g.cout = y.back();
  const WinogradTile tile{rank == 3 ? 2 : 1, static_cast<int>(problem.attrs.integer("side"))};
  return make(problem, g, Kind::Prepared, pooled, problem.attrs.integer("block"), tile);
}

constexpr char kProblems[] =
    "float32 or bfloat16, 3x3 of stride 1, from 32 channels on both sides and 16 squares of results on; 3x3x3, from 16 "
    "channels and 16 cubes on";
constexpr char kProblems4[] = "3x3 likewise, where NATIVE_WINOGRAD is 4";
constexpr char kWords[] =
    "3x3 likewise in bfloat16, where the processor has its dot product, with an even number of channels";
constexpr char kAble[] = "float32 or bfloat16, 3x3 or 3x3x3 of stride 1";
constexpr char kAble4[] = "float32 or bfloat16, 3x3 of stride 1";
const Register prepared{"winograd_conv", "winograd", 30, prepare_prepared};
constexpr std::initializer_list<const char*> kServed = {"conv", "conv_bias_act", "conv_pool", "conv_input_grad"};
const Register kernels[] = {
    {kServed, "winograd", 30, prepare<2, true>, kProblems},
    {kServed, "winograd", kOnlyByChoice, prepare<2, false>, kAble},
    {kServed, "winograd4", 35, prepare<4, true>, kProblems4},
    {kServed, "winograd4", kOnlyByForce, prepare<4, false>, kAble4},
    {"conv_input_grad", "winograd-words", 32, prepare_words<true>, kWords},
    {"conv_input_grad", "winograd-words", kOnlyByForce, prepare_words<false>, kWords},
};

}  // namespace

}  // namespace native::conv
