// Gradient of a 3x3 or 3x3x3 convolution of stride 1 by its weights, by the adjoint of Winograd's method: the sum over
// tiles of results is taken of the products of transformed values, and transformed back once.
//
// A task takes a range of tiles times a slab of input channels; its partial sums are [position][cin][cout].
#include <algorithm>
#include <cstring>

#include "kernels/conv/tile_sums.h"
#include "kernels/conv/winograd_tiles.h"
#include "kernels/conv/winograd_weights.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t kMostTiles = 64,
                  kCubes = 24;  // at a time: enough for a product's sums to outweigh loading and storing
constexpr int64_t kAhead = 2;   // tiles

// T: elements of tensors; V: of what they are transformed into.
template <class T, class V>
class WinogradWeightGrad final : public Kernel {
 public:
  WinogradWeightGrad(const Geometry& g, const WinogradTile& tile)
      : g_(g),
        tile_(tile),
        positions_(tile.positions()),
        block_(tile.planes == 1 ? kMostTiles : kCubes),
        transform_(winograd_transforms<T, V>(tile)),
        grid_(g.batch, g.out, tile),
        tiles_(grid_.count()),
        sums_(g.cin, g.cout, positions_, tiles_, block_, panel_of(g.cout), 64 / sizeof(V)) {}

  size_t scratch_bytes() const override {
    return sums_.splits * sums_.part * sizeof(float) + whole_lines(std::max(g_.cin, g_.cout) * sizeof(T));
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float* sums = static_cast<float*>(scratch);
    T* zeros = reinterpret_cast<T*>(sums + sums_.splits * sums_.part);
    std::memset(zeros, 0, std::max(g_.cin, g_.cout) * sizeof(T));
    const T* x = static_cast<const T*>(in[0]);
    const T* ct = static_cast<const T*>(in[1]);
    pool::parallel_for(sums_.splits * sums_.slabs, [&](int64_t task) {
      const int64_t split = task / sums_.slabs, first = task % sums_.slabs * sums_.slab;
      add_tiles(x, ct, zeros, tiles_ * split / sums_.splits, tiles_ * (split + 1) / sums_.splits, first,
                std::min(sums_.slab, g_.cin - first), sums + split * sums_.part);
    });
    T* result = static_cast<T*>(out[0]);
    const int64_t chunk = std::max<int64_t>(1, 4096 / g_.cout);
    pool::parallel_for(ceil_div(g_.cin, chunk), [&](int64_t task) {
      for (int64_t c = task * chunk; c < std::min(g_.cin, (task + 1) * chunk); ++c)
        transform_.weight_back(sums + c * g_.cout, sums_.splits, sums_.part, g_.cin * g_.cout, g_.cout,
                               result + c * g_.cout, g_.cin * g_.cout);
    });
  }

 private:
  static constexpr bool kNarrow = sizeof(V) == 2;

  // Output channels of a product.
  static int64_t panel_of(int64_t columns) {
    if (kNarrow) return words_table().bf16.nr;
    return std::min(WinogradWeights::best_block(), round_up(columns, WinogradWeights::kLine));
  }

  void add_tiles(const T* x, const T* ct, const T* zeros, int64_t begin, int64_t end, int64_t channel, int64_t channels,
                 float* sums) const {
    const size_t value_bytes = whole_lines(positions_ * sums_.value_pitch * sizeof(V));
    const size_t cotangent_bytes = whole_lines(positions_ * sums_.cotangent_pitch * sizeof(V));
    const size_t word_bytes = kNarrow ? value_bytes + panel_bytes() : 0;
    char* memory = static_cast<char*>(pool::thread_scratch(value_bytes + cotangent_bytes + word_bytes));
    V* values = reinterpret_cast<V*>(memory);
    V* cotangents = reinterpret_cast<V*>(memory + value_bytes);
    char* const words = memory + value_bytes + cotangent_bytes;
    const T* results[kMostTileResults * kMostTiles];
    for (int64_t first = begin; first < end; first += block_) {
      const int64_t count = std::min(block_, end - first);
      for (int64_t s = 0; s < count; ++s) {
        const TileGrid::Place at = grid_.place(first + s);
        const T* sources[kMostTilePositions];
        grid_.list_sources(at, g_.low, g_.in, g_.cin, x + channel, zeros, sources);
        if (tile_.planes > 1) grid_.fetch_next(sources, zeros, g_.cin, channels);
        transform_.input(sources, channels, values + s * sums_.slab, sums_.value_pitch);
        grid_.list_results(at, g_.out, g_.cout, ct, zeros, results + tile_.results() * s);
      }
      if constexpr (kNarrow)
        for (int64_t p = 0; p < positions_; ++p)
          words_table().bf16.pack_rows(reinterpret_cast<const char*>(values + p * sums_.value_pitch), 2 * sums_.slab,
                                       count, channels, words + 2 * p * sums_.value_pitch, 4 * sums_.slab);
      for (int64_t column = 0; column < g_.cout; column += sums_.panel) {
        const int64_t width = std::min(sums_.panel, g_.cout - column);
        // Lanes of a last vector that are read, but no part of the result.
        if (kNarrow ? width < sums_.panel : width % WinogradWeights::kLine) std::memset(cotangents, 0, cotangent_bytes);
        for (int64_t s = 0; s < count; ++s) {
          const T* tile[kMostTileResults];
          for (int i = 0; i < tile_.results(); ++i) tile[i] = results[tile_.results() * s + i] + column;
          // A panel of a pixel is too short a stream for a prefetcher to follow.
          if (tile_.planes > 1 && s + kAhead < count)
            for (int i = 0; i < tile_.results(); ++i)
              for (int64_t c = 0; c < width; c += 64 / sizeof(T))
                __builtin_prefetch(results[tile_.results() * (s + kAhead) + i] + column + c);
          transform_.cotangent(tile, width, cotangents + s * sums_.panel, sums_.cotangent_pitch);
        }
        const V* const from = kNarrow ? reinterpret_cast<const V*>(words) : values;
        multiply(from, cotangents, count, channels, width, first > begin, sums + channel * g_.cout + column,
                 reinterpret_cast<uint32_t*>(words + value_bytes));
      }
    }
  }

  size_t panel_bytes() const { return kMostTiles / 2 * sums_.panel * sizeof(uint32_t); }

  // Values are words of two squares, and cotangents are made to words in `panel`.
  void multiply(const uint16_t* values, const uint16_t* cotangents, int64_t count, int64_t channels, int64_t width,
                bool accumulate, float* sums, uint32_t* panel) const {
    gemm::WordBlock product{};
    product.m = channels;
    product.n = width;
    product.k = count;
    product.a_row = 4;
    product.a_word = 4 * sums_.slab;
    product.b_row = 2 * sums_.panel;
    product.panel = panel;
    product.sum_row = g_.cout;
    product.accumulate = accumulate;
    for (int64_t position = 0; position < positions_; ++position) {
      product.a = reinterpret_cast<const char*>(values + position * sums_.value_pitch);
      product.b = reinterpret_cast<const char*>(cotangents + position * sums_.cotangent_pitch);
      product.sum = sums + position * g_.cin * g_.cout;
      words_table().bf16.block(product);
    }
  }
  void multiply(const float* values, const float* cotangents, int64_t count, int64_t channels, int64_t width,
                bool accumulate, float* sums, uint32_t*) const {
    gemm::Block<float> product = sums_.product(count, channels, width, accumulate);
    for (int64_t position = 0; position < positions_; ++position) {
      product.a.data = values + position * sums_.value_pitch;
      product.b.data = cotangents + position * sums_.cotangent_pitch;
      product.c = sums + position * g_.cin * g_.cout;
      gemm_table().f32.block(product);
    }
  }

  const Geometry g_;
  const WinogradTile tile_;
  const int64_t positions_;  // products of a tile
  const int64_t block_;      // tiles at a time
  const WinogradTransforms<T, V>& transform_;
  const TileGrid grid_;
  const int64_t tiles_;
  const TileSums sums_;
};

template <int side, bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto choice = winograd_choice(problem, side, best);
  if (!choice) return nullptr;
  const auto& [g, tile] = *choice;
  if (problem.out[0].dtype == DType::BF16) return std::make_unique<WinogradWeightGrad<uint16_t, float>>(g, tile);
  return std::make_unique<WinogradWeightGrad<float, float>>(g, tile);
}

template <bool best>
std::unique_ptr<Kernel> prepare_words(const Problem& problem) {
  const auto choice = winograd_choice(problem, 2, best);
  if (!choice || choice->tile.planes > 1 || !WinogradWords::serve(problem.out[0].dtype, 0)) return nullptr;
  return std::make_unique<WinogradWeightGrad<uint16_t, uint16_t>>(choice->geometry, choice->tile);
}

constexpr char kProblems[] =
    "float32 or bfloat16, 3x3 of stride 1, from 32 channels on both sides and 100 squares of results on; 3x3x3, from "
    "16 "
    "channels and 100 cubes on";
constexpr char kProblems4[] = "3x3 likewise, where NATIVE_WINOGRAD is 4";
constexpr char kWords[] = "3x3 likewise in bfloat16, where the processor has its dot product";
constexpr char kAble[] = "float32 or bfloat16, 3x3 or 3x3x3 of stride 1";
constexpr char kAble4[] = "float32 or bfloat16, 3x3 of stride 1";
const Register kernels[] = {
    {"conv_weight_grad", "winograd", 30, prepare<2, true>, kProblems},
    {"conv_weight_grad", "winograd", kOnlyByChoice, prepare<2, false>, kAble},
    {"conv_weight_grad", "winograd-words", 32, prepare_words<true>, kWords},
    {"conv_weight_grad", "winograd-words", kOnlyByForce, prepare_words<false>, kWords},
    {"conv_weight_grad", "winograd4", 35, prepare<4, true>, kProblems4},
    {"conv_weight_grad", "winograd4", kOnlyByForce, prepare<4, false>, kAble4},
};

}  // namespace
}  // namespace native::conv
