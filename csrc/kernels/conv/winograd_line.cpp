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
  WinogradLine(const Line& line, bool input_grad, int64_t taps, Activation activation, size_t operands)
      : line_(line),
        input_grad_(input_grad),
        taps_(taps),
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
    // A source in the padding.
    float* const zeros = turned + (turned_bytes() / sizeof(float) - round_up(line_.depth, kLine));
    std::fill_n(zeros, line_.depth, 0.0f);
    for (size_t p = 0; p < layouts_.size(); ++p) transform_weights(p, taps, weights + layouts_[p].weights_at);
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
  // Where what belongs to a pass lies.
  struct Layout {
    int64_t weights_at;
    std::vector<int64_t> before;  // products of the positions in front of each
    std::vector<Terms> results;   // by the positions that have a part in each
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
  int64_t pitch(const FirPosition& position) const {
    return static_cast<int64_t>(position.products.size()) * line_.depth + kLine;
  }
  size_t turned_bytes() const {
    const size_t turned = input_grad_ ? whole_lines(taps_ * line_.depth * line_.columns * sizeof(float)) : 0;
    return turned + whole_lines(line_.depth * sizeof(float));
  }

  void add_layout(const LinePass& pass) {
    const FastFir& fir = pass.fir;
    Layout layout{weight_elements_, {}, std::vector<Terms>(fir.results)};
    int64_t before = 0;
    for (size_t p = 0; p < fir.positions.size(); ++p) {
      layout.before.push_back(before);
      before += static_cast<int64_t>(fir.positions[p].products.size());
      for (const Term& term : fir.positions[p].results)
        layout.results[term.row].push_back({static_cast<int>(p), term.factor});
    }
    weight_elements_ += before * line_.depth * round_up(line_.columns, kLine);
    layouts_.push_back(std::move(layout));
  }

  void add_tasks(size_t p) {
    constexpr int64_t kValueBytes = 320 << 10;
    const LinePass& pass = line_.passes[p];
    int64_t row = 0;
    for (const FirPosition& position : pass.fir.positions) row += pitch(position);
    const int64_t strips = line_.strips(pass), unit = product_.mr;
    const int64_t most = std::clamp(kValueBytes / (row * static_cast<int64_t>(sizeof(float))), 3 * unit, 16 * unit);
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
    pool::parallel_for(taps_, [&](int64_t k) {
      product_.transpose(taps + k * tap, line_.depth, line_.columns, line_.depth, turned + k * tap, line_.columns);
    });
  }

  // Of each block of columns [position][product][depth][width].
  void transform_weights(size_t p, const float* taps, float* out) const {
    const FastFir& fir = line_.passes[p].fir;
    const int64_t products = fir.products(), depth = line_.depth;
    pool::parallel_for(blocks() * static_cast<int64_t>(fir.positions.size()), [&](int64_t task) {
      const int64_t block = task % blocks(), position = task / blocks(), row = width(block), count = columns(block);
      float* to = out + (products * block * block_ + layouts_[p].before[position] * row) * depth;
      const float* rows[kMostLineTaps];
      for (const FirProduct& product : fir.positions[position].products)
        for (int64_t k = 0; k < depth; ++k, to += row) {
          for (int64_t t = 0; t < taps_; ++t) rows[t] = taps + (t * depth + k) * line_.columns + block * block_;
          combine(product.taps, rows, count, to);
          std::fill(to + count, to + row, 0.0f);
        }
    });
  }

  void combine(const Terms& terms, const float* const* rows, int64_t channels, float* out) const {
    combine_.combine(terms.data(), static_cast<int64_t>(terms.size()), rows, channels, out);
  }

  void run_task(const Task& task, const Operands& operands) const {
    const LinePass& pass = line_.passes[task.pass];
    int64_t row = 0;
    for (const FirPosition& position : pass.fir.positions) row += pitch(position);
    const size_t value_bytes = whole_lines(task.strips * row * sizeof(float));
    const size_t product_bytes = task.strips * pass.fir.positions.size() * width(0) * sizeof(float);
    char* const memory = static_cast<char*>(pool::thread_scratch(value_bytes + product_bytes));
    float* const values = reinterpret_cast<float*>(memory);
    float* const products = reinterpret_cast<float*>(memory + value_bytes);
    for (int64_t s = 0; s < task.strips; ++s)
      take_strip(pass, line_.strip(pass, task.first + s), operands, s, task.strips, values);
    for (int64_t block = task.begin; block < task.end; ++block) {
      multiply(task, block, operands.weights + layouts_[task.pass].weights_at, values, products);
      for (int64_t s = 0; s < task.strips; ++s)
        write_strip(task, line_.strip(pass, task.first + s), block, operands, products + s * width(block));
    }
  }

  // Transforms the sources of the s-th strip of so many; the values are [position][strip][product][depth].
  void take_strip(const LinePass& pass, const Line::Strip& strip, const Operands& operands, int64_t s, int64_t strips,
                  float* values) const {
    const float* rows[kMostLineReads];
    for (size_t i = 0; i < pass.fir.reads.size(); ++i) {
      const int64_t at = line_.source_of(strip, pass.fir.reads[i]);
      rows[i] = at >= 0 ? operands.source + at : operands.zeros;
    }
    for (const FirPosition& position : pass.fir.positions) {
      float* to = values + s * pitch(position);
      for (const FirProduct& product : position.products) {
        combine(product.sources, rows, line_.depth, to);
        to += line_.depth;
      }
      values += strips * pitch(position);
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
    for (const FirPosition& position : fir.positions) {
      const int64_t terms = static_cast<int64_t>(position.products.size()) * line_.depth;
      product.k = terms;
      product.a = {values, pitch(position), 1};
      product.sliver = product_.mr * pitch(position);
      // What is fetched ahead is the next panel, or that of the next position.
      product.b = {weights, row, row <= product_.nr ? terms * row : product_.nr};
      product.c = products;
      product_.block(product);
      values += task.strips * pitch(position);
      weights += terms * row;
      products += task.strips * row;
    }
  }

  void write_strip(const Task& task, const Line::Strip& strip, int64_t block, const Operands& operands,
                   const float* products) const {
    const LinePass& pass = line_.passes[task.pass];
    const int64_t first = block * block_, count = columns(block);
    constexpr size_t kMostPositions = 12;
    const float* rows[kMostPositions];
    for (size_t p = 0; p < pass.fir.positions.size(); ++p) rows[p] = products + p * task.strips * width(block);
    for (int r = 0; r < pass.fir.results; ++r) {
      const int64_t at = line_.result_of(strip, r * pass.step);
      if (at < 0) break;
      const int64_t offset = at + first;
      const RowEpilogue epilogue{operands.bias ? operands.bias + first : nullptr,
                                 operands.residual ? operands.residual + offset : nullptr,
                                 inner_activation(activation_)};
      const Terms& terms = layouts_[task.pass].results[r];
      float* const result = operands.result + offset;
      combine_.finish(terms.data(), static_cast<int64_t>(terms.size()), rows, count, epilogue, result);
      finish(activation_, 1, count, result, count);
    }
  }

  const Line line_;
  const bool input_grad_;
  const int64_t taps_;
  const size_t operands_;
  const Activation activation_;
  const gemm::Kernels<float>& product_;
  const CombineTable& combine_ = combine_table();
  const int64_t block_;  // output channels of a product
  int64_t weight_elements_ = 0;
  std::vector<Layout> layouts_;
  std::vector<Task> tasks_;
};

template <bool best>
std::unique_ptr<Kernel> prepare(const Problem& problem) {
  for (const Spec& spec : problem.in)
    if (spec.dtype != DType::F32) return nullptr;
  const auto g = geometry_of(problem);
  if (!g) return nullptr;
  const bool input_grad = problem.op == "conv_input_grad";
  const auto line = line_of(*g, input_grad);
  if (!line || (best && !line_pays(*line, g->multiply_adds()))) return nullptr;
  return std::make_unique<WinogradLine>(*line, input_grad, g->taps(), activation_of(problem), problem.in.size());
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
