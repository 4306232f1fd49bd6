// Gradient of a convolution whose taps lie along one dimension, or in rows of a window, by its weights, by the adjoint
// of fast algorithms for short ones (fast_fir.h): the sum over strips of results is taken of the products of
// transformed values, and transformed back once.
//
// A task takes a range of strips times a slab of input channels; its partial sums are [row][product][cin][cout].
#include <algorithm>
#include <cstring>

#include "kernels/conv/line.h"
#include "kernels/conv/tile_sums.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t kStrips = 64;  // of a block: enough for a tile's sums to outweigh loading and storing them
constexpr int64_t kLine = 16;    // floats of a cache line
constexpr int64_t kAhead = 4;    // strips

class WinogradLineWeightGrad final : public Kernel {
 public:
  explicit WinogradLineWeightGrad(const Line& line)
      : line_(line),
        pass_(line_.passes.front()),
        fir_(pass_.fir),
        strips_(line_.strips(pass_)),
        sums_(line.depth, line.columns, line.rows.count * fir_.products(), strips_, kStrips + line.rows.count - 1,
              std::max<int64_t>(kLine, gemm_table().f32.nr), kLine) {
    for (int64_t s = 0; s < sums_.splits; ++s) all_splits_.push_back({static_cast<int>(s), 1});
    for (int64_t p = 0, before = 0; p < fir_.positions(); before += fir_.parts[p++]) before_[p] = before;
    by_tap_.resize(line.taps);
    for (const FirChunk& chunk : fir_.chunks)
      for (int point = 0; point < kPoints; ++point)
        for (const Term& term : chunk.weights[point])
          by_tap_[term.row].push_back(
              {static_cast<int>(before_[chunk.position + point] + chunk.part[point]), term.factor});
  }

  size_t scratch_bytes() const override {
    return sums_.splits * sums_.part * sizeof(float) +
           whole_lines(std::max(line_.depth, line_.columns) * sizeof(float));
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float* const sums = static_cast<float*>(scratch);
    float* const zeros = sums + sums_.splits * sums_.part;
    std::fill_n(zeros, std::max(line_.depth, line_.columns), 0.0f);
    const Operands operands{static_cast<const float*>(in[0]), static_cast<const float*>(in[1]), zeros};
    pool::parallel_for(sums_.splits * sums_.slabs, [&](int64_t task) {
      const int64_t split = task / sums_.slabs, first = task % sums_.slabs * sums_.slab;
      add_strips(operands, strips_ * split / sums_.splits, strips_ * (split + 1) / sums_.splits, first,
                 std::min(sums_.slab, line_.depth - first), sums + split * sums_.part);
    });
    const int64_t chunk = std::max<int64_t>(1, 4096 / line_.columns);
    pool::parallel_for(ceil_div(line_.depth, chunk), [&](int64_t task) {
      for (int64_t c = task * chunk; c < std::min(line_.depth, (task + 1) * chunk); ++c)
        for (int64_t row = 0; row < line_.rows.count; ++row)
          transform_back(sums + row * fir_.products() * tap() + c * line_.columns,
                         static_cast<float*>(out[0]) + row * line_.taps * tap() + c * line_.columns);
    });
  }

 private:
  struct Operands {
    const float *x, *ct, *zeros;
  };

  int64_t tap() const { return line_.depth * line_.columns; }

  void combine(const Terms& terms, const float* const* rows, int64_t channels, float* out) const {
    transform_.combine(terms.data(), static_cast<int64_t>(terms.size()), rows, channels, out);
  }

  void add_strips(const Operands& operands, int64_t begin, int64_t end, int64_t channel, int64_t channels,
                  float* sums) const {
    const size_t value_bytes = whole_lines(fir_.products() * sums_.value_pitch * sizeof(float));
    const size_t cotangent_bytes = fir_.positions() * sums_.cotangent_pitch * sizeof(float);
    char* const memory = static_cast<char*>(pool::thread_scratch(value_bytes + cotangent_bytes));
    float* const values = reinterpret_cast<float*>(memory);
    float* const cotangents = reinterpret_cast<float*>(memory + value_bytes);
    Line::Strip strips[kStrips + kMostLineTaps];
    for (int64_t first = begin; first < end; first += kStrips) {
      const int64_t count = std::min(kStrips, end - first), sources = count + line_.rows.count - 1;
      line_.list_strips(pass_, first, sources, strips);
      for (int64_t s = 0; s < sources; ++s)
        take_sources(operands, strips[s], channel, channels, values + s * sums_.slab);
      for (int64_t column = 0; column < line_.columns; column += sums_.panel) {
        const int64_t width = std::min(sums_.panel, line_.columns - column);
        if (width < sums_.panel) std::memset(cotangents, 0, cotangent_bytes);
        for (int64_t s = 0; s < count; ++s) {
          if (s + kAhead < count) fetch_cotangents(operands, strips[s + kAhead], column, width);
          take_cotangents(operands, strips[s], column, width, cotangents + s * sums_.panel);
        }
        multiply(values, cotangents, count, channels, width, first > begin, sums + channel * line_.columns + column);
      }
    }
  }

  // The values are [product][strip][slab].
  void take_sources(const Operands& operands, const Line::Strip& strip, int64_t channel, int64_t channels,
                    float* value) const {
    const float* rows[kMostLineReads];
    for (size_t i = 0; i < fir_.reads.size(); ++i) {
      const int64_t at = line_.source_of(strip, fir_.reads[i]);
      rows[i] = at >= 0 ? operands.x + at + channel : operands.zeros;
    }
    for (const FirChunk& chunk : fir_.chunks)
      take_chunk(transform_, chunk, rows, channels, [&](int point) {
        return value + (before_[chunk.position + point] + chunk.part[point]) * sums_.value_pitch;
      });
  }

  // A panel of a row is too short a stream for a prefetcher to follow.
  void fetch_cotangents(const Operands& operands, const Line::Strip& strip, int64_t column, int64_t width) const {
    for (int r = 0; r < fir_.results; ++r) {
      const int64_t at = line_.result_of(strip, r * pass_.step);
      if (at < 0) return;
      for (int64_t c = 0; c < width; c += kLine) __builtin_prefetch(operands.ct + at + column + c);
    }
  }

  // The cotangents are [position][strip][panel].
  void take_cotangents(const Operands& operands, const Line::Strip& strip, int64_t column, int64_t width,
                       float* cotangent) const {
    const float* rows[kMostStripResults];
    for (int r = 0; r < fir_.results; ++r) {
      const int64_t at = line_.result_of(strip, r * pass_.step);
      rows[r] = at >= 0 ? operands.ct + at + column : operands.zeros;
    }
    transform_.cotangents[fir_.results == 4](rows, width, cotangent, sums_.cotangent_pitch);
  }

  void multiply(const float* values, const float* cotangents, int64_t count, int64_t channels, int64_t width,
                bool accumulate, float* sums) const {
    gemm::Block<float> product = sums_.product(count, channels, width, accumulate);
    product.b.data = cotangents;
    for (const int64_t parts : fir_.parts) {
      for (int64_t i = 0; i < parts; ++i) {
        for (int64_t row = 0; row < line_.rows.count; ++row) {
          product.a.data = values + row * sums_.slab;
          product.c = sums + row * fir_.products() * tap();
          gemm_table().f32.block(product);
        }
        values += sums_.value_pitch;
        sums += tap();
      }
      product.b.data += sums_.cotangent_pitch;
    }
  }

  // One input channel and row of taps: the sums of all tasks, added up in their order, to the taps.
  void transform_back(float* sums, float* result) const {
    constexpr int64_t kMostSplits = 16;
    const float* parts[kMostSplits];
    const float* rows[kMostLineReads];
    for (int64_t i = 0; i < fir_.products(); ++i) {
      float* const total = sums + i * tap();
      rows[i] = total;
      for (int64_t s = 0; s < sums_.splits; ++s) parts[s] = total + s * sums_.part;
      if (sums_.splits > 1) combine(all_splits_, parts, line_.columns, total);
    }
    for (int64_t t = 0; t < line_.taps; ++t) combine(by_tap_[t], rows, line_.columns, result + t * tap());
  }

  const Line line_;
  const LinePass& pass_;
  const FastFir& fir_;
  const FirTransforms& transform_ = fir_transforms();
  const int64_t strips_;
  const TileSums sums_;
  int64_t before_[kMostPositions];  // products of the positions in front of each
  Terms all_splits_;
  std::vector<Terms> by_tap_;  // by the products that a tap has a part in
};

template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto line = line_of(problem, best);
  return line ? std::make_unique<WinogradLineWeightGrad>(*line) : nullptr;
}

const Register kernels[] = {
    {"conv_weight_grad", "winograd-line", 31, prepare<true>,
     "float32, 2 to 32 taps along one dimension, strides or dilation, or in rows of a window without either, where the "
     "arithmetic saved is worth the transforms"},
    {"conv_weight_grad", "winograd-line", kOnlyByChoice, prepare<false>,
     "float32, 2 to 32 taps along one dimension, strides or dilation, or in rows of a window without either"},
};

}  // namespace
}  // namespace native::conv
