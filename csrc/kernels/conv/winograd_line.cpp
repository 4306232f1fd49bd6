// Convolutions whose taps lie along one dimension, by fast algorithms for short ones (fast_fir.h): forward and gradient
// by the input. An infinity or NaN spreads over the strips of results whose pixels it is among.
//
// A task takes a block of strips small enough that their transformed values stay in the second-level cache. For each
// block of output channels and each position it runs one matrix product, whose terms are the channels of all that is
// added up there, and then transforms back while the products are hot.
#include <algorithm>
#include <cstring>

#include "kernels/conv/activate.h"
#include "kernels/conv/line.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t kLine = 16;  // floats of a cache line
constexpr int64_t kTasks = 8;  // enough to keep 4 threads even

class WinogradLine final : public Kernel {
 public:
  WinogradLine(const Line& line, bool input_grad, Activation activation, size_t operands)
      : line_(line),
        input_grad_(input_grad),
        operands_(operands),
        activation_(activation),
        product_(gemm_table().f32),
        block_(std::max<int64_t>(kLine, gemm_table().f32.nr)) {
    for (const LinePass& pass : line_.passes) add_layout(pass);
    for (size_t p = 0; p < line_.passes.size(); ++p) add_tasks(p);
  }

  size_t scratch_bytes() const override { return whole_lines(weight_elements_ * sizeof(float)) + turned_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    float* const weights = static_cast<float*>(scratch);
    float* const turned = weights + round_up(weight_elements_, kLine);
    const float* taps = static_cast<const float*>(in[1]);
    if (input_grad_) {
      turn(taps, turned);
      taps = turned;
    }
    float* const zero = turned + (turned_bytes() / sizeof(float) - zeros());
    std::fill_n(zero, zeros(), 0.0f);
    for (size_t p = 0; p < layouts_.size(); ++p) transform_weights(p, taps, weights + layouts_[p].weights_at);
    const Operands operands{.weights = weights,
                            .source = static_cast<const float*>(in[0]),
                            .bias = operands_ > 2 ? static_cast<const float*>(in[2]) : nullptr,
                            .residual = operands_ > 3 ? static_cast<const float*>(in[3]) : nullptr,
                            .zeros = zero,
                            .result = static_cast<float*>(out[0])};
    pool::parallel_for(static_cast<int64_t>(tasks_.size()), [&](int64_t i) { run_task(tasks_[i], operands); });
  }

 private:
  struct Operands {
    const float *weights, *source, *bias, *residual, *zeros;
    float* result;
  };
  // Where what belongs to a pass lies.
  struct Layout {
    int64_t weights_at;
    int64_t before[kMostPositions];  // products of the positions in front of each
  };
  struct Task {
    size_t pass;
    int64_t first, strips;  // strips of the pass
    int64_t begin, end;     // blocks of output channels
  };

  int64_t blocks() const { return ceil_div(line_.columns, block_); }
  int64_t columns(int64_t block) const { return std::min(block_, line_.columns - block * block_); }
  // Elements of a row of weights or of products: whole cache lines, filled with zeros.
  int64_t width(int64_t block) const { return round_up(columns(block), kLine); }
  // Elements between the values of neighbouring strips at a position. One line more than the channels, so that strips
  // do not fall on the same cache sets.
  int64_t pitch(const FastFir& fir, int position) const { return fir.parts[position] * line_.depth + kLine; }
  // Of a strip at all positions.
  int64_t values_of(const FastFir& fir) const { return fir.products() * line_.depth + fir.positions() * kLine; }
  // A source in the padding, or a position without products.
  int64_t zeros() const { return round_up(std::max(line_.depth, block_), kLine); }
  size_t turned_bytes() const {
    const size_t turned = input_grad_ ? whole_lines(line_.taps * line_.depth * line_.columns * sizeof(float)) : 0;
    return turned + zeros() * sizeof(float);
  }

  void add_layout(const LinePass& pass) {
    Layout layout{weight_elements_, {}};
    int64_t before = 0;
    for (int p = 0; p < pass.fir.positions(); ++p) {
      layout.before[p] = before;
      before += pass.fir.parts[p];
    }
    weight_elements_ += before * line_.depth * round_up(line_.columns, kLine);
    layouts_.push_back(layout);
  }

  void add_tasks(size_t p) {
    constexpr int64_t kValueBytes = 320 << 10;
    const LinePass& pass = line_.passes[p];
    const int64_t strips = line_.strips(pass), unit = product_.mr;
    const int64_t most = std::clamp<int64_t>(kValueBytes / sizeof(float) / values_of(pass.fir), 3 * unit, 16 * unit);
    const int64_t each = std::max(unit, even_share(strips, most, unit));
    // Few strips are transformed again for each range of output channels, so that all threads have work.
    const int64_t ranges = std::clamp<int64_t>(kTasks / ceil_div(strips, each), 1, blocks());
    for (int64_t first = 0; first < strips; first += each)
      for (int64_t range = 0; range < ranges; ++range)
        tasks_.push_back(
            {p, first, std::min(each, strips - first), blocks() * range / ranges, blocks() * (range + 1) / ranges});
  }

  // The taps [cin][cout] as [cout][cin], of which the gradient's columns are the last.
  void turn(const float* taps, float* turned) const {
    const int64_t tap = line_.depth * line_.columns;
    pool::parallel_for(line_.taps, [&](int64_t k) {
      product_.transpose(taps + k * tap, line_.depth, line_.columns, line_.depth, turned + k * tap, line_.columns);
    });
  }

  // Of each block of columns [position][product][depth][width].
  void transform_weights(size_t p, const float* taps, float* out) const {
    const FastFir& fir = line_.passes[p].fir;
    const int64_t products = fir.products(), depth = line_.depth, chunks = static_cast<int64_t>(fir.chunks.size());
    pool::parallel_for(blocks() * chunks, [&](int64_t task) {
      const int64_t block = task / chunks, row = width(block), count = columns(block);
      const FirChunk& chunk = fir.chunks[task % chunks];
      const float* rows[kMostLineTaps];
      for (int point = 0; point < kPoints; ++point) {
        if (chunk.part[point] < 0) continue;
        const Terms& terms = chunk.weights[point];
        const int64_t before = layouts_[p].before[chunk.position + point] + chunk.part[point];
        float* to = out + (products * block * block_ + before * row) * depth;
        for (int64_t k = 0; k < depth; ++k, to += row) {
          for (const Term& term : terms)
            rows[term.row] = taps + (term.row * depth + k) * line_.columns + block * block_;
          transform_.combine(terms.data(), static_cast<int64_t>(terms.size()), rows, count, to);
          std::fill(to + count, to + row, 0.0f);
        }
      }
    });
  }

  void run_task(const Task& task, const Operands& operands) const {
    const LinePass& pass = line_.passes[task.pass];
    const FastFir& fir = pass.fir;
    const size_t value_bytes = whole_lines(task.strips * values_of(fir) * sizeof(float));
    const size_t product_bytes = task.strips * fir.positions() * width(0) * sizeof(float);
    char* const memory =
        static_cast<char*>(pool::thread_scratch(value_bytes + product_bytes + task.strips * sizeof(Line::Strip)));
    float* const values = reinterpret_cast<float*>(memory);
    float* const products = reinterpret_cast<float*>(memory + value_bytes);
    Line::Strip* const strips = reinterpret_cast<Line::Strip*>(memory + value_bytes + product_bytes);
    line_.list_strips(pass, task.first, task.strips, strips);
    take_strips(fir, strips, task.strips, operands, values);
    for (int64_t block = task.begin; block < task.end; ++block) {
      multiply(task, block, operands.weights + layouts_[task.pass].weights_at, values, products);
      write_strips(pass, strips, task.strips, block, operands, products);
    }
  }

  // Transforms the sources; the values are [position][strip][product][depth].
  void take_strips(const FastFir& fir, const Line::Strip* strips, int64_t count, const Operands& operands,
                   float* values) const {
    float* first[kMostPositions];
    for (int p = 0; p < fir.positions(); values += count * pitch(fir, p), ++p) first[p] = values;
    for (int64_t s = 0; s < count; ++s) {
      const float* rows[kMostLineReads];
      for (size_t i = 0; i < fir.reads.size(); ++i) {
        const int64_t at = line_.source_of(strips[s], fir.reads[i]);
        rows[i] = at >= 0 ? operands.source + at : operands.zeros;
      }
      for (const FirChunk& chunk : fir.chunks)
        take_chunk(transform_, chunk, rows, line_.depth, [&](int point) {
          const int position = chunk.position + point;
          return first[position] + s * pitch(fir, position) + chunk.part[point] * line_.depth;
        });
    }
  }

  // The products are [position][strip][width].
  void multiply(const Task& task, int64_t block, const float* weights, const float* values, float* products) const {
    const FastFir& fir = line_.passes[task.pass].fir;
    const int64_t row = width(block);
    weights += fir.products() * line_.depth * block * block_;
    gemm::Block<float> product{};
    product.m = task.strips;
    product.n = columns(block);
    product.c_row = row;
    for (int p = 0; p < fir.positions(); ++p, products += task.strips * row) {
      const int64_t terms = fir.parts[p] * line_.depth, value = pitch(fir, p);
      if (terms > 0) {
        product.k = terms;
        product.a = {values, value, 1};
        product.sliver = product_.mr * value;
        // What is fetched ahead is the next panel, or that of the next position.
        product.b = {weights, row, row <= product_.nr ? terms * row : product_.nr};
        product.c = products;
        product_.block(product);
      }
      values += task.strips * value;
      weights += terms * row;
    }
  }

  void write_strips(const LinePass& pass, const Line::Strip* strips, int64_t count, int64_t block,
                    const Operands& operands, const float* products) const {
    const FastFir& fir = pass.fir;
    const int64_t first = block * block_, channels = columns(block), row = width(block);
    const float* const bias = operands.bias ? operands.bias + first : nullptr;
    const auto transform = transform_.results[fir.results == 4];
    for (int64_t s = 0; s < count; ++s) {
      const float* sums[kMostPositions];
      for (int p = 0; p < fir.positions(); ++p)
        sums[p] = fir.parts[p] > 0 ? products + (p * count + s) * row : operands.zeros;
      float* results[kMostStripResults];
      const float* residuals[kMostStripResults];
      for (int r = 0; r < fir.results; ++r) {
        const int64_t at = line_.result_of(strips[s], r * pass.step);
        results[r] = at >= 0 ? operands.result + at + first : nullptr;
        residuals[r] = at >= 0 && operands.residual ? operands.residual + at + first : nullptr;
      }
      transform(sums, channels, bias, operands.residual ? residuals : nullptr, inner_activation(activation_), results);
      for (int r = 0; r < fir.results; ++r)
        if (results[r]) finish(activation_, 1, channels, results[r], channels);
    }
  }

  const Line line_;
  const bool input_grad_;
  const size_t operands_;
  const Activation activation_;
  const gemm::Kernels<float>& product_;
  const FirTransforms& transform_ = fir_transforms();
  const int64_t block_;  // output channels of a product
  int64_t weight_elements_ = 0;
  std::vector<Layout> layouts_;
  std::vector<Task> tasks_;
};

template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto line = line_of(problem, best);
  if (!line) return nullptr;
  const bool input_grad = problem.op == "conv_input_grad";
  return std::make_unique<WinogradLine>(*line, input_grad, activation_of(problem), problem.in.size());
}

constexpr std::initializer_list<const char*> kServed = {"conv", "conv_bias_act", "conv_input_grad"};
const Register kernels[] = {
    {kServed, "winograd-line", 31, prepare<true>,
     "float32, 2 to 32 taps along one dimension, strides or dilation, where the arithmetic saved is worth the "
     "transforms"},
    {kServed, "winograd-line", kOnlyByChoice, prepare<false>,
     "float32, 2 to 32 taps along one dimension, strides or dilation"},
};

}  // namespace
}  // namespace native::conv
