#include "kernels/conv/line.h"

#include <algorithm>

#include "kernels/grid.h"

namespace native::conv {
namespace {

// Steps of a transform of one channel, as multiply-adds of a product's loop: loading, adding up and storing it, once
// before the product or once behind it; and those of a weight, in short rows.
constexpr double kTransform = 6, kWeight = 12;

// Whether weights are transformed once, not in each run, results of a strip if these are chosen already, and whether it
// is the gradient by the weights, which adds up over what lies between columns as well.
struct Given {
  bool weights = false;
  int results = 0;
  bool by_weights = false;
};

double cost(const Line& line, const LinePass& pass, const Given& given) {
  const double depth = static_cast<double>(line.depth), columns = static_cast<double>(line.columns);
  const double products = static_cast<double>(pass.fir.products()), rows = static_cast<double>(line.rows.count);
  const double weights = given.weights ? 0 : products * rows * depth * columns * kWeight;
  const double multiply_adds = products * rows * depth * columns;
  const double transforms = (products * depth + static_cast<double>(pass.fir.positions()) * columns) * kTransform;
  const int64_t strips = line.strips(pass), multiplied = strips / line.rows.column * line.rows.work();
  return weights + multiply_adds * static_cast<double>(given.by_weights ? strips : multiplied) +
         transforms * static_cast<double>(strips);
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

// Taps of two dimensions as lines along the second of them, a line for each row of the window. 3x3 is left to
// Winograd's method in both.
std::optional<Line> line_of_plane(const Geometry& g, bool input_grad, const Given& given) {
  const Triple one{1, 1, 1};
  if (g.stride != one || g.dilation != one || g.kernel[0] != 1 || g.low[0] != 0 || g.in[0] != g.out[0])
    return std::nullopt;
  const int64_t height = g.kernel[1], taps = g.kernel[2];
  if (height == 3 && taps == 3) return std::nullopt;
  LineRows rows{.count = height,
                .low = input_grad ? height - 1 - g.low[1] : g.low[1],
                .source = input_grad ? g.out[1] : g.in[1],
                .result = input_grad ? g.in[1] : g.out[1],
                .turned = input_grad};
  const int64_t high = rows.result + height - 1 - rows.low - rows.source;
  // Zeros between columns serve the one above and the one below.
  if (std::max(height, taps) > kMostLineTaps || rows.low < 0 || rows.low >= height || high >= height)
    return std::nullopt;
  rows.column = rows.source + std::max(rows.low, high);
  Line line{.lines = g.batch * g.in[0],
            .inner = 1,
            .source = input_grad ? g.out[2] : g.in[2],
            .result = input_grad ? g.in[2] : g.out[2],
            .depth = input_grad ? g.cout : g.cin,
            .columns = input_grad ? g.cin : g.cout,
            .taps = taps,
            .rows = rows,
            .passes = {}};
  std::vector<FirTap> row;
  for (int k = 0; k < taps; ++k) row.push_back({k, input_grad ? g.low[2] - k : k - g.low[2]});
  add_pass(line, {0, 1, 1, 1, 0, {}}, line.result, row, given);
  return line;
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
  if (g.groups != 1 || g.empty() || g.out_pixels() == 0) return std::nullopt;
  if (g.kernel[1] > 1 && g.kernel[2] > 1) return line_of_plane(g, input_grad, given);
  const int axis = axis_of(g);
  if (axis < 0) return std::nullopt;
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

// Of the direct loop, which without strides multiplies what lies in the padding, too.
int64_t direct_multiply_adds(const Problem& problem, const Geometry& g) {
  const bool all = problem.op == "conv_input_grad" && g.stride == Triple{1, 1, 1};
  return all ? g.in_pixels() * g.taps() * g.group_in() * g.cout : g.multiply_adds();
}

bool pays(const Line& line, int64_t multiply_adds, const Given& given) {
  constexpr int64_t kChannels = 32;
  constexpr double kGain = 0.9;      // what a product of short sums loses beside the direct loop
  constexpr int64_t kMostRows = 11;  // by the weights: the sums of more are read and written from far caches
  if (given.by_weights && line.rows.count > kMostRows) return false;
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
  if (line && best && !pays(*line, direct_multiply_adds(problem, *g), given)) return std::nullopt;
  return line;
}

}  // namespace

std::optional<Line> line_of(const Problem& problem, bool best) {
  return line_of(problem, best, {.by_weights = problem.op == "conv_weight_grad"});
}

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
  if (rows.count > 1) return list_columns(pass, index, count, out);
  const Strip* const end = out + count;
  while (out < end) {
    const int64_t rest = index / pass.strips, residue = rest % pass.residues, line = rest / pass.residues;
    const int64_t source_line = pixel(line, source), result_line = pixel(line, result);
    int64_t n = (index - rest * pass.strips) * pass.fir.results;
    for (; out < end && n < pass.strips * pass.fir.results; n += pass.fir.results, ++index)
      *out++ = {source_line, result_line, residue + pass.multiplier * n, pass.start + residue + pass.step * n};
  }
}

void Line::list_columns(const LinePass& pass, int64_t index, int64_t count, Strip* out) const {
  constexpr int64_t kInFront = -(int64_t{1} << 32), kBehind = int64_t{1} << 32;
  int64_t column = index / rows.column, row = index % rows.column;
  for (const Strip* const end = out + count; out < end; ++out) {
    const int64_t image = column / pass.strips, first = column % pass.strips * pass.fir.results, from = row - rows.low;
    const bool reads = image < lines && from >= 0 && from < rows.source, writes = image < lines && row < rows.result;
    *out = {pixel(image * rows.source + from, source), pixel(image * rows.result + row, result),
            reads ? first : kInFront, writes ? first : kBehind};
    if (++row == rows.column) row = 0, ++column;
  }
}

}  // namespace native::conv
