#include "kernels/conv/line.h"

#include <algorithm>

#include "kernels/grid.h"

namespace native::conv {
namespace {

// Steps of a transform of one channel, as multiply-adds of a product's loop: loading, adding up and storing it, once
// before the product or once behind it; and those of a weight, in short rows.
constexpr double kTransform = 6, kWeight = 12;

// Whether weights are transformed once, not in each run, and results of a strip if these are chosen already.
struct Given {
  bool weights = false;
  int results = 0;
};

double cost(const Line& line, const LinePass& pass, const Given& given) {
  const double depth = static_cast<double>(line.depth), columns = static_cast<double>(line.columns);
  const double products = static_cast<double>(pass.fir.products());
  const double weights = given.weights ? 0 : products * depth * columns * kWeight;
  const double strip =
      products * depth * (columns + kTransform) + static_cast<double>(pass.fir.positions()) * columns * kTransform;
  return weights + strip * static_cast<double>(line.strips(pass));
}

// A pass whose residues have `count` results each.
void add_pass(Line& line, LinePass pass, int64_t count, const std::vector<FirTap>& taps, const Given& given) {
  std::optional<LinePass> best;
  for (int results : {2, 4}) {
    if (given.results && given.results != results) continue;
    pass.fir = fast_fir(taps, pass.multiplier, results);
    pass.strips = ceil_div(count, results);
    if (!best || cost(line, pass, given) < cost(line, *best, given)) best = pass;
  }
  line.passes.push_back(*best);
}

// The dimension along which the taps lie; -1 if there is none such.
int axis_of(const Geometry& g) {
  int axis = -1;
  for (int i = 0; i < 3; ++i) {
    if (g.kernel[i] == 1 && g.stride[i] == 1 && g.low[i] == 0 && g.in[i] == g.out[i]) continue;
    if (axis >= 0) return -1;
    axis = i;
  }
  return axis;
}

std::optional<Line> line_of(const Geometry& g, bool input_grad, const Given& given) {
  const int axis = axis_of(g);
  if (axis < 0 || g.groups != 1 || g.empty() || g.out_pixels() == 0) return std::nullopt;
  const int64_t taps = g.kernel[axis], stride = g.stride[axis], dilation = g.dilation[axis], low = g.low[axis];
  if (taps == 1 || taps > kMostLineTaps || (stride > 1 && dilation > 1)) return std::nullopt;
  Line line{};
  line.inner = 1;
  for (int i = axis + 1; i < 3; ++i) line.inner *= g.in[i];
  line.lines = g.in_pixels() / g.in[axis];
  line.source = input_grad ? g.out[axis] : g.in[axis];
  line.result = input_grad ? g.in[axis] : g.out[axis];
  line.depth = input_grad ? g.cout : g.cin;
  line.columns = input_grad ? g.cin : g.cout;
  line.taps = taps;

  if (!input_grad || stride == 1) {
    std::vector<FirTap> all;
    for (int k = 0; k < taps; ++k) all.push_back({k, input_grad ? low - k * dilation : k * dilation - low});
    const int64_t count = ceil_div(line.result, dilation);
    add_pass(line, {0, dilation, stride * dilation, dilation, 0, {}}, count, all, given);
    return line;
  }
  for (int64_t residue = 0; residue < std::min(stride, line.result); ++residue) {
    std::vector<FirTap> reaching;
    for (int k = 0; k < taps; ++k)
      if ((residue + low - k) % stride == 0) reaching.push_back({k, (residue + low - k) / stride});
    if (reaching.empty()) return std::nullopt;
    add_pass(line, {residue, stride, 1, 1, 0, {}}, ceil_div(line.result - residue, stride), reaching, given);
  }
  return line;
}

bool pays(const Line& line, int64_t multiply_adds, const Given& given) {
  constexpr int64_t kChannels = 32;
  constexpr double kGain = 0.9;  // what a product of short sums loses beside the direct loop
  double total = 0;
  for (const LinePass& pass : line.passes) total += cost(line, pass, given);
  return line.depth >= kChannels && line.columns >= kChannels && total < kGain * static_cast<double>(multiply_adds);
}

std::optional<Line> line_of(const Problem& problem, bool best, const Given& given) {
  for (const Spec& spec : problem.in)
    if (spec.dtype != DType::F32) return std::nullopt;
  const auto g = geometry_of(problem);
  if (!g) return std::nullopt;
  auto line = line_of(*g, problem.op == "conv_input_grad", given);
  if (line && best && !pays(*line, g->multiply_adds(), given)) return std::nullopt;
  return line;
}

}  // namespace

std::optional<Line> line_of(const Problem& problem, bool best) { return line_of(problem, best, Given{}); }

int best_prepared(const Problem& problem) {
  const auto line = line_of(problem, true, {.weights = true});
  return line ? line->passes.front().fir.results : 0;
}

static std::optional<Line> line_of_given(const Problem& problem) {
  const int64_t results = problem.attrs.integer("results");
  if (results != 2 && results != 4) return std::nullopt;
  return line_of(problem, false, {.weights = true, .results = static_cast<int>(results)});
}

std::optional<Line> line_of_prepared(const Problem& problem) {
  Problem plain = problem;
  Shape& weights = plain.in[1].shape;
  weights.back() = problem.in[0].shape.back();
  weights.push_back(problem.out[0].shape.back());
  return line_of_given(plain);
}

std::optional<Line> line_of_weights(const Problem& problem) {
  // Of a single result, which reads as many pixels as there are taps.
  Spec x = problem.in[0], y = x;
  x.shape.insert(x.shape.begin(), 1);
  x.shape.pop_back();
  y.shape = Shape(x.shape.size(), 1);
  y.shape.back() = problem.in[0].shape.back();
  return line_of_given({"conv", {x, problem.in[0]}, {y}, problem.attrs});
}

void Line::list_strips(const LinePass& pass, int64_t index, int64_t count, Strip* out) const {
  const Strip* const end = out + count;
  while (out < end) {
    const int64_t rest = index / pass.strips, residue = rest % pass.residues, line = rest / pass.residues;
    const int64_t source_line = pixel(line, source), result_line = pixel(line, result);
    int64_t n = (index - rest * pass.strips) * pass.fir.results;
    for (; out < end && n < pass.strips * pass.fir.results; n += pass.fir.results, ++index)
      *out++ = {source_line, result_line, residue + pass.multiplier * n, pass.start + residue + pass.step * n};
  }
}

}  // namespace native::conv
