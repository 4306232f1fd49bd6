#include "kernels/conv/line_weights.h"

#include <memory>
#include <numeric>

#include "runtime/pool.h"
#include "runtime/registry.h"

namespace native::conv {
namespace {

// `line_weights`: of weights that do not change, once for many convolutions.
class Transform final : public Kernel {
 public:
  Transform(const Line& line, int64_t block) : line_(line), weights_(line_, block) {}
  void run(const void* const* in, void* const* out, void*) const override {
    weights_.transform(static_cast<const float*>(in[0]), static_cast<float*>(out[0]));
  }

 private:
  const Line line_;
  const LineWeights weights_;
};

std::unique_ptr<Kernel> prepare(const Problem& problem) {
  const auto line = line_of_weights(problem);
  if (!line) return nullptr;
  return std::make_unique<Transform>(*line, problem.attrs.integer("block"));
}

const Register weights{"line_weights", "winograd-line", 10, prepare};

}  // namespace

LineWeights::LineWeights(const Line& line, int64_t block) : line_(line), block_(block), starts_{0} {
  for (const LinePass& pass : line.passes)
    starts_.push_back(starts_.back() +
                      pass.fir.products() * line.rows.count * line.depth * round_up(line.columns, kLine));
}

void LineWeights::transform(const float* taps, float* out) const {
  for (size_t pass = 0; pass < line_.passes.size(); ++pass) {
    const std::vector<FirChunk>& chunks = line_.passes[pass].fir.chunks;
    const int64_t count = static_cast<int64_t>(chunks.size()), rows = line_.rows.count;
    pool::parallel_for(blocks() * rows * count, [&](int64_t task) {
      const int64_t row = task / count % rows, block = task / count / rows;
      transform_chunk(chunks[task % count], row,
                      taps + line_.row_of_taps(row) * line_.taps * line_.depth * line_.columns, pass, block,
                      out + offset(pass, block));
    });
  }
}

void LineWeights::transform_chunk(const FirChunk& chunk, int64_t row, const float* taps, size_t pass, int64_t block,
                                  float* out) const {
  const std::vector<int64_t>& parts = line_.passes[pass].fir.parts;
  const int64_t depth = line_.depth, wide = width(block), count = columns(block);
  const float* rows[kMostLineTaps];
  for (int point = 0; point < kPoints; ++point) {
    if (chunk.part[point] < 0) continue;
    const Terms& terms = chunk.weights[point];
    const int position = chunk.position + point;
    const int64_t before = std::accumulate(parts.begin(), parts.begin() + position, int64_t{0}) * line_.rows.count;
    float* to = out + (before + row * parts[position] + chunk.part[point]) * wide * depth;
    for (int64_t k = 0; k < depth; ++k, to += wide) {
      for (const Term& term : terms) rows[term.row] = taps + (term.row * depth + k) * line_.columns + column(block);
      fir_transforms().combine(terms.data(), static_cast<int64_t>(terms.size()), rows, count, to);
      std::fill(to + count, to + wide, 0.0f);
    }
  }
}

}  // namespace native::conv
