// Gradient of a convolution whose taps lie along one dimension by its weights, by the adjoint of fast algorithms for
// short ones (fast_fir.h): the sum over strips of results is taken of the products of transformed values, and
// transformed back once.
//
// A task takes a range of strips times a slab of input channels; its partial sums are [product][cin][cout].
#include <algorithm>
#include <cstring>

#include "kernels/conv/line.h"
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
  WinogradLineWeightGrad(const Line& line, int64_t taps)
      : line_(line),
        pass_(line_.passes.front()),
        fir_(pass_.fir),
        taps_(taps),
        products_(fir_.products()),
        product_(gemm_table().f32),
        panel_(std::max<int64_t>(kLine, gemm_table().f32.nr)) {
    constexpr int64_t kSlab = 64;  // channels of 64 strips: a few hundred kilobytes
    slab_ = round_up(ceil_div(line_.depth, ceil_div(line_.depth, kSlab)), kLine);
    slabs_ = ceil_div(line_.depth, slab_);
    // Partial sums are large: more tasks would spend on adding them what more threads gain.
    const int64_t tasks = part() * static_cast<int64_t>(sizeof(float)) > (512 << 10) ? 8 : 16;
    strips_ = line_.strips(pass_);
    splits_ = std::clamp<int64_t>(tasks / slabs_, 1, ceil_div(strips_, kStrips));
    for (int64_t s = 0; s < splits_; ++s) all_splits_.push_back({static_cast<int>(s), 1});
    // One line more, so that products do not fall on the same cache sets.
    value_pitch_ = kStrips * slab_ + kLine;
    cotangent_pitch_ = kStrips * panel_ + kLine;
    for (int64_t p = 0, before = 0; p < fir_.positions(); before += fir_.parts[p++]) before_[p] = before;
    by_tap_.resize(taps);
    for (const FirChunk& chunk : fir_.chunks)
      for (int point = 0; point < kPoints; ++point)
        for (const Term& term : chunk.weights[point])
          by_tap_[term.row].push_back(
              {static_cast<int>(before_[chunk.position + point] + chunk.part[point]), term.factor});
  }

  size_t scratch_bytes() const override {
    return splits_ * part() * sizeof(float) + whole_lines(std::max(line_.depth, line_.columns) * sizeof(float));
  }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float* const sums = static_cast<float*>(scratch);
    float* const zeros = sums + splits_ * part();
    std::fill_n(zeros, std::max(line_.depth, line_.columns), 0.0f);
    const Operands operands{static_cast<const float*>(in[0]), static_cast<const float*>(in[1]), zeros};
    pool::parallel_for(splits_ * slabs_, [&](int64_t task) {
      const int64_t split = task / slabs_, first = task % slabs_ * slab_;
      add_strips(operands, strips_ * split / splits_, strips_ * (split + 1) / splits_, first,
                 std::min(slab_, line_.depth - first), sums + split * part());
    });
    const int64_t chunk = std::max<int64_t>(1, 4096 / line_.columns);
    pool::parallel_for(ceil_div(line_.depth, chunk), [&](int64_t task) {
      for (int64_t c = task * chunk; c < std::min(line_.depth, (task + 1) * chunk); ++c)
        transform_back(sums + c * line_.columns, static_cast<float*>(out[0]) + c * line_.columns);
    });
  }

 private:
  struct Operands {
    const float *x, *ct, *zeros;
  };

  int64_t tap() const { return line_.depth * line_.columns; }
  int64_t part() const { return products_ * tap(); }

  void combine(const Terms& terms, const float* const* rows, int64_t channels, float* out) const {
    transform_.combine(terms.data(), static_cast<int64_t>(terms.size()), rows, channels, out);
  }

  void add_strips(const Operands& operands, int64_t begin, int64_t end, int64_t channel, int64_t channels,
                  float* sums) const {
    const size_t value_bytes = whole_lines(products_ * value_pitch_ * sizeof(float));
    const size_t cotangent_bytes = fir_.positions() * cotangent_pitch_ * sizeof(float);
    char* const memory = static_cast<char*>(pool::thread_scratch(value_bytes + cotangent_bytes));
    float* const values = reinterpret_cast<float*>(memory);
    float* const cotangents = reinterpret_cast<float*>(memory + value_bytes);
    Line::Strip strips[kStrips];
    for (int64_t first = begin; first < end; first += kStrips) {
      const int64_t count = std::min(kStrips, end - first);
      line_.list_strips(pass_, first, count, strips);
      for (int64_t s = 0; s < count; ++s) take_sources(operands, strips[s], channel, channels, values + s * slab_);
      for (int64_t column = 0; column < line_.columns; column += panel_) {
        const int64_t width = std::min(panel_, line_.columns - column);
        if (width < panel_) std::memset(cotangents, 0, cotangent_bytes);
        for (int64_t s = 0; s < count; ++s) {
          if (s + kAhead < count) fetch_cotangents(operands, strips[s + kAhead], column, width);
          take_cotangents(operands, strips[s], column, width, cotangents + s * panel_);
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
        return value + (before_[chunk.position + point] + chunk.part[point]) * value_pitch_;
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
    transform_.cotangents[fir_.results == 4](rows, width, cotangent, cotangent_pitch_);
  }

  void multiply(const float* values, const float* cotangents, int64_t count, int64_t channels, int64_t width,
                bool accumulate, float* sums) const {
    gemm::Block<float> product{};
    product.m = channels;
    product.n = width;
    product.k = count;
    product.sliver = product_.mr;
    product.c_row = line_.columns;
    product.accumulate = accumulate;
    product.b = {cotangents, panel_, panel_ <= product_.nr ? cotangent_pitch_ : product_.nr};
    for (const int64_t parts : fir_.parts) {
      for (int64_t i = 0; i < parts; ++i) {
        product.a = {values, 1, slab_};
        product.c = sums;
        product_.block(product);
        values += value_pitch_;
        sums += tap();
      }
      product.b.data += cotangent_pitch_;
    }
  }

  // One input channel: the sums of all tasks, added up in their order, to the taps.
  void transform_back(float* sums, float* result) const {
    constexpr int64_t kMostSplits = 16;
    const float* parts[kMostSplits];
    const float* rows[kMostLineReads];
    for (int64_t i = 0; i < products_; ++i) {
      float* const total = sums + i * tap();
      rows[i] = total;
      for (int64_t s = 0; s < splits_; ++s) parts[s] = total + s * part();
      if (splits_ > 1) combine(all_splits_, parts, line_.columns, total);
    }
    for (int64_t t = 0; t < taps_; ++t) combine(by_tap_[t], rows, line_.columns, result + t * tap());
  }

  const Line line_;
  const LinePass& pass_;
  const FastFir& fir_;
  const int64_t taps_, products_;
  const gemm::Kernels<float>& product_;
  const FirTransforms& transform_ = fir_transforms();
  const int64_t panel_;                     // output channels of a product
  int64_t strips_, slabs_, slab_, splits_;  // tasks: slabs of `slab_` input channels, ranges of strips
  int64_t value_pitch_, cotangent_pitch_;
  int64_t before_[kMostPositions];  // products of the positions in front of each
  Terms all_splits_;
  std::vector<Terms> by_tap_;  // by the products that a tap has a part in
};

template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  for (const Spec& spec : problem.in)
    if (spec.dtype != DType::F32) return nullptr;
  const auto g = geometry_of(problem);
  if (!g) return nullptr;
  const auto line = line_of(*g, false);
  if (!line || (best && !line_pays(*line, g->multiply_adds()))) return nullptr;
  return std::make_unique<WinogradLineWeightGrad>(*line, g->taps());
}

const Register kernels[] = {
    {"conv_weight_grad", "winograd-line", 31, prepare<true>,
     "float32, 2 to 32 taps along one dimension, strides or dilation, where the arithmetic saved is worth the "
     "transforms"},
    {"conv_weight_grad", "winograd-line", kOnlyByChoice, prepare<false>,
     "float32, 2 to 32 taps along one dimension, strides or dilation"},
};

}  // namespace
}  // namespace native::conv
