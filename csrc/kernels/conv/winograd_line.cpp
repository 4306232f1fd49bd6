// Convolutions whose taps lie along one dimension, or in rows of a window, by fast algorithms for short ones
// (fast_fir.h): forward and gradient by the input. An infinity or NaN spreads over the strips of results whose pixels
// it is among.
//
// A task takes a block of strips small enough that their transformed values stay in the second-level cache. For each
// block of output channels and each position it runs one matrix product, whose terms are the channels of all that is
// added up there, and then transforms back while the products are hot. Values of rows of pixels are made once: they lie
// so that a row of a product is the values of all lines of a window, and the next row begins a line further on.
#include <algorithm>
#include <cstring>

#include "kernels/conv/activate.h"
#include "kernels/conv/line_weights.h"
#include "kernels/gemm/gemm.h"
#include "kernels/grid.h"
#include "runtime/pool.h"

namespace native::conv {
namespace {

constexpr int64_t kLine = LineWeights::kLine;
constexpr int64_t kTasks = 8;  // enough to keep 4 threads even

class WinogradLine final : public Kernel {
 public:
  // Forward, forward with weights that `line_weights` has made, or the gradient by the input.
  enum class Kind { Forward, Prepared, InputGrad };

  WinogradLine(const Line& line, Kind kind, Activation activation, size_t operands, int64_t block)
      : line_(line),
        kind_(kind),
        operands_(operands),
        activation_(activation),
        product_(gemm_table().f32),
        weights_(line_, block) {
    for (size_t p = 0; p < line_.passes.size(); ++p) add_tasks(p);
  }

  size_t scratch_bytes() const override { return weight_bytes() + turned_bytes() + zero_bytes(); }

  void run(const void* const* in, void* const* out, void* scratch) const override {
    char* const memory = static_cast<char*>(scratch);
    float* const turned = reinterpret_cast<float*>(memory + weight_bytes());
    float* const zeros = reinterpret_cast<float*>(memory + weight_bytes() + turned_bytes());
    const float* weights = static_cast<const float*>(in[1]);
    if (kind_ == Kind::InputGrad) {
      turn(weights, turned);
      weights = turned;
    }
    if (kind_ != Kind::Prepared) {
      weights_.transform(weights, reinterpret_cast<float*>(memory));
      weights = reinterpret_cast<float*>(memory);
    }
    std::memset(zeros, 0, zero_bytes());
    const Operands operands{.weights = weights,
                            .source = static_cast<const float*>(in[0]),
                            .bias = operands_ > 2 ? static_cast<const float*>(in[2]) : nullptr,
                            .residual = operands_ > 3 ? static_cast<const float*>(in[3]) : nullptr,
                            .zeros = zeros,
                            .result = static_cast<float*>(out[0])};
    pool::parallel_for(static_cast<int64_t>(tasks_.size()), [&](int64_t i) { run_task(tasks_[i], operands); });
  }

 private:
  struct Operands {
    const float *weights, *source, *bias, *residual, *zeros;
    float* result;
  };
  struct Task {
    size_t pass;
    int64_t first, strips;  // strips of the pass
    int64_t begin, end;     // blocks of output channels
  };

  // Elements between the values of neighbouring strips at a position. One line more than the channels, so that strips
  // do not fall on the same cache sets; where a product's row goes on with the values of the next strip, no more.
  int64_t gap() const { return line_.rows.count > 1 ? 0 : kLine; }
  int64_t pitch(const FastFir& fir, int position) const { return fir.parts[position] * line_.depth + gap(); }
  // Of a strip at all positions.
  int64_t values_of(const FastFir& fir) const { return fir.products() * line_.depth + fir.positions() * gap(); }
  // Strips that so many strips of results read.
  int64_t sources(int64_t strips) const { return strips + line_.rows.count - 1; }
  size_t weight_bytes() const { return kind_ == Kind::Prepared ? 0 : whole_lines(weights_.size() * sizeof(float)); }
  size_t turned_bytes() const {
    return kind_ == Kind::InputGrad ? whole_lines(line_.all_taps() * line_.depth * line_.columns * sizeof(float)) : 0;
  }
  // A source in the padding, or a position without products.
  size_t zero_bytes() const { return whole_lines(std::max(line_.depth, weights_.width(0)) * sizeof(float)); }

  void add_tasks(size_t p) {
    constexpr int64_t kValueBytes = 320 << 10;
    const LinePass& pass = line_.passes[p];
    const int64_t strips = line_.strips(pass), unit = product_.mr;
    const int64_t most = std::clamp<int64_t>(kValueBytes / sizeof(float) / values_of(pass.fir), 3 * unit, 16 * unit);
    int64_t pieces = ceil_div(strips, most);
    if (pieces > 1 && pieces < kTasks) pieces += pieces % 2;  // as much for each of two threads
    const int64_t each = round_up(ceil_div(strips, pieces), unit);
    // Few strips are transformed again for each range of output channels, so that all threads have work.
    const int64_t ranges = std::clamp<int64_t>(kTasks / ceil_div(strips, each), 1, weights_.blocks());
    for (int64_t first = 0; first < strips; first += each)
      for (int64_t range = 0; range < ranges; ++range)
        tasks_.push_back({p, first, std::min(each, strips - first), weights_.blocks() * range / ranges,
                          weights_.blocks() * (range + 1) / ranges});
  }

  // The taps [cin][cout] as [cout][cin], of which the gradient's columns are the last.
  void turn(const float* taps, float* turned) const {
    const int64_t tap = line_.depth * line_.columns;
    pool::parallel_for(line_.all_taps(), [&](int64_t k) {
      product_.transpose(taps + k * tap, line_.depth, line_.columns, line_.depth, turned + k * tap, line_.columns);
    });
  }

  void run_task(const Task& task, const Operands& operands) const {
    const LinePass& pass = line_.passes[task.pass];
    const FastFir& fir = pass.fir;
    const int64_t sources = this->sources(task.strips);
    const size_t value_bytes = whole_lines(sources * values_of(fir) * sizeof(float));
    const size_t product_bytes = task.strips * fir.positions() * weights_.width(0) * sizeof(float);
    char* const memory =
        static_cast<char*>(pool::thread_scratch(value_bytes + product_bytes + sources * sizeof(Line::Strip)));
    float* const values = reinterpret_cast<float*>(memory);
    float* const products = reinterpret_cast<float*>(memory + value_bytes);
    Line::Strip* const strips = reinterpret_cast<Line::Strip*>(memory + value_bytes + product_bytes);
    line_.list_strips(pass, task.first, sources, strips);
    take_strips(fir, strips, sources, operands, values);
    for (int64_t block = task.begin; block < task.end; ++block) {
      multiply(task, block, operands.weights + weights_.offset(task.pass, block), values, products);
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

  // Calls body(strip, count) for strips that a product takes at once, by their place in the task.
  template <class F>
  void each_run(const Task& task, const F& body) const {
    const LineRows& rows = line_.rows;
    if (!rows.apart()) return body(0, task.strips);
    for (int64_t s = 0; s < task.strips;) {
      const int64_t row = (task.first + s) % rows.column;
      if (row < rows.result) body(s, std::min(rows.result - row, task.strips - s));
      s += rows.column - row;
    }
  }

  // The products are [position][strip][width].
  void multiply(const Task& task, int64_t block, const float* weights, const float* values, float* products) const {
    const FastFir& fir = line_.passes[task.pass].fir;
    const int64_t row = weights_.width(block);
    gemm::Block<float> product{};
    product.n = weights_.columns(block);
    product.c_row = row;
    for (int p = 0; p < fir.positions(); ++p, products += task.strips * row) {
      const int64_t terms = fir.parts[p] * line_.rows.count * line_.depth, value = pitch(fir, p);
      if (terms > 0) {
        product.k = terms;
        product.sliver = product_.mr * value;
        // What is fetched ahead is the next panel, or that of the next position.
        product.b = {weights, row, row <= product_.nr ? terms * row : product_.nr};
        each_run(task, [&](int64_t first, int64_t count) {
          product.m = count;
          product.a = {values + first * value, value, 1};
          product.c = products + first * row;
          product_.block(product);
        });
      }
      values += sources(task.strips) * value;
      weights += terms * row;
    }
  }

  void write_strips(const LinePass& pass, const Line::Strip* strips, int64_t count, int64_t block,
                    const Operands& operands, const float* products) const {
    const FastFir& fir = pass.fir;
    const int64_t first = weights_.column(block), channels = weights_.columns(block), row = weights_.width(block);
    const float* const bias = operands.bias ? operands.bias + first : nullptr;
    const auto transform = transform_.results[fir.results == 4];
    for (int64_t s = 0; s < count; ++s) {
      if (line_.result_of(strips[s], 0) < 0) continue;
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
  const Kind kind_;
  const size_t operands_;
  const Activation activation_;
  const gemm::Kernels<float>& product_;
  const FirTransforms& transform_ = fir_transforms();
  const LineWeights weights_;
  std::vector<Task> tasks_;
};

template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto line = line_of(problem, best);
  if (!line) return nullptr;
  const auto kind = problem.op == "conv_input_grad" ? WinogradLine::Kind::InputGrad : WinogradLine::Kind::Forward;
  return std::make_unique<WinogradLine>(*line, kind, activation_of(problem), problem.in.size(),
                                        LineWeights::best_block());
}

// `line_conv` is conv_bias_act (or conv, of two operands) with what `line_weights` made of its weights.
std::unique_ptr<Kernel> prepare_prepared(const Problem& problem) {
  if (problem.out[0].count() == 0) return std::make_unique<Nothing>();
  const auto line = line_of_prepared(problem);
  if (!line) return nullptr;
  return std::make_unique<WinogradLine>(*line, WinogradLine::Kind::Prepared, activation_of(problem), problem.in.size(),
                                        problem.attrs.integer("block"));
}

const Register prepared{"line_conv", "winograd-line", 30, prepare_prepared};
constexpr std::initializer_list<const char*> kServed = {"conv", "conv_bias_act", "conv_input_grad"};
const Register kernels[] = {
    {kServed, "winograd-line", 31, prepare<true>,
     "float32, 2 to 32 taps along one dimension, strides or dilation, or in rows of a window without either, where the "
     "arithmetic saved is worth the transforms"},
    {kServed, "winograd-line", kOnlyByChoice, prepare<false>,
     "float32, 2 to 32 taps along one dimension, strides or dilation, or in rows of a window without either"},
};

}  // namespace
}  // namespace native::conv
